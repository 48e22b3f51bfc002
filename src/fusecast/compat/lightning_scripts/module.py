"""TemporalFusionTransformerLightning: the network of the package, fed with plain (x, y) batches."""

# ruff: noqa: ARG002  the signatures are Lightning's

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fusecast.errors import ConfigError
from fusecast.model.batch import Batch
from fusecast.model.config import ModelConfig
from fusecast.model.heads import QuantileHead
from fusecast.model.tft import TemporalFusionTransformer
from fusecast.training.callbacks.images import FigureData
from fusecast.training.resumable_module import ResumableModule

Pair = tuple[Tensor, Tensor]


class TemporalFusionTransformerLightning(ResumableModule):
    """Forecast the next step of every output from a window of all inputs.

    The network is :class:`~fusecast.model.tft.TemporalFusionTransformer` with every feature an observed input,
    horizon 1, and a linear head of `output_size` values trained by the mean squared error: a point forecast.

    Features are standardised inside, with means and deviations of the training rows: ``forward`` takes and gives
    values in the units of the data. The losses logged (``train_loss``, ``val_loss``, ``test_loss``, ``val_mae``,
    ``val_rmse``) are of standardised values, so that no feature drowns the others; on data that are standardised
    already the two are the same. The statistics are buffers, saved with the weights; loaders that have none (any
    DataLoader of your own) leave them at 0 and 1.

    Parameters
    ----------
    input_size, output_size
        Features of ``x [B, L, input_size]``, and values forecast, ``y [B, output_size]``.
    seed
        Of dropout; None takes torch's present seed.
    """

    center: Tensor  # [input_size]
    scale: Tensor
    target_center: Tensor  # [output_size]
    target_scale: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int = 32,
        num_heads: int = 4,
        num_lstm_layers: int = 1,
        dropout: float = 0.1,
        output_size: int | None = None,
        learning_rate: float = 0.0005,
        lr_scheduler_factor: float = 0.5,
        lr_scheduler_patience: int = 8,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            learning_rate=learning_rate,
            weight_decay=0.0,
            lr_scheduler_factor=lr_scheduler_factor,
            lr_scheduler_patience=lr_scheduler_patience,
            seed=seed,
        )
        outputs = input_size if output_size is None else output_size
        for name, size in (("input_size", input_size), ("output_size", outputs)):
            if size < 1:
                raise ConfigError.not_positive(name, size)
        self.save_hyperparameters(
            {
                "input_size": input_size,
                "hidden_size": hidden_size,
                "num_heads": num_heads,
                "num_lstm_layers": num_lstm_layers,
                "dropout": dropout,
                "output_size": outputs,
                "learning_rate": learning_rate,
                "lr_scheduler_factor": lr_scheduler_factor,
                "lr_scheduler_patience": lr_scheduler_patience,
                "seed": self.seed,
            }
        )
        self.input_size, self.output_size = input_size, outputs
        self.network = TemporalFusionTransformer(
            ModelConfig(
                horizon=1,
                lookback=1,  # the parameters do not depend on it
                quantiles=(0.5,),
                num_targets=min(input_size, outputs),
                observed_reals=input_size,
                hidden_size=hidden_size,
                num_heads=num_heads,
                num_lstm_layers=num_lstm_layers,
                dropout=dropout,
            )
        )
        self.register_network(self.network)
        if outputs > input_size:
            self.network.head = QuantileHead(hidden_size, outputs, 1)
        for name, size in (("center", input_size), ("target_center", outputs)):
            self.register_buffer(name, torch.zeros(size))
            self.register_buffer(name.replace("center", "scale"), torch.ones(size))

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
        """Give the mean squared error of a batch, []."""
        loss = self._losses(batch)[0]
        self.record_loss(loss, len(batch[0]), torch.zeros(0, dtype=torch.int64))
        return loss

    def validation_step(self, batch: Pair, batch_idx: int) -> None:
        """Judge a batch of the validation windows."""
        self._judge(batch, "val")

    def test_step(self, batch: Pair, batch_idx: int) -> None:
        """Judge a batch of the test windows."""
        self._judge(batch, "test")

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Forecast a batch: ``[B, output_size]``; of (x, y) only x is looked at."""
        forecast: Tensor = self(batch if isinstance(batch, Tensor) else batch[0])
        return forecast

    def compute_figure_data(self, batch: Pair) -> FigureData:
        """Forecast the first feature of a batch for a picture."""
        x, y = batch
        output = self.network(_batch((x - self.center) / self.scale))
        weights = output.past_weights.double().mean(dim=(0, 1)).cpu().numpy()
        forecast = self(x[:1]).double().cpu().numpy()
        past, actual = x[0, :, 0].double().cpu().numpy(), y[:1, 0].double().cpu().numpy()
        return FigureData(past=past, actual=actual, quantiles=forecast[:, :1], levels=(0.5,), weights=weights)

    def setup(self, stage: str) -> None:
        """Take the statistics of the training rows from a loader of ``make_dataloaders``."""
        if stage != "fit":
            return
        loader = self.trainer.fit_loop._data_source.instance  # noqa: SLF001  Lightning shows it nowhere else so early
        dataset = getattr(loader, "dataset", None)
        center, scale = getattr(dataset, "center", None), getattr(dataset, "scale", None)
        if center is None or scale is None or len(center) != self.input_size:
            return
        self.center.copy_(center)
        self.scale.copy_(scale)
        if self.output_size == self.input_size:
            self.target_center.copy_(center)
            self.target_scale.copy_(scale)

    def _scaled(self, x: Tensor) -> Tensor:
        """Forecast standardised values ``[B, output_size]``."""
        if x.ndim != 3 or x.shape[-1] != self.input_size:
            raise ConfigError.wrong_window(tuple(x.shape), self.input_size)
        scaled: Tensor = self.network(_batch((x - self.center) / self.scale)).quantiles.flatten(1)
        return scaled

    def _losses(self, batch: Pair) -> tuple[Tensor, Tensor]:
        """Mean squared and mean absolute error of standardised values."""
        x, y = batch
        scaled, target = self._scaled(x), (y - self.target_center) / self.target_scale
        return functional.mse_loss(scaled, target), functional.l1_loss(scaled, target)

    def _judge(self, batch: Pair, part: str) -> None:
        squared, absolute = self._losses(batch)
        self.record_metrics({f"{part}_loss": squared, f"{part}_mae": absolute}, len(batch[0]))


def _batch(x: Tensor) -> Batch:
    """Make a batch of observed reals alone; nothing is missing, nothing is known of the one step ahead."""
    B, L, _ = x.shape
    none = x.new_zeros(B, 0)
    codes = torch.zeros(B, 0, dtype=torch.int64, device=x.device)
    mask = torch.zeros(B, 0, dtype=torch.bool, device=x.device)
    absent = dict.fromkeys(Batch._fields, none)
    masks = {name: mask.view(B, 1, 0) for name in ("future_real_present", "target_mask")}
    return Batch(
        **{
            **absent,
            **masks,
            "static_cat": codes,
            "static_real_present": mask,
            "past_real": x,
            "past_cat": codes.view(B, 1, 0).expand(B, L, 0),
            "past_real_present": mask.view(B, 1, 0).expand(B, L, 0),
            "past_mask": mask,
            "future_real": none.view(B, 1, 0),
            "future_cat": codes.view(B, 1, 0),
            "target": none.view(B, 1, 0),
            "window": torch.arange(B, device=x.device),
        }
    )
