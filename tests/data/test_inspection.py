from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest
from typer.testing import CliRunner

from fusecast.cli.app import app
from fusecast.data.inspection import inspect_table
from fusecast.errors import SchemaError
from fusecast.io.tables import read_table


def role_of(inspection, name):
    return next(p.role for p in inspection.columns if p.name == name)


def test_the_roles_of_a_small_table_are_proposed(frame):
    inspection = inspect_table(frame)
    assert (inspection.id, inspection.time, inspection.targets) == ("unique_id", "ds", ("y",))
    assert inspection.static == ("size", "kind")
    assert inspection.known == ("price", "promo")
    assert inspection.observed == ("temp", "state")
    assert inspection.arguments() == {
        "id": "unique_id", "time": "ds", "target": "y", "static": "size,kind", "known": "price,promo",
        "observed": "temp,state", "frequency": "1h",
    }  # fmt: skip
    assert (inspection.frequency, inspection.num_series, inspection.lengths, inspection.gaps, inspection.rows) == (
        "1h",
        3,
        (6, 6.0, 6),
        0,
        18,
    )
    assert inspection.span == ("2021-03-01 00:00:00", "2021-03-01 05:00:00")


def test_known_columns_are_proposed_with_a_remark_that_the_user_decides(frame):
    warnings = inspect_table(frame).warnings
    assert [w for w in warnings if "'price'" in w and "a calendar" in w and "`observed`" in w]
    assert inspect_table(frame, known=["price", "promo"]).warnings == ()


def test_the_choices_of_the_user_are_kept(frame):
    inspection = inspect_table(frame, target="temp", observed=["y", "price"], categorical=["price"], frequency="H")
    assert (inspection.targets, inspection.observed[:2], inspection.categorical) == (
        ("temp",),
        ("y", "price"),
        ("price",),
    )
    assert next(p.reason for p in inspection.columns if p.name == "temp") == "chosen by the user"


def test_gaps_duplicates_missing_values_and_future_rows_are_counted(frame):
    broken = pl.concat([frame.filter(pl.int_range(18) != 2), frame[:1]])
    broken = broken.with_columns(
        y=pl.when(pl.col("ds") == datetime(2021, 3, 1, 5)).then(None).otherwise("y"),
        temp=pl.when(pl.col("unique_id") == "s0").then(None).otherwise("temp"),
    )
    inspection = inspect_table(broken, known=["price", "promo"])
    assert (inspection.gaps, inspection.duplicates) == (1, 1)
    assert {p.name: p.missing for p in inspection.columns if p.missing} == {"y": 3, "temp": 6}
    assert "1 row with a time that its series already has" in " ".join(inspection.warnings)
    assert "empty after 2021-03-01 04:00:00, in up to 1 row of 3 series: `fit`" in " ".join(inspection.warnings)
    assert inspection.future_steps == 1
    late = frame.with_columns(y=pl.when((pl.col("unique_id") != "s0") | (pl.col("ds").dt.hour() < 4)).then("y"))
    inspection = inspect_table(late, known=["price", "promo"])
    assert "missing in the last row of 1 series: forecasts begin after it" in " ".join(inspection.warnings)
    assert inspection.future_steps == 0
    nothing = inspect_table(frame.with_columns(y=pl.lit(None, pl.Float64)), target="y", known=["price", "promo"])
    assert "missing in the last row of 3 series" in " ".join(nothing.warnings)


def test_whole_numbers_of_few_values_are_categories_and_many_are_measures(frame):
    numbered = frame.with_columns(state=pl.Series([1, 2, 3] * 6), temp=pl.int_range(18))
    inspection = inspect_table(numbered)
    assert inspection.categorical == ("state",)


def test_an_id_with_an_unusual_name_is_found_by_its_values(frame):
    inspection = inspect_table(frame.rename({"unique_id": "shop", "ds": "moment", "y": "sold"}), target="sold")
    assert (inspection.id, inspection.time) == ("shop", "moment")


def test_a_table_without_time_or_target_has_warnings():
    warnings = inspect_table(pl.DataFrame({"a": ["x", "y"], "b": ["z", "z"]})).warnings
    assert "no time column is found: name it with `time`" in warnings
    assert any(w.startswith("no target column is found") for w in warnings)


