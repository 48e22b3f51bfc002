"""Plottable: the base of results that can be drawn."""

from __future__ import annotations

from importlib import import_module
from typing import Any, Literal

Engine = Literal["plotly", "matplotlib"]


class Plottable:
    """A result with a `plot`. What draws it, `fusecast.reporting`, is above the results, and loaded when it is used."""

    def plot(self, kind: str | None = None, *, engine: Engine = "plotly") -> Any:
        """Return a figure of the result: of plotly, or of matplotlib where that is the `engine`.

        Parameters
        ----------
        kind
            What to draw; None for the first of those that the result has:

            - evaluation: ``metrics`` (each score, beside the baselines), ``calibration`` (share of actuals below each
              quantile), ``pit`` (histogram of where actuals fall among the quantiles)
            - backtest: the same, ``forecasts`` (of its first series, over the actuals), and the loss by ``step``,
              ``origin``, ``series`` and the calendar (:attr:`~fusecast.Backtest.groupings`)
            - explanation: ``importances``, ``importance_over_time``, ``importance_by_step``, ``attention``,
              ``attention_by_step``, ``regimes``, ``agreement``
            - explanation of one forecast: ``importances``, ``attention``, ``forecast``
        engine
            ``plotly`` or ``matplotlib``.

        Raises
        ------
        ConfigError
            When the result has no such kind, with those it has; or when there is no such engine, or matplotlib is not
            installed.
        """
        return import_module("fusecast.reporting.plots").plot(self, kind, engine)
