from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import scaling, scaling_point


@pytest.mark.usefixtures("forked_processes")
def test_two_sizes_of_each_kind_are_measured_and_drawn(tmp_path: Path) -> None:
    arguments = ["--axes", "series,lookback", "--largest", "96", "--batch", "2", "--seconds", "0.01"]
    assert scaling.main([*arguments, "--out", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "scaling.json").read_text(encoding="utf-8"))["results"]
    assert [point["size"] for point in results["lookback"]] == [24, 96]
    assert [point["size"] for point in results["series"]] == [10]
    assert (tmp_path / "scaling.png").stat().st_size < 200_000


def test_rows_are_streamed_to_the_panel_that_memory_gives() -> None:
    streamed = scaling_point.building(4, 4_000, stream=True)
    assert streamed["rows"] == 4_000
    assert streamed["windows"] == 4 * (1_000 - 168 - 24 + 1)


def test_growth_faster_than_the_size_is_called_so() -> None:
    linear = [{"size": 10, "seconds": 1.0}, {"size": 100, "seconds": 10.0}]
    square = [{"size": 10, "seconds": 1.0}, {"size": 100, "seconds": 100.0}]
    assert scaling.exponent(linear, "seconds") == pytest.approx(1)
    assert "worse" not in scaling.verdict(linear, "seconds")
    assert scaling.verdict(square, "seconds") == "2.00 (worse than linear)"
    assert scaling.verdict(square[:1], "seconds") == "-"


def test_a_point_that_fails_is_a_line_of_the_table() -> None:
    text = scaling.markdown({"rows": [{"size": 100_000, "error": "MemoryError"}]})
    assert "| 100,000 | MemoryError | | |" in text
