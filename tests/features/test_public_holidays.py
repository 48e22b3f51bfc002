"""Public holidays as a known input: flags of days, counts of longer steps, kept with the model."""

from __future__ import annotations

import json
import sys
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from fusecast import Forecaster
from fusecast.cli.app import app
from fusecast.config import FeatureConfig
from fusecast.data.panel import Panel
from fusecast.data.panel_builder import build_panel
from fusecast.data.schema import make_schema
from fusecast.errors import ArtifactError, ConfigError, SchemaError
from fusecast.features.preprocessor import FittedPreprocessor, Preprocessor
from fusecast.features.public_holidays import HolidayCalendar

CHRISTMAS = HolidayCalendar(
    country="DE", first_year=2023, last_year=2025, dates=("2023-12-25", "2023-12-26", "2024-12-25", "2024-12-26")
)


def days(*texts: str) -> np.ndarray:
    return np.array(texts, dtype="M8[D]").astype(np.int64)


def panel_of(times: pl.Series, frequency: str, zone: str | None = None) -> Panel:
    table = pl.DataFrame({"ds": times, "y": np.arange(len(times)) % 5.0})
    return build_panel(table, make_schema(table, id=None, frequency=frequency, time_zone=zone))


def fit(panel: Panel, *country: str, rows: int | None = None) -> FittedPreprocessor:
    pytest.importorskip("holidays")
    return Preprocessor(FeatureConfig(country=country, calendar=())).fit(
        panel, [panel.num_rows if rows is None else rows]
    )


def test_holidays_of_days_and_of_spans_of_days() -> None:
    begin = days("2023-12-24", "2023-12-25", "2023-12-27", "2024-12-23")
    assert CHRISTMAS.count(begin, begin + 1).tolist() == [0, 1, 0, 0]
    assert CHRISTMAS.count(begin, begin + 7).tolist() == [2, 2, 0, 2]
    assert CHRISTMAS.count(begin[:0], begin[:0]).tolist() == []


def test_days_are_marked_by_the_local_date() -> None:
    utc = pl.datetime_range(datetime(2024, 12, 23), datetime(2024, 12, 28), "1h", eager=True, time_zone="UTC")
    panel = panel_of(utc, "1h", "Europe/Berlin")
    encoded = fit(panel, "DE").encode(panel)
    local = utc.dt.convert_time_zone("Europe/Berlin").dt.date()
    assert encoded.inputs.known_categories == {"holiday:DE": 3}
    expected = [2 if day in (date(2024, 12, 25), date(2024, 12, 26)) else 1 for day in local]
    assert encoded.categories[:, 0].tolist() == expected


def test_parts_of_a_country_have_days_of_their_own() -> None:
    panel = panel_of(pl.date_range(date(2023, 12, 20), date(2024, 2, 1), eager=True), "1d")
    encoded = fit(panel, "DE", "DE-BY", "FR").encode(panel)
    assert list(encoded.inputs.known_categories) == ["holiday:DE", "holiday:DE-BY", "holiday:FR"]
    epiphany = (date(2024, 1, 6) - date(2023, 12, 20)).days
    assert encoded.categories[epiphany].tolist() == [1, 2, 1]
    assert encoded.categories[(date(2023, 12, 26) - date(2023, 12, 20)).days].tolist() == [2, 2, 1]


@pytest.mark.parametrize(
    ("first", "frequency", "expected"),
    [
        (date(2024, 12, 2), "1w", [0, 0, 0, 2, 1, 0]),
        (date(2024, 12, 15), "2d", [0, 0, 0, 0, 0, 2, 0, 0, 1]),
        (date(2024, 3, 1), "1mo", [1, 1, 3, 0, 0, 0, 0, 1, 0, 2]),  # Easter was on 31 March
        (date(2024, 3, 31), "1mo", [1, 1, 3, 0, 0, 0, 0, 1, 0, 2]),  # the same months by their last days
        (date(2023, 10, 1), "1q", [3, 2, 4, 0]),
        (date(2022, 1, 1), "1y", [9, 9, 9]),
    ],
)
def test_longer_steps_count_their_holidays(first: date, frequency: str, expected: list[int]) -> None:
    step = {"1w": "1w", "2d": "2d"}.get(frequency, frequency)
    times = pl.date_range(first, first + timedelta(days=4000), step, eager=True)[: len(expected)]
    if first == date(2024, 3, 31):
        times = times.dt.month_end()
    panel = panel_of(times, frequency)
    encoded = fit(panel, "DE").encode(panel)
    assert encoded.inputs.known_reals == ("holiday:DE", "relative_position")
    assert encoded.reals[:, 1].tolist() == expected


def test_the_dates_are_kept_with_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    panel = panel_of(pl.date_range(date(2023, 12, 20), date(2024, 12, 31), eager=True), "1d")
    fitted = fit(panel, "DE", rows=200)
    again = FittedPreprocessor.from_json(fitted.to_json())
    assert again.holidays == fitted.holidays
    assert (again.holidays[0].first_year, again.holidays[0].last_year) == (2023, 2034)
    monkeypatch.setitem(sys.modules, "holidays", None)  # not installed where forecasts are made
    np.testing.assert_array_equal(again.encode(panel).categories, fitted.encode(panel).categories)
    later = panel_of(pl.date_range(date(2040, 12, 20), date(2040, 12, 31), eager=True), "1d")
    with pytest.raises(
        ConfigError, match=r"features\.country needs holidays, which is not installed\nHint: pip install"
    ):
        again.encode(later)
    monkeypatch.undo()
    assert again.encode(later).categories[:, 0].tolist() == [1] * 5 + [2, 2] + [1] * 5


