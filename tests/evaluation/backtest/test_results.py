"""Results of a backtest: comparisons by origin, files, and what is refused."""

from __future__ import annotations

import json
import math

import numpy as np
import polars as pl
import pytest
from scipy import stats

from fusecast.errors import ConfigError
from fusecast.evaluation.actuals import gather_actuals, seasonal_error
from fusecast.evaluation.backtest.results import MIN_ORIGINS, Backtest
from fusecast.evaluation.breakdown import GroupedScores, build_groupings
from fusecast.inference.forecasts import Forecasts
from fusecast.io.atomic import compute_checksum
from fusecast.windows.window_index import WindowIndex

LEVELS, HORIZON = (0.1, 0.5, 0.9), 2


def a_backtest(panel_of, origins: int, stride: int = HORIZON) -> tuple[Backtest, dict[str, np.ndarray]]:
    """Return a backtest of a model and a baseline, and their mean pinball losses at each origin."""
    rng = np.random.default_rng(0)
    panel = panel_of(rng.normal(10, 1, 10 + (origins - 1) * stride + HORIZON))
    index = WindowIndex.between(lengths=panel.lengths, begin=10, end=1000, lookback=2, horizon=HORIZON, stride=stride)
    series, cutoff = index.locate(np.arange(len(index)))
    actual = gather_actuals(panel, series, cutoff, HORIZON)
    scores, losses = {}, {}
    for name, error in (("TFT", 0.5), ("last value", 1.0)):
        median = actual + error * rng.normal(size=actual.shape)
        quantiles = median[..., None] + error * np.array([-1.0, 0.0, 1.0])
        above = actual[..., None] - quantiles
        losses[name] = np.maximum(np.array(LEVELS) * above, (np.array(LEVELS) - 1) * above).mean(axis=(1, 2, 3))
        scores[name] = GroupedScores(panel.schema.targets, LEVELS, build_groupings(panel, index)[-1:])
        forecasts = Forecasts(series=series, cutoff=cutoff, quantiles=quantiles, levels=LEVELS)
        scores[name].add(forecasts, actual, seasonal_error(panel, np.array([10]), 1))
    backtest = Backtest(
        targets=("y",), season=1, windows=len(index), horizon=HORIZON, stride=stride, span=(10, int(cutoff[-1]) + 1),
        grouped_scores=scores, baselines=("last value",),
    )  # fmt: skip
    return backtest, losses


def test_predictors_are_compared_by_their_losses_at_each_origin(panel_of) -> None:
    backtest, losses = a_backtest(panel_of, 30)
    test = backtest.compare("TFT", "last value")
    expected = stats.ttest_rel(losses["TFT"], losses["last value"])
    assert test.statistic == pytest.approx(expected.statistic)
    assert test.p_value == pytest.approx(expected.pvalue)
    assert test.difference == pytest.approx(np.mean(losses["TFT"] - losses["last value"]))
    (row,) = backtest.comparisons().to_dicts()
    assert row["predictor"] == "TFT"
    assert row["origins"] == 30
    assert row["DM p"] == pytest.approx(expected.pvalue)
    model, baseline = (backtest.evaluation.scores[name][0] for name in ("TFT", "last value"))
    assert row["crps skill"] == pytest.approx(1 - model.crps / baseline.crps)


@pytest.mark.parametrize(("origins", "has_test"), [(MIN_ORIGINS - 1, False), (MIN_ORIGINS, True)])
def test_fewer_than_ten_origins_have_a_difference_but_no_test(origins: int, has_test: bool, panel_of) -> None:
    backtest, losses = a_backtest(panel_of, origins)
    test = backtest.compare("TFT", "last value")
    assert test.count == origins
    assert math.isfinite(test.p_value) == has_test
    assert test.difference == pytest.approx(np.mean(losses["TFT"] - losses["last value"]))


def test_origins_that_share_steps_are_tested_as_correlated(panel_of) -> None:
    backtest, losses = a_backtest(panel_of, 30, stride=1)
    test = backtest.compare("TFT", "last value")
    assert test.statistic != pytest.approx(stats.ttest_rel(losses["TFT"], losses["last value"]).statistic)


def test_an_unknown_grouping_or_predictor_is_refused_and_the_closest_suggested(panel_of) -> None:
    backtest, _ = a_backtest(panel_of, 12)
    with pytest.raises(ConfigError, match=r"by cannot be 'origins'.*\n.*'origin'"):
        backtest.metrics("origins")
    with pytest.raises(ConfigError, match=r"predictor cannot be 'naive'"):
        backtest.compare("TFT", "naive")


def test_scores_are_written_as_parquet_and_json(panel_of, tmp_path) -> None:
    backtest, _ = a_backtest(panel_of, 12)
    table, summary = backtest.write(tmp_path / "backtest.parquet")
    assert (table.name, summary.name) == ("backtest.metrics.parquet", "backtest.json")
    frame = pl.read_parquet(table)
    assert frame.height == 2 * (1 + 12)
    assert frame.filter(by="all").equals(backtest.metrics(), null_equal=True)
    plain = json.loads(summary.read_text())
    assert plain["span"] == ["10", "33"]
    assert plain["windows_seen_in_training"] == 0
    assert sum(bar["share"] for bar in plain["pit"]["TFT"]["y"]) == pytest.approx(1)
    assert plain["sha256"] == {table.name: compute_checksum(table)}
    (tmp_path / "backtest.parquet").write_bytes(b"forecasts")
    backtest.write(tmp_path / "backtest.parquet")
    checksums = json.loads(summary.read_text())["sha256"]
    assert checksums == {table.name: compute_checksum(table), "backtest.parquet": compute_checksum(b"forecasts")}
    assert plain["comparisons"] == json.loads(json.dumps(backtest.comparisons().to_dicts()))


def test_a_backtest_prints_its_predictors_and_span_and_not_its_tables(panel_of) -> None:
    text = repr(a_backtest(panel_of, 12)[0])
    assert text == (
        "Backtest(predictors=['TFT', 'last value'], targets=['y'], windows=12, horizon=2, stride=2, span=10 to 33)"
    )
