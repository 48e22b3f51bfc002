"""Columns that are functions of the calendar are recognised by exact evidence alone."""

from __future__ import annotations

from datetime import date, datetime

import numpy as np
import polars as pl
import pytest
from tests.helpers.tables import HORIZON, LOOKBACK, TINY, shop_table

from fusecast import DataWarning, Forecaster
from fusecast.data.inspection import find_calendar_fact, inspect_table

DAYS = pl.Series(pl.date_range(date(2022, 1, 1), date(2024, 12, 31), eager=True))
HOURS = pl.Series(pl.datetime_range(datetime(2024, 3, 1), datetime(2024, 6, 30, 23), "1h", eager=True))
NOISE = pl.Series(np.random.default_rng(0).integers(0, 2, len(DAYS)))

FUNCTIONS = {
    "the hour": (HOURS, HOURS.dt.hour().is_between(8, 17)),
    "the day of the week": (DAYS, DAYS.dt.weekday() >= 6),
    "the month": (DAYS, (DAYS.dt.month() + 2) // 3),
    "the day of the month": (DAYS, DAYS.dt.day() == 15),
    "the time of day": (
        pl.datetime_range(datetime(2024, 3, 1), datetime(2024, 3, 5), "15m", eager=True, closed="left"),
        pl.Series([float(i % 96 == 34) for i in range(4 * 96)]),
    ),
    "the day of the week and the hour": (HOURS, (HOURS.dt.weekday() < 6) & (HOURS.dt.hour() == 9)),
    "the day and the month": (DAYS, (DAYS.dt.month() == 12) & (DAYS.dt.day() == 25)),
}


@pytest.mark.parametrize("words", FUNCTIONS)
def test_a_function_of_the_calendar_is_found(words: str) -> None:
    times, values = FUNCTIONS[words]
    fact = find_calendar_fact(times, values)
    assert fact is not None
    assert fact.words == words
    text = values.cast(pl.String)
    assert find_calendar_fact(times, text).words == words
    holed = text.scatter(list(range(0, len(text), 7)), None)
    assert find_calendar_fact(times, holed) is None or find_calendar_fact(times, holed).words == words
    twice = find_calendar_fact(pl.concat([times, times]), pl.concat([values, values]))  # of two series
    assert twice.words == words


@pytest.mark.parametrize("words", FUNCTIONS)
def test_one_contradiction_refutes_it(words: str) -> None:
    times, values = FUNCTIONS[words]
    other = values.cast(pl.Float64)
    other[len(other) - 1] = 77.0
    assert find_calendar_fact(times, other) is None


@pytest.mark.parametrize(
    ("times", "values"),
    [
        (DAYS, NOISE),
        (DAYS, pl.Series(np.arange(len(DAYS)))),
        (DAYS, pl.Series([1.0] * len(DAYS))),  # constant
        (DAYS, pl.Series([None] * len(DAYS), dtype=pl.Float64)),
        (DAYS[:7], DAYS[:7].dt.weekday()),  # each day once
        (DAYS[:365], DAYS[:365].dt.month() == 12),  # one December
        (HOURS[:24], HOURS[:24].dt.hour()),
        (pl.concat([HOURS[:24]] * 3), pl.concat([HOURS[:24].dt.hour()] * 3)),  # three series of one day
        (pl.Series(range(100)), pl.Series([i % 7 for i in range(100)])),  # steps have no calendar
    ],
)
def test_too_little_evidence_is_none(times: pl.Series, values: pl.Series) -> None:
    assert find_calendar_fact(times, values) is None


def test_inspect_proposes_such_columns_as_known_and_says_why() -> None:
    table = pl.DataFrame({"ds": DAYS, "y": NOISE * 1.5, "quiet": DAYS.dt.weekday() == 7, "rain": NOISE})
    inspection = inspect_table(table, target="y")
    assert inspection.known == ("quiet",)
    assert inspection.observed == ("rain",)
    assert "a function of the day of the week in every row" in next(
        p.reason for p in inspection.columns if p.name == "quiet"
    )
    assert inspection.warnings == ()  # the remark on plans asks whether the future is known, which is certain here
    assert inspect_table(table, target="y", observed=["quiet"]).observed == ("quiet", "rain")


def test_fit_says_that_an_observed_column_is_known_and_leaves_its_role() -> None:
    table = shop_table(2, 24 * 15).with_columns(
        open=pl.when(pl.col("ds").dt.hour().is_between(8, 17)).then(pl.lit("yes")).otherwise(pl.lit("no"))
    )
    forecaster = Forecaster(HORIZON, LOOKBACK, observed=["open", "visitors"], **TINY)
    with pytest.warns(DataWarning) as warned:
        forecaster.prepare(table)
    (text,) = (str(warning.message) for warning in warned)
    assert "observed column 'open' is a function of the hour in every row, so that its future is known" in text
    assert "--known open" in text
    assert "calendar feature 'hour' says the same" in text
    assert forecaster.prepared.panel.schema.names("observed") == ("open", "visitors")
