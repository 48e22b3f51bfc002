"""Series that are named by several columns, and ids of every type."""

from __future__ import annotations

import warnings
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.helpers.tables import HORIZON, LOOKBACK, TINY, shop_table

from fusecast import ConfigError, DataError, DataNote, DataWarning, Forecaster

KEYS = ["store", "item"]
NAMES = {"shop 0": ("a,b", 3), "shop 1": ("a", 3), "shop 2": ("a", 12)}


def keyed(plain: bool = False) -> pl.DataFrame:
    """Two stores, the name of one with a comma, and two items; `plain` with the one id that means the same."""
    table = shop_table().select("unique_id", "ds", "y", "promotion")
    if plain:
        names = {"shop 0": "2", "shop 1": "1", "shop 2": "0"}
        return table.with_columns(pl.col("unique_id").replace(names)).sort("unique_id", "ds")
    ids = [NAMES[name] for name in table["unique_id"]]
    keys = [pl.Series("store", [store for store, _ in ids]), pl.Series("item", [item for _, item in ids], pl.Int16)]
    return table.select(*keys, "ds", "y", "promotion")


def fit(table: Any, **options: Any) -> Forecaster:
    return Forecaster(HORIZON, LOOKBACK, known=["promotion"], **options, **TINY).fit(table)


@pytest.fixture(scope="module")
def fitted() -> Forecaster:
    return fit(keyed(), id=KEYS, static=["store"])


def plan_of(table: pl.DataFrame, *keys: str) -> pl.DataFrame:
    steps = pl.DataFrame({"hour": range(1, HORIZON + 1)})
    last = table.group_by(keys).agg(pl.col("ds").max()) if keys else table.select(pl.col("ds").max())
    time = pl.col("ds") + pl.duration(hours="hour")
    return last.join(steps, how="cross").with_columns(time, promotion=pl.lit(1.0)).drop("hour")


def test_results_have_the_id_columns_as_they_came(fitted: Forecaster) -> None:
    table, plan = keyed(), plan_of(keyed(), *KEYS)
    forecasts = fitted.predict(plan)
    assert forecasts.columns[:3] == ["store", "item", "ds"]
    assert forecasts.schema["item"] == pl.Int16
    assert forecasts.select(KEYS).unique().sort(KEYS).rows() == sorted(NAMES.values())
    expected = table.group_by(KEYS).agg(pl.col("ds").max().alias("cutoff"), level=pl.col("y").mean())
    assert len(forecasts.join(expected, on=[*KEYS, "cutoff"])) == 3 * HORIZON
    for result in (
        fitted.sample(2, plan, method="independent"),
        fitted.what_if({"promotion": 0.0}, plan),
        fitted.explain().tables()["regimes"],
        fitted.explain_forecast(("a", 3), plan).forecast,
        (backtest := fitted.backtest(stride=4, baselines=["last"])).table,
        backtest.metrics("series"),
    ):
        assert {name: result.schema[name] for name in KEYS} == {"store": pl.String, "item": pl.Int16}


def test_forecasts_are_those_of_one_id_column() -> None:
    one, several = fit(keyed(plain=True)), fit(keyed(), id=KEYS)
    plan = plan_of(keyed(plain=True), "unique_id")
    assert sorted(one.predict(plan)["unique_id"].unique()) == ["0", "1", "2"]
    assert several.prepared.panel.names == ("a,3", "a,12", '"a,b",3')
    assert several.prepared.panel.num_rows == one.prepared.panel.num_rows


def test_a_series_is_selected_by_a_tuple_or_its_name(fitted: Forecaster) -> None:
    plan = plan_of(keyed(), *KEYS)
    for name in (("a", 3), "a,3", "a, 3", ("a", "3"), ("a", 3.0)):
        assert fitted.explain_forecast(name, plan).series == "a,3"
    assert fitted.explain_forecast(("a,b", 3), plan).series == '"a,b",3'
    both = fitted.what_if({"promotion": 0.0}, plan, series=[("a", 3), '"a,b",3'])
    assert both.select(KEYS).unique().sort(KEYS).rows() == [("a", 3), ("a,b", 3)]
    assert len(fitted.what_if({"promotion": 0.0}, plan, series=("a", 12)).select(KEYS).unique()) == 1
    with pytest.raises(ConfigError, match=r"there is no series \('a', 4\)"):
        fitted.explain_forecast(("a", 4), plan)


def test_a_plan_may_name_some_of_the_columns(fitted: Forecaster) -> None:
    plan = plan_of(keyed(), *KEYS)
    assert fitted.predict(plan_of(keyed(), "store")).equals(fitted.predict(plan))
    assert fitted.predict(plan_of(keyed())).equals(fitted.predict(plan))
    with pytest.raises(DataError, match=r"id columns 'store' and 'item' of the future table has 1 series .*'b,3'"):
        fitted.predict(plan.with_columns(store=pl.col("store").replace("a,b", "b")))


