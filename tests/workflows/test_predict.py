"""Forecasting: what cannot be forecast in finite numbers is refused, by the names of the series."""

from __future__ import annotations

import polars as pl
import pytest
import torch
from tests.helpers.tables import HORIZON, LOOKBACK, ROLES, TINY, future_of, shop_table

from fusecast import DataError, DataWarning, Forecaster


def test_values_and_forecasts_beyond_float32_are_refused_by_the_names_of_their_series() -> None:
    steps = list(range(60))
    table = pl.DataFrame(
        {"unique_id": ["a"] * 60 + ["b"] * 60, "ds": steps * 2, "y": [float(t % 7) for t in steps] * 2}
    )
    forecaster = Forecaster(2, 8, **TINY).fit(table)
    huge = table.with_columns(y=pl.when(pl.col("unique_id") == "b").then(1e308).otherwise("y"))
    with pytest.raises(DataError, match=r"column 'y' holds 1e\+308 in row 0 .* of series 'b'"):
        forecaster.predict(data=huge)
    with torch.no_grad():
        forecaster._bundle.members[0].network.head.projection.bias.fill_(float("inf"))
    with pytest.raises(DataError, match=r"forecasts of 2 series are not finite numbers: 'a', 'b'\nHint: look for"):
        forecaster.predict()


def test_a_table_of_the_new_rows_alone_is_said_to_be_too_short() -> None:
    forecaster = Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY).fit(shop_table())
    plan = future_of(shop_table())

    def last(rows: int) -> pl.DataFrame:
        return shop_table().group_by("unique_id", maintain_order=True).tail(rows)

    with pytest.warns(DataWarning, match=rf"3 series of the training have fewer rows .* looks back, {LOOKBACK}: "):
        forecaster.predict(plan, data=last(2))
    enough = forecaster.predict(plan, data=last(LOOKBACK), raw=True)
    assert enough.equals(forecaster.predict(plan, raw=True))
