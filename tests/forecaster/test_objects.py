"""Models of tables whose columns are objects, or numbers written as text."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from tests.helpers.tables import HORIZON, LOOKBACK, TINY, future_of, shop_table

from fusecast import DataError, DataWarning, Forecaster
from fusecast.data.inspection import inspect_table
from fusecast.data.schema import Kind, Role


def forecaster(**roles: Any) -> Forecaster:
    return Forecaster(HORIZON, LOOKBACK, **{"known": ["promotion"], **roles}, **TINY)


def test_a_table_from_a_database_is_that_of_its_numbers() -> None:
    table = shop_table().with_columns(pl.col("y", "visitors").round(2))
    expected = forecaster(observed=["visitors"]).fit(table).predict(future_of(table))
    objects = table.to_pandas()
    kinds = (float, np.float32, lambda value: Decimal(str(value)))
    exact = [kinds[0 if row % 3 == 1 else row % 3](value) for row, value in enumerate(objects["visitors"])]
    objects["visitors"] = pd.Series(exact, dtype=object)
    objects["y"] = pd.Series([Decimal(str(value)) for value in objects["y"]], dtype=object)
    objects["promotion"] = pd.Series(
        [int(v) if row % 2 else v for row, v in enumerate(objects["promotion"])], dtype=object
    )
    fitted = forecaster(observed=["visitors"]).fit(objects)
    assert {column.kind for column in fitted.prepared.panel.schema.columns} == {Kind.REAL}
    plan = future_of(table).to_pandas()
    plan["promotion"] = pd.Series([1, 1.0, Decimal(1)] * HORIZON, dtype=object)
    np.testing.assert_allclose(fitted.predict(plan)["y_hat"], expected["y_hat"], rtol=1e-5)


def test_numbers_written_as_text_are_numbers_and_that_is_said() -> None:
    table = shop_table()
    text = table.with_columns(pl.col("promotion", "visitors").cast(pl.String), limit=pl.lit("12"))
    text = text.with_columns(visitors=pl.when(pl.int_range(360) % 50 == 3).then(pl.lit(" NA")).otherwise("visitors"))
    roles = {"observed": ["visitors"], "static": ["limit"]}
    with pytest.warns(DataWarning, match="as text, which are read: 'limit', 'promotion', 'visitors' as numbers"):
        fitted = forecaster(**roles).fit(text)
    assert {column.kind for column in fitted.prepared.panel.schema.columns} == {Kind.REAL}
    plan = future_of(table)
    assert fitted.predict(plan).equals(fitted.predict(plan.with_columns(pl.col("promotion").cast(pl.String))))
    named = forecaster(**roles, categorical=["promotion", "visitors", "limit"]).prepare(text).panel.schema
    assert named.names(Role.KNOWN, Kind.CATEGORICAL) == ("promotion",)  # and without a warning
    proposal = next(column for column in inspect_table(text).columns if column.name == "visitors")
    assert (proposal.kind, "numbers written as text" in proposal.reason) == ("real", True)


def test_padded_codes_are_categories_and_that_is_said() -> None:
    table = shop_table().with_columns(code=pl.Series(["007", "010", "123", "010", "007"] * 72))
    with pytest.warns(DataWarning, match="'code' as categories, since zeros pad them"):
        schema = forecaster(observed=["code"]).prepare(table).panel.schema
    assert schema.names(Role.OBSERVED, Kind.CATEGORICAL) == ("code",)


@pytest.mark.parametrize("value", [[1], {1}, 1j], ids=["list", "set", "complex"])
def test_objects_are_refused_in_every_role(value: Any) -> None:
    table = {**shop_table(1).to_dict(as_series=False), "odd": [value] * 120}
    for roles in (
        {"id": "odd"},
        {"time": "odd"},
        {"target": "odd"},
        {"static": ["odd"]},
        {"known": ["odd"]},
        {"observed": ["odd"], "categorical": ["odd"]},
    ):
        with pytest.raises(DataError, match=r"'odd' has type .*, which cannot be read as .*: row 0 holds "):
            forecaster(**roles).prepare(table)
    assert forecaster().prepare(table).panel.num_series == 1
