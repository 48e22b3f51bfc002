from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import folders


def test_folders_of_one_and_two_partitions_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "ask", folders.measure)  # in this process
    arguments = ["--partitions", "1,2", "--series", "2", "--rows", "400", "--steps", "2", "--members", "1"]
    assert folders.main([*arguments, "--out", str(tmp_path)]) == 0
    points = json.loads((tmp_path / "folders.json").read_text(encoding="utf-8"))["points"]
    assert [(point["series"], point["forecast_rows"]) for point in points] == [(2, 48), (4, 96)]
    assert (tmp_path / "folders.md").read_text(encoding="utf-8").count("\n| ") == 3
