from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from tests.helpers.training_fixtures import Train, World, same_weights

from fusecast.config import TrainingConfig
from fusecast.errors import TrainingError
from fusecast.model.tft import TemporalFusionTransformer
from fusecast.training.checkpoints import load_checkpoint
from fusecast.training.fit import make_module, settle_unknown_categories


class SpoilLastEpoch(pl.Callback):
    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.current_epoch == trainer.max_epochs - 1:
            with torch.no_grad():
                module.network.head.projection.bias.fill_(50.0)


def test_the_loss_goes_down_on_a_wave_that_can_be_learnt(train: Train) -> None:
    result = train(max_epochs=8, learning_rate=1e-2, windows_per_epoch=256)
    losses = [row["val_loss"] for row in result.history]
    assert min(losses) < 0.5 * losses[0]
    assert result.best_loss == pytest.approx(min(losses))


def test_the_same_seed_gives_the_same_weights(train: Train, tmp_path: Path) -> None:
    first = train(folder=tmp_path / "1", seed=7)
    torch.rand(5)
    second = train(folder=tmp_path / "2", seed=7)
    other = train(folder=tmp_path / "3", seed=8)
    assert same_weights(first, second)
    assert not same_weights(first, other)


def test_first_weights_are_torchs_or_the_papers_as_configured(train: Train, world: World) -> None:
    usual, papers = (make_module(world.model, TrainingConfig(weight_init=name)).network for name in ("torch", "paper"))
    assert usual.enrich.hidden.bias.any()
    assert not papers.enrich.hidden.bias.any()
    result = train(max_epochs=8, learning_rate=1e-2, windows_per_epoch=256, weight_init="paper")
    losses = [row["val_loss"] for row in result.history]
    assert min(losses) < 0.5 * losses[0]


def test_the_callers_random_numbers_are_left_alone(train: Train) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    train(max_epochs=1)
    assert torch.equal(torch.rand(4), expected)


def test_the_weights_of_the_result_are_those_that_validated_best(train: Train, world: World) -> None:
    result = train(max_epochs=4, callbacks=[SpoilLastEpoch()])
    losses = [row["val_loss"] for row in result.history]
    assert losses.index(min(losses)) < len(losses) - 1, "the test needs a run whose last epoch is not its best"
    assert result.best_loss == pytest.approx(min(losses))
    kept = load_checkpoint(result.checkpoint)["state_dict"]
    assert all(torch.equal(kept[f"network.{name}"], tensor) for name, tensor in result.network.state_dict().items())
    assert result.checkpoint.name == f"tft-epoch={losses.index(min(losses)):02d}-val_loss={min(losses):.6f}.ckpt"
    assert not result.network.training


