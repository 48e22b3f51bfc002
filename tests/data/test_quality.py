from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl

from fusecast.data.panel import Panel
from fusecast.data.panel_builder import build_panel
from fusecast.data.quality import (
    check_quality,
    describe_rows,
    find_constant_series,
    find_outliers,
    find_shifted_series,
    find_wider_steps,
)
from fusecast.data.schema import make_schema
from fusecast.data.splits import Split

ROWS = 100


def make_panel(**series: np.ndarray) -> Panel:
    frames = [
        pl.DataFrame(
            {
                "unique_id": [name] * len(values),
                "ds": [datetime(2024, 1, 1) + timedelta(hours=h) for h in range(len(values))],
                "y": values,
            }
        )
        for name, values in series.items()
    ]
    table = pl.concat(frames).filter(~((pl.col("unique_id") == "holey") & pl.col("y").is_nan()))
    return build_panel(table, make_schema(table, id="unique_id", time="ds", targets=("y",), frequency="1h"))


def some_splits(panel: Panel) -> Split:
    return Split(train_end=panel.lengths * 7 // 10, valid_end=panel.lengths * 8 // 10)


def wave(seed: int = 0) -> np.ndarray:
    return np.sin(np.arange(ROWS)) + np.random.default_rng(seed).normal(0, 0.1, ROWS)


def findings(panel: Panel, lookback: int = 12) -> dict[str, tuple[str, str]]:
    checks = check_quality(panel, some_splits(panel), lookback, 4)
    return {check.topic: (check.status, check.finding) for check in checks}


def test_all_checks_of_sound_data_are_good() -> None:
    checks = findings(make_panel(a=wave(), b=wave(1)))
    assert {status for status, _ in checks.values()} == {"good"}
    assert checks["Length"][1] == "100 steps, all long enough for a lookback of 12 h"


def test_short_and_constant_series_are_counted_with_an_example() -> None:
    panel = make_panel(a=wave(), flat=np.full(ROWS, 3.0), short=wave()[:10])
    checks = findings(panel)
    assert checks["Length"][0] == "note"
    assert "1 of 3 series are shorter" in checks["Length"][1]
    assert checks["Constant series"] == ("note", "1 of 3, such as 'flat'")
    assert find_constant_series(panel, "y").tolist() == [1]


def test_gaps_and_missing_values_are_counted() -> None:
    values = wave()
    values[20:50] = np.nan
    checks = findings(make_panel(a=wave(), holey=values))
    assert checks["Gaps in time"][1].startswith("30 steps without a row in 1 series, most in 'holey'")
    assert checks["Missing values"] == ("note", "y 15.0%")


def test_outliers_are_counted_with_the_time_of_the_largest() -> None:
    values = wave()
    values[[30, 60]] = 50.0, -90.0
    panel = make_panel(a=wave(1), b=values)
    assert find_outliers(panel, "y").tolist() == [ROWS + 30, ROWS + 60]
    assert "the largest is -90 in 'b' at 2024-01-03 12:00:00" in findings(panel)["Outliers"][1]


def test_a_series_that_moved_since_training_is_findings() -> None:
    moved = wave()
    moved[80:] += 5
    panel = make_panel(a=wave(1), b=moved)
    assert find_shifted_series(panel, some_splits(panel), "y").tolist() == [1]
    assert findings(panel)["Level"][0] == "note"


def test_series_with_wider_steps_than_the_others_are_named() -> None:
    daily = [datetime(2024, 1, 1) + timedelta(days=day) for day in range(60)]
    table = pl.concat(
        [
            pl.DataFrame({"unique_id": [name] * len(days), "ds": days, "y": np.arange(len(days), dtype=float)})
            for name, days in (
                ("daily", daily),
                ("weekly", daily[::7]),
                ("gappy", daily[:20] + daily[40:]),
                ("new", daily[::30]),
            )
        ]
    )
    panel = build_panel(table, make_schema(table, id="unique_id", time="ds", targets=("y",), frequency="1d"))
    assert [panel.names[s] for s in find_wider_steps(panel)] == ["weekly"]
    assert any(
        "several steps of 1d apart, though forecast at every step: 'weekly'" in fact for fact in describe_rows(panel, 0)
    )
