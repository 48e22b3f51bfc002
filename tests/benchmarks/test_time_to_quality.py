from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.peers.protocol import Snapshots
from benchmarks.process import ask
from benchmarks.sets import actuals, cutoffs_between, make_real_task
from benchmarks.task import Task
from benchmarks.time_to_quality import DEFAULTS, aims, main, markdown, quantile_losses, summarise

from benchmarks import time_to_quality


def training(name: str, losses: list[float], seconds: list[float]) -> dict[str, Any]:
    steps = [100.0 * number for number in range(1, len(losses) + 1)]
    values = {"steps": steps, "wall_s": [2 * time for time in seconds], "cpu_s": seconds}
    return {"set": "etth1", "training": name, "losses": losses, "values": values}


def test_losses_are_those_of_sorted_quantiles_by_hand() -> None:
    actual = np.array([[1.0, 2.0], [3.0, 4.0]])
    exact = np.repeat(actual[..., None], 3, axis=-1)
    wrong = exact + np.array([1.0, 0.0, -1.0])  # crossed: they are sorted to -1, 0, 1
    losses = quantile_losses(np.stack((exact, wrong)), actual, (0.1, 0.5, 0.9))
    assert losses == pytest.approx([0.0, (0.1 + 0.0 + 0.1) / 3])
    with pytest.raises(ValueError, match="the shape"):
        quantile_losses(exact[None, :1], actual, (0.1, 0.5, 0.9))


def test_a_ratio_is_the_time_of_the_first_peer_divided_by_ours() -> None:
    darts = training("darts", [0.5, 0.3, 0.4], [10.0, 20.0, 30.0])
    other = training("pytorch-forecasting", [0.6, 0.5, 0.4], [11.0, 22.0, 33.0])
    ours = training("fusecast", [0.45, 0.4, 0.35], [2.0, 4.0, 6.0])
    defaults = training(DEFAULTS, [0.4, 0.29, 0.28], [2.0, 4.0, 6.0])
    assert aims(darts) == [("last", 300, 0.4), ("best", 200, 0.3)]
    assert aims(other) == [("last", 300, 0.4)]
    results = [darts, {"set": "etth1", "training": "other", "error": "it is missing"}, other, ours, defaults]
    last, best, others = summarise(results, "cpu_s")
    assert (last["peer_s"], last["first_s"]) == (30.0, 20.0)  # darts was there at step 200
    assert last["ours"] == {"fusecast": 4.0, DEFAULTS: 2.0}
    assert best["ours"] == {"fusecast": None, DEFAULTS: 4.0}
    assert (others["peer_s"], others["first_s"]) == (33.0, 20.0)
    assert summarise(results, "wall_s")[0]["peer_s"] == 60.0
    lines = markdown([last, best]).splitlines()
    assert lines[2] == "| etth1 | darts, last | 300 | 0.4000 | 30 | 20 | 4.0 | 5.0 | 2.0 | 10.0 |"
    assert lines[3] == "| etth1 | darts, best | 200 | 0.3000 | 20 | 20 | never |  | 4.0 | 5.0 |"


def test_a_pause_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 5.0, 9.0, 12.0, 12.0, 100.0, 120.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(times))
    monkeypatch.setattr("time.process_time", lambda: 0.0)
    weights = {"w": np.zeros(1)}
    snapshots = Snapshots(2)

    class Tensor:
        def detach(self) -> Tensor:
            return self

        def clone(self) -> np.ndarray:
            return weights["w"].copy()

    snapshots.pause()  # at 5
    snapshots.go_on()  # at 9
    for step in (1, 2, 2, 3, 4):  # a step is taken once
        snapshots.take(step, lambda: {"w": Tensor()})
        weights["w"] += 1
    assert snapshots.steps == [2, 4]
    assert snapshots.wall == [8.0, 96.0]
    assert [taken["w"].item() for taken in snapshots.weights] == [1.0, 4.0]