def test_a_run_writes_its_files_and_nothing_elsewhere(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    result = train(logger="tensorboard")
    run = tmp_path / "run"
    names = sorted(path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file())
    assert [name for name in names if not name.startswith("logs/events")] == [
        "checkpoints/last.ckpt",
        "checkpoints/previous.ckpt",
        f"checkpoints/{result.checkpoint.name}",
        "history.csv",
        "logs/hparams.yaml",
        "run.id",
    ]
    assert any(name.startswith("logs/events") for name in names)
    assert list(elsewhere.iterdir()) == []


def test_training_stops_when_validation_no_longer_improves(train: Train) -> None:
    result = train(max_epochs=20, early_stopping_patience=2, early_stopping_min_delta=100.0)
    assert len(result.history) == 3
    assert result.stopped_why == "val_loss did not improve in 2 epochs"


@pytest.mark.parametrize("nothing", ["none", "empty"])
def test_without_validation_windows_the_training_loss_decides(train: Train, world: World, nothing: str) -> None:
    empty = replace(world.valid, last_cutoff=world.valid.first_cutoff - 1)
    result = train(valid=None if nothing == "none" else empty, max_epochs=3)
    losses = [row["train_loss"] for row in result.history]
    assert result.best_loss == pytest.approx(min(losses))
    assert [row["val_loss"] for row in result.history] == [None] * 3
    assert result.checkpoint.name.endswith(f"-train_loss={min(losses):.6f}.ckpt")


def test_bf16_on_a_cpu_stays_finite_and_near_float32(train: Train, tmp_path: Path) -> None:
    full = train(folder=tmp_path / "32", precision=32)
    half = train(folder=tmp_path / "bf16", precision="bf16")
    assert half.best_loss == pytest.approx(full.best_loss, rel=0.05)
    assert half.best_loss != full.best_loss
    assert all(
        tensor.dtype == torch.float32 and torch.isfinite(tensor).all() for tensor in half.network.state_dict().values()
    )


def test_a_run_without_windows_is_refused(train: Train, world: World) -> None:
    with pytest.raises(TrainingError, match="no window to train on"):
        train(train=replace(world.train, last_cutoff=world.train.first_cutoff - 1))


@pytest.mark.parametrize("average", [True, False])
def test_a_resumed_run_ends_with_the_weights_of_an_undisturbed_one(
    train: Train, undisturbed: Train, tmp_path: Path, average: bool
) -> None:
    options = {"lr_scheduler_patience": 0, "learning_rate": 0.3, "early_stopping_patience": None}
    options["average_weights"] = average
    whole = undisturbed(max_epochs=10, **options)
    train(folder=tmp_path / "parts", max_epochs=4, **options)
    resumed = train(
        folder=tmp_path / "parts", max_epochs=10, resume=tmp_path / "parts" / "checkpoints" / "last.ckpt", **options
    )
    if not average:
        assert len({row["lr"] for row in whole.history}) > 1, "the test needs a run that adapts its learning rate"
    comparable = ["epoch", "step", "train_loss", "val_loss", "val_mae", "lr"]
    assert [[row[name] for name in comparable] for row in resumed.history] == [
        [row[name] for name in comparable] for row in whole.history
    ]
    last = [load_checkpoint(result.checkpoint.parent / "last.ckpt") for result in (whole, resumed)]
    assert all(torch.equal(last[0]["state_dict"][name], tensor) for name, tensor in last[1]["state_dict"].items())
    assert same_weights(whole, resumed)


def test_all_validation_windows_are_used_unless_they_are_capped(train: Train, world: World, tmp_path: Path) -> None:
    few = train(folder=tmp_path / "few", max_epochs=1, validation_windows=5)
    every = train(folder=tmp_path / "every", max_epochs=1, validation_windows=None)
    assert few.history[0]["train_loss"] == every.history[0]["train_loss"]
    assert not np.isclose(few.history[0]["val_loss"], every.history[0]["val_loss"])


def test_a_run_can_be_moved_and_then_resumed(train: Train, tmp_path: Path) -> None:
    options = {"learning_rate": 0.3, "early_stopping_patience": None, "lr_scheduler_patience": 100}
    first = train(folder=tmp_path / "here", max_epochs=2, **options)
    (tmp_path / "here").rename(tmp_path / "there")
    resumed = train(folder=tmp_path / "there", max_epochs=3, resume=tmp_path / "there/checkpoints/last.ckpt", **options)
    assert len(resumed.history) == 3
    assert resumed.best_loss == min(first.best_loss, resumed.history[-1]["val_loss"])
    assert resumed.checkpoint.parent == tmp_path / "there" / "checkpoints"
    assert sorted(path.name for path in resumed.checkpoint.parent.iterdir()) == [
        "last.ckpt",
        "previous.ckpt",
        resumed.checkpoint.name,
    ]


def test_a_checkpoint_of_another_network_is_not_resumed_from(train: Train, world: World, tmp_path: Path) -> None:
    result = train(max_epochs=1)
    with pytest.raises(TrainingError, match=r"cannot be resumed from .*: hidden_size was 8 and is 16"):
        train(model_config=replace(world.model, hidden_size=16), resume=result.checkpoint, folder=tmp_path / "other")
    torch.save({"state_dict": {}}, tmp_path / "bare.ckpt")
    with pytest.raises(TrainingError, match="holds no state of a training"):
        train(resume=tmp_path / "bare.ckpt", folder=tmp_path / "other")


def test_a_checkpoint_of_other_windows_is_not_resumed_from(train: Train, world: World, tmp_path: Path) -> None:
    result = train(max_epochs=1)
    with pytest.raises(TrainingError, match="windows"):
        train(train=world.train.subset([0]), resume=result.checkpoint, folder=tmp_path / "other")


def test_a_run_is_not_resumed_on_another_table_of_the_same_size(train: Train, world: World, tmp_path: Path) -> None:
    train(max_epochs=1)
    moved = replace(world.encoded, reals=world.encoded.reals + 1.0)
    started: list[str] = []
    with pytest.raises(TrainingError, match="the table differs from the one that it began with"):
        train(encoded=moved, resume=tmp_path / "run" / "checkpoints", on_start=lambda: started.append("written"))
    assert started == []  # the run's own file still names its own table
    rounded = replace(world.encoded, reals=world.encoded.reals * (1 + 1e-6))
    assert len(train(encoded=rounded, resume=tmp_path / "run" / "checkpoints").history) == 2


def test_a_run_without_a_checkpoint_starts_anew_with_a_line_on_stderr(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    result = train(resume=tmp_path / "run" / "checkpoints", max_epochs=1)
    assert len(result.history) == 1
    assert "training starts from the beginning" in capsys.readouterr().err


def test_a_run_that_had_stopped_early_stays_stopped(train: Train, tmp_path: Path) -> None:
    options = {"max_epochs": 9, "early_stopping_patience": 1, "early_stopping_min_delta": 100.0}
    first = train(**options)
    assert len(first.history) == 2
    again = train(resume=tmp_path / "run" / "checkpoints", **options)
    assert [row["step"] for row in again.history] == [row["step"] for row in first.history]
    assert same_weights(first, again)


def tables(network: TemporalFusionTransformer) -> list[torch.Tensor]:
    embeddings = [network.embedding, *([network.static.embedding] if network.static else [])]
    return [
        table.detach().clone() for embedding in embeddings for table in embedding.table.split(embedding.cardinalities)
    ]


def test_a_code_that_training_never_saw_stands_for_the_average(world: World) -> None:
    network = TemporalFusionTransformer(world.model)
    before = tables(network)
    assert before, "the world of these tests has categories"
    settle_unknown_categories(network, world.encoded, world.train)
    for old, new in zip(before, tables(network), strict=True):
        torch.testing.assert_close(new[0], old[1:].mean(dim=0))
        torch.testing.assert_close(new[1:], old[1:], rtol=0, atol=0)


def test_a_code_that_training_has_learned_stays(world: World) -> None:
    categories = world.encoded.categories.copy()
    categories[0] = 0  # the first row of all lies in the training span
    network = TemporalFusionTransformer(world.model)
    before = tables(network)[: categories.shape[1]]
    settle_unknown_categories(network, replace(world.encoded, categories=categories), world.train)
    for old, new in zip(before, tables(network), strict=False):
        torch.testing.assert_close(new, old, rtol=0, atol=0)


def test_what_comes_after_the_training_span_does_not_matter(world: World) -> None:
    categories = world.encoded.categories.copy()
    ends = world.encoded.indptr[1:] - 1
    assert (world.train.last_cutoff + world.train.horizon < np.diff(world.encoded.indptr)).all()
    categories[ends] = 0
    one, other = TemporalFusionTransformer(world.model), TemporalFusionTransformer(world.model)
    other.load_state_dict(one.state_dict())
    settle_unknown_categories(one, world.encoded, world.train)
    settle_unknown_categories(other, replace(world.encoded, categories=categories), world.train)
    for a, b in zip(tables(one), tables(other), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
