from __future__ import annotations

import pytest
from benchmarks.summary import markdown, summarise


def answer(library: str, measure: str, workload: str = "w1", **values: float) -> dict[str, object]:
    return {"library": library, "measure": measure, "workload": workload, "values": values, "peak_mb": 500.0}


def test_rates_are_compared_with_the_fastest_peer_and_times_with_the_quickest() -> None:
    answers = [
        *(answer("fusecast", "training", windows_per_s=rate) for rate in (400.0, 500.0, 450.0)),
        *(answer("darts", "training", windows_per_s=rate) for rate in (100.0, 150.0, 110.0)),
        *(answer("gluonts", "training", windows_per_s=rate) for rate in (60.0, 50.0, 55.0)),
        answer("fusecast", "building", "5m", seconds=2.0, grown_mb=100.0),
        answer("darts", "building", "5m", seconds=40.0, grown_mb=500.0),
        answer("gluonts", "building", "5m", seconds=20.0, grown_mb=900.0),
    ]
    rows = {row["title"]: row for row in summarise(answers, ["fusecast", "darts", "gluonts"])}
    training = rows["training, full path, W1"]
    assert training["cells"]["darts"] == pytest.approx({"median": 110.0, "spread": 25 / 110, "rounds": 3})
    assert training["ratio"] == pytest.approx(450 / 110)
    assert rows["building 1,000 x 5,000"]["ratio"] == pytest.approx(10.0)
    assert rows["memory to build 1,000 x 5,000"]["ratio"] == pytest.approx(5.0)
    assert rows["peak RSS, training W1"]["ratio"] == pytest.approx(1.0)


def test_a_library_without_an_answer_leaves_a_gap() -> None:
    answers = [
        answer("fusecast", "loading", windows_per_s=1000.0),
        {"library": "darts", "measure": "loading", "workload": "w1", "error": "it died"},
    ]
    text = markdown(summarise(answers, ["fusecast", "darts"]), ["fusecast", "darts"])
    assert "| loader alone | windows/s | 1,000 | - |  | 50 |" in text