def test_years_without_known_holidays_are_unknown() -> None:
    old = panel_of(pl.date_range(date(1990, 12, 24), date(1991, 1, 2), eager=True), "1d")
    assert fit(old, "DE").encode(old).categories[:, 0].tolist() == [0] * 8 + [2, 1]
    weeks = panel_of(pl.date_range(date(1990, 12, 24), date(1991, 1, 20), "1w", eager=True), "1w")
    encoded = fit(weeks, "DE").encode(weeks)
    assert encoded.reals_present[:, 1].tolist() == [False, False, True, True]


def test_what_follows_the_training_rows_changes_nothing() -> None:
    panel = panel_of(pl.date_range(date(2023, 1, 1), date(2024, 12, 31), eager=True), "1d")
    assert fit(panel, "DE", rows=100).to_json() == fit(panel.truncate([300]), "DE", rows=100).to_json()


@pytest.mark.parametrize(
    ("country", "message"),
    [
        ("XX", r"there is no country 'XX' with known holidays\nHint: countries have two letters"),
        ("de", r"'de' with known holidays\nHint: did you mean 'DE'"),
        ("de-by", r"'de-by' with known holidays\nHint: did you mean 'DE-BY'"),
        ("Germany", r"'Germany' with known holidays\nHint: did you mean 'DE'"),
        ("Germny", r"'Germny' with known holidays\nHint: did you mean 'DE'"),
        ("DE-XY", r"there is no part of a country 'DE-XY'\nHint: "),
        ("", r"there is no country ''"),
    ],
)
def test_an_unknown_country_is_refused_with_suggestions(country: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fit(panel_of(pl.date_range(date(2024, 1, 1), date(2024, 2, 1), eager=True), "1d"), country)


def test_steps_without_dates_have_no_holidays() -> None:
    with pytest.raises(ConfigError, match="holidays of DE need dates, and steps of 1i are numbers"):
        fit(panel_of(pl.Series(range(20)), "1i"), "DE")


def test_without_the_package_the_line_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "holidays", None)
    panel = panel_of(pl.date_range(date(2024, 1, 1), date(2024, 2, 1), eager=True), "1d")
    with pytest.raises(ConfigError, match=r"pip install 'fusecast\[calendar\]'"):
        Preprocessor(FeatureConfig(country="DE")).fit(panel, [20])


def test_a_column_with_the_name_of_the_input_is_refused() -> None:
    table = pl.DataFrame({"ds": [date(2024, 1, 1), date(2024, 1, 2)], "y": 1.0, "holiday:DE": 1.0})
    panel = build_panel(table, make_schema(table, id=None, known=["holiday:DE"]))
    with pytest.raises(SchemaError, match="'holiday:DE' has the name of the holidays of a country"):
        Preprocessor(FeatureConfig(country="DE")).fit(panel, [2])


def test_holidays_that_do_not_belong_to_the_configuration_are_damage() -> None:
    panel = panel_of(pl.date_range(date(2024, 1, 1), date(2024, 2, 1), eager=True), "1d")
    values = json.loads(fit(panel, "DE").to_json())
    holidays = values["holidays"][0]
    for wrong in ([], [holidays | {"country": "FR"}], [holidays | {"dates": ["1 May"]}], [holidays | {"last_year": 1}]):
        with pytest.raises(ArtifactError, match=r"preprocessor .*damaged"):
            FittedPreprocessor.from_json(json.dumps(values | {"holidays": wrong}))


def test_forecasts_know_the_holidays_to_come(tmp_path: Path) -> None:
    pytest.importorskip("holidays")
    from typer.testing import CliRunner

    table = pl.DataFrame({"ds": pl.date_range(date(2023, 3, 1), date(2023, 12, 22), eager=True)})
    table = table.with_columns(y=pl.col("ds").dt.weekday() * 1.0)
    table.write_csv(tmp_path / "table.csv")
    words = [*("--out", str(tmp_path / "run"), "--horizon", "6", "--lookback", "14", "--country", "DE,DE-BY")]
    words += ["--hidden-size", "8", "--num-heads", "2", "--max-steps", "4", "--set", "training.logger=none"]
    words += ["--members", "1", "--final", "none", "--calibration", "none", "--blend", "none"]
    ran = CliRunner().invoke(app, ["fit", str(tmp_path / "table.csv"), *words])
    assert ran.exit_code == 0, ran.output
    assert "holiday:DE, holiday:DE-BY" in ran.output
    forecaster = Forecaster.load(tmp_path / "run")
    forecaster.predict()
    explained = forecaster.explain_forecast("series")
    assert {"holiday:DE", "holiday:DE-BY"} <= set(explained.variables.filter(group="future")["variable"])
    from fusecast.data.future import extend_panel

    longer = forecaster.predictor.preprocessor.encode(extend_panel(forecaster.prepared.panel, 6))
    holiday = list(longer.inputs.known_categories).index("holiday:DE")
    assert longer.categories[-6:, holiday].tolist() == [1, 1, 2, 2, 1, 1]
