from __future__ import annotations

import json
import math
from dataclasses import dataclass

import numpy as np
import pytest

from fusecast.data.frequency import seasons_for
from fusecast.errors import ConfigError, DataError
from fusecast.evaluation.actuals import actuals
from fusecast.evaluation.baselines.seasonal_naive import LastValue, SeasonalNaive
from fusecast.evaluation.evaluate import Evaluation, chunks, evaluate
from fusecast.evaluation.metrics import score
from fusecast.evaluation.seasonal_error import seasonal_error
from fusecast.inference.forecasts import Forecasts
from fusecast.windows.window_index import WindowIndex

LEVELS = (0.1, 0.5, 0.9)


@dataclass
class Oracle:
    """Forecasts what happens, plus and minus one."""

    name: str = "oracle"

    def predict(self, panel, index) -> Forecasts:
        series, cutoff = index.locate(np.arange(len(index)))
        truth = np.nan_to_num(actuals(panel, series, cutoff, index.horizon))
        return Forecasts(series=series, cutoff=cutoff, quantiles=truth[..., None] + [-1.0, 0.0, 1.0], levels=LEVELS)


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
            LastValue(LEVELS).fit(panel, train_end, 4),
            SeasonalNaive(season=7, levels=LEVELS).fit(panel, train_end, 4),
        ],
        **options,
    )


def test_actuals_are_missing_past_the_end_and_never_of_the_next_series(panel_of) -> None:
    panel = panel_of([1, 2, 3], [10, np.nan, 30])
    found = actuals(panel, np.array([0, 0, 1]), np.array([1, 3, 0]), 2)[..., 0]
    np.testing.assert_array_equal(found, [[2, 3], [np.nan, np.nan], [10, np.nan]])


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("size", [1, 4, 7, 1000])
def test_chunks_hold_every_window_once_and_in_order(size: int, stride: int, a_random_panel) -> None:
    index = an_index(a_random_panel(2), stride)
    parts = list(chunks(index, size))
    assert [len(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
    located = [part.locate(np.arange(len(part))) for part in parts]
    whole = index.locate(np.arange(len(index)))
    np.testing.assert_array_equal(np.concatenate([s for s, _ in located]), whole[0])
    np.testing.assert_array_equal(np.concatenate([c for _, c in located]), whole[1])


def test_evaluating_in_chunks_equals_evaluating_at_once(a_random_panel) -> None:
    panel = a_random_panel(2)
    whole, parts = an_evaluation(panel), an_evaluation(panel, chunk_windows=7)
    for a, b in zip(whole.to_rows(), parts.to_rows(), strict=True):
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
    made = SeasonalNaive(season=7, levels=LEVELS).fit(panel, train_end, 4).predict(panel, an_index(panel))
    truth = actuals(panel, made.series, made.cutoff, 4)
    own = score(made.quantiles, truth, LEVELS, seasonal_error(panel, train_end, 7)[made.series])[1]
    row = rows["seasonal naive 7", "y1"]
    assert row["baseline"] is True
    assert row["P90 risk"] == pytest.approx(own.quantile_risk[0.9])
    assert row["MASE"] == pytest.approx(own.mase)
    assert row["80% coverage"] == pytest.approx(own.coverage[0.8])
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


def test_metrics_are_written_as_plain_json(a_random_panel) -> None:
    evaluation = an_evaluation(a_random_panel(2))
    plain = json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))
    assert plain["scores"]["oracle"]["y1"]["coverage"] == {"0.8": 1.0}
    assert plain["skill"]["oracle"]["y0"]["MAE"] == 1.0
    assert plain["baselines"] == ["last value", "seasonal naive 7"]
    assert plain["windows"] == evaluation.windows > 0


def test_progress_counts_up_to_every_window_of_every_predictor(a_random_panel) -> None:
    seen = []
    evaluation = an_evaluation(a_random_panel(2), chunk_windows=10, on_progress=lambda *at: seen.append(at))
    assert seen == sorted(seen)
    assert seen[-1] == (3 * evaluation.windows, 3 * evaluation.windows)


def test_two_predictors_of_one_name_are_refused(a_random_panel) -> None:
    panel = a_random_panel(2)
    with pytest.raises(ConfigError, match="given twice: 'oracle'"):
        evaluate([Oracle(), Oracle()], panel, an_index(panel), train_end=panel.lengths, season=7)


def test_an_index_without_windows_is_refused(panel_of) -> None:
    panel = panel_of([1.0, 2.0])
    with pytest.raises(DataError, match="no window of 4 steps"):
        evaluate([Oracle()], panel, an_index(panel), train_end=panel.lengths, season=7)


@pytest.mark.parametrize(
    ("frequency", "seasons"),
    [
        ("15m", (96, 672)),
        ("30m", (48, 336)),
        ("1h", (24, 168)),
        ("2h", (12, 84)),
        ("7h", (24,)),
        ("24h", (7,)),
        ("1d", (7,)),
        ("2d", (1,)),
        ("1w", (52,)),
        ("1mo", (12,)),
        ("1q", (4,)),
        ("1y", (1,)),
        ("1i", (1,)),
    ],
)
def test_each_frequency_has_its_usual_seasons(frequency: str, seasons: tuple[int, ...]) -> None:
    assert seasons_for(frequency) == seasons
