from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.helpers.small_table import assert_same_panel, small_table

from fusecast.data.panel_builder import build_panel
from fusecast.data.schema import Column, Kind, Role, Schema, make_schema
from fusecast.errors import DataError, SchemaError
from fusecast.io.tables import read_table

HOUR = timedelta(hours=1)
SETS = {
    "bike_sharing": ("1h", 17_544, 1),
    "epf_nordpool": ("1h", 52_416, 1),
    "etth1": ("1h", 121_940, 7),
    "exchange_rate": ("1i", 60_704, 8),
    "m4_hourly": ("1h", 373_372, 414),
    "stallion": ("1mo", 21_000, 350),
    "vic_electricity": ("30m", 52_608, 1),
}


def panel_by_loop(frame: pl.DataFrame, columns: list[str]) -> dict[str, list[tuple]]:
    """Rows of each series on an hourly grid, by a loop over rows."""
    series: dict[str, dict[datetime, tuple]] = {}
    for row in frame.iter_rows(named=True):
        series.setdefault(row["unique_id"], {})[row["ds"]] = tuple(row[name] for name in columns)
    filled = {}
    for name in sorted(series):
        rows, time = [], min(series[name])
        while time <= max(series[name]):
            rows.append(series[name].get(time, (None,) * len(columns)))
            time += HOUR
        filled[name] = rows
    return filled


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_rows_in_any_order_are_laid_out_as_by_a_loop_over_rows(data, frame, schema):
    kept = data.draw(st.lists(st.integers(0, len(frame) - 1), min_size=1, unique=True))
    shuffled = frame[kept]
    panel = build_panel(shuffled, schema)

    names = ["y", "temp", "state", "promo"]
    expected = panel_by_loop(shuffled, names)
    assert panel.ids.tolist() == list(expected)
    rows = [row for series in expected.values() for row in series]
    assert panel.num_rows == len(rows)
    for k, name in enumerate(names):
        if name in panel.reals:
            got = [None if np.isnan(v) else v for v in panel.reals[name].tolist()]
        else:
            got = [None if c < 0 else panel.levels[name][c] for c in panel.categories[name]]
        assert got == [row[k] for row in rows]


def test_statics_have_one_value_per_series(panel):
    np.testing.assert_array_equal(panel.static_reals["size"], [100.0, 200.0, 300.0])
    assert [panel.levels["kind"][c] for c in panel.static_categories["kind"]] == ["kind 0", "kind 1", "kind 0"]
    assert "size" not in panel.reals
    assert "kind" not in panel.categories


def test_a_static_without_a_value_in_a_series_is_missing_whatever_other_series_have(frame, schema):
    of_first = pl.col("unique_id") == "s0"
    holed = frame.with_columns(pl.when(of_first).then(None).otherwise(pl.col(n)).alias(n) for n in ("size", "kind"))
    panel = build_panel(holed, schema)
    np.testing.assert_array_equal(panel.static_reals["size"], [np.nan, 200.0, 300.0])
    assert panel.static_categories["kind"].tolist() == [-1, 1, 0]


@pytest.mark.parametrize("name", SETS)
def test_real_sets_become_panels_whatever_the_order_of_their_rows(name, dataset):
    frame = read_table(dataset(name))
    covariates = [c for c in frame.columns[3:] if c not in ("agency", "sku")]
    static = [c for c in ("agency", "sku") if c in frame.columns]
    schema = make_schema(frame, observed=covariates, static=static)
    frequency, rows, series = SETS[name]
    panel = build_panel(frame, schema)
    assert (schema.frequency, panel.num_rows, panel.num_series) == (frequency, rows, series)
    np.testing.assert_array_equal(panel.reals["y"], frame.sort("unique_id", "ds")["y"].to_numpy())
    assert panel.times().equals(frame.sort("unique_id", "ds")["ds"].alias(""))
    assert_same_panel(build_panel(frame.sample(fraction=1.0, shuffle=True, seed=1), schema), panel)


def test_gaps_are_filled_with_missing_values(frame, schema, panel):
    holed = build_panel(frame.filter(pl.int_range(len(frame)) != 2), schema)
    assert holed.num_rows == panel.num_rows
    assert np.flatnonzero(np.isnan(holed.reals["y"])).tolist() == [2]
    assert np.flatnonzero(holed.categories["state"] == -1).tolist() == [2]


def test_empty_cells_nan_and_words_for_missing_are_missing_values(frame, schema):
    texts = frame.with_columns(y=pl.Series([None, "NA", "nan", " ", "4.5", "5", *["1"] * 12]))
    values = build_panel(texts, schema).reals["y"]
    assert np.isnan(values[:4]).all()
    assert values[4:6].tolist() == [4.5, 5.0]


def test_whole_numbers_are_the_same_category_as_int_and_as_float(frame, schema):
    as_int = frame.with_columns(state=pl.Series([1, 2, 3] * 6))
    as_float = as_int.with_columns(pl.col("state").cast(pl.Float64))
    assert (
        build_panel(as_int, schema).levels["state"] == build_panel(as_float, schema).levels["state"] == ("1", "2", "3")
    )


