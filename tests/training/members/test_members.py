"""Networks of an ensemble, trained at the same time: each as it would be alone, whatever happens to their processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.helpers import killed_members
from tests.helpers.killed_members import fit_ensemble
from tests.helpers.training_fixtures import AfterSteps, same_weights

from fusecast.config import MAX_SEED, TrainingConfig
from fusecast.errors import TrainingError
from fusecast.errors.training import TrainingInterrupted
from fusecast.training.fit import FitResult
from fusecast.training.members import fit as members_fit
from fusecast.training.members.processes import MemberProcesses

COMPARED = ("epoch", "step", "train_loss", "val_loss", "val_mae", "lr")


@pytest.fixture(autouse=True)
def two_cores_and_a_thread_each(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(members_fit, "available_cores", lambda: 2)
    before, handler = torch.get_num_threads(), signal.getsignal(signal.SIGINT)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore Ctrl+C
    yield
    torch.set_num_threads(before)
    signal.signal(signal.SIGINT, handler)


def assert_same(one: FitResult, other: FitResult) -> None:
    assert len(one.members) == len(other.members)
    for a, b in zip(one.members, other.members, strict=True):
        assert same_weights(a, b)
        histories = [[{name: row[name] for name in COMPARED} for row in each.history] for each in (a, b)]
        assert histories[0] == histories[1]
        assert (a.best_loss, a.stopped_why, a.checkpoint.name) == (b.best_loss, b.stopped_why, b.checkpoint.name)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    """Three networks, one after another in this process."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(members_fit, "available_cores", lambda: 1)
        torch.set_num_threads(1)
        return fit_ensemble(tmp_path_factory.mktemp("in_turn") / "run", members=3)


def test_members_that_train_at_once_are_those_that_train_one_after_another(
    tmp_path: Path, undisturbed: FitResult, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    before = torch.get_num_threads()
    result = fit_ensemble(folder, members=3, progress=True, logger="csv")
    assert_same(result, undisturbed)
    assert torch.get_num_threads() == before
    assert result.best_loss == pytest.approx(sum(member.best_loss for member in result.members) / 3)
    assert result.history == result.members[0].history
    assert same_weights(result, result.members[0])
    assert not same_weights(result.members[1], result.members[2])
    for place in (folder, folder / "members" / "2", folder / "members" / "3"):
        assert {"checkpoints", "history.csv", "logs", "finished.json"} <= {path.name for path in place.iterdir()}
    lines = capsys.readouterr().err.splitlines()
    for number in (1, 2, 3):
        epochs = len(undisturbed.members[number - 1].history)
        assert sum(line.startswith(f"member {number}  epoch   ") for line in lines) == epochs


def test_the_first_member_is_the_network_that_is_trained_alone_and_the_second_has_the_next_seed(
    tmp_path: Path, undisturbed: FitResult
) -> None:
    alone = fit_ensemble(tmp_path / "first", members=1)
    assert alone.members == ()
    assert same_weights(alone, undisturbed.members[0])
    assert same_weights(fit_ensemble(tmp_path / "second", members=1, seed=43), undisturbed.members[1])
    assert TrainingConfig(seed=MAX_SEED, members=2).of_member(1).seed == 0


@pytest.mark.slow
def test_an_ensemble_that_is_killed_and_resumed_is_the_one_that_nothing_disturbed(
    tmp_path: Path, undisturbed: FitResult
) -> None:
    """The process is killed when member 2 has made some checkpoints, and so is the process of that member with it."""
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "tests.helpers.killed_members", str(folder), "3"]
    with subprocess.Popen(command, cwd=Path(killed_members.__file__).parents[2]) as script:
        try:
            wait_for((folder / "members" / "2" / "checkpoints" / "last.ckpt").exists, script)
        finally:
            script.kill()
    assert not (folder / "members" / "3").exists(), "the test needs a member that had not begun"
    wait_until_no_process_trains_into(folder)
    result = fit_ensemble(folder, members=3, resume=True)
    assert_same(result, undisturbed)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*.ckpt")}
    again = fit_ensemble(folder, members=3, resume=True)
    assert_same(again, undisturbed)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.ckpt")} == times, "nothing is trained again"


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes] | None = None) -> None:
    until = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < until
        assert process is None or process.poll() is None
        time.sleep(0.01)


def wait_until_no_process_trains_into(folder: Path) -> None:
    wait_for(lambda: processes_training_into(folder) == [])


