"""Drivers are asked at sizes at which figures mean nothing: these tests keep the scripts alive, and time nothing."""

from __future__ import annotations

import ast
import json
import time
from pathlib import Path

import numpy as np
import pytest
from benchmarks.libraries import LIBRARIES, OURS, ROOT, Library
from benchmarks.peers.protocol import Question
from benchmarks.process import ask
from benchmarks.speed import cells, main
from benchmarks.task import Task
from benchmarks.workloads import make_workload, table

MEASURES = ["importing", "first_step", "building", "loading", "training", "bare_step", "predicting"]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workload("w1", tmp_path_factory.mktemp("data"), tiny=True).write()


def test_one_run_writes_a_table_and_json_and_reports_a_failing_library(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FUSECAST_BENCH_VENVS", str(tmp_path / "nowhere"))
    arguments = [
        "--tiny",
        "--rounds",
        "1",
        "--only",
        "w1,predicting",
        "--libraries",
        "fusecast,darts",
        "--threads",
        "1",
    ]
    arguments += ["--threads", "1", "--seconds", "0.01", "--windows", "6", "--data", str(tmp_path / "data")]
    code = main([*arguments, "--out", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    (record,) = (tmp_path / "out").glob("speed-*.json")
    answers = json.loads(record.read_text(encoding="utf-8"))["answers"]
    assert code == 0, answers
    assert {(a["library"], a["measure"]): "error" in a for a in answers} == {
        ("fusecast", "predicting"): False,
        ("darts", "predicting"): True,
    }
    assert "| prediction at stride 1, W1 | windows/s | " in printed
    assert "no figure: darts, predicting, w1, round 1: " in printed
    assert "bench-venvs" in printed


@pytest.mark.parametrize("measure", ["first_step", "building", "loading", "training", "bare_step", "predicting"])
def test_our_driver_answers(measure: str, task: Path) -> None:
    from benchmarks.ours import Fusecast

    asked = {"measure": measure, "task": str(task), "threads": 1, "seconds": 0.01, "windows": 6, "steps": 0, "seed": 0}
    question = Question({**asked, "asked_at": time.time(), "forecasts": ""})
    values = getattr(Fusecast(question), measure)()
    assert set(values) & {"seconds", "windows_per_s"}
    assert all(value >= 0 for value in values.values())


def test_a_driver_that_takes_too_long_is_given_up(task: Path) -> None:
    assert ask(LIBRARIES[OURS], "importing", task, timeout=0.05)["error"] == "no answer within 0 s"


def test_a_driver_that_dies_says_its_last_words(task: Path) -> None:
    answer = ask(Library(OURS, "benchmarks.no_such_module"), "importing", task)
    assert "No module named" in answer["error"]


@pytest.mark.parametrize("name", [name for name in LIBRARIES if name != OURS])
def test_a_peers_driver_imports_nothing_of_ours(name: str) -> None:
    seen: set[str] = set()
    waiting = [LIBRARIES[name].module]
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        path = ROOT / Path(*module.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [imported for imported in names if imported.partition(".")[0] == "fusecast"], module
            waiting += [imported for imported in names if imported.partition(".")[0] == "benchmarks"]


@pytest.mark.parametrize("name", [name for name in LIBRARIES if name != OURS])
def test_a_peers_driver_answers_every_measure(name: str) -> None:
    from importlib import import_module

    # importing a driver's module must not need the library: what it needs is imported when its time is measured
    module = import_module(LIBRARIES[name].module)
    (driver,) = (v for v in vars(module).values() if isinstance(v, type) and v.__module__ == module.__name__)
    base = import_module("benchmarks.peers.driver").Driver
    for method in ("load", "read", "build", "batches", "fit", "step", "prepare_prediction", "quantiles"):
        assert getattr(driver, method) is not getattr(base, method), method
    assert all(hasattr(driver, measure) for measure in (*MEASURES, "forecasts"))


def test_words_choose_cells_of_the_table() -> None:
    assert cells(["w2"]) == [("w2", "training"), ("w2", "bare_step"), ("w2", "predicting")]
    assert cells(["building", "5m"]) == [("5m", "building")]
    assert {measure for _, measure in cells([])} == set(MEASURES)
    with pytest.raises(SystemExit, match="no workload or measure is called w3"):
        cells(["w3"])


def test_tasks_survive_their_json(tmp_path: Path) -> None:
    task = make_workload("w2", tmp_path, num_series=2, num_rows=60)
    assert Task.read(task.write()) == task
    assert task.hidden_size == 160


def test_tables_hold_sorted_series_of_equal_length() -> None:
    columns = table(3, 10)
    np.testing.assert_array_equal(columns["t"], np.tile(np.arange(10), 3))
    np.testing.assert_array_equal(np.bincount(columns["series"]), [10, 10, 10])
    assert len(np.unique(columns["ds"])) == 10
