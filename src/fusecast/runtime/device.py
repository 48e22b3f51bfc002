"""Devices and precision: what the machine has, what is chosen where the user leaves it open, and seeds of a step."""

from __future__ import annotations

import numpy as np
import torch

from fusecast.errors import ConfigError

PRECISIONS = {"32": "32-true", "64": "64-true", "16": "16-mixed", "bf16": "bf16-mixed"}
"""Lightning's name of each precision; users may write that too."""


def available_accelerators() -> dict[str, int]:
    """Return the kinds of devices of this machine and how many of each, the best first."""
    counts = {}
    if torch.cuda.is_available():
        counts["cuda"] = torch.cuda.device_count()
    if torch.backends.mps.is_available():
        counts["mps"] = 1
    return {**counts, "cpu": 1}


def choose_accelerator(requested: str = "auto", devices: int = 1) -> str:
    """Return ``cuda``, ``mps`` or ``cpu``; a ConfigError is raised where it is absent, or has fewer devices."""
    counts = available_accelerators()
    kind = {"auto": next(iter(counts)), "gpu": "cuda"}.get(requested, requested)
    if kind not in counts:
        raise ConfigError.missing_device(kind, counts)
    if kind != "cpu" and devices > counts[kind]:  # on a CPU there may be any number of processes
        raise ConfigError.too_few_devices(kind, devices, counts[kind])
    return kind


def choose_precision(requested: str | int | None, accelerator: str) -> str:
    """Return the precision by Lightning's name; ``accelerator`` as :func:`choose_accelerator` returns it."""
    if requested is not None:
        return PRECISIONS.get(str(requested), str(requested))
    if accelerator != "cuda":
        return "32-true"
    # emulated bf16 on cards before Ampere is slower than float32
    return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"


def require_supported_precision(precision: str) -> None:
    """Raise a ConfigError where a trainer has a precision that rounds weights and data to 16 bits or fewer."""
    if precision not in PRECISIONS.values():
        raise ConfigError.precision_too_low(precision, PRECISIONS.values())


def torch_device(requested: str | torch.device | None = None) -> torch.device:
    """Return the torch device for inference: the requested one, or the best of the machine.

    A ConfigError that lists the devices of the machine is raised where the requested one is absent.
    """
    if requested is None or requested == "auto":
        return torch.device(choose_accelerator())
    counts = available_accelerators()
    try:
        device = torch.device(requested)
    except RuntimeError:
        raise ConfigError.missing_device(str(requested), counts) from None
    if device.type not in counts or (device.index or 0) >= counts[device.type]:
        raise ConfigError.missing_device(str(device), counts)
    return device


def seed_step(seed: int, step: int, rank: int, device: torch.device | None = None, *, part: int = 0) -> None:
    """Seed torch for one step of one process; with a device, only what is drawn on it, and on the CPU.

    Dropout then depends on (seed, step, rank) and on nothing that happened before: a resumed run needs no random
    state to be saved, on any device and with any number of processes. Where a step accumulates the gradients of several
    batches, `part` is the number of the batch within the step.
    """
    entropy = (seed, step, rank, part) if part else (seed, step, rank)
    word = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]) >> 1
    if device is not None and device.type == "cpu":
        torch.default_generator.manual_seed(word)  # torch.manual_seed seeds every kind of GPU too: 0.6 ms
    else:
        torch.manual_seed(word)
