"""What an answer brings back of a table is understood as the table was; columns under other names; single series."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
from tests.helpers.serving import running

from fusecast.errors import ConfigError
from fusecast.forecaster import Forecaster
from fusecast.serving.app import create_app
from fusecast.serving.columns import keep_series
from fusecast.serving.models import Models

HORIZON, LOOKBACK, ROWS = 3, 8, 60
SHORT: dict[str, Any] = {
    "network": {"hidden_size": 8, "num_heads": 2},
    "training": {"max_steps": 1, "members": 1, "final": "none", "logger": "none", "accelerator": "cpu"},
}


def zoned_table() -> pl.DataFrame:
    """Return a table of two id columns, times in a zone, a truth value, codes, and a series whose end has no target."""
    first, last = datetime(2024, 10, 26), datetime(2024, 10, 28, 11)  # over the end of daylight saving time
    times = pl.datetime_range(first, last, "1h", time_zone="Europe/Berlin", eager=True)
    random = np.random.default_rng(0)
    rows = len(times)
    parts = []
    for shop, item in (("a", 1), ("a", 2), ("b", 1)):
        steps = np.arange(rows)
        sales = 10 * item + np.sin(steps / 4) + random.normal(size=rows) / 10
        parts.append(
            pl.DataFrame(
                {
                    "shop": shop,
                    "item": item,
                    "when": times,
                    "sales": np.where(steps < rows - HORIZON, sales, np.nan),
                    "open": steps % 7 > 1,
                    "code": steps % 3,
                    "size": float(item),
                }
            ).fill_nan(None)
        )
    return pl.concat(parts)


def counted_table() -> pl.DataFrame:
    """Return a table of one series and counted steps."""
    steps = np.arange(ROWS)
    return pl.DataFrame({"hour": steps, "level": np.sin(steps / 3)})


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("models")
    roles: dict[str, Any] = {"id": ["shop", "item"], "time": "when", "target": "sales", "known": ["open", "code"]}
    roles |= {"static": ["size"], "categorical": ["code"]}
    Forecaster(HORIZON, LOOKBACK, **roles, **SHORT).fit(zoned_table(), folder=folder / "zoned")
    Forecaster(HORIZON, LOOKBACK, id=None, time="hour", target="level", **SHORT).fit(
        counted_table(), folder=folder / "counted"
    )
    models = Models({name: folder / name for name in ("zoned", "counted")})
    with running(create_app(models)) as address, httpx.Client(base_url=address, timeout=60) as client:
        yield client


def post(client: Any, model: str, table: pl.DataFrame, **fields: str) -> Any:
    """Forecast a table as the page does, and return the answer."""
    files = {"history": ("table.csv", table.write_csv().encode())}
    return client.post("/v1/forecast", params={"model": model}, files=files, data=fields).json()


@pytest.mark.parametrize("model", ["zoned", "counted"])
def test_rows_and_plan_that_come_back_give_the_same_forecast(client: Any, model: str) -> None:
    table = zoned_table() if model == "zoned" else counted_table()
    answer = post(client, model, table, history_rows="1000")
    again = {"history": answer["history"], "plan": answer["plan"]}
    repeated = client.post("/v1/forecast", params={"model": model}, json=again).json()
    assert repeated["forecasts"] == answer["forecasts"]
    assert len(answer["plan"] or []) == (3 * HORIZON if model == "zoned" else 0)
    changed = client.post("/v1/what-if", params={"model": model}, json={**again, "changes": {}}).json()
    assert changed["changed"] == changed["forecasts"] == answer["forecasts"]


def test_only_as_many_rows_come_back_as_are_asked_for(client: Any) -> None:
    answer = post(client, "zoned", zoned_table(), history_rows="5")
    assert len(answer["history"]) == 3 * 5
    assert max(row["when"] for row in answer["history"]) < min(row["when"] for row in answer["plan"])
    assert post(client, "zoned", zoned_table())["history"] is None


def test_columns_under_other_names_are_those_of_the_model(client: Any) -> None:
    names = '{"date": "when", "Item": "item"}'
    renamed = zoned_table().rename({"when": "date", "item": "Item"}).with_columns(when=pl.lit("something else"))
    assert (
        post(client, "zoned", renamed, columns=names)["forecasts"] == post(client, "zoned", zoned_table())["forecasts"]
    )
    twice = post(client, "zoned", renamed, columns='{"date": "when", "Item": "when"}')
    assert twice["error"]["message"] == "two columns stand for 'when'"


def test_series_are_forecast_alone(client: Any) -> None:
    every = post(client, "zoned", zoned_table())["forecasts"]
    alone = post(client, "zoned", zoned_table(), series='["a,2"]')["forecasts"]
    assert post(client, "zoned", zoned_table(), series="a,2")["forecasts"] == alone
    assert [row["y_hat"] for row in alone] == pytest.approx([row["y_hat"] for row in every[HORIZON : 2 * HORIZON]])
    unknown = post(client, "zoned", zoned_table(), series='["a,3"]')
    assert "a,3" in unknown["error"]["message"]


def test_series_of_several_id_columns_are_not_taken_for_each_other() -> None:
    table = pl.DataFrame({"shop": ["a,b", "a", "c", None], "item": ["c", "b,c", "d", "d"], "y": [1, 2, 3, 4]})

    def kept(*names: str) -> list[int]:
        frame = keep_series(table, ["shop", "item"], names)
        assert frame is not None
        return frame["y"].to_list()

    assert kept('"a,b",c') == [1]
    assert kept('a,"b,c"', "c,d") == [2, 3]
    with pytest.raises(ConfigError, match=r"no series 'a,b,c'"):
        kept("a,b,c")
