from __future__ import annotations

import datetime as dt
import json
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from tests.helpers import report_samples as samples

from fusecast.reporting import figure_style, figures_accuracy, figures_explanation
from fusecast.reporting.figure_style import CLEAR, DARK
from fusecast.reporting.report_data import FanForecast, ForecastPlot, TrainingCurves
from fusecast.reporting.sections import page_figures


def integer_plot(levels: tuple[float, ...], history: int = 300, horizon: int = 10) -> ForecastPlot:
    times = list(range(history))
    ahead = FanForecast(
        times=list(range(history, history + horizon)),
        quantiles=np.tile(np.arange(len(levels), dtype=float), (horizon, 1)),
        levels=levels,
    )
    return ForecastPlot(series="s", target="y", times=times, actual=np.arange(history, dtype=float), forecasts=(ahead,))


def named(figure, name: str):
    return next(trace for trace in figure.data if trace.name == name)


def test_a_forecast_shows_the_median_and_each_interval_between_its_quantiles() -> None:
    drawn = figures_accuracy.forecast_figure(integer_plot((0.05, 0.25, 0.5, 0.75, 0.95)))
    assert list(named(drawn, "forecast, median").y) == [2.0] * 10
    assert named(drawn, "90% interval").customdata[0].tolist() == [0.0, 4.0]
    assert named(drawn, "50% interval").customdata[0].tolist() == [1.0, 3.0]


def test_an_uneven_pair_of_levels_is_named_by_its_levels() -> None:
    drawn = figures_accuracy.forecast_figure(integer_plot((0.2, 0.5, 0.9)))
    assert named(drawn, "0.2 to 0.9 quantile").fill == "tonexty"


def test_a_forecast_figure_leaves_out_a_past_that_would_press_the_forecast_to_the_edge() -> None:
    drawn = figures_accuracy.forecast_figure(integer_plot((0.5,)))
    assert list(named(drawn, "actual").x) == list(range(300 - figures_accuracy.MIN_HISTORY, 300))
    short = figures_accuracy.forecast_figure(integer_plot((0.5,), history=5))
    assert list(named(short, "actual").x) == list(range(5))


def test_actuals_that_overlap_a_forecast_are_kept() -> None:
    plot = integer_plot((0.5,), history=300)
    overlapping = FanForecast(times=list(range(290, 300)), quantiles=np.zeros((10, 1)), levels=(0.5,))
    drawn = figures_accuracy.forecast_figure(ForecastPlot(**(vars(plot) | {"forecasts": (overlapping,)})))
    assert named(drawn, "actual").x[-1] == 299
    assert named(drawn, "actual").x[0] == 290 - figures_accuracy.MIN_HISTORY


def test_whiskers_span_the_tenth_to_the_ninetieth_percentile() -> None:
    rows = [row for row in samples.importances() if row.group == "static"]
    drawn = figures_explanation.importance_figure(rows)
    bar, whiskers, medians = drawn.data
    assert list(bar.x) == [0.29, 0.71]  # drawn upwards: the largest is on top
    assert list(whiskers.x) == [rows[1].p10, rows[1].p90, None, rows[0].p10, rows[0].p90, None]
    assert list(medians.x) == [rows[1].p50, rows[0].p50]
    assert list(drawn.layout.yaxis.ticktext) == ["size", "shop"]


def test_the_hover_text_of_attention_has_the_lag_in_words() -> None:
    profile = samples.attention()
    drawn = figures_explanation.attention_figure(profile, "1h")
    line = named(drawn, "mean attention")
    assert line.customdata[list(profile.position).index(-24)][0] == "24 h (1 day) before"
    labels = [note.text for note in drawn.layout.annotations]
    assert "168 h before" in labels
    assert drawn.layout.xaxis.tickvals[0] == -168
    assert drawn.layout.xaxis.ticktext[-1] == "0"


@pytest.mark.parametrize(
    ("frequency", "lookback", "horizon"), [("1i", 180, 30), ("1mo", 24, 6), ("30m", 336, 48), ("1h", 1, 1)]
)
def test_the_ticks_of_lags_are_few_and_lie_in_the_past(frequency: str, lookback: int, horizon: int) -> None:
    position = np.arange(-lookback, horizon)
    flat = np.full(len(position), 1 / len(position))
    profile = type(samples.attention())(position=position, mean=flat, p10=flat, p50=flat, p90=flat)
    ticks = figures_explanation.attention_figure(profile, frequency).layout.xaxis.tickvals
    assert ticks[-1] == 0
    assert 1 < len(ticks) <= 9
    assert all(-lookback <= tick for tick in ticks)


def test_the_best_epoch_is_the_lowest_validation_loss_that_was_logged() -> None:
    curves = TrainingCurves(epoch=[1, 2, 3], train_loss=[3, 2, 1], valid_loss=[np.nan, 2.0, 4.0])
    marked = named(figures_accuracy.loss_figure(curves), "best, epoch 2")
    assert (list(marked.x), list(marked.y)) == ([2], [2.0])
    without = TrainingCurves(epoch=[1, 2], train_loss=[2, 1])
    assert [trace.name for trace in figures_accuracy.loss_figure(without).data] == ["training"]


def test_a_single_epoch_is_visible() -> None:
    once = TrainingCurves(epoch=[0], train_loss=[0.5], valid_loss=[0.4], learning_rate=[0.001])
    for drawn in (figures_accuracy.loss_figure(once), figures_accuracy.learning_rate_figure(once)):
        assert all("markers" in trace.mode for trace in drawn.data)
    often = TrainingCurves(epoch=[0, 1], train_loss=[0.5, 0.4], valid_loss=[0.4, 0.3], learning_rate=[0.001] * 2)
    assert named(figures_accuracy.loss_figure(often), "training").mode == "lines"


def test_times_stay_on_the_wall_clock_of_their_zone() -> None:
    aware = [dt.datetime(2024, 7, 1, 9, tzinfo=ZoneInfo("Australia/Melbourne"))]
    assert figure_style.plain_times(aware) == ["2024-07-01T09:00:00"]
    assert figure_style.plain_times([dt.date(2024, 7, 1)]) == ["2024-07-01"]
    assert figure_style.plain_times(np.array(["2024-07-01T09"], dtype="datetime64[h]")) == ["2024-07-01T09:00:00"]
    assert figure_style.plain_times(np.arange(2)) == [0, 1]


def test_every_colour_of_a_figure_has_a_dark_counterpart() -> None:
    data = samples.report_data()
    figures = [one.figure for one in page_figures(data).values()]
    for figure in [*figures, figures_accuracy.forecast_figure(data.forecast_plots[0])]:
        for colour in colours(json.loads(figure.to_json())):
            assert colour in DARK or colour == CLEAR
    assert not set(DARK) & set(DARK.values())  # a replaced colour is never replaced again


def colours(value, name: str = "") -> list[str]:
    if isinstance(value, dict):
        return [c for key, inner in value.items() for c in colours(inner, key)]
    if isinstance(value, list):
        return [c for inner in value for c in colours(inner, name)]
    return [value] if "color" in name and isinstance(value, str) else []
