"""NetworkPredictor: forecasts in the units of the data, by the plain path."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray

from fusecast.batch import Batch, Output
from fusecast.data.panel import Panel
from fusecast.errors import ConfigError
from fusecast.features.encoded import EncodedPanel
from fusecast.features.fitted import FittedPreprocessor
from fusecast.model.tft import TemporalFusionTransformer
from fusecast.training.device import torch_device
from fusecast.windows.forecasts import Forecasts
from fusecast.windows.index import WindowIndex
from fusecast.windows.loader import make_loader


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
    ) -> None:
        self.device = torch_device(device)
        self.network = network.to(self.device)
        self.fitted = fitted
        self.batch_size = batch_size

    def predict(self, source: Panel | EncodedPanel, index: WindowIndex) -> Forecasts:
        """Forecast every window of an index, in its order; quantiles rise with their level.

        Parameters
        ----------
        source
            A panel, or what the preprocessor made of it.
        index
            Windows with the network's horizon; known inputs are read up to the end of each window.

        Raises
        ------
        ConfigError
            If the windows have another horizon than the network.
        """
        config = self.network.config
        encoded = source if isinstance(source, EncodedPanel) else self.fitted.encode(source)
        series, cutoff = index.locate(np.arange(len(index)))
        quantiles = np.empty((len(index), config.horizon, config.num_targets, len(config.quantiles)))
        for windows, batch, output in self.outputs(encoded, index):
            quantiles[windows] = self._invert(encoded, series[windows], batch, output)
        return Forecasts(series=series, cutoff=cutoff, quantiles=quantiles, levels=config.quantiles).sorted()

    def outputs(
        self, encoded: EncodedPanel, index: WindowIndex, batch_size: int | None = None
    ) -> Iterator[tuple[NDArray[np.int64], Batch, Output]]:
        """Give, batch by batch, the numbers of the windows [B], their batch and the network's scaled output.

        Tensors are on the predictor's device.
        """
        self._check(index)
        loader = make_loader(encoded, index, batch_size=batch_size or self.batch_size)
        for batch in loader:
            moved = Batch(*(tensor.to(self.device) for tensor in batch))
            with _inference(self.network):
                output = self.network(moved)
            yield batch.window.numpy(), moved, output

    def _invert(
        self, encoded: EncodedPanel, series: NDArray[np.int64], batch: Batch, output: Output
    ) -> NDArray[np.float64]:
        """Give quantiles [B, H, Y, Q] in the units of the data, computed in float64."""
        if encoded.window_scaling == "none":
            center, scale = encoded.center[series], encoded.scale[series]  # the batch has them in float32
        else:
            center, scale = batch.center.cpu().double().numpy(), batch.scale.cpu().double().numpy()
        scaled = output.quantiles.cpu().double().numpy()
        inverted = self.fitted.invert(np.moveaxis(scaled, -1, 1), center, scale)  # [B, Q, H, Y]
        return np.moveaxis(inverted, 1, -1)

    def _check(self, index: WindowIndex) -> None:
        config = self.network.config
        if index.horizon != config.horizon:
            raise ConfigError.other_sizes("horizon", index.horizon, config.horizon)
        if index.lookback != config.lookback:
            raise ConfigError.other_sizes("lookback", index.lookback, config.lookback)


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
