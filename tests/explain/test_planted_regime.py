"""A network trained on a series with two regimes: the distance of section 7.3 finds where the test span changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from fusecast import Forecaster
from fusecast.explain.explanation import Explanation

pytestmark = pytest.mark.slow

ROWS, HORIZON, LOOKBACK = 6000, 1, 16
USUAL, OTHER = 10, 15  # steps back that y is copied from: too many for the LSTM to carry
SPAN = (5520, 5580)  # planted in the test span, which begins at row 5100
SEED = 0  # docs/explain.md has the results of eight seeds


def two_regimes(planted: bool) -> pl.DataFrame:
    """y copies a drifting column from ten steps back; while `mode` is 1, as in a fifth of training, from fifteen."""
    rng, steps = np.random.default_rng(SEED), np.arange(ROWS)
    signal = rng.normal(size=ROWS)
    for t in range(1, ROWS):
        signal[t] = 0.9 * signal[t - 1] + np.sqrt(1 - 0.9**2) * signal[t]
    mode = np.zeros(ROWS)
    for begin in range(100, 5000, 150):
        mode[begin : begin + 30] = 1
    if planted:
        mode[slice(*SPAN)] = 1
    source = np.maximum(steps - np.where(mode == 1, OTHER, USUAL), 0)
    y = signal[source] + 0.1 * rng.normal(size=ROWS)
    return pl.DataFrame({"ds": steps, "y": y, "signal": signal, "mode": mode})


@pytest.fixture(scope="module")
def forecaster() -> Forecaster:
    options: dict[str, Any] = {
        "network": {"hidden_size": 16, "num_heads": 1, "dropout": 0.0},
        "features": {"window_scaling": "none"},
        "training": {
            "max_steps": 1000,
            "max_epochs": 50,
            "windows_per_epoch": 12_800,
            "learning_rate": 0.005,
            "early_stopping_patience": None,
            "seed": SEED,
            "members": 1,
            "final": "none",
            "logger": "none",
            "progress": False,
            "accelerator": "cpu",
        },
    }
    made = Forecaster(HORIZON, LOOKBACK, frequency="1i", known=["mode"], observed=["signal"], **options)
    return made.fit(two_regimes(planted=False))


@pytest.fixture(scope="module")
def changed(forecaster: Forecaster) -> Explanation:
    return forecaster.explain(data=two_regimes(planted=True), max_windows=None)


@pytest.fixture(scope="module")
def unchanged(forecaster: Forecaster) -> Explanation:
    return forecaster.explain(data=two_regimes(planted=False), max_windows=None)


def test_the_network_looks_where_the_values_come_from(forecaster: Forecaster, unchanged: Explanation) -> None:
    assert forecaster.evaluate(stride=1).scores["TFT"][0].mae < 0.12  # what the noise leaves is 0.08
    (lag, share), *_ = unchanged.attention.top_lags()
    assert lag == -USUAL
    assert share > 0.5


def test_a_planted_change_of_regime_is_found_and_dated(changed: Explanation) -> None:
    flagged = changed.regimes.cutoff[changed.regimes.flagged]
    assert flagged.tolist() == list(range(*SPAN))
    (event,) = changed.events.iter_rows(named=True)
    assert (event["begin"], event["end"], event["windows"]) == (SPAN[0], SPAN[1] - 1, SPAN[1] - SPAN[0])


def test_the_change_lies_far_beyond_the_threshold_and_all_else_far_below(changed: Explanation) -> None:
    found = changed.regimes
    inside = (found.cutoff >= SPAN[0]) & (found.cutoff < SPAN[1])
    assert found.distance[inside].min() > 1.5 * found.threshold[0]
    assert found.distance[~inside].max() < 0.75 * found.threshold[0]


def test_without_the_change_all_is_quiet(unchanged: Explanation) -> None:
    assert len(unchanged.regimes.series) == 900
    assert not unchanged.regimes.flagged.any()
    assert unchanged.events.height == 0
