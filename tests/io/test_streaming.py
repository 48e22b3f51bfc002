from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.helpers.small_table import assert_same_panel, small_table

from fusecast.data.panel_builder import build_panel
from fusecast.data.schema import make_schema
from fusecast.errors import DataError
from fusecast.io.parquet import ParquetTable
from fusecast.io.streaming import read_first_rows, stream_parquet
from fusecast.io.tables import read_table


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_streamed_panel_is_that_of_the_table_in_memory_whatever_the_batches(data, frame, schema, tmp_path_factory):
    kept = data.draw(st.sets(st.integers(0, 17), min_size=1))
    batch_rows = data.draw(st.integers(1, 20))
    holed = frame[sorted(kept)].with_columns(
        temp=pl.when(pl.int_range(len(kept)) % 3 == 0).then(None).otherwise("temp"),
        size=pl.when(pl.int_range(len(kept)) % 2 == 0).then(None).otherwise("size"),
        kind=pl.when(pl.int_range(len(kept)) % 4 == 0).then(None).otherwise("kind"),
    )
    folder = tmp_path_factory.mktemp("stream")
    shuffled = holed[data.draw(st.permutations(range(len(kept))))]
    (folder / "t").mkdir()
    size = data.draw(st.integers(1, 20))
    for number, part in enumerate(shuffled.iter_slices(size)):
        part.write_parquet(folder / "t" / f"{number:02}.parquet", row_group_size=data.draw(st.integers(1, 5)))
    streamed = stream_parquet(folder / "t", schema, folder / "panel", batch_rows=batch_rows)
    assert_same_panel(streamed, build_panel(holed, schema))


