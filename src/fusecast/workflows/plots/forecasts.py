"""Plot the newest forecasts of a model after the history of their series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fusecast.errors import ConfigError
from fusecast.reporting.figure_style import escape_name, tile_figures
from fusecast.reporting.figures_accuracy import HORIZONS_OF_HISTORY, MIN_HISTORY, forecast_figure
from fusecast.reporting.plots import convert, require_engine
from fusecast.reporting.report_data import FanForecast, ForecastPlot
from fusecast.workflows.explain import latest_windows
from fusecast.workflows.predict import predict_windows

if TYPE_CHECKING:
    from fusecast.data.panel import Panel
    from fusecast.display.plottable import Engine
    from fusecast.inference.ensemble_predictor import EnsemblePredictor
    from fusecast.inference.forecasts import Forecasts
    from fusecast.inference.model_bundle import Bundle
    from fusecast.io.tables import TableLike
    from fusecast.workflows.prepare import Prepared

FIRST_SERIES = 6
"""Series that are drawn where none is named."""
MAX_SERIES = 60


def plot_newest_forecasts(
    prepared: Prepared,
    bundle: Bundle,
    judged: EnsemblePredictor,
    series: object = None,
    last: int | None = None,
    *,
    future: TableLike | None = None,
    raw: bool = False,
    partial: bool = False,
    engine: Engine = "plotly",
) -> Any:
    """Draw the newest forecasts of some series; see :meth:`fusecast.Forecaster.plot`."""
    require_engine(engine)
    if last is not None and (isinstance(last, bool) or not isinstance(last, int | np.integer) or last < 1):
        raise ConfigError.wrong_value("last", repr(last), "a whole number of at least 1, of rows of history")
    panel, index = latest_windows(prepared, future, series, partial=partial)
    numbers = np.flatnonzero(index.counts)
    if series is None:
        numbers = numbers[:FIRST_SERIES]
    elif len(numbers) > MAX_SERIES:
        raise ConfigError.out_of_range("the number of series to plot", len(numbers), f"[1, {MAX_SERIES}]")
    forecasts = predict_windows(prepared, bundle, judged, panel, index.subset(numbers), raw=raw)
    targets, horizon = panel.schema.targets, prepared.config.horizon
    rows = last or max(2 * horizon, min(prepared.lookback, max(MIN_HISTORY, HORIZONS_OF_HISTORY * horizon)))
    figures = {}
    for w in range(len(forecasts)):
        for y, target in enumerate(targets):
            plot = _forecast_plot(panel, forecasts, w, y, rows)
            name = f"{plot.series} · {target}" if len(targets) > 1 else plot.series
            name = f"{', '.join(panel.schema.id_names)}: {name}" if panel.schema.id_names else target
            figure = forecast_figure(plot, rows, mark=False)
            figure.update_xaxes(title_text=escape_name(panel.schema.time))
            figures[escape_name(name)] = figure
    return convert(tile_figures(figures), engine)


def _forecast_plot(panel: Panel, forecasts: Forecasts, w: int, y: int, last: int) -> ForecastPlot:
    """Return one forecast, and the actuals of so many rows before it and of those that it is of."""
    s, cutoff = int(forecasts.series[w]), int(forecasts.cutoff[w])
    ahead = cutoff + np.arange(forecasts.horizon)
    rows = np.arange(max(0, cutoff - last), min(cutoff + forecasts.horizon, int(panel.lengths[s])))
    target = panel.schema.targets[y]
    fan = FanForecast(
        times=panel.times_at(np.full(len(ahead), s), ahead).to_list(),
        quantiles=forecasts.quantiles[w, :, y],
        levels=forecasts.levels,
    )
    return ForecastPlot(
        series=panel.names[s],
        target=target,
        times=panel.times_at(np.full(len(rows), s), rows).to_list(),
        actual=panel.reals[target][panel.indptr[s] + rows],
        forecasts=(fan,),
    )
