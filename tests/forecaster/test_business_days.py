"""Tables of business days, from the fit to a plan: days of the week that never occur have no step."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.helpers.tables import HORIZON, LOOKBACK, TINY

from fusecast import DataError, Forecaster
from fusecast.features.calendar import PREFIX

FIRST = date(2023, 1, 2)
CLOSED = 6  # Sunday


def open_days(first: date, count: int) -> list[date]:
    return [day for day in (first + timedelta(days=n) for n in range(2 * count)) if day.weekday() != CLOSED][:count]


def table() -> pl.DataFrame:
    days = open_days(FIRST, 150)
    rng = np.random.default_rng(0)
    values = [20.0 + 10 * (day.weekday() == 5) for day in days] + rng.normal(0, 0.1, len(days))
    return pl.DataFrame({"ds": days, "y": values, "promotion": rng.integers(0, 2, len(days))})


@pytest.fixture(scope="module")
def fitted() -> Forecaster:
    return Forecaster(HORIZON, LOOKBACK, known=["promotion"], **TINY).fit(table())


def plan_of(days: list[date]) -> pl.DataFrame:
    return pl.DataFrame({"ds": days, "promotion": [1] * len(days)})


def test_closed_days_are_no_steps_and_are_said(fitted: Forecaster) -> None:
    prepared = fitted.prepared
    assert prepared.panel.schema.frequency == "1b(Mon-Sat)"
    assert prepared.panel.num_rows == table().height
    (choice,) = [each for each in prepared.choices if each.option == "frequency"]
    assert (choice.value, choice.reason) == ("1b(Mon-Sat)", "no row lies on Sun")
    assert PREFIX + "day_of_week" in prepared.encoded.inputs.known_categories


def test_forecasts_and_plans_are_of_open_days(fitted: Forecaster, tmp_path: Path) -> None:
    ahead = open_days(table()["ds"].max() + timedelta(days=1), HORIZON)
    forecasts = fitted.predict(plan_of(ahead))
    assert forecasts["ds"].to_list() == ahead
    fitted.save(tmp_path / "model")
    loaded = Forecaster.load(tmp_path / "model")
    assert loaded.predict(plan_of(ahead), data=table()).equals(forecasts)


def test_a_row_on_a_closed_day_is_refused_in_words(fitted: Forecaster) -> None:
    sunday = next(day for day in (FIRST + timedelta(days=200 + n) for n in range(7)) if day.weekday() == CLOSED)
    newer = pl.concat([table(), pl.DataFrame({"ds": [sunday], "y": [1.0], "promotion": [0]})], how="vertical_relaxed")
    with pytest.raises(DataError, match=r"off the 1b\(Mon-Sat\) grid.*(?s:.)*remove rows on Sun, correct their times"):
        fitted.predict(plan_of([sunday]), data=newer)


def test_steps_may_be_days_all_the_same() -> None:
    forecaster = Forecaster(HORIZON, LOOKBACK, known=["promotion"], frequency="1d", **TINY).fit(table())
    assert forecaster.prepared.panel.num_rows > table().height
    days = [table()["ds"].max() + timedelta(days=n + 1) for n in range(HORIZON)]
    assert forecaster.predict(plan_of(days))["ds"].to_list() == days
