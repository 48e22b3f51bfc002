"""Booleans and codes that a newer table or a plan spells in another way than the training."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.helpers.tables import HORIZON, LOOKBACK, TINY, future_of, shop_table

from fusecast import DataError, DataNote, DataWarning, Forecaster

SPELLINGS: list[tuple[Any, Any]] = [
    (True, False),
    (1, 0),
    (1.0, 0.0),
    ("1", "0"),
    ("1.0", "0.0"),
    ("true", "false"),
    ("TRUE", "FALSE"),
    ("yes", "no"),
    ("Y", "N"),
    ("t", "f"),
    ("on", "off"),
]
ROLES: dict[str, Any] = {"static": ["big"], "known": ["holiday", "code"], "observed": ["open"], "categorical": ["code"]}


def flagged(yes: Any = True, no: Any = False, codes: tuple[Any, ...] = (1, 2, 3)) -> pl.DataFrame:
    """A table with a boolean of each role, and a code of three levels."""
    rows = np.arange(360)

    def flag(name: str, true: np.ndarray) -> pl.Series:
        return pl.Series(name, [yes if each else no for each in true])

    return shop_table().select(
        "unique_id",
        "ds",
        "y",
        flag("big", rows < 120),
        flag("holiday", rows % 7 == 0),
        flag("open", rows % 5 > 1),
        pl.Series("code", [codes[row % 3] for row in rows]),
    )


def plan_of(table: pl.DataFrame, yes: Any = True, no: Any = False, codes: tuple[Any, ...] = (1, 2, 3)) -> pl.DataFrame:
    """The known columns of the steps after a table: a holiday at the second step."""
    plan = future_of(table).drop("promotion")
    return plan.with_columns(
        holiday=pl.Series([yes if row % HORIZON == 1 else no for row in range(len(plan))]),
        code=pl.Series([codes[row % 3] for row in range(len(plan))]),
    )


def fit(table: Any) -> Forecaster:
    return Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY).fit(table)


@pytest.fixture(scope="module")
def fitted() -> Forecaster:
    return fit(flagged())


@pytest.fixture(scope="module")
def expected(fitted: Forecaster) -> pl.DataFrame:
    forecasts = fitted.predict(plan_of(flagged()))
    assert not forecasts.equals(fitted.predict(plan_of(flagged(), yes=False)))  # the flag has an effect
    return forecasts


@pytest.mark.parametrize(("yes", "no"), SPELLINGS)
def test_spellings_of_a_boolean_are_one(fitted: Forecaster, expected: pl.DataFrame, yes: Any, no: Any) -> None:
    assert fitted.predict(plan_of(flagged(), yes, no)).equals(expected)
    newer = flagged(yes, no)
    assert fitted.predict(plan_of(newer, yes, no), data=newer).equals(expected)
    assert fitted.predict(plan_of(newer), data=newer).equals(expected)


@pytest.mark.filterwarnings("ignore:columns hold numbers written as text")
@pytest.mark.parametrize(("yes", "no"), SPELLINGS)
def test_a_model_of_any_spelling_reads_booleans(yes: Any, no: Any) -> None:
    table = flagged(yes, no)
    forecaster = fit(table)
    own = forecaster.predict(plan_of(table, yes, no))
    assert forecaster.predict(plan_of(table)).equals(own)
    assert forecaster.predict(plan_of(table), data=flagged()).equals(own)
    assert str(forecaster.evaluate(data=flagged()).scores) == str(forecaster.evaluate().scores)


def test_spellings_in_a_csv_file_are_one(fitted: Forecaster, expected: pl.DataFrame, tmp_path: Path) -> None:
    for yes, no in (("True", "False"), ("Y", "N"), ("1", "0")):
        flagged(yes, no).write_csv(tmp_path / "table.csv")
        plan_of(flagged(), yes, no).write_csv(tmp_path / "plan.csv")
        forecasts = fitted.predict(tmp_path / "plan.csv", data=tmp_path / "table.csv")
        np.testing.assert_allclose(forecasts["y_hat"], expected["y_hat"], rtol=1e-6)


def test_spellings_of_one_boolean_in_one_table_are_one() -> None:
    mixed = [("True", "true", "1", "YES")[row % 4] if row % 7 == 0 else "no" for row in range(360)]
    table = flagged().with_columns(holiday=pl.Series(mixed))
    assert [len(names) for names in fit(table).prepared.preprocessor.vocabularies.values()][1] == 2


@pytest.mark.parametrize("codes", [("01", "02", "03"), ("1.0", "2.0", "3.0"), (1.0, 2.0, 3.0), ("1", "2", "3")])
def test_spellings_of_a_number_are_one_code(fitted: Forecaster, expected: pl.DataFrame, codes: Any) -> None:
    assert fitted.predict(plan_of(flagged(), codes=codes)).equals(expected)
    assert fitted.predict(plan_of(flagged()), data=flagged(codes=codes)).equals(expected)
    other = fit(flagged(codes=codes))
    assert other.predict(plan_of(flagged())).equals(other.predict(plan_of(flagged(), codes=codes)))


def test_codes_that_are_different_text_of_one_number_stay_apart() -> None:
    assert fit(flagged(codes=("3", "03", "4"))).prepared.preprocessor.vocabularies["code"] == ("03", "3", "4")


def test_what_if_reads_spellings(fitted: Forecaster) -> None:
    plan = plan_of(flagged())
    changed = fitted.what_if({"holiday": True, "code": 2}, plan)
    for yes, code in ((1, "02"), ("yes", 2.0), ("TRUE", "2"), (np.True_, "2.0")):
        assert fitted.what_if({"holiday": yes, "code": code}, plan).equals(changed)


def test_a_plan_of_values_never_seen_is_refused_with_both_sets(fitted: Forecaster) -> None:
    plan = plan_of(flagged(), yes="ja", no="nein")
    for ask in (lambda: fitted.predict(plan), lambda: fitted.what_if({"code": 1}, plan)):
        with pytest.raises(DataError, match=r"'holiday' .* in 12 of 12 cells: 'ja', 'nein'; it knows 'false', 'true'"):
            ask()


@pytest.mark.parametrize("column", ["big", "holiday", "open"])
def test_a_newer_table_of_values_never_seen_is_refused(fitted: Forecaster, column: str) -> None:
    newer = flagged().with_columns(pl.col(column).replace_strict({True: "ja", False: "nein"}))
    for ask in (lambda: fitted.predict(plan_of(newer), data=newer), lambda: fitted.evaluate(data=newer)):
        with pytest.raises(DataError, match=rf"'{column}' .*'ja', 'nein'; it knows 'false', 'true'"):
            ask()


def test_few_new_values_are_said_and_unknown(fitted: Forecaster, expected: pl.DataFrame) -> None:
    plan = plan_of(flagged(), codes=(1, 9, 3))
    with pytest.warns(
        DataWarning, match=r"'code' .* in 4 of 12 cells: '9'; it knows '1', '2', '3': the forecasts take"
    ):
        assert not fitted.predict(plan).equals(expected)
    newer = flagged().with_columns(code=pl.when(pl.int_range(pl.len()) % 30 == 7).then(9).otherwise("code"))
    with pytest.warns(DataNote, match=r"new to the model: 1 categories of code \('9'\)"):
        fitted.predict(plan_of(newer), data=newer)


def test_a_new_category_is_said_once(fitted: Forecaster) -> None:
    newer = flagged().with_columns(code=pl.when(pl.int_range(pl.len()) % 30 == 7).then(9).otherwise("code"))
    plan = plan_of(newer, codes=(1, 9, 3))
    tables = [(plan, newer), (None, pl.concat([newer, plan], how="diagonal_relaxed")), (plan, flagged())]
    for future, data in tables:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fitted.predict(future, data=data)
        assert sum("'9'" in str(each.message) for each in caught) == 1


def test_new_series_may_have_new_statics(fitted: Forecaster) -> None:
    new = flagged().filter(unique_id="shop 0").with_columns(unique_id=pl.lit("shop 9"), big=pl.lit("unheard of"))
    newer = pl.concat([flagged().with_columns(pl.col("big").cast(pl.String)), new])
    assert len(fitted.predict(plan_of(newer), data=newer)) == 4 * HORIZON


def test_booleans_are_no_prices() -> None:
    table = shop_table().with_columns(price=pl.Series(np.random.default_rng(0).normal(20, 1, 360)))
    forecaster = Forecaster(HORIZON, LOOKBACK, known=["price"], **TINY).fit(table)
    plan = future_of(table).with_columns(price=pl.lit(value="yes"))
    with pytest.raises(DataError, match=r"'price' holds 'yes', and numbers other than 0 and 1"):
        forecaster.predict(plan)
    with pytest.raises(DataError, match=r"'price' holds False, True, and numbers other than 0 and 1"):
        forecaster.evaluate(data=table.with_columns(price=pl.col("price") > 20))


def test_a_real_flag_reads_words() -> None:
    table = shop_table()
    forecaster = Forecaster(HORIZON, LOOKBACK, known=["promotion"], **TINY).fit(table)
    plan = future_of(table)
    expected = forecaster.predict(plan)
    for yes in (True, "Y", "on", "1"):
        assert forecaster.predict(plan.with_columns(promotion=pl.lit(yes))).equals(expected)
    words = table.with_columns(
        pl.when(pl.col("promotion") == 1).then(pl.lit("yes")).otherwise(pl.lit("no")).alias("promotion")
    )
    assert forecaster.predict(plan, data=words).equals(expected)


def test_a_plan_in_the_table_itself_is_read_and_checked_alike(fitted: Forecaster, expected: pl.DataFrame) -> None:
    def with_plan(plan: pl.DataFrame, table: pl.DataFrame) -> pl.DataFrame:
        wide = plan.join(table.select("unique_id", "big").unique(), on="unique_id")
        return pl.concat([table, wide], how="diagonal").with_columns(pl.col("holiday").cast(pl.String))

    words = {"yes": "1", "no": "0"}
    newer = flagged().with_columns(pl.col("holiday").cast(pl.String))
    with pytest.warns(DataNote):
        own = fitted.predict(data=with_plan(plan_of(flagged(), **words), newer))
    assert own.equals(expected)
    with pytest.warns(DataNote):
        whole = fit(with_plan(plan_of(flagged(), **words), newer))
    assert whole.prepared.panel.levels["holiday"] == ("false", "true")
    assert whole.predict().equals(expected)
    with pytest.warns(DataNote), pytest.raises(DataError, match=r"'holiday' .* 'ja', 'nein'; it knows 'false', 'true'"):
        fitted.predict(data=with_plan(plan_of(flagged(), "ja", "nein"), newer))
