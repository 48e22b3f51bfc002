"""TFTModule: loss, optimizer and logging around the network."""

# ruff: noqa: ARG002  the signatures are Lightning's

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from fusecast.batch import Batch, Output
from fusecast.errors import TrainingError
from fusecast.model.config import ModelConfig
from fusecast.model.losses import quantile_loss
from fusecast.model.tft import TemporalFusionTransformer
from fusecast.training.guard import LossGuard
from fusecast.training.judge import median_error
from fusecast.training.running import RunningMean
from fusecast.training.seeding import seed_step


class TFTModule(pl.LightningModule):
    """A Temporal Fusion Transformer that Lightning can train.

    Logs ``train_loss``, ``val_loss`` and ``val_mae`` (of the median) in scaled units, under any ``Trainer``. Its
    checkpoints hold plain values only, and alone suffice for ``load_from_checkpoint(path, weights_only=True)``.

    A resumed run equals an undisturbed one: the random numbers of a step are seeded by (seed, step, rank), so that
    no random state need be saved, and the learning rate is adapted before checkpoints are written, not after.
    """

    def __init__(
        self,
        model: Mapping[str, Any],
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        lr_scheduler_factor: float = 0.5,
        lr_scheduler_patience: int = 2,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.model_config = ModelConfig(**model)
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.scheduling: dict[str, Any] = {"factor": lr_scheduler_factor, "patience": lr_scheduler_patience}
        self.seed = torch.initial_seed() if seed is None else seed
        plain = {"learning_rate": learning_rate, "weight_decay": weight_decay, "seed": self.seed}
        plain |= {f"lr_scheduler_{name}": value for name, value in self.scheduling.items()}
        self.save_hyperparameters({"model": self.model_config.to_dict(), **plain})
        self.network = TemporalFusionTransformer(self.model_config)
        for parameter in self.network.parameters():  # DDP waits for the gradient of each, even of an empty table
            parameter.requires_grad_(parameter.numel() > 0)
        self.guard = LossGuard()
        self.losses = RunningMean()  # of this epoch

    def forward(self, batch: Batch) -> Output:
        """Forecast a batch, in scaled units."""
        output: Output = self.network(batch)
        return output

    def on_train_epoch_start(self) -> None:
        """Begin the mean of the epoch's losses anew."""
        self.losses = RunningMean()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed the step."""
        seed_step(self.seed, self.global_step, self.global_rank)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Give the loss of a batch, []."""
        loss = self._loss(self.network(batch).quantiles, batch)
        self.guard.see(loss, batch.window, step=self.global_step, epoch=self.current_epoch)
        self.losses.add(loss, len(batch.window))
        self.log("train_loss_step", loss.detach(), batch_size=len(batch.window))
        return loss

    def epoch_loss(self) -> Tensor:
        """Mean training loss of the epoch so far, [], over all processes."""
        return self.trainer.strategy.reduce(self.losses.mean(self.device), reduce_op="mean")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Judge a batch of the validation windows."""
        quantiles = self.network(batch).quantiles
        mae = median_error(quantiles, batch, self.model_config.quantiles)
        metrics = {"val_loss": self._loss(quantiles, batch), "val_mae": mae}
        self.log_dict(metrics, on_epoch=True, batch_size=len(batch.window), sync_dist=True)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's loss, refuse one that is no number, adapt the learning rate."""
        self.guard.look()
        self.log("train_loss", self.epoch_loss(), sync_dist=True)
        monitor = "val_loss" if self.trainer.enable_validation else "train_loss"
        judged = float(self.trainer.callback_metrics[monitor])
        if not math.isfinite(judged):
            raise TrainingError.validation_not_finite(judged, self.current_epoch)
        scheduler = self.lr_schedulers()
        assert isinstance(scheduler, ReduceLROnPlateau)
        scheduler.step(judged)

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Do nothing where Lightning would: it comes after the epoch's checkpoints are written."""

    def configure_optimizers(self) -> Any:
        """AdamW, and a learning rate that falls when the loss does not."""
        # the fused step unscales gradients itself, so that gradients of fp16 could not be clipped
        fused = self.trainer.precision != "16-mixed" and self.device.type in ("cpu", "cuda")
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, fused=fused
        )
        scheduler = ReduceLROnPlateau(optimizer, **self.scheduling)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "train_loss"}}

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip the norm, also for a fused optimizer under bf16, which Lightning refuses although nothing is scaled."""
        if gradient_clip_val is not None and gradient_clip_algorithm in (None, "norm"):
            torch.nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the epoch's losses so far."""
        checkpoint["epoch_loss"] = self.losses.state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the losses and the seed of the run that wrote the checkpoint."""
        self.losses = RunningMean(*checkpoint["epoch_loss"])
        self.seed = checkpoint["hyper_parameters"]["seed"]

    def _loss(self, quantiles: Tensor, batch: Batch) -> Tensor:
        return quantile_loss(quantiles, batch.target, batch.target_mask, self.model_config.quantiles)
