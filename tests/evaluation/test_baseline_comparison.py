"""Where a baseline is ahead of the model on validation rows: by series, by hand, and beyond chance."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from tests.helpers.evaluation_fixtures import make_panel
from tests.helpers.tables import TINY

from fusecast import Forecaster
from fusecast.evaluation.actuals import gather_actuals
from fusecast.evaluation.baseline_comparison import compare_with_baselines, compute_window_losses, is_clear_lead
from fusecast.evaluation.metrics import score
from fusecast.inference.forecasts import Forecasts

LEVELS = (0.1, 0.5, 0.9)


def forecasts(values: np.ndarray, windows: int = 4, horizon: int = 2) -> Forecasts:
    """Return forecasts of all series, each number of `values` [S] for all quantiles of a series."""
    series = np.repeat(np.arange(len(values)), windows)
    quantiles = np.broadcast_to(values[series][:, None, None, None], (len(series), horizon, 1, 3)).copy()
    cutoff = np.tile(np.arange(windows) * horizon, len(values)) + 2
    return Forecasts(series=series, cutoff=cutoff, quantiles=quantiles, levels=LEVELS)


def test_the_loss_of_a_window_is_its_scaled_quantile_loss() -> None:
    panel = make_panel(np.arange(10.0), np.arange(10.0) * 3)
    one = forecasts(np.array([5.0, 7.0]))
    actual = gather_actuals(panel, one.series, one.cutoff, 2)
    actual[0, 1] = np.nan
    scale = np.array([[2.0], [np.nan]])
    losses = compute_window_losses(one, actual, scale)
    for w in range(8):
        expected = 2 * score(one.quantiles[w : w + 1], actual[w : w + 1], LEVELS)[0].mean_pinball
        assert losses[w] == pytest.approx(expected / (2 if w < 4 else 1))
    assert np.isnan(compute_window_losses(one, np.full_like(actual, np.nan), scale)).all()


def test_series_with_a_better_baseline_are_named_by_the_largest_lead() -> None:
    panel = make_panel(np.full(10, 1.0), np.full(10, 2.0), np.full(10, 3.0))
    model = forecasts(np.array([1.1, 2.0, 3.4]))
    baselines = {"last value": forecasts(np.array([1.0, 2.5, 3.2])), "drift": forecasts(np.array([1.2, 2.1, 3.3]))}
    comparison = compare_with_baselines(panel, model, baselines, np.full((3, 1), np.nan))
    assert [(each.series, each.baseline) for each in comparison.behind] == [("s0", "last value"), ("s2", "last value")]
    assert comparison.behind[1].lead == pytest.approx(0.5)
    assert comparison.sentence == ("On 2 of 3 series a baseline was better on the validation rows: last value: s0, s2.")
    assert comparison.to_dict()["baseline_ahead"][0]["baseline_loss"] == 0.0
    nothing = compare_with_baselines(panel, model, {"drift": forecasts(np.array([3.0, 3.0, 9.0]))}, np.ones((3, 1)))
    assert nothing.sentence == "On none of 3 series was a baseline clearly better on the validation rows."


@pytest.mark.parametrize(
    ("model", "baseline", "clear"),
    [
        ([1.0], [0.6], False),  # one window: half of the loss
        ([1.0], [0.5], True),
        ([1.0, 1.0], [0.8, 0.8], False),
        ([1.0, 1.0], [0.6, 0.6], True),
        ([1.0] * 6, [0.96] * 6, False),  # less than 5%
        ([1.0] * 6, [0.9] * 6, True),
        ([1.0] * 6, [0.1, 1.6, 0.2, 1.5, 0.9, 1.1], False),  # two standard errors
        ([1.0] * 6, [1.2] * 6, False),
        ([0.0] * 6, [0.0] * 6, False),
    ],
)
def test_a_lead_has_to_be_clear(model: list[float], baseline: list[float], clear: bool) -> None:
    assert is_clear_lead(np.array(model), np.array(baseline)) is clear


def test_chance_alone_names_few_series() -> None:
    rng = np.random.default_rng(0)
    for windows in (1, 2, 3, 4, 8):
        losses = rng.gamma(20.0, size=(2, 500, windows))
        named = np.mean([is_clear_lead(*losses[:, i]) for i in range(500)])
        assert named < 0.1


@pytest.fixture(scope="module")
def forecaster() -> Forecaster:
    """Return a hardly trained model of series that repeat exactly, for which seasonal naive is exact."""
    steps = np.arange(80)
    table = pl.concat(
        pl.DataFrame(
            {
                "unique_id": name,
                "ds": [datetime(2024, 1, 1) + timedelta(days=int(i)) for i in steps],
                "y": level * (2 + np.sin(2 * np.pi * steps / 7)),
            }
        )
        for name, level in (("a", 1.0), ("b", 5.0))
    )
    return Forecaster(7, 14, split={"validation": 2, "test": 1}, **TINY).fit(table)


def test_evaluate_and_the_report_say_where_a_baseline_is_ahead(forecaster: Forecaster, tmp_path) -> None:
    evaluation = forecaster.evaluate()
    assert evaluation.comparison is not None
    assert {each.baseline for each in evaluation.comparison.behind} <= {"seasonal naive 7", "seasonal mean 7"}
    assert {each.series for each in evaluation.comparison.behind} == {"a", "b"}
    evaluation.write(tmp_path / "metrics.json")
    kept = json.loads((tmp_path / "metrics.json").read_text())["validation"]
    assert kept["series"] == 2
    assert kept["windows"] == 4
    assert {each["series"] for each in kept["baseline_ahead"]} == {"a", "b"}
    page = forecaster.report(tmp_path / "page.html").read_text()
    assert "On 2 of 2 series a baseline was clearly better" in page
    assert "Where a baseline was better on the validation rows" in page


def test_every_series_is_compared_however_many_there_are(
    forecaster: Forecaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fusecast.workflows.evaluate.MAX_COMPARED_WINDOWS", 1)
    comparison = forecaster.evaluate().comparison
    assert comparison is not None
    assert (comparison.num_series, comparison.windows) == (2, 2)


def test_the_test_rows_change_nothing(forecaster: Forecaster) -> None:
    before = forecaster.evaluate().comparison
    panel = forecaster.prepared.panel
    table = panel.to_frame()
    changed = table.with_columns(y=pl.when(pl.int_range(pl.len()).over("unique_id") >= 73).then(99.0).otherwise("y"))
    after = forecaster.evaluate(data=changed).comparison
    assert before is not None
    assert after is not None
    assert after == before
