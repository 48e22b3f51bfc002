"""How a network is trained, in plain numbers. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from fusecast.errors import ConfigError

PRECISIONS = {
    "32": "32-true",
    "32-true": "32-true",
    "64": "64-true",
    "64-true": "64-true",
    "16": "16-mixed",
    "16-mixed": "16-mixed",
    "bf16": "bf16-mixed",
    "bf16-mixed": "bf16-mixed",
}
ACCELERATORS = ("auto", "cpu", "cuda", "gpu", "mps")
STARTS = ("torch", "paper")
LOGGERS = ("tensorboard", "csv", "mlflow", "wandb", "none")
EPOCH_CAP = 16_384
"""Windows of an epoch where ``windows_per_epoch`` is None and there are more: 256 steps of the default batch."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Everything about training that is neither data nor the shape of the network.

    Raises
    ------
    ConfigError
        Naming the field that is out of its range.
    """

    learning_rate: float = 1e-3
    batch_size: int = 64
    """Windows a step, on each device."""
    max_epochs: int = 20
    """An epoch is what lies between two validations; see ``windows_per_epoch``."""
    max_steps: int | None = None
    """Optimizer steps at most; the last, shorter epoch is validated like the others."""
    max_minutes: float | None = None
    """Minutes at most, counted from the first step and on through a resumed run; the epoch then under way is
    cut short and validated."""
    windows_per_epoch: int | None = None
    """Windows an epoch takes, on all devices together. Epochs go through one long shuffle of all windows, piece after
    piece, so nothing is left out and nothing is seen twice before everything has been seen once. None: all windows,
    but at most 16,384, so that validation comes round often where windows are many."""
    validation_windows: int | None = 2_000
    """Windows judged at a validation, evenly spaced over all there are; None for all."""
    early_stopping_patience: int | None = 5
    """Validations without improvement after which training stops; None never stops early."""
    early_stopping_min_delta: float = 0.0
    """What counts as an improvement, in units of the (scaled) loss."""
    lr_scheduler_factor: float = 0.5
    """The learning rate is multiplied by this when the validation loss no longer falls."""
    lr_scheduler_patience: int = 2
    """Validations without improvement before that."""
    start: str = "torch"
    """First weights: those of torch's layers ("torch"), or as the paper's code draws them ("paper"), see
    :mod:`fusecast.model.weights`. Which is better differs from table to table."""
    weight_decay: float = 0.0
    """Decoupled, as in AdamW."""
    gradient_clip: float | None = 1.0
    """Largest norm of the gradient; None does not clip."""
    precision: str | int | None = None
    """32, 64, 16 or bf16 (mixed). None: on CUDA bf16 where the card has it, else 16; elsewhere 32."""
    accelerator: str = "auto"
    """auto, cpu, cuda (or gpu) or mps; auto takes the best there is."""
    devices: int = 1
    """Devices on each machine; more than one train in parallel processes (DDP)."""
    num_nodes: int = 1
    """Machines that train together."""
    seed: int = 42
    """Of initial weights, order of windows and dropout. On a CPU the same seed gives the same weights, bit for bit."""
    deterministic: bool = False
    """Ask the same of a GPU, at some cost in speed."""
    num_workers: int = 0
    """Processes that gather batches. A batch is a handful of array gathers, so 0, in the process itself, is fastest
    for panels in memory."""
    panel_on_device: bool | None = None
    """Keep the panel on the device and cut its windows there. None: on CUDA, where it takes at most half of the memory
    that is free; then ``num_workers`` has nothing to do. True: on any device; False: never."""
    compile: bool = False
    """Compile the network with ``torch.compile``: a slow start, then faster steps on GPUs."""
    checkpoint_minutes: float | None = 5.0
    """Minutes after which ``last.ckpt`` is written within an epoch too, so that a killed run loses no more; it is
    written after every epoch in any case. None: only then."""
    checkpoint_steps: int | None = None
    """The same in optimizer steps."""
    logger: str = "tensorboard"
    """tensorboard, csv, mlflow, wandb or none. ``history.csv`` is written in any case."""
    progress: bool = True
    """Show a progress bar on a terminal, and one line an epoch elsewhere."""

    def __post_init__(self) -> None:
        self._check("learning_rate", _above_zero, "(0, inf)")
        for name in ("batch_size", "max_epochs", "devices", "num_nodes"):
            self._check(name, _counts, "1, 2, ...")
        for name in ("max_steps", "windows_per_epoch", "validation_windows", "checkpoint_steps"):
            self._check(name, _counts, "1, 2, ...", optional=True)
        for name in ("max_minutes", "gradient_clip", "checkpoint_minutes"):
            self._check(name, _above_zero, "(0, inf)", optional=True)
        self._check("early_stopping_patience", _is_natural, "0, 1, 2, ...", optional=True)
        for name in ("lr_scheduler_patience", "num_workers", "seed"):
            self._check(name, _is_natural, "0, 1, 2, ...")
        for name in ("early_stopping_min_delta", "weight_decay"):
            self._check(name, _at_least_zero, "[0, inf)")
        self._check("lr_scheduler_factor", lambda value: 0.0 < value < 1.0, "(0, 1)")
        if self.precision is not None and str(self.precision) not in PRECISIONS:
            raise ConfigError.not_one_of("precision", self.precision, PRECISIONS)
        if self.accelerator not in ACCELERATORS:
            raise ConfigError.not_one_of("accelerator", self.accelerator, ACCELERATORS)
        for name, choices in (("logger", LOGGERS), ("start", STARTS)):
            if getattr(self, name) not in choices:
                raise ConfigError.not_one_of(name, getattr(self, name), choices)

    def _check(self, name: str, holds: Callable[[Any], bool], allowed: str, *, optional: bool = False) -> None:
        value = getattr(self, name)
        if optional and value is None:
            return
        if isinstance(value, bool) or not isinstance(value, int | float) or not holds(value):
            raise ConfigError.out_of_range(name, repr(value) if isinstance(value, str) else value, allowed)

    def epoch_size(self, windows: int) -> int:
        """Windows of an epoch, of so many there are."""
        return min(windows, self.windows_per_epoch or EPOCH_CAP)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; ``TrainingConfig(**config.to_dict())`` gives the same config."""
        return asdict(self)


def _counts(value: float) -> bool:
    return isinstance(value, int) and value >= 1


def _is_natural(value: float) -> bool:
    return isinstance(value, int) and value >= 0


def _above_zero(value: float) -> bool:
    return math.isfinite(value) and value > 0.0


def _at_least_zero(value: float) -> bool:
    return math.isfinite(value) and value >= 0.0
