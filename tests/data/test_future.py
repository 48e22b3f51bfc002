from __future__ import annotations

from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from tests.helpers.small_table import START, assert_same_panel

from fusecast.data.future import extend_panel, select_future_rows
from fusecast.data.panel_builder import build_panel
from fusecast.data.schema import make_schema
from fusecast.errors import ConfigError, DataError

END = START + timedelta(hours=6)


def future_of(horizon: int, series: int = 3) -> pl.DataFrame:
    return pl.DataFrame(
        [
            {"unique_id": f"s{s}", "ds": END + timedelta(hours=h), "price": 50.0 + 10 * s + h, "promo": "yes"}
            for s in range(series)
            for h in range(horizon)
        ]
    )


def test_extending_appends_known_values_and_leaves_the_rest_missing(panel):
    longer = extend_panel(panel, 2, future_of(2))
    assert longer.lengths.tolist() == [8, 8, 8]
    assert longer.reals["price"].reshape(3, 8)[:, 6:].tolist() == [[50, 51], [60, 61], [70, 71]]
    assert np.isnan(longer.reals["y"].reshape(3, 8)[:, 6:]).all()
    assert (longer.categories["state"].reshape(3, 8)[:, 6:] == -1).all()
    assert_same_panel(longer.truncate(panel.lengths), panel)


def test_rows_of_the_future_outside_the_horizon_and_their_order_do_not_matter(panel, frame):
    plain = extend_panel(panel, 2, future_of(2))
    wide = pl.concat([frame.select("unique_id", "ds", "price", "promo"), future_of(9)])
    assert_same_panel(extend_panel(panel, 2, wide.sample(fraction=1.0, shuffle=True, seed=3)), plain)


def test_a_future_without_ids_holds_for_every_series(panel):
    common = future_of(2, series=1).drop("unique_id")
    assert extend_panel(panel, 2, common).reals["price"].reshape(3, 8)[:, 6:].tolist() == [[50, 51]] * 3


def test_new_categories_of_the_future_keep_the_codes_of_the_old(panel):
    longer = extend_panel(panel, 1, future_of(1).with_columns(promo=pl.Series(["half", "yes", "no"])))
    assert longer.levels["promo"] == (*panel.levels["promo"], "half")
    assert_same_panel(build_panel(longer.truncate(panel.lengths).to_frame(), panel.schema), panel)


def test_without_known_columns_no_future_is_needed(frame):
    assert extend_panel(build_panel(frame, make_schema(frame, observed=["temp"])), 4).lengths.tolist() == [10, 10, 10]


FUTURES = {
    "no table": (lambda f: None, "known column 'price' lacks values in the 2 steps .* for 3 series: 's0', 's1', 's2'"),
    "no column": (lambda f: f.drop("promo"), "known column 'promo' lacks values in the 2 steps"),
    "a column of another name": (
        lambda f: f.rename({"promo": "Promo"}),
        r"'promo' lacks values .* for 3 series: .* no such column\nHint: did you mean 'Promo'",
    ),
    "a row too few": (
        lambda f: f.filter(pl.int_range(6) != 3),
        r"'price' lacks values .* for 1 series: 's1'; .* 2021-03-01 07:00:00 of series 's1'\nHint: .*`observed`",
    ),
    "an empty cell": (
        lambda f: f.with_columns(price=pl.when(pl.int_range(6) == 5).then(None).otherwise("price")),
        "'price' lacks values .* for 1 series: 's2'",
    ),
    "strangers": (
        lambda f: f.with_columns(unique_id=pl.Series(["s0", "s0", "s1", "s1", "s8", "s9"])),
        "'unique_id' of the future table has 2 series that are not in the data: 's8', 's9'",
    ),
    "twice": (lambda f: pl.concat([f, f[:1]]), "hold the same values in more than one row"),
    "off grid": (
        lambda f: f.with_columns(pl.col("ds") + timedelta(minutes=1)),
        "is off the 1h grid of its series in 6 rows of 3 series",
    ),
    "no time": (lambda f: f.drop("ds"), "column 'ds' is not in the table"),
    "empty time": (lambda f: f.with_columns(ds=pl.lit(None, pl.Datetime)), "time column 'ds' is empty in 6 rows"),
    "empty id": (lambda f: f.with_columns(unique_id=pl.lit(None, pl.String)), "id column 'unique_id' is empty"),
    "text": (lambda f: f.with_columns(price=pl.lit("dear")), "'price' is real but holds text: 'dear'"),
}


@pytest.mark.parametrize("case", FUTURES)
def test_an_invalid_future_is_an_error_that_names_the_rows(case, panel):
    breaking, message = FUTURES[case]
    with pytest.raises(DataError, match=message):
        extend_panel(panel, 2, breaking(future_of(2)))


def test_a_horizon_of_nothing_is_refused(panel):
    with pytest.raises(ConfigError, match="horizon must be at least 1"):
        extend_panel(panel, 0)


def test_the_future_of_some_series_keeps_the_rows_of_unknown_series_and_of_none(panel):
    future = pl.concat([future_of(1), future_of(1)[:2].with_columns(unique_id=pl.Series(["s9", None]))])
    assert select_future_rows(future, panel, np.array([0, 2]))["unique_id"].to_list() == ["s0", "s2", "s9", None]
    assert select_future_rows(future.drop("unique_id"), panel, np.array([0])).height == 5


def test_a_future_with_a_zone_does_not_continue_a_table_without_one(panel):
    zoned = future_of(2).with_columns(pl.col("ds").dt.replace_time_zone("Europe/Paris"))
    with pytest.raises(DataError, match=r"'ds' holds Datetime.*the times of the earlier table have no zone"):
        extend_panel(panel, 2, zoned)


def test_dates_do_not_continue_times_with_a_zone():
    days = [datetime(2021, 1, day) for day in (1, 2, 3)]
    table = pl.DataFrame({"ds": days, "y": 1.0, "price": 1.0}).with_columns(pl.col("ds").dt.replace_time_zone("UTC"))
    panel = build_panel(table, make_schema(table, id=None, known=["price"]))
    future = pl.DataFrame({"ds": [date(2021, 1, 4)], "price": 1.0})
    with pytest.raises(DataError, match=r"'ds' holds Date, .*the times of the earlier table are in zone UTC"):
        extend_panel(panel, 1, future)
