from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from tests.helpers.panels import make_panel

from fusecast.config import FeatureConfig
from fusecast.errors import ArtifactError, ConfigError
from fusecast.features.calendar import (
    CalendarFeature,
    describe_calendar,
    find_repeated_features,
    infer_calendar_features,
    select_calendar_features,
    to_local_times,
    training_span,
)
from fusecast.features.preprocessor import FittedPreprocessor, Preprocessor


def names(frequency: str) -> list[str]:
    return [feature.name for feature in infer_calendar_features(frequency)]


@pytest.mark.parametrize(
    ("frequency", "expected"),
    [
        ("30s", ["minute", "hour", "day_of_week", "day_of_month", "month"]),
        ("15m", ["minute", "hour", "day_of_week", "day_of_month", "month"]),
        ("1h", ["hour", "day_of_week", "day_of_month", "month"]),
        ("90m", ["minute", "hour", "day_of_week", "day_of_month", "month"]),
        ("1d", ["day_of_week", "day_of_month", "month"]),
        ("2d", ["day_of_week", "month"]),
        ("1w", ["month"]),
        ("1mo", ["month"]),
        ("1q", ["month"]),
        ("1y", []),
        ("12mo", []),
        ("1i", []),
    ],
)
def test_auto_takes_what_the_frequency_makes_vary(frequency, expected):
    assert names(frequency) == expected


@pytest.mark.parametrize("frequency", ["30m", "1h", "6h", "1d", "1w", "1mo", "1q"])
def test_features_taken_vary_and_features_left_out_do_not(frequency):
    step = {"30m": "30m", "1h": "1h", "6h": "6h", "1d": "1d", "1w": "1w", "1mo": "1mo", "1q": "1q"}[frequency]
    times = pl.datetime_range(datetime(2023, 1, 1), datetime(2024, 12, 31), step, eager=True)
    for feature in infer_calendar_features(frequency):
        assert len(np.unique(feature.codes(times))) > 1
    if frequency in ("1h", "6h"):
        assert times.dt.minute().n_unique() == 1
    if frequency == "1w":
        assert times.dt.weekday().n_unique() == 1


@pytest.mark.parametrize("frequency", ["20s", "7m", "15m", "1h", "1d", "1mo"])
def test_codes_fill_the_fixed_vocabulary_and_leave_zero_free(frequency):
    times = pl.datetime_range(datetime(2023, 1, 1), datetime(2023, 12, 31, 23), frequency, eager=True)
    for feature in infer_calendar_features(frequency):
        codes = feature.codes(times)
        assert codes.dtype == np.int32
        assert np.unique(codes).tolist() == list(range(1, feature.cardinality))


