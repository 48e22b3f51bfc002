"""ResumableModule: optimizer, schedule, loss checks and exact resumption for every LightningModule of fusecast."""

# ruff: noqa: ARG002  the signatures are those of Lightning

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from fusecast.errors import ArtifactError, TrainingError
from fusecast.kernels.adamw import AdamW, clip_gradients
from fusecast.model.tft import TemporalFusionTransformer
from fusecast.runtime.seeding import seed_step
from fusecast.training.checkpoints import load_checkpoint


class _Seen(NamedTuple):
    step: int
    epoch: int
    loss: Tensor  # float []
    windows: Tensor  # int64 [B]


class LossGuard:
    """Looks at every loss, without making a GPU wait for each.

    On a CPU a loss is looked at as soon as it is there, so that the weights stay clean. On other devices losses are
    kept and looked at together every `interval` steps: the weights are spoiled then, the checkpoints are not.
    """

    def __init__(self, interval: int = 20) -> None:
        self.interval = interval
        self._waiting: list[_Seen] = []

    def see(self, loss: Tensor, windows: Tensor, *, step: int, epoch: int) -> None:
        """Note the loss of a step.

        Raises
        ------
        TrainingError
            If this loss, or one seen since the last look, is not finite.
        """
        self._waiting.append(_Seen(step, epoch, loss.detach(), windows))
        if _at_hand(loss) or len(self._waiting) >= self.interval:
            self.look()

    def look(self) -> None:
        """Look at the losses seen since the last look; called at the end of an epoch too."""
        seen, self._waiting = self._waiting, []
        losses = torch.stack([entry.loss for entry in seen]).tolist() if seen else []  # one wait for all of them
        for loss, (step, epoch, _, windows) in zip(losses, seen, strict=True):
            if not math.isfinite(loss):
                raise TrainingError.loss_not_finite(loss, step, epoch, windows.tolist())


def _at_hand(loss: Tensor) -> bool:
    """Whether reading the value makes nothing wait."""
    return loss.device.type == "cpu"


class RunningMean:
    """A weighted mean in float64 (float32 on devices without it) that can be saved half way."""

    def __init__(self, total: float = 0.0, weight: float = 0.0) -> None:
        self._total: Tensor | float = total
        self._weight = weight

    def add(self, value: Tensor, weight: float) -> None:
        """Count a value [] in."""
        self._total = self._total + value.detach().to(_widest(value.device)) * weight
        self._weight += weight

    def mean(self, device: torch.device) -> Tensor:
        """Give the mean, float32 []; 0 where nothing was added."""
        total = torch.as_tensor(self._total, device=device, dtype=_widest(device))
        return (total / max(self._weight, 1e-12)).float()

    def state(self) -> list[float]:
        """Plain values; ``RunningMean(*state)`` goes on from them."""
        return [float(self._total), self._weight]