def test_a_table_without_id_is_one_series(frame):
    single = frame.filter(pl.col("unique_id") == "s1").drop("unique_id")
    panel = build_panel(single, make_schema(single, id=None, known=["price"]))
    assert (panel.num_series, panel.num_rows) == (1, 6)
    assert "unique_id" not in panel.to_frame().columns


def test_integer_ids_stay_integers(frame, schema):
    numbered = frame.with_columns(unique_id=pl.col("unique_id").str.tail(1).cast(pl.Int32) + 7)
    assert build_panel(numbered, schema).ids.tolist() == [7, 8, 9]


def test_the_zone_of_the_table_becomes_that_of_the_schema(frame, schema):
    zoned = frame.with_columns(pl.col("ds").dt.replace_time_zone("Europe/Paris"))
    panel = build_panel(zoned, schema)
    assert panel.schema.time_zone == panel.time_grid.time_zone == "Europe/Paris"
    assert panel.times().to_list() == zoned.sort("unique_id", "ds")["ds"].to_list()


def test_a_naive_column_is_read_in_the_zone_of_the_schema(frame, schema):
    in_paris = Schema(columns=schema.columns, frequency="1h", time_zone="Europe/Paris")
    assert build_panel(frame, in_paris).times()[0] == frame["ds"].dt.replace_time_zone("Europe/Paris")[0]


def test_all_problems_are_reported_at_once(frame, schema):
    broken = frame.with_columns(
        y=pl.Series(["x", *["1"] * 17]),
        temp=pl.Series([np.inf, *[1.0] * 17]),
        size=pl.Series(np.arange(18.0)),
    )
    with pytest.raises(DataError) as caught:
        build_panel(pl.concat([broken, broken[:1]]), schema)
    message = str(caught.value)
    assert message.startswith("the table has 4 problems\n- ")
    for part in ("'y' is real but holds text: 'x' in row 0", "'temp' has 2 infinite values", "same values", "static"):
        assert part in message


def changed(frame: pl.DataFrame, column: str, row: int, value: object) -> pl.DataFrame:
    values = frame[column].to_list()
    values[row] = value
    return frame.with_columns(pl.Series(column, values, strict=False))