def test_codes_agree_with_the_standard_library():
    times = [datetime(2024, 2, 28, 23) + timedelta(minutes=15 * step) for step in range(500)]
    expected = {
        "minute": [t.minute // 15 + 1 for t in times],
        "hour": [t.hour + 1 for t in times],
        "day_of_week": [t.isoweekday() for t in times],
        "day_of_month": [t.day for t in times],
        "month": [t.month for t in times],
    }
    got = {feature.name: feature.codes(pl.Series(times)).tolist() for feature in infer_calendar_features("15m")}
    assert got == expected


def test_dates_have_calendar_features():
    codes = {f.name: f.codes(pl.Series([date(2024, 2, 29)])).tolist() for f in infer_calendar_features("1d")}
    assert codes == {"day_of_week": [4], "day_of_month": [29], "month": [2]}


def test_hours_are_those_of_the_wall_clock_across_summer_time():
    utc = pl.datetime_range(datetime(2024, 3, 30, 23), datetime(2024, 3, 31, 3), "1h", eager=True).dt.replace_time_zone(
        "UTC"
    )
    hour = CalendarFeature(name="hour", cardinality=25)
    # in Berlin 01:00 is followed by 03:00 that night
    assert (hour.codes(to_local_times(utc, "Europe/Berlin")) - 1).tolist() == [0, 1, 3, 4, 5]
    assert (hour.codes(to_local_times(utc, None)) - 1).tolist() == [23, 0, 1, 2, 3]


def test_columns_are_named_apart_from_any_table_column():
    assert [f.column for f in infer_calendar_features("1d")] == [
        "calendar:day_of_week",
        "calendar:day_of_month",
        "calendar:month",
    ]


def test_features_can_be_chosen_by_name():
    assert [f.name for f in select_calendar_features(("month", "hour"), "1h")] == ["hour", "month"]
    assert select_calendar_features((), "1h") == ()


@pytest.mark.parametrize(("name", "frequency"), [("hour", "1d"), ("month", "1i")])
def test_a_feature_that_cannot_vary_is_refused(name, frequency):
    with pytest.raises(ConfigError, match=f"calendar feature '{name}' does not vary at frequency '{frequency}'"):
        select_calendar_features((name,), frequency)


@pytest.mark.parametrize(
    ("frequency", "steps", "expected"),
    [
        ("15m", 7, []),
        ("15m", 8, ["minute"]),
        ("1h", 47, []),
        ("1h", 48, ["hour"]),
        ("1h", 335, ["hour"]),
        ("1h", 336, ["hour", "day_of_week"]),
        ("1h", 24 * 62, ["hour", "day_of_week", "day_of_month"]),
        ("1h", 24 * 728, ["hour", "day_of_week", "day_of_month", "month"]),
        ("1d", 13, []),
        ("1d", 730, ["day_of_week", "day_of_month", "month"]),
        ("1w", 103, []),
        ("1w", 104, ["month"]),
        ("1mo", 23, []),
        ("1mo", 24, ["month"]),
        ("1q", 8, ["month"]),
        ("1i", 5000, []),
    ],
)
def test_auto_takes_the_features_whose_cycle_fits_twice_into_the_training_rows(frequency, steps, expected):
    panel = make_panel([steps + 30, 9], frequency=frequency)
    end = np.array([steps, 4])  # the rows after them, and shorter series, change nothing
    fitted = Preprocessor().fit(panel, end)
    assert [feature.name for feature in fitted.calendar] == expected
    assert find_repeated_features(frequency, training_span(panel, end)) == tuple(expected)
    again = FittedPreprocessor.from_json(fitted.to_json())
    assert again.calendar == fitted.calendar
    assert again.inputs == fitted.inputs


def test_series_of_different_years_do_not_add_up_to_cycles():
    weeks = 24 * 7
    panel = make_panel([10 * weeks, 3 * weeks, 6 * weeks])
    later = replace(panel, start=panel.start + np.array([0, 150, 300]) * weeks * 3_600_000_000)
    assert [f.name for f in Preprocessor().fit(later, [6 * weeks, 2 * weeks, 4 * weeks]).calendar] == [
        "hour",
        "day_of_week",
    ]
    assert training_span(later, np.array([0, 60, 50])) == 60 * 3_600_000_000
    assert training_span(later, np.zeros(3, dtype=np.int64)) == 0
    assert [f.name for f in Preprocessor().fit(later, [20, 60, 0]).calendar] == ["hour"]


def test_what_is_left_out_is_described_with_its_reason():
    hourly = infer_calendar_features("1h")
    assert describe_calendar(hourly[:2], "1h", 49 * 24 * 3_600_000_000) == (
        "hour, day_of_week; without day_of_month (two months) and month (two years), "
        "more than the 49 days of training rows of the longest series"
    )
    assert describe_calendar((), "1h", 30 * 3_600_000_000).startswith("none; without hour (two days), day_of_week")
    assert describe_calendar(hourly, "1h", 0) == "hour, day_of_week, day_of_month, month"


def test_a_preprocessor_of_an_earlier_version_keeps_every_feature():
    panel = make_panel([40])
    old = json.loads(Preprocessor().fit(panel, [30]).to_json())
    del old["repeated_features"]
    assert FittedPreprocessor.from_json(json.dumps(old)).calendar == infer_calendar_features("1h")
    for wrong in (["hour", "year"], ["hour", "hour"], [3], "hour"):
        with pytest.raises(ArtifactError, match=r"the preprocessor .*damaged"):
            FittedPreprocessor.from_json(json.dumps(old | {"repeated_features": wrong}))


def test_features_that_are_named_are_taken_as_they_are():
    panel = make_panel([40])
    assert [f.name for f in Preprocessor(FeatureConfig(calendar=("month",))).fit(panel, [30]).calendar] == ["month"]
