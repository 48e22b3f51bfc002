"""TemporalFusionTransformerLightning: the network of the package for plain (x, y) batches."""

# ruff: noqa: ARG002  the signatures are those of Lightning

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from lightning_utilities.core.rank_zero import rank_zero_warn
from pytorch_lightning.utilities.model_helpers import is_overridden
from torch import Tensor, nn
from torch.nn import functional

from fusecast.compat.lightning_scripts.config import NETWORK_SETTINGS, LightningTrainingConfig
from fusecast.compat.lightning_scripts.dataloaders import Pair
from fusecast.compat.lightning_scripts.statistics import (
    Statistics,
    check_inputs,
    check_pair,
    find_statistics,
    fit_statistics,
    match_names,
    read_names,
)
from fusecast.errors import ConfigError, DataError
from fusecast.model.batch import Batch
from fusecast.model.config import ModelConfig
from fusecast.model.heads import QuantileHead
from fusecast.model.tft import TemporalFusionTransformer
from fusecast.runtime.device import PRECISIONS
from fusecast.training.callbacks.images import FigureData
from fusecast.training.resumable_module import ResumableModule

STATISTICS = Statistics._fields
NOT_STANDARDIZED = (
    "the inputs are not standardised: means and deviations cannot be taken from the loader, whose windows are not "
    "numbered or are changed on their way to the training step. Hint: call `fit_standardizer` with batches before "
    "training, or set `standardizer_fitted = True` where the inputs are standardised already"
)
NO_STATISTICS = (
    "the state dict holds no means and deviations: until training or `fit_standardizer` takes them from data, inputs "
    "are not standardised"
)

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
    weights. When training starts, they are taken from its loader: as ``make_dataloaders`` has computed them, or from a
    sample of the windows. Where this is impossible (an iterable dataset), a warning says so; :meth:`fit_standardizer`
    takes them beforehand. Statistics that are there, of a checkpoint or an earlier fit, are kept: the weights belong to
    them.

    ``feature_names`` are those of the table of the training, if it had names; a table with others is refused.

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

    input_size: int  # features, F
    output_size: int  # values forecast
    hidden_size: int  # width of the network
    num_heads: int  # attention heads; they must divide the width
    num_lstm_layers: int  # of the encoder, and of the decoder
    dropout: float  # share of units dropped in training
    criterion: nn.Module  # of standardised forecasts and targets [B, output_size]
    center: Tensor  # [input_size], means of the features
    scale: Tensor  # [input_size], their deviations
    target_center: Tensor  # [output_size]
    target_scale: Tensor  # [output_size]

    finite_buffers = STATISTICS

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
        self.standardizer_fitted = False
        """Whether training keeps the statistics as they are. Set it where inputs are standardised already."""
        self.feature_names: tuple[str, ...] | None = None
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

    def fit_standardizer(self, loader: Any) -> Self:
        """Take the statistics of inputs and outputs, in place of those that are there, and return the module.

        A Trainer does this by itself; with Fabric, or in a loop of your own, call it before the first step.

        Parameters
        ----------
        loader
            Of batches (x, y) as the module is to see them: one of ``make_dataloaders``; any DataLoader, of which a
            sample of the windows is read; or anything else that yields batches, such as ``[(x, y)]`` for two arrays, of
            which the first 1,000 are read.

        Raises
        ------
        ConfigError
            If a batch is no pair, or has another shape.
        DataError
            If values are missing or infinite, there is no batch, or the features are not those of the training.
        """
        statistics = fit_statistics(loader, self.input_size, self.output_size)
        self._set_names([loader])
        self._set_statistics(statistics)
        return self

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load tensors as :meth:`ResumableModule.load_state_dict` does; training then keeps statistics among them."""
        result = super().load_state_dict(state_dict, strict, assign)
        neutral = (bool((self.get_buffer(name) == float(name.endswith("scale"))).all()) for name in STATISTICS)
        self.standardizer_fitted = self.standardizer_fitted or not all(neutral)
        if not self.standardizer_fitted and set(STATISTICS) == set(result.missing_keys):
            rank_zero_warn(NO_STATISTICS)
        return result

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the names of the features, and whether the statistics are those of data."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["standardizer_fitted"] = self.standardizer_fitted
        checkpoint["feature_names"] = None if self.feature_names is None else list(self.feature_names)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the names of the features, and whether to keep the statistics; earlier versions wrote neither."""
        super().on_load_checkpoint(checkpoint)
        self.standardizer_fitted = checkpoint.get("standardizer_fitted", checkpoint["global_step"] > 0)
        names = checkpoint.get("feature_names")
        self.feature_names = None if names is None else tuple(names)

    def on_train_start(self) -> None:
        """Take statistics and names from whatever loader training has, unless there are some."""
        super().on_train_start()
        loaders = self._active_loaders()
        self._set_names(loaders)
        if self.standardizer_fitted:
            return
        statistics = self.trainer.strategy.broadcast(self._find_statistics(loaders))
        if statistics is None:
            rank_zero_warn(NOT_STANDARDIZED)
        else:
            self._set_statistics(statistics)

    def on_validation_start(self) -> None:
        """Refuse other features than those of the training."""
        self._require_names(self._active_loaders())

    on_test_start = on_predict_start = on_validation_start

    def _active_loaders(self) -> list[Any]:
        """Return the loaders of the loop that runs; ``trainer.val_dataloaders`` may be those of an earlier fit."""
        loop = self.trainer._active_loop  # noqa: SLF001
        loader = None if loop is None else loop._combined_loader  # noqa: SLF001
        return [] if loader is None else loader.flattened

    def _find_statistics(self, loaders: Sequence[Any]) -> Statistics | None:
        """Return the statistics of the batches as the training step sees them, None where they cannot be known."""
        hooks = ("on_before_batch_transfer", "on_after_batch_transfer")
        owners = [owner for owner in (self, getattr(self.trainer, "datamodule", None)) if owner is not None]
        if any(is_overridden(hook, owner) for hook in hooks for owner in owners):
            return None
        try:
            return find_statistics(loaders, self.input_size, self.output_size)
        except (ConfigError, DataError):
            if is_overridden("training_step", self, TemporalFusionTransformerLightning):
                return None  # it may accept batches of another kind
            raise

    def _set_statistics(self, statistics: Statistics) -> None:
        for name, tensor in statistics._asdict().items():
            self.get_buffer(name).copy_(tensor)
        self.standardizer_fitted = True

    def _set_names(self, loaders: Sequence[Any]) -> None:
        """Take the names of the features, or refuse others than those that there are."""
        names = read_names(loaders)
        if self.feature_names is None and names and len(names[0]) == self.input_size:
            self.feature_names = names[0]
        self._require_names(loaders)

    def _require_names(self, loaders: Sequence[Any]) -> None:
        """Raise a DataError where a loader has other features than those of the training, or in another order."""
        if self.feature_names is None:
            return
        for names in read_names(loaders):
            if match_names(self.feature_names, names) != list(range(len(names))):
                raise DataError.columns_in_other_order(self.feature_names, names)

    def _scaled(self, x: Tensor) -> Tensor:
        """Forecast standardised values ``[B, output_size]``."""
        check_inputs(x, self.input_size)
        if self.center.dtype.itemsize < 4:  # after model.half(), or under Fabric
            raise ConfigError.precision_too_low(self.center.dtype, PRECISIONS.values())
        x = (x.to(self.scale.dtype) - self.center) / self.scale  # arrays are often float64
        scaled: Tensor = self.network(_observed_batch(x)).quantiles.flatten(1)
        return scaled

    def _standardise(self, batch: Pair) -> tuple[Tensor, Tensor]:
        """Return standardised forecasts and targets, ``[B, output_size]`` each."""
        x, y = check_pair(batch, self.output_size)
        return self._scaled(x), (y.to(self.scale.dtype) - self.target_center) / self.target_scale

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
        sample_weight=reals[:, 0],
        window=torch.arange(B, device=x.device),
    )
