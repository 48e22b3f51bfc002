"""A network trained on a series whose drivers are known: its explanations name them."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from fusecast import Forecaster
from fusecast.explain.explanation import Explanation

ROWS, HORIZON, LOOKBACK = 1500, 4, 8
# Selection weights follow the seed too: with some, the weights of idle variables carry what the drivers say, and only
# shuffling names the drivers (docs/explain.md has the numbers). The seed is one of the many where both agree.


def driven_series(rows: int = ROWS) -> pl.DataFrame:
    """y = 2 * price now + 2 * signal four steps ago; three known and three observed columns say nothing."""
    price, signal, *idle = np.random.default_rng(0).normal(size=(9, rows))
    lagged = np.concatenate((np.zeros(HORIZON), signal[:-HORIZON]))
    names = ("known_1", "known_2", "known_3", "observed_1", "observed_2", "observed_3")
    return pl.DataFrame(
        {
            "ds": np.arange(rows),
            "y": 2 * price + 2 * lagged + 0.3 * idle[-1],
            "price": price,
            "signal": signal,
            **dict(zip(names, idle[:-1], strict=True)),
        }
    )


@pytest.fixture(scope="module")
def forecaster() -> Forecaster:
    options: dict[str, Any] = {
        "network": {"hidden_size": 16, "num_heads": 2, "dropout": 0.2},
        "features": {"relative_position": False, "window_scaling": "mean"},
        "training": {
            "max_epochs": 6,
            "batch_size": 32,
            "learning_rate": 0.005,
            "seed": 0,
            "members": 1,
            "final": "none",
            "average_weights": False,
            "logger": "none",
            "progress": False,
            "accelerator": "cpu",
        },
    }
    known = ["price", "known_1", "known_2", "known_3"]
    observed = ["signal", "observed_1", "observed_2", "observed_3"]
    return Forecaster(HORIZON, LOOKBACK, frequency="1i", known=known, observed=observed, **options).fit(driven_series())


@pytest.fixture(scope="module")
def explanation(forecaster: Forecaster) -> Explanation:
    return forecaster.explain(permutation=100)


@pytest.mark.parametrize(("group", "driver"), [("past", "signal"), ("future", "price")])
def test_the_true_driver_is_selected_most(group: str, driver: str, explanation: Explanation) -> None:
    first, second = [row for row in explanation.importances if row.group == group][:2]
    assert first.variable == driver
    assert first.mean > 2 * second.mean


def test_shuffling_names_the_same_drivers_and_no_others(explanation: Explanation) -> None:
    assert explanation.permutation is not None
    rises = dict(explanation.permutation.select("variable", "increase").iter_rows())
    assert set(list(rises)[:2]) == {"price", "signal"}
    assert min(rises["price"], rises["signal"]) > 0.5
    assert max(rise for name, rise in rises.items() if name not in ("price", "signal")) < 0.1


def test_the_two_checks_agree_on_the_drivers(explanation: Explanation) -> None:
    assert explanation.agreement is not None
    assert explanation.agreement.correlation["past"] > 0
    assert not any("'signal'" in note for note in explanation.agreement.notes)
