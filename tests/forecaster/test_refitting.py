"""A forecaster that is used again: on other tables, from other folders."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from tests.helpers.tables import HORIZON, LOOKBACK, TINY, shop_table

from fusecast import Forecaster
from fusecast.errors import ArtifactError, DataError, TrainingError


@pytest.fixture(scope="module")
def hourly() -> pl.DataFrame:
    return shop_table().select("unique_id", "ds", "y")


def daily_of(hourly: pl.DataFrame) -> pl.DataFrame:
    first = hourly["ds"].min()
    return hourly.with_columns(ds=first + (pl.col("ds") - first) * 24)


def test_a_second_table_is_read_with_its_own_steps_and_id(hourly: pl.DataFrame) -> None:
    forecaster = Forecaster(HORIZON, LOOKBACK, **TINY)
    one = hourly.filter(pl.col("unique_id") == "shop 0").drop("unique_id")
    assert forecaster.fit(one).config.table.id is None
    forecaster.fit(daily_of(hourly))
    assert forecaster.config.table.frequency == "1d"
    days = forecaster.predict().filter(pl.col("unique_id") == "shop 1")["ds"]
    assert days.diff().drop_nulls().dt.total_days().to_list() == [1] * (HORIZON - 1)


def test_a_frequency_that_was_said_holds_for_every_table(hourly: pl.DataFrame) -> None:
    forecaster = Forecaster(HORIZON, LOOKBACK, frequency="30m", **TINY)
    forecaster.prepare(hourly)
    assert forecaster.prepare(hourly).panel.schema.frequency == "30m"


def test_a_newer_table_of_longer_steps_is_refused_instead_of_filled_up(hourly: pl.DataFrame, tmp_path: Path) -> None:
    forecaster = Forecaster(HORIZON, LOOKBACK, **TINY).fit(hourly, folder=tmp_path)
    for model in (forecaster, Forecaster.load(tmp_path)):
        with pytest.raises(DataError, match="24 steps of 1h apart or more, and those of the fitted table 1"):
            model.predict(data=daily_of(hourly))
        assert model.predict(data=hourly.filter(pl.col("ds").dt.hour() != 3)).height == 3 * HORIZON


def test_a_table_that_was_sparse_in_the_fit_may_stay_so(hourly: pl.DataFrame, tmp_path: Path) -> None:
    Forecaster(HORIZON, LOOKBACK, frequency="30m", **TINY).fit(hourly, folder=tmp_path)
    assert Forecaster.load(tmp_path).predict(data=hourly).height == 3 * HORIZON


def test_a_run_finds_its_table_from_any_folder(
    hourly: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    hourly.write_csv("table.csv")
    Forecaster(HORIZON, LOOKBACK, **TINY).fit("table.csv", folder="run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert Forecaster.load("../run").predict().height == 3 * HORIZON


def test_predicting_before_fitting_asks_for_a_fit_and_for_no_table() -> None:
    with pytest.raises(TrainingError, match="no model is trained yet"):
        Forecaster(HORIZON, LOOKBACK).predict()


def test_a_bundle_that_does_not_say_how_it_was_trained_is_refused_in_words(
    hourly: pl.DataFrame, tmp_path: Path
) -> None:
    Forecaster(HORIZON, LOOKBACK, **TINY).fit(hourly, folder=tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["sha256"]["config.json"]
    (tmp_path / "config.json").write_text(json.dumps({**config, "extra": {}}))
    with pytest.raises(ArtifactError, match="not the configuration of their training"):
        Forecaster.load(tmp_path)


def test_a_model_of_times_without_a_zone_does_not_take_the_hours_of_any(hourly: pl.DataFrame) -> None:
    forecaster = Forecaster(HORIZON, LOOKBACK, **TINY).fit(hourly)
    with pytest.raises(DataError, match="are in zone Asia/Tokyo, and those of the fitted table have no zone"):
        forecaster.predict(data=hourly.with_columns(pl.col("ds").dt.replace_time_zone("Asia/Tokyo")))


def test_a_forecaster_reads_times_in_the_zone_it_is_told(hourly: pl.DataFrame, tmp_path: Path) -> None:
    stamps = hourly.with_columns(pl.col("ds").dt.replace_time_zone("UTC"))
    written = stamps.with_columns(
        pl.col("ds").dt.convert_time_zone("Europe/Berlin").dt.strftime("%Y-%m-%dT%H:%M:%S%:z")
    )
    forecaster = Forecaster(HORIZON, LOOKBACK, time_zone="Europe/Berlin", **TINY).fit(written, folder=tmp_path)
    forecasts = forecaster.predict()
    assert str(forecasts["ds"].dtype) == "Datetime(time_unit='us', time_zone='Europe/Berlin')"
    assert Forecaster.load(tmp_path).predict(data=stamps).equals(forecasts)