def test_a_saved_run_has_the_columns_and_their_types(fitted: Forecaster, tmp_path: Path) -> None:
    fitted.save(tmp_path / "run")
    table = keyed().with_columns(pl.col("item").cast(pl.String))
    table.write_csv(tmp_path / "newer.csv")
    loaded, plan = Forecaster.load(tmp_path / "run"), plan_of(keyed(), *KEYS)
    assert loaded.config.table.id == ("store", "item")
    for newer in (tmp_path / "newer.csv", table, keyed().with_columns(pl.col("item").cast(pl.Float64))):
        forecasts = loaded.predict(plan, data=newer)
        assert forecasts.drop("item").equals(fitted.predict(plan).drop("item"))
        assert forecasts.schema["item"].is_integer()


def test_a_missing_key_is_refused_with_its_column_and_row() -> None:
    table = keyed().with_columns(item=pl.when(pl.int_range(pl.len()) != 7).then("item"))
    with pytest.raises(DataError, match="id column 'item' is empty in 1 row, the first is row 7"):
        fit(table, id=KEYS)
    with pytest.raises(DataError, match=r"'store' and 'ds' hold the same values .*\nHint: .*`id: \[store, ...\]`"):
        fit(keyed(), id="store")


@pytest.mark.parametrize(
    "values",
    [
        pl.Series([1, 2, 10], dtype=pl.UInt8),
        pl.Series([0.5, 2.0, 10.0]),
        pl.Series([date(2020, 1, 1), date(2021, 1, 1), date(2022, 1, 1)]),
        pl.Series(["x", "y", "z"], dtype=pl.Categorical),
        pl.Series(["x", "y", "z"], dtype=pl.Enum(["z", "y", "x"])),
        pl.Series([False, True, True]),
    ],
    ids=lambda values: str(values.dtype),
)
def test_ids_keep_their_type(values: pl.Series) -> None:
    number = pl.col("unique_id").str.tail(1).cast(pl.Int64)
    table = shop_table().filter(number < values.n_unique())
    ids = values.gather(table.select(number).to_series()).alias("unique_id")
    table = table.select(ids, "ds", "y", "promotion")
    forecaster = fit(table)
    forecasts = forecaster.predict(plan_of(table, "unique_id"))
    assert forecasts["unique_id"].dtype == values.dtype
    assert forecasts["unique_id"].unique().len() == values.n_unique()
    assert forecaster.explain_forecast(values[0], plan_of(table, "unique_id")).series


def test_ids_written_in_another_way_are_the_series_of_the_training() -> None:
    table = shop_table().with_columns(pl.col("unique_id").str.tail(1).cast(pl.Int64)).drop("city", "weather")
    forecaster, plan = fit(table), plan_of(table, "unique_id")
    expected = forecaster.predict(plan)
    for text in ("unique_id", pl.format("{}.0", "unique_id"), pl.format("00{}", "unique_id")):
        newer = table.with_columns(unique_id=pl.format("{}", text) if isinstance(text, str) else text)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert forecaster.predict(plan, data=newer).equals(expected)
        notes = [str(each.message) for each in caught if "written otherwise" in str(each.message)]
        assert len(notes) == (0 if isinstance(text, str) else 1)
    with pytest.warns(DataNote, match="'unique_id' are written otherwise than in the training.*'00 0' is|'000' is '0'"):
        assert forecaster.predict(plan.with_columns(pl.format("00{}", "unique_id").alias("unique_id"))).equals(expected)
    alike = pl.concat([table, table.filter(unique_id=1)]).with_columns(pl.col("unique_id").cast(pl.String))
    alike = alike.with_columns(pl.when(pl.int_range(pl.len()) < 360).then("unique_id").otherwise(pl.lit("01")))
    with pytest.raises(DataError, match="'unique_id' holds '01' and '1', and the training knows one such series, '1'"):
        forecaster.predict(plan, data=alike)
    with pytest.warns(DataWarning, match="different spellings, which are different series: '01' and '1'"):
        assert fit(alike).prepared.panel.num_series == 4


def test_text_ids_stay_text_and_numbers_find_them() -> None:
    table = shop_table().with_columns(pl.format("00{}", pl.col("unique_id").str.tail(1)).alias("unique_id"))
    table = table.drop("city", "weather")
    forecaster, plan = fit(table), plan_of(table, "unique_id")
    newer = table.with_columns(pl.col("unique_id").cast(pl.Int64))
    with pytest.warns(DataNote, match="'0' is '000', '1' is '001'"):
        assert forecaster.predict(plan, data=newer).equals(forecaster.predict(plan))
    assert forecaster.predict(plan)["unique_id"].dtype == pl.String
