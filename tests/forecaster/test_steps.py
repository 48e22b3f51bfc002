"""Steps shorter than a second, and years as text and numbers."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import polars as pl
import pytest
from tests.helpers.tables import TINY

from fusecast import DataNote, Forecaster


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
