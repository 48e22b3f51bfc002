"""TFTModule: loss, validation metrics and logging around the network."""

# ruff: noqa: ARG002  the signatures are those of Lightning

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from fusecast.data.arrays import FloatArray
from fusecast.errors import ConfigError
from fusecast.model.batch import Batch, Output
from fusecast.model.config import ModelConfig
from fusecast.model.heads import DistributionHead
from fusecast.model.losses import likelihood_loss, mean_sample_weight, quantile_loss
from fusecast.model.tft import TemporalFusionTransformer
from fusecast.training.callbacks.images import FigureData
from fusecast.training.callbacks.stopping import Limits
from fusecast.training.resumable_module import ResumableModule

if TYPE_CHECKING:
    from fusecast.config import LearningRateSchedule


def median_error(quantiles: Tensor, batch: Batch, levels: Sequence[float]) -> Tensor:
    """Return the mean absolute error [], weighted as in the loss, of the level nearest to the median.

    `quantiles` are float ``[B, H, Y, Q]``; targets that are missing do not count.
    """
    middle = min(range(len(levels)), key=lambda i: abs(levels[i] - 0.5))
    error = (quantiles[..., middle] - batch.target).abs()
    if batch.weight.shape[-1]:
        error = error * batch.weight[:, None]
    if batch.sample_weight.shape[-1]:
        error = error * batch.sample_weight[:, :, None]
    if batch.target_mask.shape[-1] == 0:
        return error.mean()
    return error.masked_fill(~batch.target_mask, 0.0).sum() / batch.target_mask.sum().clamp(min=1)


LEAST_WEIGHT = 1e-30
"""What is divided by in place of a mean weight of 0."""
WARM_UP = 0.1
"""Share of training in which the learning rate of the schedule `cosine` rises."""


def cosine_factor(progress: float) -> float:
    """Return the factor of the learning rate where this share of training is over: a rise, then half a cosine to 0.

    The rise begins at a hundredth, so that no step is lost.
    """
    if progress < WARM_UP:
        return max(progress / WARM_UP, 0.01)
    return 0.5 * (1.0 + math.cos(math.pi * min((progress - WARM_UP) / (1.0 - WARM_UP), 1.0)))


