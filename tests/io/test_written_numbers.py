"""What people and programs write into files, and must not be taken for something else in silence."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

from fusecast.data.inspection.table_report import inspect_table
from fusecast.data.panel_builder import validate
from fusecast.data.schema import Kind, make_schema
from fusecast.errors import DataError, SchemaError
from fusecast.io.tables import read_future, read_table

DAYS = [f"2024{month:02d}{day:02d}" for month in (1, 2) for day in range(1, 30)]


def panel_of(frame: pl.DataFrame, **said: Any) -> Any:
    return validate(frame, make_schema(frame, **{"id": None, **said}))


@pytest.mark.parametrize("kind", [pl.Int64, pl.Int32, pl.Float64])
def test_whole_numbers_that_are_dates_are_read_as_dates(kind: type[pl.DataType]) -> None:
    frame = pl.DataFrame({"ds": DAYS, "y": 1.0}).with_columns(pl.col("ds").cast(kind))
    schema = make_schema(frame, id=None)
    assert schema.frequency == "1d"
    panel = validate(frame, schema)
    assert panel.times()[[0, 31]].to_list() == [date(2024, 1, 1), date(2024, 2, 1)]
    assert inspect_table(frame).frequency == "1d"
    future = pl.DataFrame({"ds": [20240301, 20240302]})
    assert panel.extend(2, future).times()[-1] == date(2024, 3, 2)


def test_whole_numbers_that_are_months_are_read_as_months() -> None:
    months = [100 * year + month for year in (2022, 2023) for month in range(1, 13)]
    assert make_schema(pl.DataFrame({"ds": months, "y": 1.0}), id=None).frequency == "1mo"


@pytest.mark.parametrize(
    "steps", [range(20240101, 20240201), range(202401, 202431), range(1950, 2000), range(40), [20240101, 20240230]]
)
def test_whole_numbers_that_are_not_all_dates_count_steps(steps: Any) -> None:
    assert make_schema(pl.DataFrame({"ds": list(steps), "y": 1.0}), id=None).frequency.endswith("i")


def test_who_says_that_steps_are_counted_is_believed() -> None:
    frame = pl.DataFrame({"ds": [int(day) for day in DAYS], "y": 1.0})
    schema = make_schema(frame, id=None, frequency="1i")
    assert validate(frame, schema).clock.step.is_integer


def test_names_with_leading_zeros_keep_them_in_the_table_and_in_its_future(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("unique_id,ds,y\n007,2024-01-01,1\n7,2024-01-01,2\n012,2024-01-01,3\n")
    assert read_table(path, keys=("unique_id",))["unique_id"].to_list() == ["007", "7", "012"]
    future = read_future(path, "unique_id")
    assert future is not None
    assert future["unique_id"].dtype == pl.String
    path.write_text("unique_id,ds,y\n7,2024-01-01,1\n12,2024-01-01,2\n")
    assert read_table(path, keys=("unique_id",)).equals(read_table(path))
    assert read_table(path)["unique_id"].dtype == pl.Int64
    path.write_text(f"unique_id,ds,y\n{2**53 + 1},2024-01-01,1\n{2**53},2024-01-01,2\n")
    assert read_table(path, keys=("unique_id",))["unique_id"].to_list() == [2**53 + 1, 2**53]
    path.write_text("unique_id,ds,y\n7.5,2024-01-01,1\nx,2024-01-01,2\n")
    assert read_table(path, keys=("unique_id",)).equals(read_table(path))


def test_a_comma_that_may_part_thousands_is_not_taken_for_a_decimal_one(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("ds;y;share\n2024-01-01;1,000;0,125\n2024-01-02;12,500;10,000\n2024-01-03;2,750;3,5\n")
    frame = read_table(path)
    assert frame["share"].to_list() == [0.125, 10.0, 3.5]
    with pytest.raises(DataError, match="holds text: '1,000' in row 0 and 2 more\nHint: write plain numbers") as told:
        panel_of(frame)
    assert "no value at all" not in str(told.value)


@pytest.mark.parametrize("odd", ["?", "1,299", "12%", "$3.50", "- "])
def test_a_column_of_numbers_with_an_odd_cell_is_no_category_in_silence(odd: str) -> None:
    values = [str(number / 3) for number in range(40)]
    values[7] = odd
    frame = pl.DataFrame({"ds": range(40), "y": 1.0, "x": values})
    with pytest.raises(SchemaError, match="nearly all its cells are numbers"):
        make_schema(frame, id=None, observed=["x"])
    (column,) = (each for each in inspect_table(frame).columns if each.name == "x")
    assert column.role == "unused"
    assert column.reason.startswith(f"numbers, but for {odd!r} in row 7")
    said = make_schema(frame, id=None, observed=["x"], categorical=["x"])
    assert said.columns[-1].kind is Kind.CATEGORICAL


@pytest.mark.parametrize("cells", [["1", "2", "3"], ["38", "40", "M"], ["a", "b", "1"], ["01", "02", None]])
def test_text_by_choice_stays_a_category(cells: list[str | None]) -> None:
    frame = pl.DataFrame({"ds": range(30), "y": 1.0, "x": cells * 10}, schema_overrides={"x": pl.String})
    assert make_schema(frame, id=None, observed=["x"]).columns[-1].kind is Kind.CATEGORICAL


def test_lines_without_a_cell_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("\n \nds,y\n2024-01-01,1\n\n2024-01-02,\n,\n\n")
    assert read_table(path).rows() == [(date(2024, 1, 1), 1), (date(2024, 1, 2), None)]


def test_a_file_that_is_not_utf8_is_called_so(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    for text in ("ds,Größe\n1,2\n", "ds,y\n1,Köln\n"):
        path.write_bytes(text.encode("cp1252"))
        with pytest.raises(DataError, match=r"table.csv is not written in UTF-8\nHint: save it again"):
            read_table(path)


def test_a_row_with_too_many_cells_is_named(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("ds,y\n2024-01-01,1\n2024-01-02,1,234\n")
    with pytest.raises(DataError, match=r"line 3 of file .* has 3 cells, and the header 2\nHint: put cells"):
        read_table(path)


OFFSETS = ["2024-03-31T01:00:00+01:00", "2024-03-31T03:00:00+02:00", "2024-03-31T04:00:00+02:00"]


def test_stamps_of_different_offsets_are_read_in_the_zone_that_is_said() -> None:
    frame = pl.DataFrame({"ds": OFFSETS, "y": 1.0})
    with pytest.raises(DataError, match=r"mixes time zones.*\nHint: name the zone to read them in with `time_zone`"):
        make_schema(frame, id=None)
    panel = panel_of(frame, time_zone="Europe/Berlin")
    assert (panel.schema.frequency, panel.schema.time_zone, panel.num_rows) == ("1h", "Europe/Berlin", 3)
    with pytest.raises(SchemaError, match="no time zone 'Europe/Berln'\nHint: did you mean 'Europe/Berlin'"):
        make_schema(frame, id=None, time_zone="Europe/Berln")


def test_stamps_with_and_without_a_zone_in_one_pandas_column_are_refused() -> None:
    stamps = [pd.Timestamp("2024-01-01"), pd.Timestamp("2024-01-02", tz="UTC")]
    frame = pd.DataFrame({"ds": pd.Series(stamps, dtype=object), "y": 1.0})
    with pytest.raises(DataError, match="mixes time zones"):
        make_schema(read_table(frame), id=None)


def test_an_hour_that_comes_twice_by_the_clock_is_explained() -> None:
    frame = pl.DataFrame({"ds": ["2024-10-27 01:00", "2024-10-27 02:00", "2024-10-27 02:00"], "y": 1.0})
    with pytest.raises(DataError, match="when clocks are put back needs times with their offset"):
        validate(frame, make_schema(frame.head(2), id=None))


def test_ids_that_are_no_names_are_told_so_once() -> None:
    frame = pl.DataFrame({"unique_id": [b"a", b"b"], "ds": [1, 1], "y": 1.0})
    schema = make_schema(frame, frequency="1i")
    with pytest.raises(DataError, match="has type Binary") as told:
        validate(frame, schema)
    assert "is empty" not in str(told.value)
