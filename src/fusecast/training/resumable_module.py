"""ResumableModule: optimizer, learning rate, loss checks and exact resumption, for all modules of fusecast."""

# ruff: noqa: ARG002  the signatures are those of Lightning

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from fusecast.errors import ArtifactError, TrainingError
from fusecast.kernels.adamw import AdamW, clip_gradients
from fusecast.model.tft import TemporalFusionTransformer
from fusecast.runtime.device import seed_step
from fusecast.training.checkpoints import load_checkpoint


class ResumableModule(pl.LightningModule):
    """Train so that a resumed run equals an undisturbed one, bit for bit on a CPU.

    The random numbers of a step are seeded by (seed, step, rank), so that no random state need be saved, and the
    learning rate is adapted before checkpoints are written, not after. Checkpoints hold plain values only.

    Subclasses call :meth:`record_loss` in their training step, and :meth:`record_metrics` with a ``val_loss`` in their
    validation step.
    """

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
        self._metrics: dict[str, WeightedMean] = {}  # of this validation or test

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, map_location: Any = None, *_: Any, **changes: Any) -> Self:
        """Return the module that wrote a checkpoint; the path is enough.

        Parameters
        ----------
        checkpoint_path
            A file.
        map_location
            The device for the weights; None is the CPU.
        changes
            Arguments of the constructor to change. Lightning's others (`strict`, `weights_only`, `hparams_file`) are
            accepted and change nothing: loading is always strict and never executes anything.

        Raises
        ------
        ArtifactError
            If the file is missing, truncated, unsafe, or holds another kind of network.
        """
        path = Path(checkpoint_path)
        content = load_checkpoint(path, map_location or "cpu")
        for name in ("strict", "weights_only", "hparams_file"):
            changes.pop(name, None)
        try:
            module = cls(**{**content["hyper_parameters"], **changes})
            module.load_state_dict(content["state_dict"])
        except (KeyError, TypeError, RuntimeError) as error:
            raise ArtifactError.other_network(path, cls.__name__, str(error).splitlines()[0]) from None
        if map_location is not None:
            module.to(map_location)
        return module

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
        """Return the mean training loss of the epoch so far, [], over all processes."""
        return self.trainer.strategy.reduce(self._train_loss.mean(self.device), reduce_op="mean")

    def record_metrics(self, metrics: Mapping[str, Tensor], weight: int) -> None:
        """Add the metrics of a batch of validation or test to their means, which are logged at its end.

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
            self.log(name, (total / weight).float(), sync_dist=True)

    on_test_epoch_start = on_validation_epoch_start
    on_test_epoch_end = on_validation_epoch_end

    # Training

    def on_train_start(self) -> None:
        """End at once where the run that is resumed had stopped early."""
        for callback in self.trainer.early_stopping_callbacks:
            if isinstance(callback, EarlyStopping) and 0 < callback.patience <= callback.wait_count:
                self.trainer.should_stop = True

    def on_train_epoch_start(self) -> None:
        """Begin the mean of the epoch's losses anew."""
        self._train_loss = WeightedMean()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed the step."""
        seed_step(self.seed, self.global_step, self.global_rank, self.device)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log the loss of the step, only where loggers write it: Lightning's bookkeeping takes a millisecond."""
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by a helper of Lightning's
        if self._latest is not None and (self.trainer.should_stop or (every and self.global_step % every == 0)):
            self.log("train_loss_step", self._latest[0], batch_size=self._latest[1])

    def on_train_epoch_end(self) -> None:
        """Log the epoch's loss, refuse one that is not finite, adapt the learning rate."""
        self._loss_checker.check()
        self.log("train_loss", self.epoch_loss(), sync_dist=True)
        monitor = "val_loss" if self.trainer.enable_validation else "train_loss"
        loss = self.trainer.callback_metrics.get(monitor)
        if loss is None:  # validation comes less often than epochs
            return
        if not math.isfinite(float(loss)):
            raise TrainingError.validation_not_finite(float(loss), self.current_epoch)
        scheduler = self.lr_schedulers()
        assert isinstance(scheduler, ReduceLROnPlateau)
        scheduler.step(float(loss))

    # Optimizer

    def configure_optimizers(self) -> Any:
        """Return AdamW, and a learning rate that falls when the loss does not."""
        # the fused step unscales gradients itself, so that gradients of fp16 could not be clipped
        fused = self.trainer.precision != "16-mixed" and self.device.type in ("cpu", "cuda")
        optimizer = AdamW(self.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=fused)
        scheduler = ReduceLROnPlateau(optimizer, factor=self.lr_scheduler_factor, patience=self.lr_scheduler_patience)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "train_loss"}}

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Do nothing where Lightning would step: that is after the epoch's checkpoints are written."""

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
        """Continue with the losses and the seed of the run that wrote the checkpoint."""
        self._train_loss = WeightedMean(*checkpoint["epoch_loss"])
        self.seed = checkpoint["hyper_parameters"]["seed"]
        restart_validation(checkpoint["loops"]["fit_loop"])


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
        self._weight = weight

    def add(self, value: Tensor, weight: float) -> None:
        """Add a value []."""
        self._total = self._total + value.detach().to(_widest_float(value.device)) * weight
        self._weight += weight

    def mean(self, device: torch.device) -> Tensor:
        """Return the mean, float32 []; 0 where nothing was added."""
        total = torch.as_tensor(self._total, device=device, dtype=_widest_float(device))
        return (total / max(self._weight, 1e-12)).float()

    def state(self) -> list[float]:
        """Return plain values; ``WeightedMean(*state)`` continues from them."""
        return [float(self._total), self._weight]


def _is_readable_at_once(loss: Tensor) -> bool:
    """Whether reading the value waits for no device."""
    return loss.device.type == "cpu"


def _widest_float(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64