class TFTModule(ResumableModule):
    """A Temporal Fusion Transformer that Lightning can train.

    The loss is the quantile loss or, where the head is a distribution, the negative log-likelihood. Logs
    ``train_loss``, ``val_loss``, ``val_mae`` (of the median) and the same of a test in scaled units, under any
    ``Trainer``. Its checkpoints hold plain values only, and alone suffice for ``load_from_checkpoint(path)``. A resumed
    run equals an undisturbed one.

    `model` are the fields of a ModelConfig; `seed` determines dropout, None is torch's present seed. The other
    arguments are the options of :class:`fusecast.TrainingConfig`: `learning_rate`, `weight_decay`,
    `lr_scheduler_factor`, `lr_scheduler_patience`, `lr_schedule`. Raise a ConfigError where a size is impossible.
    """

    def __init__(
        self,
        model: Mapping[str, Any],
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        lr_scheduler_factor: float = 0.5,
        lr_scheduler_patience: int = 2,
        lr_schedule: LearningRateSchedule = "plateau",
        seed: int | None = None,
    ) -> None:
        options: dict[str, Any] = {
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
            "lr_scheduler_factor": lr_scheduler_factor,
            "lr_scheduler_patience": lr_scheduler_patience,
        }
        super().__init__(**options, seed=seed)
        self.lr_schedule = lr_schedule
        self.model_config = ModelConfig(**model)
        self.save_hyperparameters(
            {"model": self.model_config.to_dict(), **options, "lr_schedule": lr_schedule, "seed": self.seed}
        )
        self.network = self.register_network(TemporalFusionTransformer(self.model_config))

    def forward(self, batch: Batch) -> Output:
        """Forecast a batch, in scaled units."""
        output: Output = self.network(batch)
        return output

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch, []."""
        levels = None if self.model_config.head == "quantile" else ()  # a likelihood needs no quantiles
        loss = self._loss(self.network(batch, levels), batch)
        self.record_loss(loss, len(batch.window), batch.window)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Record the loss and the error of the median for a batch of the validation windows; return the loss, []."""
        return self._record(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Record the loss and the error of the median for a batch of the test windows; return the loss, []."""
        return self._record(batch, "test")

    def configure_optimizers(self) -> Any:
        """Return AdamW, and the schedule of its learning rate."""
        configured = super().configure_optimizers()
        if self.lr_schedule == "plateau":
            return configured
        scheduler = LambdaLR(configured["optimizer"], lambda step: cosine_factor(self._progress(step)))
        return {"optimizer": configured["optimizer"], "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _progress(self, step: int) -> float:
        """Return the share of its steps, or of its time, that training has behind it before a step.

        Where its end is not known, this is the end of the rise.
        """
        if self._trainer is None:
            return WARM_UP
        if step == 0:  # before the state of the loader is restored, which asking for the number of steps would prevent
            return 0.0
        trainer, planned = self.trainer, self.trainer.estimated_stepping_batches
        limits = [callback for callback in trainer.callbacks if isinstance(callback, Limits)]  # type: ignore[attr-defined]
        if math.isinf(planned) and not any(limit.max_steps or limit.max_minutes for limit in limits):
            return WARM_UP
        progress = max(step / planned, *(limit.progress(step) for limit in limits), 0.0)
        if trainer.world_size > 1 and any(limit.max_minutes for limit in limits):  # their clocks differ
            progress = trainer.strategy.broadcast(progress)
        return progress

    def compute_figure_data(self, batch: Batch) -> FigureData:
        """Forecast a batch for the images, in the units of the data (or their logs)."""
        output = self.network(batch)
        center, scale = batch.center[0, 0], batch.scale[0, 0]

        def unscaled(values: Tensor) -> FloatArray:
            return (values.double() * scale + center).cpu().numpy()

        return FigureData(
            past=unscaled(batch.past_real[0, :, 0]),
            actual=unscaled(batch.target[0, :, 0]),
            quantiles=unscaled(output.quantiles[0, :, 0]),
            levels=self.model_config.quantiles,
            weights=output.past_weights.double().mean(dim=(0, 1)).cpu().numpy(),
        )

    def _record(self, batch: Batch, split: str) -> Tensor:
        output = self.network(batch)
        loss, mae = self._loss(output, batch), median_error(output.quantiles, batch, self.model_config.quantiles)
        windows: float = len(batch.window)
        if batch.sample_weight.shape[-1]:  # so that the mean over batches is that over all weights
            mean = mean_sample_weight(batch)
            loss, mae = (value / mean.clamp(min=LEAST_WEIGHT) for value in (loss, mae))
            windows *= float(mean)
        self.record_metrics({f"{split}_loss": loss, f"{split}_mae": mae}, windows)
        return loss

    def _loss(self, output: Output, batch: Batch) -> Tensor:
        head, shape = self.network.head, output.quantiles.shape[:-1]
        if batch.target.shape != shape:
            raise ConfigError.wrong_target("target", batch.target.shape, shape)
        if batch.sample_weight.shape[-1]:  # whatever stands in a step without weight is as if it were missing
            without = (batch.sample_weight == 0).unsqueeze(-1)
            batch = batch._replace(target=batch.target.masked_fill(without, 0.0))
        if isinstance(head, DistributionHead):
            likelihood = head.log_prob(output.parameters, batch.target, batch.center, batch.scale)
            return likelihood_loss(likelihood, batch.target_mask, batch.weight, batch.sample_weight)
        levels = self.model_config.quantiles
        return quantile_loss(
            output.quantiles, batch.target, batch.target_mask, levels, batch.weight, batch.sample_weight
        )