@pytest.mark.parametrize(
    ("column", "warning"),
    [
        (pl.Series("ds", ["01/02/2021", "03/04/2021"] * 9), "day first or month first"),
        (pl.Series("ds", [datetime(2021, 1, 1)] * 18), "cannot be inferred: no series has two"),
        (pl.Series("ds", [None, *range(17)]), "1 row without a time or an id"),
    ],
)
def test_times_that_cannot_be_used_are_a_warning_and_no_error(frame, column, warning):
    assert warning in " ".join(inspect_table(frame.with_columns(column), time="ds").warnings)


def test_a_column_that_is_not_there_is_an_error(frame):
    with pytest.raises(SchemaError, match="'pric' is not in the table\nHint: did you mean 'price'"):
        inspect_table(frame, known=["pric"])


def test_constant_empty_and_nested_columns_are_proposed_unused(frame):
    inspection = inspect_table(frame.with_columns(one=1, none=None, nested=pl.Series([[1]] * 18)))
    assert {role_of(inspection, name) for name in ("one", "none", "nested")} == {"unused"}


@pytest.mark.parametrize(
    ("name", "static", "known"),
    [
        ("bike_sharing", (), ("holiday", "workingday")),
        ("vic_electricity", (), ("holiday",)),
        ("epf_nordpool", (), ("load_forecast", "wind_forecast")),
        ("etth1", (), ()),
        ("m4_hourly", (), ()),
        ("exchange_rate", (), ()),
        ("stallion", ("agency", "sku", "avg_population_2017", "avg_yearly_household_income_2017"), None),
    ],
)
def test_the_roles_of_the_real_sets_are_inferred(name, static, known, dataset):
    inspection = inspect_table(read_table(dataset(name)))
    assert (inspection.id, inspection.time, inspection.targets) == ("unique_id", "ds", ("y",))
    assert inspection.static == static
    if known is None:
        assert {"price_regular", "price_actual", "discount", "easter_day", "music_fest"} <= set(inspection.known)
        # the name of `beer_capital` is not that of an event: the user has to correct the proposal
        assert set(inspection.observed) == {"industry_volume", "soda_volume", "avg_max_temp", "beer_capital"}
    else:
        assert inspection.known == known


def test_the_only_measurement_is_the_target_whatever_its_name():
    days = [datetime(2024, 1, day) for day in (1, 2, 3, 4)]
    table = pl.DataFrame({"store": ["a"] * 4 + ["b"] * 4, "day": days * 2, "area": [3.0] * 4 + [5.0] * 4})
    table = table.with_columns(opened=pl.Series([0, 1] * 4), promotion=pl.Series(range(8)))
    assert inspect_table(table.with_columns(sold=pl.Series([1.5, 2, 4, 3] * 2))).targets == ("sold",)
    two = table.with_columns(sold=pl.Series([1.5, 2, 4, 3] * 2), visitors=pl.Series(range(8, 0, -1)))
    assert inspect_table(two).targets == ()


def test_a_repeated_row_hides_no_id():
    days = [datetime(2024, 1, day) for day in range(1, 21)]
    shops = pl.DataFrame({"day": days * 2, "shop": ["A"] * 20 + ["B"] * 20, "sold": [float(n % 7) for n in range(40)]})
    inspection = inspect_table(pl.concat([shops, shops[[5]]]))
    assert (inspection.id, inspection.num_series, inspection.duplicates) == ("shop", 2, 1)


def test_no_other_target_is_proposed_than_a_column_of_numbers_with_a_word():
    days = [datetime(2024, 1, day) for day in range(1, 21)]
    sold = [*map(str, range(19)), "n.v."]
    table = pl.DataFrame({"day": days, "sold": sold, "warmth": [n / 7 for n in range(20)]})
    inspection = inspect_table(table)
    assert inspection.targets == ()
    assert "numbers except 'n.v.' in row 19" in next(p.reason for p in inspection.columns if p.name == "sold")


def test_a_table_of_a_column_a_series_is_explained_and_gets_a_command_to_complete(tmp_path):
    path = tmp_path / "wide.csv"
    days = [datetime(2024, 1, day) for day in range(1, 21)]
    pl.DataFrame({"day": days, "north": range(20), "south": range(5, 25)}).write_csv(path)
    printed = CliRunner().invoke(app, ["inspect", str(path)]).output
    assert "no target column is found" in printed
    assert "where columns are series, name all of them" in printed
    assert "--target COLUMN" in printed
