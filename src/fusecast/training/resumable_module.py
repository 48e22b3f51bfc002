"""ResumableModule: optimizer, learning rate, loss checks and exact resumption, for all modules of fusecast."""

# ruff: noqa: ARG002  the signatures are those of Lightning

from __future__ import annotations

import inspect
import math
import time
import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any, ClassVar, Self

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.model_helpers import _restricted_classmethod
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from fusecast.errors import ArtifactError, ConfigError, TrainingError
from fusecast.errors.base import some_of
from fusecast.kernels.adamw import AdamW, clip_gradients
from fusecast.model.tft import TemporalFusionTransformer, limit_weights, require_finite
from fusecast.runtime.device import available_accelerators, require_supported_precision, seed_step, torch_device
from fusecast.training.checkpoints import STATE_OF_TRAINING, count_numbers, load_checkpoint, select_tensors

PREFIXES = ("module.", "model.", "network.", "_orig_mod.", "TFTpart2.")
"""Prefixes of names by DataParallel, wrappers, LightningModules of fusecast, torch.compile and newer NVIDIA code."""

MONITOR = "train_loss"
"""What Lightning is told that the scheduler of :meth:`ResumableModule.configure_optimizers` depends on."""


class ResumableModule(pl.LightningModule):
    """Train so that a resumed run equals an undisturbed one, bit for bit on a CPU.

    The random numbers of a step are seeded by (seed, step, rank), so that no random state need be saved, and the
    learning rate is adapted before checkpoints are written, not after. Checkpoints hold plain values only.

    Subclasses call :meth:`record_loss` in their training step, and :meth:`record_metrics` with a ``val_loss`` in their
    validation step. A training step of a user need not: the loss that it returns counts, and a ``train_loss`` that it
    logs is kept. Optimizers, schedulers and logging can be replaced as in any LightningModule.
    """

    finite_buffers: ClassVar[tuple[str, ...]] = ()
    """Buffers that, like parameters, must not be NaN or infinite in a checkpoint."""

    def __init__(
        self,
        *,
        learning_rate: float,
        weight_decay: float,
        lr_scheduler_factor: float,
        lr_scheduler_patience: int,
        seed: int | None,
    ) -> None:
        super().__init__()
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.lr_scheduler_factor, self.lr_scheduler_patience = lr_scheduler_factor, lr_scheduler_patience
        self.seed = torch.initial_seed() if seed is None else seed
        self._loss_checker = LossChecker()
        self._train_loss = WeightedMean()  # of this epoch
        self._latest: tuple[Tensor, int] | None = None  # loss of a step, and its weight
        self._logged: set[str] = set()  # names that training steps logged in this epoch
        self._metrics: dict[str, WeightedMean] = {}  # of this validation or test

    @_restricted_classmethod
    def load_from_checkpoint(
        cls,  # noqa: N805
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: Any = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **changes: Any,
    ) -> Self:
        """Return the module that wrote a checkpoint; the path is enough.

        Parameters
        ----------
        checkpoint_path
            A file.
        map_location
            Where the weights go, as for ``torch.load``: a device, a dict or a function; None is the CPU.
        hparams_file
            Must be None: a checkpoint of fusecast has its hyper-parameters in it.
        strict
            Whether the names of all tensors must match; None is `strict_loading` of the module. Without it, the names
            that do not match are given in a warning.
        weights_only
            Changes nothing: loading never executes anything.
        changes
            Arguments of the constructor to change.

        Raises
        ------
        ArtifactError
            If the file is missing, truncated, unsafe, or holds another kind of network, or weights that are NaN or
            infinite.
        ConfigError
            If the device is absent; the message lists those of the machine.
        """
        if hparams_file is not None:
            expected = "None (a checkpoint of fusecast holds its hyper-parameters; pass changes by name)"
            raise ConfigError.wrong_value("hparams_file", repr(hparams_file), expected)
        if not isinstance(checkpoint_path, str | Path):
            kind = type(checkpoint_path).__name__
            raise ConfigError.wrong_value("checkpoint_path", f"a {kind}", "the path of a file")
        path = Path(checkpoint_path)
        if path.is_dir():
            raise ArtifactError.is_folder(path, sorted(file.name for file in path.glob("*.ckpt")))
        if path.suffix == ".safetensors":
            raise ArtifactError.convert_first(path)
        content = _load_to(path, map_location)
        if "hyper_parameters" not in content or "state_dict" not in content:
            raise ArtifactError.convert_first(path)
        content.setdefault("global_step", 0)  # Lightning's files have it
        accepted = inspect.signature(cls.__init__).parameters.values()
        names = {parameter.name for parameter in accepted}
        takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted)
        try:
            saved = dict(content["hyper_parameters"])
            known = {name: value for name, value in saved.items() if takes_all or name in names}
            with limit_weights(count_numbers(content["state_dict"]), path):
                module = cls(**{**known, **changes})
                module.configure_model()
            module.on_load_checkpoint(content)
            strict = module.strict_loading if strict is None else strict
            differing = module.load_state_dict(content["state_dict"], strict=strict)
        except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
            raise ArtifactError.other_network(path, cls.__name__, shorten(str(error), 300)) from None
        module._require_finite(module.state_dict(), path)
        for verb, tensors in (("lacks", differing.missing_keys), ("has other tensors:", differing.unexpected_keys)):
            if tensors:
                warnings.warn(f"{path} {verb} {some_of(tensors)}; strict=False passes over them", stacklevel=3)
        if map_location is not None:
            module.to(next((tensor.device for tensor in content["state_dict"].values()), None))
        return module

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load tensors by their names here, by those of the network alone, or with prefixes such as ``model.``.

        Raises
        ------
        ArtifactError
            If `strict` is False and no name matches, or two names are those of one tensor.
        """
        own = self.state_dict().keys()
        if not own >= state_dict.keys():
            state_dict = _rename_tensors(state_dict, own)
        if not strict and own.isdisjoint(state_dict):
            raise ArtifactError.no_match(type(self).__name__, state_dict.keys(), own)
        return super().load_state_dict(state_dict, strict=strict, assign=assign)

    def register_network(self, network: TemporalFusionTransformer) -> TemporalFusionTransformer:
        """Return a network that several processes can train: DDP waits for every gradient, even of an empty table."""
        for parameter in network.parameters():
            parameter.requires_grad_(parameter.numel() > 0)
        return network

    # Losses and metrics

    def record_loss(self, loss: Tensor, weight: int, windows: Tensor) -> None:
        """Add the loss of a step to the epoch's mean, and refuse one that is not finite; `windows` are its numbers."""
        self._loss_checker.record(loss, windows, step=self.global_step, epoch=self.current_epoch)
        self._train_loss.add(loss, weight)
        self._latest = loss.detach(), weight

    def epoch_loss(self) -> Tensor:
        """Return the mean training loss of the epoch so far, [], over all processes; what a training step logs counts.

        NaN where a training step of a user neither returns nor logs its loss.
        """
        if "train_loss" in self._logged and "train_loss" in self.trainer.callback_metrics:
            return self.trainer.callback_metrics["train_loss"]
        if not self._train_loss.weight:
            return torch.tensor(math.nan)
        return self.trainer.strategy.reduce(self._train_loss.mean(self.device), reduce_op="mean")

    def log(self, name: str, *arguments: Any, **options: Any) -> None:
        """Log a value as Lightning does; a ``train_loss`` that a training step logs is not replaced later."""
        self._logged.add(name)
        super().log(name, *arguments, **options)

    def record_metrics(self, metrics: Mapping[str, Tensor], weight: float) -> None:
        """Add the metrics of a batch of validation or test to their means, which are logged at its end.

        Mean squares whose name ends in ``_rmse`` are logged as the root of their mean.

        Lightning's own means over processes are off where those have different numbers of windows: it averages their
        numbers as integers.
        """
        for name, value in metrics.items():
            self._metrics.setdefault(name, WeightedMean()).add(value, weight)

    def on_validation_epoch_start(self) -> None:
        """Begin the means anew."""
        self._metrics = {}

    def on_validation_epoch_end(self) -> None:
        """Log the means over all windows of all processes."""
        names = sorted(self._metrics)
        if not names:
            return
        states = [self._metrics[name].state() for name in names]
        sums = torch.tensor(states, dtype=_widest_float(self.device), device=self.device)
        sums = self.trainer.strategy.reduce(sums, reduce_op="sum")
        for name, (total, weight) in zip(names, sums, strict=True):
            mean = total / weight
            self.log(name, (mean.sqrt() if name.endswith("_rmse") else mean).float(), sync_dist=True)

    on_test_epoch_start = on_validation_epoch_start
    on_test_epoch_end = on_validation_epoch_end

    # Training

    def setup(self, stage: str) -> None:
        """Refuse a precision that the weights and the data cannot have."""
        require_supported_precision(self.trainer.precision)

    def on_train_start(self) -> None:
        """End at once where the run that is resumed had stopped early."""
        for callback in self.trainer.early_stopping_callbacks:
            if isinstance(callback, EarlyStopping) and 0 < callback.patience <= callback.wait_count:
                self.trainer.should_stop = True

    def on_train_epoch_start(self) -> None:
        """Begin the mean of the epoch's losses anew."""
        self._train_loss = WeightedMean()
        self._logged = set()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed the step; batches whose gradients are accumulated have random numbers of their own."""
        part = batch_idx % self.trainer.accumulate_grad_batches if self.automatic_optimization else batch_idx
        seed_step(self.seed, self.global_step, self.global_rank, self.device, part=part)
        self._latest = None

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log the loss of the step, only where loggers write it: Lightning's bookkeeping takes a millisecond."""
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by a helper of Lightning's
        if "train_loss" in self._logged:
            return
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if self._latest is None and isinstance(loss, Tensor) and loss.numel() == 1:  # of a step that records none
            self._train_loss.add(loss.flatten()[0], 1.0)
            self._latest = loss.detach(), 1
        if self._latest is not None and (self.trainer.should_stop or (every and self.global_step % every == 0)):
            self.log("train_loss_step", self._latest[0], batch_size=self._latest[1])

    def on_train_epoch_end(self) -> None:
        """Log the epoch's loss, refuse one that is not finite, adapt the learning rate."""
        self._loss_checker.check()
        if self._train_loss.weight and "train_loss" not in self._logged:
            super().log("train_loss", self.epoch_loss(), sync_dist=True)
        monitor = "val_loss" if self.trainer.enable_validation else "train_loss"
        loss = self.trainer.callback_metrics.get(monitor)
        if loss is None:  # validation comes less often than epochs
            return
        if not math.isfinite(float(loss)):
            raise TrainingError.validation_not_finite(float(loss), self.current_epoch)
        for scheduler in self._own_schedulers():
            scheduler.step(float(loss))

    # Optimizer

    def configure_optimizers(self) -> Any:
        """Return AdamW, and a learning rate that falls when the loss does not."""
        # the fused step unscales gradients itself, so that gradients of fp16 could not be clipped
        precision = None if self._trainer is None else self._trainer.precision
        fused = precision != "16-mixed" and self.device.type in ("cpu", "cuda")
        optimizer = AdamW(self.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=fused)
        scheduler = OwnScheduler(optimizer, factor=self.lr_scheduler_factor, patience=self.lr_scheduler_patience)
        config = {"scheduler": scheduler, "monitor": MONITOR, "strict": False}
        return {"optimizer": optimizer, "lr_scheduler": config}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Step a scheduler as Lightning does, but not the own one: Lightning would after checkpoints are written."""
        if scheduler not in self._own_schedulers():
            super().lr_scheduler_step(scheduler, metric)

    def _own_schedulers(self) -> list[OwnScheduler]:
        """Return the scheduler that is stepped here, if it is in use, and as :meth:`configure_optimizers` has it."""
        return [
            config.scheduler
            for config in self.trainer.lr_scheduler_configs
            if isinstance(config.scheduler, OwnScheduler)
            and (config.monitor, config.interval, config.frequency) == (MONITOR, "epoch", 1)
        ]

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the norm, also for a fused optimizer under bf16, which Lightning refuses although nothing is scaled."""
        if gradient_clip_val is not None and gradient_clip_algorithm in (None, "norm"):
            clip_gradients(optimizer, gradient_clip_val)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the epoch's losses so far, and the time."""
        checkpoint["epoch_loss"] = self._train_loss.state()
        checkpoint["saved"] = time.time()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue with the losses and the seed of the run that wrote the checkpoint, where training is resumed.

        Raises
        ------
        ArtifactError
            If its weights are NaN or infinite.
        TrainingError
            If the checkpoint holds weights alone, or is of a module that is none of fusecast.
        """
        trainer = self._trainer
        if trainer is not None:
            self._require_finite(checkpoint.get("state_dict"), trainer.ckpt_path)
        if trainer is None or trainer.state.fn != TrainerFn.FITTING:  # only the weights are needed
            if not checkpoint.get("loops"):  # of converted weights: Lightning would look for the loop of a test in it
                checkpoint.pop("loops", None)
            return
        if not checkpoint.keys() >= STATE_OF_TRAINING:
            raise TrainingError.weights_alone(trainer.ckpt_path, type(self).__name__)
        self._train_loss = WeightedMean(*checkpoint["epoch_loss"])
        self.seed = checkpoint["hyper_parameters"]["seed"]
        restart_validation(checkpoint["loops"]["fit_loop"])

    def _require_finite(self, state_dict: Any, path: object) -> None:
        """Raise an ArtifactError where a state dict has parameters or statistics that are NaN or infinite.

        Other buffers are those of a user, and may be.
        """
        own = {*dict(self.named_parameters()), *self.finite_buffers}
        require_finite({name: tensor for name, tensor in select_tensors(state_dict).items() if name in own}, path)


def _load_to(path: Path, map_location: Any) -> dict[str, Any]:
    """Read a checkpoint, its tensors on the devices of a `map_location` of torch; a ConfigError names an absent one."""
    if map_location is None:
        return load_checkpoint(path)
    if isinstance(map_location, int):
        map_location = f"cuda:{map_location}"
    if isinstance(map_location, str | torch.device):
        return load_checkpoint(path, torch_device(map_location))
    try:
        return load_checkpoint(path, map_location)
    except (ArtifactError, AssertionError):  # torch has errors of many kinds for an absent device
        load_checkpoint(path)  # raises where the reason is the file
        raise ConfigError.wrong_map_location(map_location, available_accelerators()) from None


def restart_validation(fit_loop: dict[str, Any]) -> None:
    """Let a run resumed between the last step of an epoch and the end of its validation do the whole validation.

    Two kinds of checkpoints are written there. A ``ModelCheckpoint(every_n_train_steps=...)`` may write after the last
    step; Lightning (2.6) takes such an epoch for ended, and its validation, early stopping and learning rate would be
    left out. ``Interruption`` may write within validation, and Lightning would skip the batches done, whose metrics are
    lost. In both cases `fit_loop` is changed in place as if Lightning had stopped in the first batch of the validation,
    from where it does what is right. Other checkpoints are not changed.
    """
    batches, epochs = fit_loop["epoch_loop.batch_progress"], fit_loop["epoch_progress"]
    validation = fit_loop["epoch_loop.val_loop.batch_progress"]
    within_epoch = epochs["current"]["processed"] < epochs["current"]["started"]
    after_step = batches["current"]["completed"] < batches["current"]["processed"]
    within_validation = validation["total"]["completed"] < validation["total"]["ready"]
    if not (batches["is_last_batch"] and within_epoch and (after_step or within_validation)):
        return
    for count in (batches["current"], batches["total"]):
        count["completed"] = count["processed"]
    for count in (validation["current"], validation["total"]):
        count.update(ready=1, started=1, processed=0, completed=0)


class OwnScheduler(ReduceLROnPlateau):
    """The scheduler of :class:`ResumableModule`, which the module itself steps."""


class LossChecker:
    """Check that every loss is finite, without making a GPU wait for each.

    On a CPU a loss is checked at once, so that the weights stay clean. On other devices losses are collected and
    checked together every `interval` steps: the weights are spoiled then, the checkpoints are not.
    """

    def __init__(self, interval: int = 20) -> None:
        self.interval = interval
        self._unchecked: list[tuple[Tensor, int, int, Tensor]] = []  # loss [], step, epoch, windows [B]

    def record(self, loss: Tensor, windows: Tensor, *, step: int, epoch: int) -> None:
        """Record the loss of a step, and check it now or later: a TrainingError names one that is not finite."""
        self._unchecked.append((loss.detach(), step, epoch, windows))
        if _is_readable_at_once(loss) or len(self._unchecked) >= self.interval:
            self.check()

    def check(self) -> None:
        """Check the losses recorded since the last check; called at the end of an epoch too."""
        steps, self._unchecked = self._unchecked, []
        losses = torch.stack([loss for loss, *_ in steps]).tolist() if steps else []  # one wait for all of them
        for loss, (_, step, epoch, windows) in zip(losses, steps, strict=True):
            if not math.isfinite(loss):
                raise TrainingError.loss_not_finite(loss, step, epoch, windows.tolist())


class WeightedMean:
    """A weighted mean in float64 (float32 on devices without it), whose state can be saved at any time."""

    def __init__(self, total: float = 0.0, weight: float = 0.0) -> None:
        self._total: Tensor | float = total
        self.weight = weight

    def add(self, value: Tensor, weight: float) -> None:
        """Add a value []."""
        self._total = self._total + value.detach().to(_widest_float(value.device)) * weight
        self.weight += weight

    def mean(self, device: torch.device) -> Tensor:
        """Return the mean, float32 []; 0 where nothing was added."""
        total = torch.as_tensor(self._total, device=device, dtype=_widest_float(device))
        return (total / max(self.weight, 1e-12)).float()

    def state(self) -> list[float]:
        """Return plain values; ``WeightedMean(*state)`` continues from them."""
        return [float(self._total), self.weight]


def remove_prefixes(name: str) -> str:
    """Remove known prefixes, however they are nested.

    >>> remove_prefixes("module.model.head.bias")
    'head.bias'
    """
    for prefix in PREFIXES:
        if name.startswith(prefix):
            return remove_prefixes(name.removeprefix(prefix))
    return name


def _rename_tensors(state_dict: Mapping[str, Any], own: Collection[str]) -> dict[str, Any]:
    """Return a state dict with the names of a module where its names, without their prefixes, are known there."""
    renamed: dict[str, Any] = {}
    for old, value in state_dict.items():
        bare = remove_prefixes(old)
        name = next((name for name in (old, bare, f"network.{bare}") if name in own), old)
        if name in renamed:
            raise ArtifactError.same_name_twice("the state dict", name)
        renamed[name] = value
    return renamed


def _is_readable_at_once(loss: Tensor) -> bool:
    """Whether reading the value waits for no device."""
    return loss.device.type == "cpu"


def _widest_float(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64
