"""The folder of a script's run: one run, whose checkpoints are its own, for as long as it is there."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import fusecast.compat.lightning_scripts.train as script
from fusecast.compat.lightning_scripts.module import TemporalFusionTransformerLightning
from fusecast.errors import TrainingError
from fusecast.training.checkpoints import load_checkpoint


def act_in_first_step(monkeypatch: pytest.MonkeyPatch, action: Any) -> None:
    class Acting(TemporalFusionTransformerLightning):
        def on_before_backward(self, loss: Any) -> None:
            if self.global_step == 0:
                action()

    monkeypatch.setattr(script, "TemporalFusionTransformerLightning", Acting)


def same_last(first: Path, second: Path) -> bool:
    weights = [load_checkpoint(folder / "last.ckpt")["state_dict"] for folder in (first, second)]
    return all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_a_checkpoint_of_another_run_is_refused_and_one_in_a_new_folder_is_continued(tiny: Any, tmp_path: Path) -> None:
    folders = {name: str(tmp_path / name) for name in ("first", "second", "other seed", "new")}
    for name, seed in (("first", 42), ("second", 42), ("other seed", 1)):
        script.train_tft_lightning(tiny(checkpoint_dir=folders[name], random_seed=seed))
    last = tmp_path / "first" / "last.ckpt"
    before = (tmp_path / "first" / "training_config.json").read_bytes()
    for name, reason in (
        ("second", "it is of another run than folder .*first\nHint: "),
        ("other seed", "seed was 1 and"),
    ):
        config = tiny(checkpoint_dir=folders["first"], num_epochs=3, ckpt_path=str(tmp_path / name / "last.ckpt"))
        with pytest.raises(TrainingError, match=reason):
            script.train_tft_lightning(config)
    assert (tmp_path / "first" / "training_config.json").read_bytes() == before
    script.train_tft_lightning(tiny(checkpoint_dir=folders["new"], num_epochs=3, ckpt_path=str(last)))
    moved = shutil.move(folders["first"], tmp_path / "moved")
    script.train_tft_lightning(tiny(checkpoint_dir=str(moved), num_epochs=3, ckpt_path="last"))
    assert same_last(tmp_path / "moved", tmp_path / "new")


def test_a_folder_removed_under_a_training_ends_it(tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    act_in_first_step(monkeypatch, lambda: shutil.rmtree(tiny().checkpoint_dir))
    with pytest.raises(TrainingError, match="was moved, removed or replaced while a training wrote into it"):
        script.train_tft_lightning(tiny())
    assert not Path(tiny().checkpoint_dir).exists()


@pytest.mark.parametrize(("number", "word"), [(signal.SIGTERM, "terminated"), (signal.SIGINT, "interrupted")])
def test_a_signal_within_the_final_test_ends_it_with_the_code_of_the_signal(
    tiny: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, word: str
) -> None:
    class Acting(TemporalFusionTransformerLightning):
        def on_test_batch_start(self, *_: Any) -> None:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(script, "TemporalFusionTransformerLightning", Acting)
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore Ctrl+C
    try:
        with pytest.raises(SystemExit) as left:
            script.train_tft_lightning(tiny(num_epochs=1))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, inherited)
    assert left.value.code == 128 + number
    printed = capsys.readouterr()
    assert f"{word}: training is complete, and its checkpoints are kept" in printed.err
    assert "test loss" not in printed.out
    assert load_checkpoint(Path(tiny().checkpoint_dir, "last.ckpt"))["epoch"] == 0


def test_a_training_terminated_in_its_first_step_has_the_checkpoint_that_it_speaks_of(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script.train_tft_lightning(tiny(checkpoint_dir=str(tmp_path / "whole")))
    with monkeypatch.context() as patched:
        act_in_first_step(patched, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(SystemExit) as left:
            script.train_tft_lightning(tiny())
    assert left.value.code == 128 + signal.SIGTERM
    assert "terminated: the checkpoints so far are kept" in capsys.readouterr().err
    assert load_checkpoint(Path(tiny().checkpoint_dir, "last.ckpt"))["global_step"] == 1
    script.train_tft_lightning(tiny(ckpt_path="last"))
    assert same_last(Path(tiny().checkpoint_dir), tmp_path / "whole")
