"""Folders forecast on a Ray cluster: the same bytes as in one process, though a process of the cluster is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.helpers.tables import HORIZON

from fusecast import ConfigError, predict_folder

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "helpers" / "ray_prediction.py"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'fusecast[ray]'")
def test_a_cluster_writes_the_same_bytes_though_one_of_its_processes_is_killed(
    run: Path, data: Path, tmp_path: Path
) -> None:
    plans = data.parent / "plans"
    predict_folder(run, data, tmp_path / "local", plans)
    with tempfile.TemporaryDirectory(prefix="ray-") as scratch:  # the paths of its sockets have to be short
        command = [sys.executable, str(SCRIPT), *map(str, (run, data, tmp_path / "out", plans, scratch))]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
        ran = subprocess.run(command, capture_output=True, text=True, env=env, timeout=600, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    outcome = json.loads(ran.stdout.splitlines()[-1])
    assert outcome["killed"] is not None
    assert (outcome["rows"], outcome["kept"], outcome["left"]) == (6 * HORIZON, 6, [])
    local, there = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("local", "out"))
    assert there == local


def test_without_ray_the_extra_is_named(run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"engine 'ray' needs Ray Data.*\n.*fusecast\[ray\]"):
        predict_folder(run, data, tmp_path / "out", data.parent / "plans", engine="ray")
