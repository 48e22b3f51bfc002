"""Plots of a forecaster and of its results, with plotly and with matplotlib."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl
import pytest
from tests.helpers.tables import HORIZON, LOOKBACK

from fusecast import Backtest, ConfigError, Evaluation, Forecaster
from fusecast.reporting import plots
from fusecast.reporting.matplotlib_figure import to_matplotlib


@pytest.fixture(scope="module")
def results(fitted: Forecaster) -> dict[str, Any]:
    return {
        "evaluation": fitted.evaluate(),
        "backtest": fitted.backtest(stride=2, baselines=("last", "mean")),
        "explanation": fitted.explain(max_windows=20, permutation=5),
        "forecast": fitted.explain_forecast("shop 1"),
    }


KINDS = {
    "evaluation": ("metrics", "calibration", "pit"),
    "backtest": ("metrics", "calibration", "pit", "forecasts", "series", "step", "hour", "weekday", "month", "origin"),
    "explanation": (
        *("importances", "importance_over_time", "importance_by_step", "attention", "attention_by_step"),
        *("regimes", "agreement"),
    ),
    "forecast": ("importances", "attention", "forecast"),
}


def axes_of(figure: go.Figure, number: int) -> list[Any]:
    suffix = "" if number == 0 else str(number + 1)
    return [trace for trace in figure.data if (trace.xaxis or "x") == f"x{suffix}"]


def test_the_newest_forecasts_are_drawn_after_the_history(fitted: Forecaster, future: pl.DataFrame) -> None:
    figure = fitted.plot("shop 1", 10, future=future)
    assert isinstance(figure, go.Figure)
    actual, median = (next(t for t in figure.data if t.name == name) for name in ("actual", "forecast, median"))
    expected = fitted.predict(future).filter(pl.col("unique_id") == "shop 1")
    np.testing.assert_allclose(median.y, expected["y_hat"])
    assert list(median.x) == [time.isoformat() for time in expected["ds"]]
    last = datetime(2024, 1, 1) + timedelta(hours=119)
    known = dict(zip(actual.x, actual.y, strict=True))
    assert [time for time, y in known.items() if y == y] == [
        (last - timedelta(hours=h)).isoformat() for h in range(9, -1, -1)
    ]
    upper = next(t for t in figure.data if t.fill == "tonexty")
    np.testing.assert_allclose(upper.y, expected["q0.9"])
    assert figure.layout.xaxis.title.text == "ds"
    assert figure.layout.yaxis.title.text == "y"


def test_without_a_plan_the_last_steps_are_forecast_over_their_actuals(fitted: Forecaster, table: pl.DataFrame) -> None:
    figure = fitted.plot()
    assert [note.text for note in figure.layout.annotations] == [f"unique_id: shop {s}" for s in range(3)]
    for number in range(3):
        traces = {trace.name: trace for trace in axes_of(figure, number)}
        rows = table.filter(pl.col("unique_id") == f"shop {number}")
        assert list(traces["forecast, median"].x) == [time.isoformat() for time in rows["ds"].tail(HORIZON)]
        np.testing.assert_allclose(traces["actual"].y, rows["y"].tail(LOOKBACK + HORIZON))
    assert sum(trace.showlegend is not False for trace in figure.data) == 3  # one legend for all


def test_what_cannot_be_plotted_is_said(fitted: Forecaster, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="there is no series 'shop 9'"):
        fitted.plot("shop 9")
    for last in (0, -3, 1.5, True, "10"):
        with pytest.raises(ConfigError, match="last must be a whole number of at least 1"):
            fitted.plot(last=last)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="engine cannot be 'bokeh'"):
        fitted.plot(engine="bokeh")  # type: ignore[arg-type]
    monkeypatch.setattr(plots, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="pip install matplotlib"):
        fitted.plot(engine="matplotlib")


@pytest.mark.parametrize("result", KINDS)
def test_a_result_has_a_plot_of_each_kind_of_its_data(results: dict[str, Any], result: str) -> None:
    drawn = [results[result].plot(kind) for kind in KINDS[result]]
    assert all(isinstance(figure, go.Figure) and figure.data for figure in drawn)
    assert results[result].plot() == drawn[0]
    with pytest.raises(ConfigError) as caught:
        results[result].plot("importence")
    assert "kind cannot be 'importence'" in str(caught.value)
    if "importances" in KINDS[result]:
        assert "importances" in str(caught.value)


def test_scores_are_drawn_as_parts_of_the_best_baselines(results: dict[str, Any]) -> None:
    evaluation: Evaluation = results["evaluation"]
    bars = {trace.name: dict(zip(trace.x, trace.y, strict=True)) for trace in evaluation.plot("metrics").data}
    assert bars["TFT"]["WQL"] == pytest.approx(1 - evaluation.skill("TFT")["WQL"])
    assert min(bars[name]["MAE"] for name in evaluation.baselines) == pytest.approx(1)


def test_the_forecasts_of_a_backtest_do_not_overlap(results: dict[str, Any]) -> None:
    backtest: Backtest = results["backtest"]
    medians = [trace for trace in backtest.plot("forecasts").data if trace.name == "forecast, median"]
    times = [time for trace in medians for time in trace.x]
    assert len(medians) > 1
    assert len(set(times)) == len(times) == HORIZON * len(medians)
    newest = backtest.scan().filter(pl.col("predictor") == "TFT", pl.col("unique_id") == "shop 0").collect()
    np.testing.assert_allclose(medians[-1].y, newest.filter(pl.col("cutoff") == pl.col("cutoff").max())["y_hat"])


def drawn_values(figure: Any) -> list[Any]:
    """Return the values of all lines, areas, bars and maps of a figure of matplotlib, sorted."""
    values: list[Any] = []
    for axes in figure.axes:
        if axes.get_label() == "<colorbar>":
            continue
        values += [np.asarray(line.get_ydata(), dtype=float) for line in axes.lines]
        for bars in axes.containers:
            lengths = [bar.get_width() if bars.orientation == "horizontal" else bar.get_height() for bar in bars]
            values.append(np.asarray(lengths))
        values += [np.asarray(each.get_array()).ravel() for each in axes.collections if each.get_array() is not None]
        for each in axes.collections:
            if each.get_array() is None:
                values.append(np.unique(each.get_paths()[0].vertices[:, 1]))
    return values


@pytest.mark.parametrize(("result", "kind"), [(result, kind) for result in KINDS for kind in KINDS[result]])
def test_matplotlib_draws_the_same_data(results: dict[str, Any], result: str, kind: str) -> None:
    figure, drawn = results[result].plot(kind), results[result].plot(kind, engine="matplotlib")
    every = np.unique(np.concatenate(drawn_values(drawn)))
    every = every[np.isfinite(every)]
    for trace in figure.data:
        values = trace.z if trace.type == "heatmap" else trace.x if trace.orientation == "h" else trace.y
        flat = np.asarray(values, dtype=float).ravel()
        flat = flat[np.isfinite(flat)]
        nearest = every[np.abs(every[:, None] - flat).argmin(axis=0)]
        np.testing.assert_allclose(flat, nearest, atol=1e-6)


def test_matplotlib_draws_names_and_dates_as_they_are() -> None:
    figure = go.Figure(layout={"title": "a &lt;b&gt; $5 and $6"})
    figure.add_scatter(x=["2024-01-01T00:00:00", "2024-01-02T00:00:00"], y=[1, 2], name="$x &amp; y$", showlegend=True)
    drawn = to_matplotlib(figure)
    (axes,) = drawn.axes
    assert axes.lines[0].get_xdata().dtype.kind == "M"
    assert [text.get_text() for text in drawn.texts] == [r"a <b> \$5 and \$6"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [r"\$x & y\$"]
    drawn.canvas.draw()


def test_a_trace_without_counterpart_is_refused() -> None:
    with pytest.raises(ConfigError, match="a trace of kind 'pie' has no counterpart in matplotlib"):
        to_matplotlib(go.Figure(go.Pie(values=[1, 2])))


def test_names_in_plots_are_escaped(results: dict[str, Any]) -> None:
    draw: Callable[..., go.Figure] = plots._fans
    frame = results["backtest"].scan().collect().rename({"ds": "<b>"}).head(HORIZON)
    figure = draw([frame], frame.select("<b>", "actual"), "<script>", "")
    assert figure.layout.yaxis.title.text == "&lt;script&gt;"
    assert figure.layout.xaxis.title.text == "&lt;b&gt;"


@pytest.mark.parametrize("step", [timedelta(seconds=1), timedelta(minutes=7), timedelta(hours=1), timedelta(days=31)])
@pytest.mark.parametrize("steps", [2, 5, 30, 72, 400])
def test_matplotlib_labels_times_of_every_step(step: timedelta, steps: int) -> None:
    figure = go.Figure(layout={"xaxis": {"domain": [0, 0.3]}})
    figure.add_scatter(x=[(datetime(2023, 12, 30) + i * step).isoformat() for i in range(steps)], y=[0] * steps)
    axis = to_matplotlib(figure).axes[0].xaxis
    assert 1 <= len(axis.get_majorticklocs()) <= 6