LATE = datetime(2021, 3, 1, 2, 17)
ERRORS = {
    "missing column": (
        lambda f: f.rename({"temp": "temps"}),
        "'temp' is not in the table\nHint: did you mean 'temps'",
    ),
    "text among numbers": (
        lambda f: f.with_columns(temp=pl.Series(["1", "two", *["3"] * 16])),
        "'temp' is real but holds text: 'two' in row 1\nHint: write plain numbers",
    ),
    "infinity": (lambda f: changed(f, "temp", 4, np.inf), "'temp' has 1 infinite value, the first in row 4"),
    "list": (lambda f: f.with_columns(temp=pl.Series([[1]] * 18)), r"'temp' has type List\(Int64\), which cannot"),
    "date as number": (lambda f: f.with_columns(temp="ds"), "'temp' has type Datetime.* cannot be read as numbers"),
    "list as category": (lambda f: f.with_columns(state=pl.Series([[1]] * 18)), "'state' has type List.*categories"),
    "float time": (lambda f: f.with_columns(ds=pl.Series(np.arange(18) / 2)), "'ds' has type Float64"),
    "empty id": (
        lambda f: changed(f, "unique_id", 3, None),
        "id column 'unique_id' is empty in 1 row, the first is row 3",
    ),
    "empty time": (lambda f: changed(f, "ds", 3, None), "time column 'ds' is empty in 1 row, the first is row 3"),
    "duplicate": (
        lambda f: pl.concat([f, f[7:9]]),
        r"'unique_id' and 'ds' hold the same values.*2 times: 2021-03-01 01:00:00 of series 's1' \(row \d+\)",
    ),
    "off grid": (
        lambda f: changed(f, "ds", 2, LATE),
        r"is off the 1h grid of its series in 1 row of 1 series: 2021-03-01 02:17:00 of series 's0' \(row 2\)",
    ),
    "varying static": (
        lambda f: changed(f, "size", 8, 7.0),
        r"static column 'size' changes within 1 series: 's1' has 200.0 and 7.0 \(row 8\)\nHint: declare 'size'",
    ),
    "varying static category": (lambda f: changed(f, "kind", 8, "odd"), "'s1' has 'kind 1' and 'odd' .row 8."),
    "no target": (
        lambda f: f.with_columns(y=pl.when(pl.col("unique_id") == "s1").then(None).otherwise("y")),
        "target 'y' has no value at all in 1 series: 's1'\nHint: remove the rows",
    ),
    "absurd gap": (
        lambda f: changed(f, "ds", 5, datetime(2031, 1, 1)),
        "frequency 1h would fill 18 rows up to .*, most of them in series 's0'.*\nHint: the frequency is probably",
    ),
    "wrong kind of time": (
        lambda f: f.with_columns(ds=pl.Series(np.arange(18))),
        "'ds' holds Int64, but frequency 1h counts dates or times",
    ),
    "no rows": (lambda f: f[:0], "the table has no rows"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_invalid_rows_are_an_error_that_names_them(case, frame, schema):
    breaking, message = ERRORS[case]
    with pytest.raises(DataError, match=message):
        build_panel(breaking(frame), schema)


def test_at_most_five_examples_are_shown_and_the_rest_counted():
    frame = small_table(series=9, steps=3)
    schema = Schema(columns=(Column(name="y", role=Role.TARGET), Column(name="t", role=Role.STATIC)), frequency="1h")
    varying = frame.with_columns(t=pl.Series(np.arange(len(frame))))
    with pytest.raises(DataError, match="changes within 9 series") as caught:
        build_panel(varying, schema)
    assert "'s4'" in str(caught.value)
    assert "'s5'" not in str(caught.value)
    assert "and 4 more" in str(caught.value)


def test_a_series_may_lack_one_of_two_targets(frame):
    schema = make_schema(frame, targets=["y", "temp"])
    lacking = frame.with_columns(temp=pl.when(pl.col("unique_id") == "s1").then(None).otherwise("temp"))
    assert np.isnan(build_panel(lacking, schema).reals["temp"]).sum() == 6


def test_an_empty_column_is_missing_throughout(frame, schema):
    empty = frame.with_columns(temp=None, state=None)
    panel = build_panel(empty, schema)
    assert np.isnan(panel.reals["temp"]).all()
    assert (panel.categories["state"] == -1).all()
    assert panel.levels["state"] == ()


def test_kinds_are_those_of_the_schema_not_of_the_table(frame):
    schema = make_schema(frame, known=["price"], categorical=["price"])
    panel = build_panel(frame, schema)
    assert schema.names(Role.KNOWN, Kind.CATEGORICAL) == ("price",)
    assert panel.levels["price"] == ("1", "2", "3", "4", "5", "6")


def test_an_hour_that_occurs_twice_in_wall_time_is_explained():
    frame = pl.DataFrame({"ds": ["2024-10-27 01:00", "2024-10-27 02:00", "2024-10-27 02:00"], "y": 1.0})
    words = r"occur twice where daylight saving time ends then, as in Europe/Berlin: name the zone of the table"
    with pytest.raises(DataError, match=words):
        build_panel(frame, make_schema(frame.head(2), id=None))
    with pytest.raises(SchemaError, match=words):
        make_schema(frame, id=None)
    other = frame.with_columns(ds=pl.col("ds").str.replace("10-27", "07-14"))
    with pytest.raises(SchemaError, match="Hint: keep one row per step"):
        make_schema(other, id=None)


@pytest.mark.parametrize("minutes", [60, 30])
@pytest.mark.parametrize("change", ["none", "backwards", "sorted by wall time"])
def test_rows_at_a_repeated_hour_are_told_apart_by_their_order_in_a_zone(minutes, change):
    utc = pl.datetime_range(datetime(2024, 10, 26, 20), datetime(2024, 10, 27, 4), f"{minutes}m", eager=True)
    zoned = utc.dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Berlin")
    series = [
        pl.DataFrame({"unique_id": name, "ds": zoned.dt.replace_time_zone(None), "y": np.arange(float(len(zoned)))})
        for name in ("a", "b")
    ]
    if change == "backwards":
        series = [rows.reverse() for rows in series]
    elif change != "none":
        series = [rows.sort("ds", maintain_order=True) for rows in series]
    frame = pl.concat(series).sample(fraction=1.0, shuffle=False)
    panel = build_panel(frame, make_schema(frame, time_zone="Europe/Berlin"))
    assert panel.lengths.tolist() == [len(zoned)] * 2
    np.testing.assert_array_equal(panel.reals["y"], np.tile(np.arange(float(len(zoned))), 2))
    assert panel.times()[: len(zoned)].to_list() == zoned.to_list()


def test_a_single_row_at_a_repeated_hour_is_refused():
    times = [datetime(2024, 10, 27, hour) for hour in (0, 1, 2, 3)]
    frame = pl.DataFrame({"ds": times, "y": [1.0, 2, 3, 4]})
    with pytest.raises(DataError, match=r"1 time that zone Europe/Berlin skips or repeats.*row 2(?s:.)*by their order"):
        make_schema(frame, id=None, time_zone="Europe/Berlin")


def test_ids_of_a_wrong_type_are_reported_once():
    frame = pl.DataFrame({"unique_id": [b"a", b"b"], "ds": [1, 1], "y": 1.0})
    schema = make_schema(frame, frequency="1i")
    with pytest.raises(DataError, match="has type Binary") as caught:
        build_panel(frame, schema)
    assert "is empty" not in str(caught.value)
