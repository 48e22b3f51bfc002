from __future__ import annotations

import warnings
from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from tests.helpers.small_table import START, assert_same_panel

from fusecast.data.future import extend_panel, select_future_rows, split_future_rows
from fusecast.data.panel_builder import build_panel
from fusecast.data.schema import Role, make_schema
from fusecast.errors import ConfigError, DataError, DataWarning

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
    with pytest.warns(DataWarning, match="'promo' has values that the model has never seen, in 1 of 3 cells: 'half'"):
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
    "empty cells alone": (
        lambda f: f.with_columns(price=pl.lit(None, pl.Float64)),
        "'price' has no value at all in the 2 steps after the cutoff, for 3 series: 's0', 's1', 's2'",
    ),
    "cells without a number": (lambda f: f.with_columns(price=np.nan), "'price' has no value at all in the 2 steps"),
    "categories alone": (lambda f: f.with_columns(promo=pl.lit("")), "'promo' has no value at all in the 2 steps"),
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


@pytest.mark.parametrize("nothing", [None, float("nan"), "NA"])
def test_empty_cells_of_known_columns_stay_missing_and_are_counted(panel, nothing):
    plan, last = future_of(2), pl.int_range(6) >= 3
    price = pl.when(last).then(None).otherwise("price") if nothing is None else plan["price"].to_list()
    if nothing is not None:
        price = pl.Series(price[:3] + [nothing] * 3, dtype=pl.String if nothing == "NA" else None, strict=False)
    plan = plan.with_columns(price=price, promo=pl.when(last).then(None).otherwise("promo"))
    with pytest.warns(DataWarning) as warned:
        longer = extend_panel(panel, 2, plan)
    np.testing.assert_array_equal(longer.reals["price"].reshape(3, 8)[:, 6:], [[50, 51], [60, np.nan], [np.nan] * 2])
    assert (longer.categories["promo"].reshape(3, 8)[:, 6:] < 0).tolist() == [[False, False], [False, True], [True] * 2]
    (text,) = (str(warning.message) for warning in warned)
    assert "'price' 3 values of 2 series (1 without any), 'promo' 3 values of 2 series (1 without any)" in text
    assert "the rows before have every value of 'price', 'promo', so the network may not have learned" in text
    assert warned[0].filename == __file__


def test_a_column_with_holes_in_its_past_needs_no_word_about_them(panel):
    past = replace(panel, reals={**panel.reals, "price": np.where(panel.row_in_series == 2, np.nan, 1.0)})
    with pytest.warns(DataWarning) as warned:
        extend_panel(past, 2, future_of(2).with_columns(price=pl.Series([1.0, None, 1.0, 1.0, 1.0, 1.0])))
    assert str(warned[0].message).endswith("values missing in the past: 'price' 1 value of 1 series")


def test_some_series_are_extended_as_among_all(panel):
    plan = future_of(2).with_columns(price=pl.Series([None, None, 1.0, None, 1.0, 1.0]))
    with pytest.warns(DataWarning, match="3 values of 2 series"):
        every_series = extend_panel(panel, 2, plan)
    with pytest.warns(DataWarning, match="2 values of 1 series"):  # no error: the column has values for others
        assert_same_panel(extend_panel(panel, 2, plan, np.array([0])), every_series.select([0]))
    with pytest.raises(DataError, match="'price' has no value at all"):
        extend_panel(panel, 2, plan.with_columns(price=np.nan), np.array([0]))


@pytest.mark.parametrize("promo", [["half", "yes", "no"], ["half", "third", "none at all"]])
def test_a_plan_within_the_table_is_read_as_one_apart(frame, panel, promo):
    plan = future_of(1).with_columns(promo=pl.Series(promo))
    schema = panel.schema
    table = pl.concat([frame, plan], how="diagonal").with_columns(
        pl.col(schema.names(Role.STATIC)).forward_fill().over("unique_id")
    )
    history, within = split_future_rows(build_panel(table.sort("unique_id", "ds"), schema), table, "auto")
    assert_same_panel(history, panel)
    assert within.steps.tolist() == [1, 1, 1]
    outcomes = []
    for rows in (plan, within.rows):
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                outcomes.append(extend_panel(history, 1, rows))
            except DataError as error:
                outcomes.append(str(error))
        outcomes[-1] = (outcomes[-1], [str(each.message) for each in warned])
    (apart, said), (inside, said_inside) = outcomes
    assert said == said_inside
    if isinstance(apart, str):
        assert apart == inside
    else:
        assert_same_panel(inside, apart)


@pytest.mark.parametrize("series", ["monthly", "business days"])
def test_a_series_with_future_rows_alone_begins_a_step_before_them(series):
    days = pl.date_range(date(2024, 1, 1), date(2024, 4, 30), eager=True)
    if series == "monthly":
        days = pl.Series(
            [date(2023, 11, 30), date(2023, 12, 31), date(2024, 1, 31), date(2024, 2, 29), date(2024, 3, 31)]
        )
    else:
        days = days.filter(days.dt.weekday() <= 5)
    table = pl.DataFrame({"unique_id": "a", "ds": days, "y": 1.0, "price": 2.0})
    table = table.with_columns(y=pl.when(pl.int_range(pl.len()) < len(days) - 2).then("y"))
    table = pl.concat([table, table.tail(2).with_columns(unique_id=pl.lit("new"))])
    schema = make_schema(table, known=["price"])
    history, plan = split_future_rows(build_panel(table, schema, allow_empty=True), table, "auto")
    assert history.lengths.tolist() == [len(days) - 2, 1]
    assert plan.steps.tolist() == [2, 2]
    extended = extend_panel(history, 2, plan.rows)
    assert extended.times().to_list() == [*days, *days[-3:]]


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