HOURS = pl.col("ds")
KEYS = {
    "integer ids": [pl.col("unique_id").str.tail(1).cast(pl.Int32) - 1],
    "categorical ids": [pl.col("unique_id").cast(pl.Categorical)],
    "zoned times": [HOURS.dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Berlin")],
    "times in milliseconds": [HOURS.cast(pl.Datetime("ms"))],
    "integer steps": [HOURS.dt.hour().cast(pl.Int16)],
    "numbers that are dates": [HOURS.dt.hour().cast(pl.Int64) + 20240325],
    "numbers as floats and text": [pl.col("temp").cast(pl.Float32), pl.col("price").cast(pl.String)],
    "categories as floats": [pl.col("state").replace_strict({"wet": 1.0, "dry": 2.5})],
}


@pytest.mark.filterwarnings("ignore:columns hold numbers written as text")
@pytest.mark.parametrize("batch_rows", [1, 4, 100])
@pytest.mark.parametrize("case", KEYS)
def test_every_type_of_column_streams_to_the_same_panel(case, batch_rows, tmp_path):
    frame = small_table().with_columns(KEYS[case])
    frame.write_parquet(tmp_path / "t.parquet")
    roles = {"static": ["size", "kind"], "known": ["promo"], "observed": ["temp", "state", "price"]}
    schema = make_schema(frame, **roles, categorical=["state"] if case == "categories as floats" else [])
    streamed = stream_parquet(tmp_path / "t.parquet", schema, tmp_path / "p", batch_rows=batch_rows)
    assert_same_panel(streamed, build_panel(frame, schema))


@pytest.mark.parametrize("zone", [None, "Asia/Tokyo"])
def test_one_series_without_an_id_is_read_in_the_zone_of_the_schema(zone, tmp_path):
    frame = small_table(series=1).drop("unique_id")
    frame.write_parquet(tmp_path / "t.parquet")
    schema = make_schema(frame, id=None, known=["price"], time_zone=zone)
    streamed = stream_parquet(tmp_path / "t.parquet", schema, tmp_path / "p", batch_rows=2)
    assert_same_panel(streamed, build_panel(frame, schema))
    assert streamed.time_grid.time_zone == zone


@pytest.mark.parametrize("name", ["bike_sharing", "stallion", "exchange_rate"])
def test_real_sets_stream_to_the_same_panel(name, dataset, tmp_path):
    frame = read_table(dataset(name))
    schema = make_schema(
        frame,
        observed=[c for c in ("weather", "temp", "industry_volume") if c in frame.columns],
        static=[c for c in ("agency", "avg_population_2017") if c in frame.columns],
        known=[c for c in ("holiday", "price_actual") if c in frame.columns],
    )
    streamed = stream_parquet(dataset(name), schema, tmp_path / "p", batch_rows=4_000)
    assert_same_panel(streamed, build_panel(frame, schema))


def test_month_ends_are_found_across_batches(tmp_path):
    days = ["2021-01-31", "2021-02-28", "2021-03-31", "2021-04-30"]
    frame = pl.DataFrame({"unique_id": ["a"] * 4, "ds": pl.Series(days).str.to_date(), "y": [1.0, 2, 3, 4]})
    frame.write_parquet(tmp_path / "t.parquet")
    schema = make_schema(frame)
    streamed = stream_parquet(tmp_path / "t.parquet", schema, tmp_path / "p", batch_rows=1)
    assert streamed.time_grid.month_day == 31
    assert_same_panel(streamed, build_panel(frame, schema))


def test_the_schema_follows_from_the_first_rows_and_the_memory_from_the_metadata(frame, schema, tmp_path):
    frame.write_parquet(tmp_path / "t.parquet")
    first = read_first_rows(tmp_path / "t.parquet", 4)
    assert first.equals(frame[:4])
    roles = {"static": ["size", "kind"], "known": ["price", "promo"], "observed": ["temp", "state"]}
    assert make_schema(first, **roles) == schema
    assert ParquetTable.at(tmp_path / "t.parquet").memory == 18 * 9 * 16


def delay(row: int, **by: int) -> pl.Expr:
    """The times of the small table, with that of one row moved."""
    return pl.when(pl.int_range(18) == row).then(pl.col("ds") + timedelta(**by)).otherwise("ds").alias("ds")


def write_two_files(one: pl.DataFrame, other: pl.DataFrame, folder: Path) -> Path:
    folder.mkdir()
    one.write_parquet(folder / "1.parquet")
    other.write_parquet(folder / "2.parquet")
    return folder


def test_times_as_text_are_read_by_the_format_of_all_files(frame, schema, tmp_path):
    days = frame.with_columns(ds=pl.date(2024, 1, 1) + pl.duration(days=pl.col("ds").dt.hour() + 5))
    texts = days.with_columns(pl.col("ds").dt.strftime("%d/%m/%Y")).sort("ds")  # up to day 12 in the first file
    daily = replace(schema, frequency="1d")
    earlier = days.with_columns(ds=pl.col("ds") + pl.duration(days=8), unique_id="t" + pl.col("unique_id"))
    both = pl.concat([texts, earlier.with_columns(pl.col("ds").dt.strftime("%d/%m/%Y"))])
    folder = write_two_files(both[:18], both[18:], tmp_path / "t")
    streamed = stream_parquet(folder, daily, tmp_path / "p", batch_rows=7)
    assert_same_panel(streamed, build_panel(both, daily))


def test_a_row_that_is_twice_is_found_across_files(frame, schema, tmp_path):
    folder = write_two_files(frame, frame[7:8], tmp_path / "t")
    with pytest.raises(DataError, match=r"same values in more than one row, 1 time.*'s1' \(row 18\)"):
        stream_parquet(folder, schema, tmp_path / "p", batch_rows=5)


def test_files_with_integers_and_floats_are_one_column(frame, schema, tmp_path):
    counts = frame.with_columns(state=pl.int_range(18) % 3, y=pl.int_range(18))
    floats = counts.with_columns(pl.col("state", "y").cast(pl.Float64), pl.col("unique_id") + "b")
    folder = write_two_files(counts, floats, tmp_path / "t")
    streamed = stream_parquet(folder, schema, tmp_path / "p", batch_rows=5)
    assert_same_panel(streamed, build_panel(read_table(folder), schema))


ERRORS = {
    "duplicates": (lambda f: pl.concat([f[:5], f[4:]]), r"same values in more than one row, 1 time.*\(row 5\)"),
    "off grid": (lambda f: f.with_columns(delay(8, minutes=1)), r"is off the 1h grid.*'s1' \(row 8\)"),
    "off grid at the end": (lambda f: f.with_columns(delay(11, minutes=1)), "is off the 1h grid.*'s1'"),
    "static": (lambda f: f.with_columns(size=pl.int_range(18)), r"static column 'size' changes within 3 series"),
    "no target": (
        lambda f: f.with_columns(y=pl.when(pl.col("unique_id") == "s1").then(None).otherwise("y")),
        "'y' has no value at all in 1 series: 's1'",
    ),
    "infinite": (
        lambda f: f.with_columns(temp=pl.when(pl.int_range(18) == 16).then(np.inf).otherwise("temp")),
        "'temp' has 1 infinite value, the first in row 16",
    ),
    "empty id": (lambda f: f.with_columns(unique_id=None), "id column 'unique_id' is empty"),
    "text times": (lambda f: f.with_columns(ds=pl.lit("soon")), "'soon'"),
    "no column": (lambda f: f.drop("temp"), "'temp' is not in the table"),
    "no rows": (lambda f: f[:0], "has no rows"),
    "absurd gap": (lambda f: f.with_columns(delay(17, days=9000)), "frequency 1h would fill 18 rows"),
}


@pytest.mark.parametrize("case", ERRORS)
@pytest.mark.parametrize("batch_rows", [5, 100])
def test_an_invalid_file_is_an_error_and_leaves_no_file(case, batch_rows, frame, schema, tmp_path):
    breaking, message = ERRORS[case]
    breaking(frame).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=message):
        stream_parquet(tmp_path / "t.parquet", schema, tmp_path / "p", batch_rows=batch_rows)
    assert not list(tmp_path.glob("p*"))


