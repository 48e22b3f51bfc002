from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusecast.data.panel_builder import validate
from fusecast.data.schema import make_schema
from fusecast.errors import DataError
from fusecast.io.streaming import stream_parquet
from fusecast.io.tables import read_table


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_streamed_panel_is_the_validated_one_whatever_the_batches(data, frame, schema, tmp_path_factory, assert_same):
    kept = data.draw(st.sets(st.integers(0, 17), min_size=1))
    batch = data.draw(st.integers(1, 20))
    holed = frame[sorted(kept)].with_columns(
        temp=pl.when(pl.int_range(len(kept)) % 3 == 0).then(None).otherwise("temp")
    )
    folder = tmp_path_factory.mktemp("stream")
    holed.write_parquet(folder / "t.parquet")
    streamed = stream_parquet(folder / "t.parquet", schema, folder / "panel", batch=batch)
    assert_same(streamed, validate(holed, schema))


@pytest.mark.parametrize("name", ["bike_sharing", "stallion", "exchange_rate"])
def test_real_sets_stream_to_the_same_panel(name, dataset, tmp_path, assert_same):
    frame = read_table(dataset(name))
    schema = make_schema(
        frame,
        observed=[c for c in ("weather", "temp", "industry_volume") if c in frame.columns],
        static=[c for c in ("agency", "avg_population_2017") if c in frame.columns],
        known=[c for c in ("holiday", "price_actual") if c in frame.columns],
    )
    assert_same(stream_parquet(dataset(name), schema, tmp_path / "p", batch=4_000), validate(frame, schema))


def test_month_ends_are_seen_across_batches(tmp_path, assert_same):
    days = ["2021-01-31", "2021-02-28", "2021-03-31", "2021-04-30"]
    frame = pl.DataFrame({"unique_id": ["a"] * 4, "ds": pl.Series(days).str.to_date(), "y": [1.0, 2, 3, 4]})
    frame.write_parquet(tmp_path / "t.parquet")
    schema = make_schema(frame)
    streamed = stream_parquet(tmp_path / "t.parquet", schema, tmp_path / "p", batch=1)
    assert streamed.clock.month_end
    assert_same(streamed, validate(frame, schema))


def delay(frame: pl.DataFrame, row: int, by: timedelta) -> pl.DataFrame:
    return frame.with_columns(ds=pl.when(pl.int_range(18) == row).then(pl.col("ds") + by).otherwise("ds"))


ERRORS = {
    "unsorted times": (
        lambda f: f[[1, 0, *range(2, 18)]],
        "by 'unique_id' and 'ds': row 1 comes too late\nHint",
    ),
    "unsorted ids": (lambda f: pl.concat([f[12:], f[:12]]), "row 6 comes too late"),
    "duplicates": (lambda f: pl.concat([f[:5], f[4:]]), r"same values in more than one row, 1 time.*\(row 5\)"),
    "off grid": (
        lambda f: f.with_columns(
            pl.when(pl.int_range(18) == 8).then(pl.col("ds") + timedelta(minutes=1)).otherwise("ds")
        ),
        r"leaves the 1h grid.*'s1' \(row 8\)",
    ),
    "off grid at the end": (
        lambda f: f.with_columns(
            pl.when(pl.int_range(18) == 11).then(pl.col("ds") + timedelta(minutes=1)).otherwise("ds")
        ),
        "leaves the 1h grid.*'s1'",
    ),
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
    "text times": (lambda f: f.with_columns(pl.col("ds").cast(pl.String)), "parse it and write the file anew"),
    "no column": (lambda f: f.drop("temp"), "'temp' is not in the table"),
    "no rows": (lambda f: f[:0], "has no rows"),
    "absurd gap": (
        lambda f: f.with_columns(
            pl.when(pl.int_range(18) == 17).then(pl.col("ds") + timedelta(days=9000)).otherwise("ds")
        ),
        "frequency 1h would fill 18 rows",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
@pytest.mark.parametrize("batch", [5, 100])
def test_broken_files_raise_an_error_in_words(case, batch, frame, schema, tmp_path):
    breaking, message = ERRORS[case]
    breaking(frame).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=message):
        stream_parquet(tmp_path / "t.parquet", schema, tmp_path / "p", batch=batch)
    assert not (tmp_path / "p" / "panel.json").exists()


def test_a_missing_file_is_named(schema, tmp_path):
    with pytest.raises(DataError, match=r"none.parquet does not exist"):
        stream_parquet(tmp_path / "none.parquet", schema, tmp_path / "p")


MEMORY = """
import sys
from fusecast.io.streaming import stream_parquet
from fusecast.data.schema import Column, Role, Schema

def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])

columns = tuple(Column(name=n, role=Role.TARGET if n == "y" else Role.OBSERVED) for n in ("y", "a", "b", "c"))
schema = Schema(columns=columns, frequency="1i")
stream_parquet(sys.argv[1], schema, sys.argv[3], batch=50_000)
before = peak()
stream_parquet(sys.argv[2], schema, sys.argv[3], batch=50_000)
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
            ids = np.array([f"the shop at the corner of street {number:05d}" for number in ids])
        keys = {"unique_id": np.repeat(ids, 10_000), "ds": np.tile(np.arange(10_000), series)}
        pl.DataFrame({**keys, **values}).write_parquet(tmp_path / name, row_group_size=50_000)

    write("small.parquet", 20)
    write("large.parquet", 300)
    arguments = [str(tmp_path / name) for name in ("small.parquet", "large.parquet", "panel")]
    result = subprocess.run([sys.executable, "-c", MEMORY, *arguments], capture_output=True, text=True, check=True)
    whole = 3_000_000 * 6 * 8 / 2**20  # 137 MiB of values
    assert float(result.stdout) < whole / 3
