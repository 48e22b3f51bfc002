"""Images that training logs: the same figures as in the report, drawn from a validation batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fusecast.io.atomic import scratch_folder
from fusecast.training.callbacks.images import FigureData

if TYPE_CHECKING:
    import plotly.graph_objects as go

MAX_BARS = 30


def draw_training_images(data: Sequence[FigureData], names: Sequence[str]) -> list[Mapping[str, bytes]]:
    """Draw the figures of some validation batches as PNG images by name; ConfigError where nothing can draw them."""
    from fusecast.reporting.export import write_images  # plotly is loaded only where something is drawn

    figures = [training_figures(one, names) for one in data]
    with scratch_folder("fusecast-images-") as folder:
        flat = {f"{name}-{i}": figure for i, one in enumerate(figures) for name, figure in one.items()}
        paths = iter(write_images(flat, folder, scale=1))
        return [{name: next(paths).read_bytes() for name in one} for one in figures]


def training_figures(data: FigureData, names: Sequence[str]) -> dict[str, go.Figure]:
    """Return the figures of a validation batch: its first forecast, and the importances of the past variables."""
    from fusecast.explain.importance import Importance
    from fusecast.reporting.figure_style import add_title
    from fusecast.reporting.figures_accuracy import forecast_figure
    from fusecast.reporting.figures_explanation import importance_figure
    from fusecast.reporting.report_data import FanForecast, ForecastPlot

    past, horizon = len(data.past), len(data.actual)
    plot = ForecastPlot(
        series="",
        target=names[0],
        times=range(-past, horizon),
        actual=np.concatenate([data.past, data.actual]),
        forecasts=(FanForecast(times=range(horizon), quantiles=data.quantiles, levels=data.levels),),
    )
    rows = [
        Importance(group="past", variable=names[v], mean=float(data.weights[v]), p10=np.nan, p50=np.nan, p90=np.nan)
        for v in np.argsort(-data.weights, kind="stable")[:MAX_BARS]
    ]
    return {
        "forecast": add_title(forecast_figure(plot), "first validation window, in steps from the first one forecast"),
        "importance": add_title(importance_figure(rows), "share of the selection of past variables"),
    }
