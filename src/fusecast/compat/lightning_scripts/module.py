"""TemporalFusionTransformerLightning: the network of the package for plain (x, y) batches."""

# ruff: noqa: ARG002  the signatures are those of Lightning

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusecast.compat.lightning_scripts.config import NETWORK_SETTINGS, LightningTrainingConfig
from fusecast.errors import ConfigError
from fusecast.model.batch import Batch
from fusecast.model.config import ModelConfig
from fusecast.model.heads import QuantileHead
from fusecast.model.tft import TemporalFusionTransformer
from fusecast.runtime.device import PRECISIONS
from fusecast.training.callbacks.images import FigureData
from fusecast.training.resumable_module import ResumableModule

Pair = tuple[Tensor, Tensor]

FIXED_SIZES = ("input_size", "output_size", *NETWORK_SETTINGS)
"""Attributes that a built model can no longer change."""


class TemporalFusionTransformerLightning(ResumableModule):
    """Forecast the next step of every output from a window of all inputs.

    The network is :class:`~fusecast.model.tft.TemporalFusionTransformer` with every feature an observed input,
    horizon 1, and a linear head of `output_size` values trained by the mean squared error: a point forecast. Another
    loss can be set before training, such as ``model.criterion = nn.L1Loss()``; and so can ``model.learning_rate``,
    ``lr_scheduler_factor`` and ``lr_scheduler_patience``.

    Features are standardised inside, with means and deviations of the training rows: ``forward`` takes and returns
    values in the units of the data. The losses logged (``train_loss``, ``val_loss``, ``test_loss``, ``val_mae``,
    ``val_rmse``) are of standardised values, so that no feature dominates. The statistics are buffers, saved with the
    weights. They come from the loaders of ``make_dataloaders``; with other loaders they stay at 0 and 1.

    Parameters
    ----------
    input_size, output_size
        Features of ``x [B, L, input_size]``, and values forecast, ``y [B, output_size]``; as many as features for None.
    seed
        Determines dropout; None is torch's present seed.

    Raises
    ------
    ConfigError
        If a size is impossible.
    """

    input_size: int
    output_size: int
    hidden_size: int
    num_heads: int
    num_lstm_layers: int
    dropout: float
    criterion: nn.Module  # of standardised forecasts and targets [B, output_size]
    center: Tensor  # [input_size]
    scale: Tensor
    target_center: Tensor  # [output_size]
    target_scale: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int = LightningTrainingConfig.hidden_size,
        num_heads: int = LightningTrainingConfig.num_heads,
        num_lstm_layers: int = LightningTrainingConfig.num_lstm_layers,
        dropout: float = LightningTrainingConfig.dropout,
        output_size: int | None = None,
        learning_rate: float = LightningTrainingConfig.learning_rate,
        lr_scheduler_factor: float = LightningTrainingConfig.lr_scheduler_factor,
        lr_scheduler_patience: int = LightningTrainingConfig.lr_scheduler_patience,
        seed: int | None = None,
    ) -> None:
        schedule: dict[str, Any] = {
            "learning_rate": learning_rate,
            "lr_scheduler_factor": lr_scheduler_factor,
            "lr_scheduler_patience": lr_scheduler_patience,
        }
        sizes: dict[str, Any] = {
            "hidden_size": hidden_size,
            "num_heads": num_heads,
            "num_lstm_layers": num_lstm_layers,
            "dropout": dropout,
        }
        super().__init__(weight_decay=0.0, seed=seed, **schedule)
        outputs = input_size if output_size is None else output_size
        for name, size in (("input_size", input_size), ("output_size", outputs)):
            if size < 1:
                raise ConfigError.not_positive(name, size)
        self.save_hyperparameters(
            {"input_size": input_size, **sizes, "output_size": outputs, **schedule, "seed": self.seed}
        )
        for name, value in {"input_size": input_size, "output_size": outputs, **sizes}.items():
            setattr(self, name, value)
        self.criterion = nn.MSELoss()
        self._has_statistics = False  # from a checkpoint
        self.network = TemporalFusionTransformer(
            ModelConfig(
                horizon=1,
                lookback=1,  # the parameters do not depend on it
                quantiles=(0.5,),
                num_targets=min(input_size, outputs),
                observed_reals=input_size,
                **sizes,
            )
        )
        self.register_network(self.network)
        if outputs > input_size:
            self.network.head = QuantileHead(hidden_size, outputs, 1)
        for name, size in (("center", input_size), ("target_center", outputs)):
            self.register_buffer(name, torch.zeros(size))
            self.register_buffer(name.replace("center", "scale"), torch.ones(size))

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute; raise a ConfigError for one of the sizes that the network was built with."""
        if name in FIXED_SIZES and not isinstance(value, nn.Module) and self.__dict__.get(name, value) != value:
            raise ConfigError.fixed_after_construction(name, self.__dict__[name])
        super().__setattr__(name, value)

    def forward(self, x: Tensor) -> Tensor:
        """Forecast the next step: ``x float [B, L, input_size] -> [B, output_size]``, both in the units of the data.

        Raises
        ------
        ConfigError
            If `x` has another shape.
        """
        forecast: Tensor = self._scaled(x) * self.target_scale + self.target_center
        return forecast

    def training_step(self, batch: Pair, batch_idx: int) -> Tensor:
        """Return the loss of a batch, []."""
        loss = self._loss(*self._standardise(batch))
        self.record_loss(loss, len(batch[0]), torch.zeros(0, dtype=torch.int64))
        return loss

    def validation_step(self, batch: Pair, batch_idx: int) -> Tensor:
        """Record the errors of a batch of the validation windows, and return the loss, []."""
        return self._record(batch, "val")

    def test_step(self, batch: Pair, batch_idx: int) -> Tensor:
        """Record the errors of a batch of the test windows, and return the loss, []."""
        return self._record(batch, "test")

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Forecast a batch: ``[B, output_size]``; of (x, y) only x is used."""
        forecast: Tensor = self(batch if isinstance(batch, Tensor) else batch[0])
        return forecast

    def compute_figure_data(self, batch: Pair) -> FigureData:
        """Forecast the first feature of a batch for the images."""
        x, y = batch
        output = self.network(_observed_batch((x - self.center) / self.scale))
        weights = output.past_weights.double().mean(dim=(0, 1)).cpu().numpy()
        forecast = self(x[:1]).double().cpu().numpy()
        past, actual = x[0, :, 0].double().cpu().numpy(), y[:1, 0].double().cpu().numpy()
        return FigureData(past=past, actual=actual, quantiles=forecast[:, :1], levels=(0.5,), weights=weights)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the statistics of the run that is resumed; before its first step it may have none."""
        super().on_load_checkpoint(checkpoint)
        self._has_statistics = checkpoint["global_step"] > 0

    def setup(self, stage: str) -> None:
        """Begin without statistics; Lightning calls this before it loads a checkpoint."""
        super().setup(stage)
        self._has_statistics = False

    def on_train_start(self) -> None:
        """Take the statistics of the training rows from a loader of ``make_dataloaders``."""
        super().on_train_start()
        dataset = getattr(self.trainer.train_dataloader, "dataset", None)
        center, scale = getattr(dataset, "center", None), getattr(dataset, "scale", None)
        if self._has_statistics or center is None or scale is None or len(center) != self.input_size:
            return
        self.center.copy_(center)
        self.scale.copy_(scale)
        if self.output_size == self.input_size:
            self.target_center.copy_(center)
            self.target_scale.copy_(scale)

    def _scaled(self, x: Tensor) -> Tensor:
        """Forecast standardised values ``[B, output_size]``."""
        if x.ndim != 3 or x.shape[-1] != self.input_size:
            raise ConfigError.wrong_value("the shape of a batch", list(x.shape), f"[B, steps, {self.input_size}]")
        if self.center.dtype.itemsize < 4:  # after model.half(), or under Fabric
            raise ConfigError.precision_too_low(self.center.dtype, PRECISIONS.values())
        scaled: Tensor = self.network(_observed_batch((x - self.center) / self.scale)).quantiles.flatten(1)
        return scaled

    def _standardise(self, batch: Pair) -> tuple[Tensor, Tensor]:
        """Return standardised forecasts and targets, ``[B, output_size]`` each."""
        x, y = batch
        return self._scaled(x), (y - self.target_center) / self.target_scale

    def _loss(self, scaled: Tensor, target: Tensor) -> Tensor:
        loss: Tensor = self.criterion(scaled, target)
        if loss.ndim:
            raise ConfigError.wrong_value("the loss of criterion", f"of shape {list(loss.shape)}", "one number")
        return loss

    def _record(self, batch: Pair, split: str) -> Tensor:
        scaled, target = self._standardise(batch)
        loss = self._loss(scaled, target)
        squared, absolute = functional.mse_loss(scaled, target), functional.l1_loss(scaled, target)
        self.record_metrics({f"{split}_loss": loss, f"{split}_mae": absolute, f"{split}_rmse": squared}, len(batch[0]))
        return loss


def _observed_batch(x: Tensor) -> Batch:
    """Return a batch of observed reals [B, L, V] alone, without a missing value or a known input of the step ahead."""
    B, L, _ = x.shape
    reals = x.new_zeros(B, 1, 0)
    codes, mask = (torch.zeros(B, 1, 0, dtype=dtype, device=x.device) for dtype in (torch.int64, torch.bool))
    return Batch(
        static_real=reals[:, 0],
        static_cat=codes[:, 0],
        past_real=x,
        past_cat=codes.expand(B, L, 0),
        future_real=reals,
        future_cat=codes,
        static_real_present=mask[:, 0],
        past_real_present=mask.expand(B, L, 0),
        future_real_present=mask,
        past_mask=mask[:, 0],
        target=reals,
        target_mask=mask,
        center=reals[:, 0],
        scale=reals[:, 0],
        weight=reals[:, 0],
        window=torch.arange(B, device=x.device),
    )