def processes_training_into(folder: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
            if b"fusecast.training.members.process" in words:
                job = json.loads((Path(os.fsdecode(words[-3])) / "job.json").read_text())
                found += [path.parent.name] if job["folder"] == str(folder) else []
        except (OSError, ValueError):
            continue
    return found


def processes_of(monkeypatch: pytest.MonkeyPatch) -> list[MemberProcesses]:
    """Return the list that the processes of the next training will be in."""
    made: list[MemberProcesses] = []

    class Kept(MemberProcesses):
        def __enter__(self) -> MemberProcesses:
            made.append(self)
            return super().__enter__()

    monkeypatch.setattr(members_fit, "MemberProcesses", Kept)
    return made


def test_a_member_whose_process_is_killed_is_named_and_the_run_can_be_resumed(
    tmp_path: Path, undisturbed: FitResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = processes_of(monkeypatch)

    def kill() -> None:
        made[0].running[1].kill()

    with pytest.raises(
        TrainingError, match=r"member 2: its process was killed \(SIGKILL\), perhaps .*\nHint: .*resume"
    ):
        fit_ensemble(tmp_path / "run", members=2, callbacks=[AfterSteps(3, kill)])
    assert not made[0].running
    assert not made[0].scratch.exists()
    monkeypatch.setattr(members_fit, "available_cores", lambda: 1)
    resumed = fit_ensemble(tmp_path / "run", members=2, resume=True)
    assert_same(resumed, replace(undisturbed, members=undisturbed.members[:2]))


def test_the_error_of_a_member_is_that_of_the_training(tmp_path: Path) -> None:
    (tmp_path / "run" / "members" / "2").mkdir(parents=True)
    (tmp_path / "run" / "members" / "2" / "history.csv").mkdir()
    with pytest.raises(TrainingError, match=r"member 2: .*history.csv"):
        fit_ensemble(tmp_path / "run", members=2)


def test_checkpoints_of_another_run_in_the_way_of_a_member_are_refused_before_any_training(tmp_path: Path) -> None:
    checkpoints = tmp_path / "run" / "members" / "2" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "last.ckpt").touch()
    with pytest.raises(TrainingError, match=r"members/2/checkpoints already holds checkpoints"):
        fit_ensemble(tmp_path / "run", members=2)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["members"]


def test_ctrl_c_ends_all_members_with_their_best_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = processes_of(monkeypatch)

    def interrupt() -> None:
        wait_for((tmp_path / "run" / "members" / "2" / "history.csv").exists)
        os.kill(os.getpid(), signal.SIGINT)

    options = {"max_epochs": 3_000, "early_stopping_patience": None}
    result = fit_ensemble(tmp_path / "run", members=2, callbacks=[AfterSteps(7, interrupt)], **options)
    assert not made[0].running
    assert result.interrupted
    assert [member.interrupted for member in result.members] == [True, True]
    assert not list((tmp_path / "run").rglob("finished.json"))


def test_ctrl_c_before_a_member_has_weights_leaves_it_out_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members_fit, "available_cores", lambda: 1)
    interrupt = AfterSteps(7, lambda: os.kill(os.getpid(), signal.SIGINT))
    result = fit_ensemble(tmp_path / "run", members=2, callbacks=[interrupt])
    assert result.interrupted
    assert len(result.members) == 1
    assert "1 of 2 members have been validated" in capsys.readouterr().err
    before = AfterSteps(1, lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(TrainingInterrupted, match="there is no model yet"):
        fit_ensemble(tmp_path / "other", members=2, callbacks=[before])


def test_a_member_that_is_done_is_not_taken_over_by_a_run_of_other_options_or_another_table(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(members_fit, "available_cores", lambda: 1)
        short = fit_ensemble(run, members=2, max_epochs=1)
        longer = fit_ensemble(run, members=2, max_epochs=2, resume=True)
        assert [len(member.history) for result in (short, longer) for member in result.members] == [1, 1, 2, 2]
        assert_same(longer, fit_ensemble(tmp_path / "other", members=2, max_epochs=2))
        encoded = killed_members.wave()
        other = replace(encoded, reals=encoded.reals + 5)
        with pytest.raises(TrainingError, match="the table differs"):
            fit_ensemble(run, members=2, max_epochs=2, resume=True, encoded=other)


def test_each_member_begins_with_the_weights_it_is_given(tmp_path: Path, undisturbed: FitResult) -> None:
    initial = [killed_members.LoadInitialWeights(member.network.state_dict()) for member in undisturbed.members[:2]]
    options: dict[str, Any] = {"members": 2, "initial": initial, "learning_rate": 1e-12, "max_steps": 1}
    result = fit_ensemble(tmp_path / "run", **options)
    for member, before in zip(result.members, undisturbed.members, strict=False):
        for name, tensor in member.network.state_dict().items():
            torch.testing.assert_close(tensor, before.network.state_dict()[name], rtol=1e-4, atol=1e-6)


def test_members_share_the_minutes_where_they_wait_for_each_other(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(members_fit, "available_cores", lambda: 1)
        result = fit_ensemble(tmp_path / "run", members=2, max_minutes=0.004, max_epochs=1_000)
    assert {member.stopped_why for member in result.members} == {"0.002 minutes are over"}
