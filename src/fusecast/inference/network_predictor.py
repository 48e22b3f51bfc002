"""NetworkPredictor: forecasts in the units of the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusecast.data.panel import Panel
from fusecast.errors import ConfigError
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.features.fitted_preprocessor import FittedPreprocessor
from fusecast.features.target_checks import AMOUNTS, COUNTS
from fusecast.inference.forecasts import Forecasts
from fusecast.inference.overlapping_windows import BacktestEngine
from fusecast.model.batch import Batch, Output
from fusecast.model.config import validate_quantile_levels
from fusecast.model.tft import TemporalFusionTransformer
from fusecast.runtime.device import torch_device
from fusecast.runtime.memory import keep_freed_memory
from fusecast.runtime.threads import map_in_threads
from fusecast.windows.device_gatherer import DevicePanel, is_worth_copying, maybe_move_to_device
from fusecast.windows.gatherer import gatherer_of
from fusecast.windows.window_index import WindowIndex
from fusecast.windows.window_scaling import window_units

Floats = NDArray[np.float64]

NOTHING = 1e-6
"""Amounts below this part of a window's usual size are what a float32 makes of 0."""


class NetworkPredictor:
    """A network and the preprocessor that speaks its language.

    Parameters
    ----------
    network
        It is moved to `device`, and found in the mode (training or not) in which it was left.
    fitted
        The preprocessor that the network was trained with.
    batch_size
        Windows at a time; larger than in training, since nothing is kept for gradients.
    device
        ``cpu``, ``cuda``, ``cuda:1``, ``mps``; None for the best there is.
    panel_on_device
        Whether the panel is copied to the device for each prediction, and its windows are cut there: True, False, or
        None for where it fits (as ``TrainingConfig.panel_on_device``) and its windows overlap.

    Raises
    ------
    ConfigError
        If the device is absent; the devices there are are named.
    """

    name = "TFT"
    """How tables call it."""

    def __init__(
        self,
        network: TemporalFusionTransformer,
        fitted: FittedPreprocessor,
        *,
        batch_size: int = 256,
        device: str | torch.device | None = None,
        panel_on_device: bool | None = None,
    ) -> None:
        self.device = torch_device(device)
        self.panel_on_device = panel_on_device
        if self.device.type == "cpu":
            keep_freed_memory()
        self.network = network.to(self.device)
        self.fitted = fitted
        self.batch_size = batch_size

    @property
    def knows_every_level(self) -> bool:
        """Whether the head is a distribution, which has a quantile at any level."""
        return self.network.config.head != "quantile"

    def predict(
        self, source: Panel | EncodedPanel, index: WindowIndex, levels: Sequence[float] | None = None
    ) -> Forecasts:
        """Forecast every window of an index, in its order; quantiles rise with their level.

        Parameters
        ----------
        source
            A panel, or what the preprocessor made of it.
        index
            Windows with the network's horizon; known inputs are read up to the end of each window.
        levels
            Quantile levels, where :attr:`knows_every_level`; None gives those of the network.

        Raises
        ------
        ConfigError
            If the windows have another horizon than the network, or it cannot give the levels.
        """
        self._check(index)
        config = self.network.config
        wanted = config.quantiles
        if levels is not None:
            wanted = levels = validate_quantile_levels(levels)
        encoded = source if isinstance(source, EncodedPanel) else self.fitted.encode(source)
        series, cutoff = index.locate(np.arange(len(index)))
        quantiles = np.empty((len(index), config.horizon, config.num_targets, len(wanted)))
        placed = self._placed(encoded, index)
        engine = BacktestEngine(self.network, placed, index)
        parts = engine.parts(engine.runs())
        alone = np.ones(len(index), dtype=np.bool_)
        with _inference(self.network):
            for part, scaled in zip(
                parts, map_in_threads(lambda part: engine.forecast(part, levels), parts, self.device), strict=True
            ):
                windows = part.windows
                center, scale = encoded.center[series[windows]], encoded.scale[series[windows]]
                quantiles[windows] = self._to_units(scaled, center, scale)
                alone[windows] = False
            left = _batches(np.flatnonzero(alone), self.batch_size)
            for batch, output in map_in_threads(self._forward(placed, index, levels), left, self.device):
                windows = batch.window.cpu().numpy()
                if config.head in (COUNTS, AMOUNTS):  # whose quantiles were scaled by these numbers
                    center, scale = batch.center.cpu().double().numpy(), batch.scale.cpu().double().numpy()
                else:
                    center, scale = window_units(encoded, index.lookback, series[windows], cutoff[windows])
                quantiles[windows] = self._to_units(output.quantiles, center, scale)
        return Forecasts(series=series, cutoff=cutoff, quantiles=quantiles, levels=wanted).sorted()

    def outputs(
        self, encoded: EncodedPanel, index: WindowIndex, batch_size: int | None = None
    ) -> Iterator[tuple[NDArray[np.int64], Batch, Output]]:
        """Give, batch by batch, the numbers of the windows [B], their batch and the network's scaled output.

        Tensors are on the predictor's device.
        """
        self._check(index)
        forward = self._forward(self._placed(encoded, index), index)
        for windows in _batches(np.arange(len(index)), batch_size or self.batch_size):
            with _inference(self.network):
                batch, output = forward(windows)
            yield windows, batch, output

    def _placed(self, encoded: EncodedPanel, index: WindowIndex) -> EncodedPanel | DevicePanel:
        """Put the panel where its windows are to be cut; few windows of a long panel are sent one by one."""
        if self.panel_on_device is None and not is_worth_copying(encoded, index):
            return encoded
        return maybe_move_to_device(encoded, self.device, self.panel_on_device)

    def _forward(
        self, source: EncodedPanel | DevicePanel, index: WindowIndex, levels: Sequence[float] | None = None
    ) -> Callable[[NDArray[np.int64]], tuple[Batch, Output]]:
        """Give what gathers windows [B] and runs the network on them."""
        gather = gatherer_of(source, index)

        def forward(windows: NDArray[np.int64]) -> tuple[Batch, Output]:
            batch = Batch(*(tensor.to(self.device) for tensor in gather(windows)))
            return batch, self.network(batch, levels)

        return forward

    def _to_units(self, scaled: Tensor, center: Floats, scale: Floats) -> Floats:
        """Give scaled quantiles [B, H, Y, Q] in the units of the data, computed in float64.

        What a scaled number cannot hold exactly is put right: counts are whole again, and nothing is 0 again.
        """
        values = scaled.cpu().double().numpy()
        inverted = self.fitted.invert(np.moveaxis(values, -1, 1), center, scale)  # [B, Q, H, Y]
        made = np.moveaxis(inverted, 1, -1)
        head = self.network.config.head
        if head == COUNTS:
            return np.maximum(np.rint(made), 0.0)
        if head == AMOUNTS:
            nothing = NOTHING * (scale + np.abs(center))[:, None, :, None]
            return np.where(made < nothing, 0.0, made)
        return made

    def _check(self, index: WindowIndex) -> None:
        config = self.network.config
        if index.horizon != config.horizon:
            raise ConfigError.other_sizes("horizon", index.horizon, config.horizon)
        if index.lookback != config.lookback:
            raise ConfigError.other_sizes("lookback", index.lookback, config.lookback)


def _batches(windows: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    return (windows[begin : begin + size] for begin in range(0, len(windows), size))


@contextmanager
def _inference(network: torch.nn.Module) -> Iterator[None]:
    """Evaluate without gradients and dropout, and leave the mode as it was."""
    training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        network.train(training)
