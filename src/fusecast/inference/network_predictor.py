"""NetworkPredictor: forecasts of a network in the units of the data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from fusecast.data.arrays import FloatArray, IntArray
from fusecast.data.panel import Panel
from fusecast.errors import ConfigError
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.features.preprocessor import FittedPreprocessor
from fusecast.features.targets import AMOUNT_HEAD, COUNT_HEAD
from fusecast.inference.forecasts import Forecasts
from fusecast.inference.overlapping_windows import OverlappingWindows
from fusecast.model.batch import Batch, Output
from fusecast.model.config import validate_quantile_levels
from fusecast.model.tft import TemporalFusionTransformer
from fusecast.runtime.cpu import keep_freed_memory, map_in_threads
from fusecast.runtime.device import torch_device
from fusecast.windows.device_gatherer import DevicePanel, is_worth_copying, maybe_move_to_device
from fusecast.windows.gatherer import make_gatherer
from fusecast.windows.window_index import WindowIndex
from fusecast.windows.window_scaling import compute_window_units

ZERO_TOLERANCE = 1e-6
"""Amounts smaller than this share of a window's level are 0: the rounding error of float32."""


class NetworkPredictor:
    """A network with the preprocessor that it was trained with.

    Parameters
    ----------
    network
        It stays on its device and in its mode (training or not). Where it is on another device than `device`, a copy
        predicts, which is made at the first prediction.
    preprocessor
        The preprocessor that the network was trained with.
    batch_size
        Windows at a time; larger than in training, since nothing is kept for gradients.
    device
        ``cpu``, ``cuda``, ``cuda:1``, ``mps``; None or ``auto`` for the best that is available.
    panel_on_device
        Whether the panel is copied to the device for each prediction, and its windows are gathered there: True, False,
        or None for where it fits (as ``TrainingConfig.panel_on_device``) and its windows overlap.

    Raises
    ------
    ConfigError
        If the device is absent; with the available ones.
    """

    name = "TFT"
    """Name in tables."""

    def __init__(
        self,
        network: TemporalFusionTransformer,
        preprocessor: FittedPreprocessor,
        *,
        batch_size: int = 256,
        device: str | torch.device | None = None,
        panel_on_device: bool | None = None,
    ) -> None:
        requested, current = torch_device(device), next(network.parameters()).device
        is_there = requested.type == current.type and requested.index in (None, current.index or 0)
        self.device = current if is_there else requested
        self.panel_on_device = panel_on_device
        if self.device.type == "cpu":
            keep_freed_memory()
        self.preprocessor = preprocessor
        self.batch_size = batch_size
        self._original = network

    def __repr__(self) -> str:
        config = self._original.config
        sizes = f"lookback={config.lookback}, horizon={config.horizon}, head={config.head!r}"
        return f"NetworkPredictor({sizes}, device={str(self.device)!r})"

    @cached_property
    def network(self) -> TemporalFusionTransformer:
        """The network that predicts, on the device: the original, or a copy."""
        if next(self._original.parameters()).device == self.device:
            return self._original
        return copy.deepcopy(self._original).to(self.device)

    @property
    def supports_any_level(self) -> bool:
        """Whether the head is a distribution, which has a quantile at any level."""
        return self._original.config.head != "quantile"

    @cached_property
    def lowest(self) -> FloatArray:
        """What no forecast of a target lies below, [Y], -inf for no bound: that of the preprocessor, or of the head."""
        lowest, head = self.preprocessor.targets.lowest, self._original.config.head
        if head == COUNT_HEAD:
            lowest = np.ceil(lowest)
        return np.maximum(lowest, 0.0) if head in (COUNT_HEAD, AMOUNT_HEAD) else lowest

    def predict(
        self, source: Panel | EncodedPanel, index: WindowIndex, levels: Sequence[float] | None = None
    ) -> Forecasts:
        """Forecast every window of an index, in its order; quantiles rise with their level.

        Parameters
        ----------
        source
            A panel, or the same panel encoded by the preprocessor.
        index
            Windows with the network's horizon; known inputs are read up to the end of each window.
        levels
            Quantile levels, where :attr:`supports_any_level`; None for those of the network.

        Raises
        ------
        ConfigError
            If the windows have other sizes than the network, or it cannot forecast the levels.
        """
        self._check_sizes(index)
        config = self.network.config
        forecast_levels = config.quantiles
        if levels is not None:
            forecast_levels = levels = validate_quantile_levels(levels)
        encoded = source if isinstance(source, EncodedPanel) else self.preprocessor.encode(source)
        series, cutoff = index.locate(np.arange(len(index)))
        quantiles = np.empty((len(index), config.horizon, config.num_targets, len(forecast_levels)))
        panel = self._choose_panel(encoded, index)
        overlapping = OverlappingWindows(self.network, panel, index)
        chunks = overlapping.split_into_chunks(overlapping.find_runs())
        remaining = np.ones(len(index), dtype=np.bool_)
        with evaluation_mode(self.network):
            shared = map_in_threads(lambda chunk: overlapping.forecast(chunk, levels), chunks, self.device)
            for chunk, scaled in zip(chunks, shared, strict=True):
                windows = np.concatenate([run.windows for run in chunk])
                center, scale = encoded.center[series[windows]], encoded.scale[series[windows]]
                quantiles[windows] = self.to_units(scaled, center, scale)
                remaining[windows] = False
            batches = _split(np.flatnonzero(remaining), self.batch_size)
            for batch, output in map_in_threads(self._make_forward(panel, index, levels), batches, self.device):
                windows = batch.window.cpu().numpy()
                if config.head in (COUNT_HEAD, AMOUNT_HEAD):  # whose quantiles were scaled by these numbers
                    center, scale = batch.center.cpu().double().numpy(), batch.scale.cpu().double().numpy()
                else:
                    center, scale = compute_window_units(encoded, index.lookback, series[windows], cutoff[windows])
                quantiles[windows] = self.to_units(output.quantiles, center, scale)
        return Forecasts(
            series=series, cutoff=cutoff, quantiles=quantiles, levels=forecast_levels, lowest=self.lowest
        ).sorted()

    def outputs(self, encoded: EncodedPanel, index: WindowIndex) -> Iterator[tuple[IntArray, Batch, Output]]:
        """Yield, batch by batch, the numbers of the windows [B], their batch and the network's scaled output.

        Tensors are on the predictor's device.
        """
        self._check_sizes(index)
        forward = self._make_forward(self._choose_panel(encoded, index), index)
        for windows in _split(np.arange(len(index)), self.batch_size):
            with evaluation_mode(self.network):
                batch, output = forward(windows)
            yield windows, batch, output

    def _choose_panel(self, encoded: EncodedPanel, index: WindowIndex) -> EncodedPanel | DevicePanel:
        """Return the panel to gather from, on the host or copied to the device; few windows are sent one by one."""
        if self.panel_on_device is None and not is_worth_copying(encoded, index):
            return encoded
        return maybe_move_to_device(encoded, self.device, self.panel_on_device)

    def _make_forward(
        self, source: EncodedPanel | DevicePanel, index: WindowIndex, levels: Sequence[float] | None = None
    ) -> Callable[[IntArray], tuple[Batch, Output]]:
        """Return a function that gathers windows [B] and runs the network on them."""
        gather = make_gatherer(source, index)

        def forward(windows: IntArray) -> tuple[Batch, Output]:
            batch = Batch(*(tensor.to(self.device) for tensor in gather(windows)))
            return batch, self.network(batch, levels)

        return forward

    def to_units(self, scaled: Tensor, center: FloatArray, scale: FloatArray) -> FloatArray:
        """Convert scaled quantiles [B, H, Y, Q] to the units of the data, in float64.

        What a scaled number cannot hold exactly is restored: counts are whole numbers, and zero amounts are 0.
        """
        values = np.moveaxis(scaled.cpu().double().numpy(), -1, 1)  # [B, Q, H, Y]
        quantiles = np.moveaxis(self.preprocessor.invert(values, center, scale), 1, -1)
        head = self.network.config.head
        if head == COUNT_HEAD:
            return np.maximum(np.rint(quantiles), self.lowest[:, None])
        if head == AMOUNT_HEAD:
            smallest = ZERO_TOLERANCE * (scale + np.abs(center))[:, None, :, None]
            return np.where(quantiles < smallest, 0.0, quantiles)
        return quantiles

    def _check_sizes(self, index: WindowIndex) -> None:
        for name in ("horizon", "lookback"):
            size, expected = getattr(index, name), getattr(self._original.config, name)
            if size != expected:
                raise ConfigError.wrong_size("the index of windows", name, size, expected)


def _split(windows: IntArray, size: int) -> Iterator[IntArray]:
    return (windows[begin : begin + size] for begin in range(0, len(windows), size))


@contextmanager
def evaluation_mode(network: torch.nn.Module) -> Iterator[None]:
    """Run without gradients and dropout, and restore the mode of every module afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes:
            module.training = training
