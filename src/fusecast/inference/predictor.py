"""Predictor: the protocol of every model that forecasts the windows of an index."""

from __future__ import annotations

from typing import Protocol

from fusecast.data.panel import Panel
from fusecast.inference.forecasts import Forecasts
from fusecast.windows.window_index import WindowIndex


class Predictor(Protocol):
    """The interface of models in evaluation: a name, and forecasts."""

    @property
    def name(self) -> str:
        """Name in tables, such as ``TFT`` or ``seasonal naive 24``."""
        ...

    def predict(self, panel: Panel, index: WindowIndex) -> Forecasts:
        """Forecast every window of the index, in its order, from the rows before each cutoff."""
        ...