def test_a_missing_file_and_one_that_is_no_parquet_file_are_errors(schema, tmp_path):
    with pytest.raises(DataError, match=r"none.parquet does not exist"):
        stream_parquet(tmp_path / "none.parquet", schema, tmp_path / "p")
    (tmp_path / "text.parquet").write_text("unique_id,ds,y\n")
    with pytest.raises(DataError, match=r"text.parquet cannot be read as a table"):
        stream_parquet(tmp_path / "text.parquet", schema, tmp_path / "p")
    with pytest.raises(DataError, match=r"none.parquet does not exist"):
        read_first_rows(tmp_path / "none.parquet")


MEMORY = """
import sys
from fusecast.io.streaming import stream_parquet
from fusecast.data.schema import Column, Role, Schema

def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])

columns = tuple(Column(name=n, role=Role.TARGET if n == "y" else Role.OBSERVED) for n in ("y", "a", "b", "c"))
schema = Schema(columns=columns, frequency="1i")
stream_parquet(sys.argv[1], schema, sys.argv[3], batch_rows=50_000)
before = peak()
stream_parquet(sys.argv[2], schema, sys.argv[3], batch_rows=50_000)
print((peak() - before) / 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
@pytest.mark.parametrize("names", ["numbers", "text"])
def test_memory_does_not_grow_with_the_rows(names: str, tmp_path):
    def write(name: str, series: int) -> None:
        rows = series * 10_000
        values = {n: np.random.default_rng(0).standard_normal(rows) for n in ("y", "a", "b", "c")}
        ids = np.arange(series)
        if names == "text":
            ids = np.array([f"the shop at the corner of street {i:05d}" for i in ids])
        keys = {"unique_id": np.repeat(ids, 10_000), "ds": np.tile(np.arange(10_000), series)}
        pl.DataFrame({**keys, **values}).write_parquet(tmp_path / name, row_group_size=50_000)

    write("small.parquet", 20)
    write("large.parquet", 200)
    arguments = [str(tmp_path / name) for name in ("small.parquet", "large.parquet", "panel")]
    result = subprocess.run([sys.executable, "-c", MEMORY, *arguments], capture_output=True, text=True, check=True)
    whole = 2_000_000 * 6 * 8 / 2**20  # 92 MiB of values
    assert float(result.stdout) < whole / 3
