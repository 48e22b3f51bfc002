"""Steps shorter than a second, and years as text and numbers."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import polars as pl
import pytest
from tests.helpers.tables import TINY

from fusecast import DataError, DataNote, Forecaster


def table_of(times: pl.Series) -> pl.DataFrame:
    return pl.DataFrame({"ds": times, "y": [10.0 + row % 7 for row in range(len(times))]})


@pytest.mark.parametrize(("milliseconds", "frequency"), [(100, "100ms"), (250, "250ms"), (1, "1ms")])
@pytest.mark.parametrize("as_text", [False, True])
def test_steps_shorter_than_a_second_are_inferred(milliseconds: int, frequency: str, as_text: bool) -> None:
    step = timedelta(milliseconds=milliseconds)
    times = pl.Series([datetime(2024, 1, 1) + row * step for row in range(80)])
    table = table_of(times.dt.strftime("%Y-%m-%d %H:%M:%S%.3f") if as_text else times)
    forecaster = Forecaster(4, 8, id=None, **TINY).fit(table)
    assert forecaster.config.table.frequency == frequency
    assert forecaster.predict()["ds"].to_list() == [datetime(2024, 1, 1) + row * step for row in range(80, 84)]
    assert forecaster.prepared.preprocessor.inputs.known_categories == {}
    assert forecaster.evaluate().season == 1
    named = Forecaster(4, id=None, frequency=f"{milliseconds} milliseconds", **TINY).prepare(table)
    assert (named.panel.schema.frequency, named.panel.num_rows) == (frequency, 80)


def test_long_tables_of_short_steps_have_the_minute_as_an_input() -> None:
    times = pl.datetime_range(datetime(2024, 1, 1), datetime(2024, 1, 1, 4), "250ms", eager=True)
    calendar = Forecaster(4, 8, id=None, **TINY).prepare(table_of(times)).preprocessor.calendar
    assert [feature.column for feature in calendar] == ["calendar:minute"]


def test_years_as_text_are_dates() -> None:
    forecaster = Forecaster(2, 6, id=None, **TINY).fit(table_of(pl.Series([str(1960 + row) for row in range(60)])))
    assert forecaster.config.table.frequency == "1y"
    assert forecaster.predict()["ds"].to_list() == [date(2020, 1, 1), date(2021, 1, 1)]


def test_years_as_whole_numbers_are_steps_which_is_said_or_dates_where_steps_are_years() -> None:
    table = table_of(pl.Series(range(1960, 2020)))
    with pytest.warns(DataNote, match="'ds' holds whole numbers from 1960 to 2019, which are taken as steps of 1i"):
        assert Forecaster(2, 6, id=None, **TINY).fit(table).predict()["ds"].to_list() == [2020, 2021]
    forecaster = Forecaster(2, 6, id=None, frequency="1y", **TINY).fit(table)
    assert forecaster.predict()["ds"].to_list() == [date(2020, 1, 1), date(2021, 1, 1)]
    newer = table_of(pl.Series([str(year) for year in range(1960, 2021)]))
    assert forecaster.predict(data=newer)["ds"].to_list() == [date(2021, 1, 1), date(2022, 1, 1)]


@pytest.mark.parametrize("as_text", [False, True])
def test_years_and_weeks_as_numbers_are_no_steps_of_one(as_text: bool) -> None:
    weeks = pl.Series([100 * year + week for year in (2022, 2023) for week in range(1, 53)])
    table = table_of(weeks.cast(pl.String) if as_text else weeks)
    with pytest.raises(DataError, match=r"from 202201 to 202352, which look like years and weeks\nHint: .* 2017-W05"):
        Forecaster(2, 6, id=None, **TINY).prepare(table)
    assert Forecaster(2, 6, id=None, frequency="1i", **TINY).prepare(table).config.table.frequency == "1i"
    written = table_of(weeks.cast(pl.String).str.replace(r"(\d{4})(\d{2})", "$1-W$2"))
    assert Forecaster(2, 6, id=None, **TINY).prepare(written).config.table.frequency == "1w"


@pytest.mark.parametrize(("factor", "unit"), [(1, "seconds"), (1_000, "milliseconds")])
def test_times_since_1970_as_numbers_are_said(factor: int, unit: str) -> None:
    times = pl.Series([factor * (1_600_000_000 + 3_600 * row) for row in range(60)])
    with pytest.warns(DataNote, match=f"steps of {3_600 * factor}i; where they are {unit} since 1970, convert them"):
        Forecaster(2, 6, id=None, **TINY).prepare(table_of(times))
