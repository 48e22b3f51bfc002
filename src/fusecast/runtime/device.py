"""Which accelerator and which precision, where the user leaves it to us."""

from __future__ import annotations

import torch

from fusecast.errors import ConfigError
from fusecast.training.config import PRECISIONS


def available_accelerators() -> dict[str, int]:
    """Give the kinds of devices there are and how many of each, the best first."""
    found = {}
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.device_count()
    if torch.backends.mps.is_available():
        found["mps"] = 1
    return {**found, "cpu": 1}


def choose_accelerator(asked: str = "auto", devices: int = 1) -> str:
    """Give ``cuda``, ``mps`` or ``cpu``.

    Raises
    ------
    ConfigError
        If the accelerator asked for is absent, or has fewer devices; the devices there are are named.
    """
    there = available_accelerators()
    kind = {"auto": next(iter(there)), "gpu": "cuda"}.get(asked, asked)
    if kind not in there:
        raise ConfigError.device_absent(kind, there)
    if kind != "cpu" and devices > there[kind]:  # processes on a CPU are as many as one likes
        raise ConfigError.too_few_devices(kind, devices, there[kind])
    return kind


def choose_precision(asked: str | int | None, accelerator: str) -> str:
    """Give the precision as Lightning spells it; ``accelerator`` as :func:`choose_accelerator` gives it."""
    if asked is not None:
        return PRECISIONS[str(asked)]
    if accelerator != "cuda":
        return "32-true"
    # emulated bf16 on cards before Ampere is slower than float32
    return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"


def torch_device(asked: str | torch.device | None = None) -> torch.device:
    """Give the torch device for inference: the one asked for, or the best there is.

    Raises
    ------
    ConfigError
        If the device asked for is absent; the devices there are are named.
    """
    if asked is None or asked == "auto":
        return torch.device(choose_accelerator())
    try:
        device = torch.device(asked)
    except RuntimeError:
        raise ConfigError.device_absent(str(asked), available_accelerators()) from None
    there = available_accelerators()
    if device.type not in there or (device.index or 0) >= there[device.type]:
        raise ConfigError.device_absent(str(device), there)
    return device