def _widest(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64


def end_the_epoch_first(fit_loop: dict[str, Any]) -> None:
    """Let a run resumed from after the last step of an epoch validate, and end the epoch, before the next begins.

    A ``ModelCheckpoint(every_n_train_steps=...)`` may write after an epoch's last step, before its validation.
    Lightning (2.6) takes such an epoch for ended: its validation, early stopping and learning rate would be left out.
    Told that it stopped within validation, it does what is right. Other checkpoints are left as they are.

    Parameters
    ----------
    fit_loop
        ``checkpoint["loops"]["fit_loop"]``, changed in place.
    """
    batches, epochs = fit_loop["epoch_loop.batch_progress"], fit_loop["epoch_progress"]
    within_epoch = epochs["current"]["processed"] < epochs["current"]["started"]
    after_step = batches["current"]["completed"] < batches["current"]["processed"]
    if not (batches["is_last_batch"] and within_epoch and after_step):
        return
    for count in (batches["current"], batches["total"]):
        count["completed"] = count["processed"]
    validation = fit_loop["epoch_loop.val_loop.batch_progress"]
    validation["total"].update(ready=1, started=1, processed=0, completed=0)
    validation["current"].update(ready=1, started=1, processed=0, completed=0)


class ResumableModule(pl.LightningModule):
    """Trains so that a resumed run equals an undisturbed one.

    The random numbers of a step are seeded by (seed, step, rank), so that no random state need be saved, and the
    learning rate is adapted before checkpoints are written, not after. Checkpoints hold plain values only.

    Who inherits calls :meth:`record_loss` in its training step, and :meth:`record_metrics` with a ``val_loss`` in its
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
        self.scheduling: dict[str, Any] = {"factor": lr_scheduler_factor, "patience": lr_scheduler_patience}
        self.seed = torch.initial_seed() if seed is None else seed
        self.guard = LossGuard()
        self.losses = RunningMean()  # of this epoch
        self._latest: tuple[Tensor, int] | None = None  # loss of a step, and its weight
        self._judged: dict[str, RunningMean] = {}  # of this validation or test

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, map_location: Any = None, *_: Any, **changes: Any) -> Self:
        """Make the module that wrote a checkpoint; the path is enough.

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
        """Make a network ready to be trained by several processes."""
        for parameter in network.parameters():  # DDP waits for the gradient of each, even of an empty table
            parameter.requires_grad_(parameter.numel() > 0)
        return network

    def record_loss(self, loss: Tensor, weight: int, windows: Tensor) -> None:
        """Count the loss of a step into the epoch's mean, and refuse one that is no number; `windows` names them."""
        self.guard.see(loss, windows, step=self.global_step, epoch=self.current_epoch)
        self.losses.add(loss, weight)
        self._latest = loss.detach(), weight

    def epoch_loss(self) -> Tensor:
        """Mean training loss of the epoch so far, [], over all processes."""
        return self.trainer.strategy.reduce(self.losses.mean(self.device), reduce_op="mean")

    def record_metrics(self, metrics: Mapping[str, Tensor], weight: int) -> None:
        """Count the metrics of a batch of validation or test into their means, which are logged at its end.

        Lightning's own means over processes are off where those have different numbers of windows: it averages their
        numbers as integers.
        """
        for name, value in metrics.items():
            self._judged.setdefault(name, RunningMean()).add(value, weight)

    def on_validation_epoch_start(self) -> None:
        """Begin the means anew."""
        self._judged = {}

    def on_validation_epoch_end(self) -> None:
        """Log the means over all windows of all processes."""
        names = sorted(self._judged)
        if not names:
            return
        widest = torch.float32 if self.device.type == "mps" else torch.float64
        sums = torch.tensor([self._judged[name].state() for name in names], dtype=widest, device=self.device)
        sums = self.trainer.strategy.reduce(sums, reduce_op="sum")
        for name, (total, weight) in zip(names, sums, strict=True):
            self.log(name, (total / weight).float(), sync_dist=True)

    on_test_epoch_start = on_validation_epoch_start
    on_test_epoch_end = on_validation_epoch_end

    def on_train_start(self) -> None:
        """End at once where the run that is resumed had stopped early."""
        stops = [each for each in self.trainer.early_stopping_callbacks if isinstance(each, EarlyStopping)]
        if any(0 < each.patience <= each.wait_count for each in stops):
            self.trainer.should_stop = True

    def on_train_epoch_start(self) -> None:
        """Begin the mean of the epoch's losses anew."""
        self.losses = RunningMean()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed the step."""
        seed_step(self.seed, self.global_step, self.global_rank, self.device)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log the loss of the step, where loggers are told: Lightning's bookkeeping takes a millisecond."""
        every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]  # set by a helper of Lightning's
        due = self.trainer.should_stop or (every and self.global_step % every == 0)
        if self._latest is not None and due:
            loss, weight = self._latest
            self.log("train_loss_step", loss, batch_size=weight)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's loss, refuse one that is no number, adapt the learning rate."""
        self.guard.look()
        self.log("train_loss", self.epoch_loss(), sync_dist=True)
        monitor = "val_loss" if self.trainer.enable_validation else "train_loss"
        judged = self.trainer.callback_metrics.get(monitor)
        if judged is None:  # validation comes less often than epochs
            return
        if not math.isfinite(float(judged)):
            raise TrainingError.validation_not_finite(float(judged), self.current_epoch)
        scheduler = self.lr_schedulers()
        assert isinstance(scheduler, ReduceLROnPlateau)
        scheduler.step(float(judged))

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Do nothing where Lightning would: it comes after the epoch's checkpoints are written."""

    def configure_optimizers(self) -> Any:
        """AdamW, and a learning rate that falls when the loss does not."""
        # the fused step unscales gradients itself, so that gradients of fp16 could not be clipped
        fused = self.trainer.precision != "16-mixed" and self.device.type in ("cpu", "cuda")
        optimizer = AdamW(self.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=fused)
        scheduler = ReduceLROnPlateau(optimizer, **self.scheduling)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "train_loss"}}

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the norm, also for a fused optimizer under bf16, which Lightning refuses although nothing is scaled."""
        if gradient_clip_val is not None and gradient_clip_algorithm in (None, "norm"):
            clip_gradients(optimizer, gradient_clip_val)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the epoch's losses so far, and the hour."""
        checkpoint["epoch_loss"] = self.losses.state()
        checkpoint["saved"] = time.time()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the losses and the seed of the run that wrote the checkpoint."""
        self.losses = RunningMean(*checkpoint["epoch_loss"])
        self.seed = checkpoint["hyper_parameters"]["seed"]
        end_the_epoch_first(checkpoint["loops"]["fit_loop"])
