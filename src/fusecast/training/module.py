"""TFTModule: loss, optimizer and logging around the network."""

# ruff: noqa: ARG002  the signatures are Lightning's

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
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
from fusecast.training.running import RunningMean


class TFTModule(pl.LightningModule):
    """A Temporal Fusion Transformer that Lightning can train.

    Works under any ``Trainer``. Logs ``train_loss``, ``val_loss`` and ``val_mae`` (of the median), all of them in
    scaled units. Hyperparameters are plain values: its checkpoints load with ``weights_only=True`` and alone suffice
    for ``load_from_checkpoint``.

    Two things make a resumed run equal to an undisturbed one. Random numbers of a step (dropout) are seeded by
    (seed, step, rank), so there is no random state to save. And the learning rate is adapted in
    ``on_train_epoch_end``, before checkpoints are written; Lightning by itself does it after them.
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
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.lr_scheduler_factor = lr_scheduler_factor
        self.lr_scheduler_patience = lr_scheduler_patience
        self.seed = torch.initial_seed() if seed is None else seed
        names = ("learning_rate", "weight_decay", "lr_scheduler_factor", "lr_scheduler_patience", "seed")
        plain = {name: getattr(self, name) for name in names}
        self.save_hyperparameters({"model": self.model_config.to_dict(), **plain})
        self.network = TemporalFusionTransformer(self.model_config)
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
        words = np.random.SeedSequence((self.seed, self.global_step, self.global_rank)).generate_state(1, np.uint64)
        torch.manual_seed(int(words[0]) >> 1)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Give the loss of a batch, []."""
        loss, _ = self._judge(batch)
        self.guard.see(loss, batch.window, step=self.global_step, epoch=self.current_epoch)
        size = len(batch.window)
        self.losses.add(loss, size)
        self.log("train_loss_step", loss.detach(), on_step=True, on_epoch=False, batch_size=size)
        return loss

    def epoch_loss(self) -> Tensor:
        """Mean training loss of the epoch so far, [], over all processes."""
        return self.trainer.strategy.reduce(self.losses.mean(self.device), reduce_op="mean")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Judge a batch of the validation windows."""
        loss, median = self._judge(batch)
        error = (median - batch.target).abs()
        mask = batch.target_mask
        mae = error.mean() if mask.shape[-1] == 0 else (error * mask).sum() / mask.sum().clamp(min=1)
        self.log_dict({"val_loss": loss, "val_mae": mae}, on_epoch=True, batch_size=len(batch.window), sync_dist=True)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's loss, refuse one that is no number, adapt the learning rate."""
        self.guard.look()
        self.log("train_loss", self.epoch_loss())
        validated = self.trainer.enable_validation
        judged = float(self.trainer.callback_metrics["val_loss" if validated else "train_loss"])
        if not np.isfinite(judged):
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
        scheduler = ReduceLROnPlateau(optimizer, factor=self.lr_scheduler_factor, patience=self.lr_scheduler_patience)
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

    def _judge(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Give the loss [] and the forecast nearest to the median [B, H, Y], both at least in float32."""
        levels = self.model_config.quantiles
        quantiles = self.network(batch).quantiles.to(batch.target.dtype)
        middle = min(range(len(levels)), key=lambda i: abs(levels[i] - 0.5))
        return quantile_loss(quantiles, batch.target, batch.target_mask, levels), quantiles[..., middle]
