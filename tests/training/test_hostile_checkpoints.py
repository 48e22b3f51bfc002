"""Checkpoints whose values have other types or sizes than fusecast writes are refused in words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.helpers.quiet_trainer import trainer
from tests.helpers.training_fixtures import Train, World
from torch.utils.data import DataLoader

from fusecast.errors import ArtifactError, TrainingError
from fusecast.training.checkpoints import RUN, load_checkpoint
from fusecast.training.lightning_module import TFTModule


def _set(*names: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: Any) -> None:
        for name in names[:-1]:
            content = (
                content[name] if not isinstance(name, str) or name in content else content[_starting(content, name)]
            )
        content[names[-1]] = value

    return change


def _starting(content: dict[str, Any], name: str) -> str:
    return next(key for key in content if key.startswith(name))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_set("epoch", value="1"), "epoch in it is '1', no int"),
        (_set("global_step", value=True), "global_step in it is True, no int"),
        (_set("state_dict", "network.head.projection.bias", value=torch.zeros(99)), r"no tensor of shape \[3"),
        (_set("state_dict", value=[]), "holds no state of a training"),
        (_set("hyper_parameters", value=[]), "holds no state of a training"),
        (_set("hyper_parameters", "model", value=3), "another kind of network"),
        (_set("hyper_parameters", "seed", value="x"), "seed was x and is 42"),
        (_set("hyper_parameters", "model", "horizon", value=torch.zeros(2)), r"horizon was tensor.* and is 4"),
        (_set("epoch_loss", value=[1.0, "x"]), "epoch_loss in it is 'x', no float"),
        (_set("loops", "fit_loop", "epoch_progress", value=3), "epoch_progress in .* is no mapping"),
        (_set("loops", "fit_loop", "epoch_progress", "current", "completed", value=None), "completed in .* is None"),
        (_set("loops", "fit_loop", value={}), "makes no sense .KeyError"),
        (_set("callbacks", "EarlyStopping", "wait_count", value="x"), "wait_count in .* is 'x', no int"),
        (
            _set("callbacks", "MovableCheckpoint", "best_model_score", value="x"),
            "score of the best weights is no number",
        ),
        (_set("callbacks", "History", "rows", value=[{"epoch": 0}]), "a row of the history"),
        (_set("lr_schedulers", 0, "best", value="x"), "best in lr_schedulers in it is 'x'"),
        (
            _set("optimizer_states", 0, "state", 2, "exp_avg", value=torch.zeros(1)),
            "exp_avg of the optimizer does not fit",
        ),
        (_set("optimizer_states", 0, "state", 2, value={}), "of the optimizer does not fit"),
        (_set("optimizer_states", 0, "param_groups", 0, "lr", value="x"), "no finite number"),
        (_set("optimizer_states", value=[]), r"optimizer_states in it is \[\], no list of values"),
        (_set("WindowDataModule", "seed", value="x"), "seed in it is 'x', no int"),
    ],
)
def test_a_checkpoint_of_other_types_is_refused_in_words(
    tmp_path: Path, train: Train, change: Callable[[dict[str, Any]], None], words: str
) -> None:
    train(max_epochs=1)
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    content = load_checkpoint(path)
    change(content)
    torch.save(content, path)
    with pytest.raises(TrainingError, match=rf"(?s)cannot be resumed from .*{words}"):
        train(max_epochs=2, resume=path)


def test_an_identity_that_is_no_text_is_refused_in_a_folder_that_has_none(tmp_path: Path, train: Train) -> None:
    train(max_epochs=1)
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    torch.save({**load_checkpoint(path), RUN: torch.zeros(2)}, path)
    with pytest.raises(TrainingError, match="the identity of its run is tensor"):
        train(max_epochs=2, resume=path, folder=tmp_path / "other")


@pytest.mark.filterwarnings("ignore")  # Lightning's, of a Trainer without batches
def test_weights_that_are_not_finite_are_named_wherever_a_checkpoint_is_read(
    tmp_path: Path, train: Train, world: World
) -> None:
    train(max_epochs=1)
    (tmp_path / "alone").mkdir()
    path = tmp_path / "alone" / "last.ckpt"
    content = load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")
    content["state_dict"]["network.head.projection.bias"][0] = -torch.inf
    torch.save(content, path)
    words = "last.ckpt holds weights that are NaN or infinite: 'network.head.projection.bias'"
    module, batches = TFTModule(world.model.to_dict(), seed=42), DataLoader([], batch_size=None)
    with pytest.raises(ArtifactError, match=words):
        TFTModule.load_from_checkpoint(path)
    with pytest.raises(ArtifactError, match=words):
        trainer(tmp_path, max_epochs=2).fit(module, batches, ckpt_path=path, weights_only=True)
    with pytest.raises(ArtifactError, match=words):
        trainer(tmp_path).test(module, batches, ckpt_path=path, verbose=False, weights_only=True)
    with pytest.raises(TrainingError, match=rf"no checkpoint in it can be read: .*{words}"):
        train(folder=tmp_path / "alone", max_epochs=2, resume=path)


def test_no_module_is_built_for_sizes_that_a_checkpoint_does_not_have(tmp_path: Path, train: Train) -> None:
    train(max_epochs=1)
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    content = load_checkpoint(path)
    content["hyper_parameters"]["model"] |= {"hidden_size": 10**9, "num_heads": 1}
    torch.save(content, path)
    with pytest.raises(ArtifactError, match="a network of the sizes stated with it has at least"):
        TFTModule.load_from_checkpoint(path)
