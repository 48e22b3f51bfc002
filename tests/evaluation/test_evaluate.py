"""Evaluate: several predictors on the same windows, their skill, and metrics.json."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest

from fusecast.errors import ConfigError, DataError
from fusecast.evaluation.actuals import gather_actuals, seasonal_error
from fusecast.evaluation.baselines.simple import SeasonalNaive
from fusecast.evaluation.evaluate import Evaluation, evaluate, split_into_chunks
from fusecast.evaluation.metrics import score
from fusecast.inference.forecasts import Forecasts
from fusecast.windows.window_index import WindowIndex

LEVELS = (0.1, 0.5, 0.9)


@dataclass
class Oracle:
    """A predictor of the actuals, plus and minus one."""

    name: str = "oracle"

    def predict(self, panel, index) -> Forecasts:
        series, cutoff = index.locate(np.arange(len(index)))
        actual = np.nan_to_num(gather_actuals(panel, series, cutoff, index.horizon))
        return Forecasts(series=series, cutoff=cutoff, quantiles=actual[..., None] + [-1.0, 0.0, 1.0], levels=LEVELS)


def an_index(panel, stride: int = 1) -> WindowIndex:
    return WindowIndex(
        lookback=5,
        horizon=4,
        first_cutoff=np.minimum(20, panel.lengths),
        last_cutoff=panel.lengths - 4,
        stride=stride,
    )


def an_evaluation(panel, **options) -> Evaluation:
    train_end = np.minimum(30, panel.lengths)
    return evaluate(
        [Oracle()],
        panel,
        an_index(panel),
        train_end=train_end,
        season=7,
        baselines=[
            SeasonalNaive(season=1, levels=LEVELS).fit(panel, train_end, 4),
            SeasonalNaive(season=7, levels=LEVELS).fit(panel, train_end, 4),
        ],
        **options,
    )


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("size", [1, 4, 7, 1000])
def test_chunks_hold_every_window_once_and_in_order(size: int, stride: int, a_random_panel) -> None:
    index = an_index(a_random_panel(2), stride)
    chunks = list(split_into_chunks(index, size))
    assert [len(chunk) for chunk in chunks[:-1]] == [size] * (len(chunks) - 1)
    located = [chunk.locate(np.arange(len(chunk))) for chunk in chunks]
    whole = index.locate(np.arange(len(index)))
    np.testing.assert_array_equal(np.concatenate([s for s, _ in located]), whole[0])
    np.testing.assert_array_equal(np.concatenate([c for _, c in located]), whole[1])


def test_evaluating_in_chunks_equals_evaluating_at_once(a_random_panel) -> None:
    panel = a_random_panel(2)
    whole, chunked = an_evaluation(panel), an_evaluation(panel, chunk_windows=7)
    for a, b in zip(whole.to_rows(), chunked.to_rows(), strict=True):
        assert list(a) == list(b)
        assert [a[k] for k in ("predictor", "target", "baseline")] == [
            b[k] for k in ("predictor", "target", "baseline")
        ]
        assert list(a.values())[3:] == pytest.approx(list(b.values())[3:], rel=1e-12, nan_ok=True)


def test_a_row_holds_the_scores_of_its_predictor(a_random_panel) -> None:
    panel = a_random_panel(2)
    rows = {(row["predictor"], row["target"]): row for row in an_evaluation(panel).to_rows()}
    assert list(rows)[:3] == [("oracle", "y0"), ("last value", "y0"), ("seasonal naive 7", "y0")]

    train_end = np.minimum(30, panel.lengths)
    forecasts = SeasonalNaive(season=7, levels=LEVELS).fit(panel, train_end, 4).predict(panel, an_index(panel))
    actual = gather_actuals(panel, forecasts.series, forecasts.cutoff, 4)
    scale = seasonal_error(panel, train_end, 7)[forecasts.series]
    expected = score(forecasts.quantiles, actual, LEVELS, scale)[1]
    row = rows["seasonal naive 7", "y1"]
    assert row["baseline"] is True
    assert row["P90 risk"] == pytest.approx(expected.quantile_risk[0.9])
    assert row["MASE"] == pytest.approx(expected.mase)
    assert row["80% coverage"] == pytest.approx(expected.coverage[0.8])
    assert rows["oracle", "y0"]["MAE"] == 0
    assert rows["oracle", "y0"]["80% coverage"] == 1


def test_skill_compares_with_the_best_baseline_of_each_column(a_random_panel) -> None:
    evaluation = an_evaluation(a_random_panel(2))
    last, naive = (evaluation.scores[name][0] for name in evaluation.baselines)
    assert evaluation.best_baseline() == ("last value" if last.wql < naive.wql else "seasonal naive 7")
    skill = evaluation.skill("oracle")
    assert skill["MAE"] == 1.0
    oracle = evaluation.scores["oracle"][0]
    expected = 1 - oracle.quantile_risk[0.9] / min(last.quantile_risk[0.9], naive.quantile_risk[0.9])
    assert skill["P90 risk"] == pytest.approx(expected)
    assert max(evaluation.skill(name)["WQL"] for name in evaluation.baselines) == 0


def test_without_baselines_there_is_no_skill(a_random_panel) -> None:
    panel = a_random_panel(2)
    evaluation = evaluate([Oracle()], panel, an_index(panel), train_end=panel.lengths, season=7)
    assert evaluation.best_baseline() is None
    assert math.isnan(evaluation.to_rows()[0]["skill"])


def test_metrics_are_written_as_plain_json(a_random_panel, tmp_path) -> None:
    evaluation = an_evaluation(a_random_panel(2))
    evaluation.write(tmp_path / "metrics.json")
    plain = json.loads((tmp_path / "metrics.json").read_text())
    assert plain == json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert plain["scores"]["oracle"]["y1"]["coverage"] == {"0.8": 1.0}
    assert plain["skill"]["oracle"]["y0"]["MAE"] == 1.0
    assert plain["baselines"] == ["last value", "seasonal naive 7"]
    assert plain["windows"] == evaluation.windows > 0


def test_progress_counts_up_to_every_window_of_every_predictor(a_random_panel) -> None:
    calls = []
    evaluation = an_evaluation(a_random_panel(2), chunk_windows=10, on_progress=lambda *counts: calls.append(counts))
    assert calls == sorted(calls)
    assert calls[-1] == (3 * evaluation.windows, 3 * evaluation.windows)


def test_two_predictors_of_one_name_are_refused(a_random_panel) -> None:
    panel = a_random_panel(2)
    with pytest.raises(ConfigError, match=r"must have different names.* 'oracle'"):
        evaluate([Oracle(), Oracle()], panel, an_index(panel), train_end=panel.lengths, season=7)


def test_an_index_without_windows_is_refused(panel_of) -> None:
    panel = panel_of([1.0, 2.0])
    with pytest.raises(DataError, match="no window of 4 steps"):
        evaluate([Oracle()], panel, an_index(panel), train_end=panel.lengths, season=7)


def test_series_without_training_rows_are_counted_and_noted(a_random_panel) -> None:
    panel = a_random_panel(2)
    evaluations = [
        evaluate([Oracle()], panel, an_index(panel), train_end=np.where(np.arange(5) < new, 0, 30), season=7)
        for new in (0, 2, 3)
    ]
    assert [one.series_without_training_rows for one in evaluations] == [0, 1, 2]  # the first has no window
    assert evaluations[0].note == ""
    assert evaluations[1].note.startswith("1 of the series evaluated has no row of the training span")
    assert evaluations[2].note.startswith("2 of the series evaluated have no row of the training span")
    assert evaluations[2].to_dict()["series_without_training_rows"] == 2


def test_an_evaluation_prints_its_predictors_and_not_their_scores(a_random_panel) -> None:
    text = repr(an_evaluation(a_random_panel(2)))
    assert text.startswith("Evaluation(predictors=['oracle', 'last value', 'seasonal naive 7'], targets=['y0', 'y1']")
    assert "wql" not in text