def test_cutoffs_of_validation_are_few_enough_and_lie_in_it(dataset: Callable[[str], Path], tmp_path: Path) -> None:
    task = make_real_task("etth1", dataset("etth1").parent, tmp_path, head=800, part="validation", at_most=20)
    assert task.train_end == (480,) * 7
    assert task.cutoffs == ((544, 616),) * 7  # all but those with targets in rows 480 to 639, 14 are at most 20
    every = cutoffs_between(np.array([480]), np.array([640]), 24)
    assert every == ((496, 520, 544, 568, 592, 616),)
    assert cutoffs_between(np.array([480] * 3), np.array([640] * 3), 24, 2) == ((616,),) * 3  # one a series at least


class Fake:
    """Answers in place of a driver: forecasts that come nearer with the steps, the faster the library."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, library: Any, measure: str, path: Path, **options: Any) -> dict[str, Any]:
        assert measure == "quality"
        name = f"{library.name}{', defaults' if options['defaults'] else ''}"
        self.asked.append(name)
        if library.name == "pytorch-forecasting":
            return {"error": "it is missing", "wall_s": 0.0}
        task = Task.read(path)
        pace = {"darts": 1.0, "fusecast": 2.0, DEFAULTS: 4.0}[name]
        steps = np.arange(options["every"], options["steps"] + 1, options["every"])
        offsets = 1 / (pace * steps)
        truth = actuals(task)
        np.save(options["forecasts"], truth[None, ..., None] + offsets[:, None, None, None] * np.ones(3))
        values = {"steps": steps.tolist(), "wall_s": (steps / 10).tolist(), "cpu_s": (steps / 20).tolist()}
        return {"values": values, "wall_s": 1.0}


def test_one_run_writes_tables_and_keeps_what_is_done(
    dataset: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = Fake()
    monkeypatch.setattr(time_to_quality, "ask", fake)
    arguments = ["--sets", "etth1,m4_hourly", "--steps", "40", "--every", "10", "--head", "600", "--windows", "4"]
    arguments += ["--source", str(dataset("etth1").parent), "--out", str(tmp_path)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    order = ["darts", "pytorch-forecasting", "fusecast", DEFAULTS]
    assert fake.asked == [*order, *order[::-1]]
    # darts has at step 40, after 2 seconds of processor time, what ours have at steps 20 and 10
    assert "| etth1 | darts, last | 40 | 0.0125 | 2 | 2 | 1.0 | 2.0 | 0.5 | 4.0 |" in printed
    assert "| etth1 | darts, last | 40 | 0.0125 | 4 | 4 | 2.0 | 2.0 | 1.0 | 4.0 |" in printed
    assert "no figure: pytorch-forecasting on etth1: it is missing" in printed
    assert (tmp_path / "quality.md").read_text(encoding="utf-8") in printed
    kept = json.loads((tmp_path / "etth1-fusecast-defaults-40-10-0.json").read_text(encoding="utf-8"))
    assert len(kept["losses"]) == 4
    assert main(arguments) == 0
    assert fake.asked[8:] == ["pytorch-forecasting", "pytorch-forecasting"]  # what has failed is tried again


def test_steps_that_do_not_end_with_a_validation_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--steps", "100", "--every", "30"])
    assert "--every 30 must be a divisor of --steps 100" in capsys.readouterr().err


@pytest.mark.usefixtures("forked_processes")
@pytest.mark.parametrize("defaults", [False, True])
def test_our_driver_forecasts_by_the_weights_of_each_snapshot(
    defaults: bool, dataset: Callable[[str], Path], tmp_path: Path
) -> None:
    source = dataset("etth1").parent
    task = make_real_task("etth1", source, tmp_path, head=700, part="validation", at_most=7, hidden_size=4)
    library, answers = time_to_quality.LIBRARIES["fusecast"], {}
    for every in (2, 4):
        forecasts = tmp_path / f"{every}.npy"
        options = {"threads": 1, "steps": 4, "every": every, "defaults": defaults, "forecasts": forecasts}
        answer = ask(library, "quality", tmp_path / "task.json", **options)
        assert "error" not in answer, answer
        assert answer["values"]["steps"] == list(range(every, 5, every))
        assert sorted(answer["values"]["wall_s"]) == answer["values"]["wall_s"]
        answers[every] = np.load(forecasts)
    assert answers[2].shape == (2, 7, task.horizon, 3)
    np.testing.assert_array_equal(answers[2][1], answers[4][0])  # taking snapshots changes nothing
    assert not np.array_equal(answers[2][0], answers[2][1])
