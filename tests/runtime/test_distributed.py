"""DDP on two CPU processes: what each sees, what they come to, and what they predict together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "helpers" / "two_processes.py"


def ran(folder: Path, *command: Any) -> None:
    clean = {name: value for name, value in os.environ.items() if name not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, cwd=folder, env=clean)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("two")
    ran(folder, sys.executable, SCRIPT, folder)
    return [json.loads((folder / f"rank{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1)]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("one")
    code = (
        f"import sys, json; sys.path.insert(0, {str(SCRIPT.parent)!r}); from pathlib import Path\n"
        f"import two_processes as it; folder = Path({str(folder)!r})\n"
        f"(folder / 'one.json').write_text(json.dumps(it.everything(folder, devices=1)))"
    )
    ran(folder, sys.executable, "-c", code)
    return json.loads((folder / "one.json").read_text(encoding="utf-8"))


def test_no_window_is_seen_twice_in_an_epoch_and_each_process_sees_half(two: list[dict[str, Any]]) -> None:
    for first, second in zip(two[0]["seen"], two[1]["seen"], strict=True):
        assert len(first) == len(second) == 70
        assert sorted(first + second) == list(range(140))


def test_the_loss_is_that_of_one_process_at_the_same_global_batch(
    one: dict[str, Any], two: list[dict[str, Any]]
) -> None:
    for found in two:
        for part in ("train", "valid"):
            np.testing.assert_allclose(found[part], one[part], rtol=0, atol=1e-5)
        for name, value in one["classic"].items():
            assert found["classic"][name] == pytest.approx(value, abs=1e-5)


def test_both_processes_get_every_forecast_once_and_in_order(one: dict[str, Any], two: list[dict[str, Any]]) -> None:
    for found in two:
        assert found["actuals"] == one["actuals"]
        for name in ("quantiles", "predictions"):
            assert np.shape(found[name]) == np.shape(one[name])
            np.testing.assert_allclose(found[name], one[name], rtol=0, atol=1e-4)
