"""What users of Lightning replace or add works with both modules: optimizers, schedulers, finders, training steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import GradientAccumulationScheduler, LearningRateFinder, StochasticWeightAveraging
from pytorch_lightning.tuner import Tuner
from tests.helpers.tables import two_waves
from tests.helpers.training_fixtures import Train, World, same_weights
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR, ReduceLROnPlateau, StepLR

from fusecast.compat.lightning_scripts.dataloaders import make_dataloaders
from fusecast.compat.lightning_scripts.metrics_callback import MetricsCallback
from fusecast.compat.lightning_scripts.module import TemporalFusionTransformerLightning
from fusecast.config import TrainingConfig
from fusecast.errors import ArtifactError, ConfigError
from fusecast.model.batch import example_batch
from fusecast.training.datamodule import WindowDataModule
from fusecast.training.lightning_module import TFTModule

# advice of Lightning on loaders and trainers, and its own calls of torch
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*LeafSpec", "ignore:.*smaller than the logging interval",
    "ignore:.*exists and is not empty", "ignore:The lr scheduler dict contains the key", "ignore:.*callbacks used",
    "ignore:You defined a `validation_step` but have no", "ignore:The dirpath has changed",
)  # fmt: skip

STEPS, RATE = 7, 0.01  # steps an epoch
Make = Callable[..., tuple[Any, dict[str, Any]]]


@pytest.fixture(params=["scripts", "windows"])
def make(request: pytest.FixtureRequest, world: World) -> Make:
    """Return a function that makes a module of either kind, with methods replaced, and what its Trainer fits on."""

    def build(methods: dict[str, Any] | None = None, **options: Any) -> tuple[Any, dict[str, Any]]:
        torch.manual_seed(0)
        options = {"learning_rate": RATE, "seed": 1, **options}
        if request.param == "scripts":
            sizes = {"input_size": 2, "hidden_size": 8, "num_heads": 2, "dropout": 0.2}
            module = type("Replaced", (TemporalFusionTransformerLightning,), methods or {})(**sizes, **options)
            train, valid, _ = make_dataloaders(two_waves(), 6, 16)
            return module, {"train_dataloaders": train, "val_dataloaders": valid}
        model = {**world.model.to_dict(), "dropout": 0.2}
        config = TrainingConfig(batch_size=16, windows_per_epoch=16 * STEPS)
        data = WindowDataModule(world.encoded, train=world.train, valid=world.valid, config=config)
        return type("Replaced", (TFTModule,), methods or {})(model, **options), {"datamodule": data}

    return build


class Rates(pl.Callback):
    """Record the learning rate of every batch."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def fit(module: Any, data: dict[str, Any], folder: Path, *callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    resume = options.pop("resume", None)
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    options = {"max_epochs": 4, "accelerator": "cpu", "default_root_dir": folder, **quiet, **options}
    trainer = pl.Trainer(**options, callbacks=list(callbacks), use_distributed_sampler=False)
    trainer.fit(module, **data, ckpt_path=resume, weights_only=True)
    return trainer


def simulate(scheduler: Any, every_step: bool, steps: int) -> list[float]:
    """Return the rates of a scheduler that torch steps alone."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    optimizer = SGD([parameter], lr=RATE)
    scheduler = scheduler(optimizer)
    rates = []
    for i in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if every_step or (i + 1) % STEPS == 0:
            scheduler.step()
    return rates


def one_cycle(optimizer: Any) -> Any:
    return OneCycleLR(optimizer, max_lr=0.1, total_steps=4 * STEPS)


def cosine(optimizer: Any) -> Any:
    return CosineAnnealingLR(optimizer, T_max=4)


def constant(optimizer: Any) -> Any:
    return StepLR(optimizer, 100)


RETURNED: dict[str, tuple[Callable[[Any], Any], Any, bool]] = {
    "the optimizer alone": (lambda optimizer: optimizer, constant, False),
    "a list of it": (lambda optimizer: [optimizer], constant, False),
    "two lists": (lambda optimizer: ([optimizer], [cosine(optimizer)]), cosine, False),
    "two lists with a dictionary": (
        lambda optimizer: ([optimizer], [{"scheduler": one_cycle(optimizer), "interval": "step"}]), one_cycle, True,
    ),
    "a dictionary": (lambda optimizer: {"optimizer": optimizer, "lr_scheduler": cosine(optimizer)}, cosine, False),
    "a dictionary of dictionaries": (
        lambda optimizer: {
            "optimizer": optimizer, "lr_scheduler": {"scheduler": one_cycle(optimizer), "interval": "step"}
        }, one_cycle, True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", RETURNED)
def test_optimizers_and_schedulers_of_the_user_are_stepped_as_lightning_steps_them(
    make: Make, tmp_path: Path, kind: str
) -> None:
    returned, scheduler, every_step = RETURNED[kind]
    module, data = make({"configure_optimizers": lambda self: returned(SGD(self.parameters(), lr=RATE))})
    before = [parameter.detach().clone() for parameter in module.parameters()]
    rates = Rates()
    fit(module, data, tmp_path, rates)
    assert rates.rates == pytest.approx(simulate(scheduler, every_step, 4 * STEPS))
    assert any(not torch.equal(old, new) for old, new in zip(before, module.parameters(), strict=True))


def test_a_plateau_of_the_user_has_its_own_monitor_and_frequency(make: Make, tmp_path: Path) -> None:
    def configure(self: Any) -> Any:
        optimizer = SGD(self.parameters(), lr=RATE)
        scheduler = ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=1e9, threshold_mode="abs")
        config = {"scheduler": scheduler, "monitor": "val_mae", "frequency": 2}
        return {"optimizer": optimizer, "lr_scheduler": config}

    rates = Rates()
    trainer = fit(*make({"configure_optimizers": configure}), tmp_path, rates, max_epochs=6)
    assert rates.rates[::STEPS] == [RATE] * 4 + [RATE / 2] * 2
    scheduler = trainer.lr_scheduler_configs[0].scheduler
    assert scheduler.num_bad_epochs == 0
    assert scheduler.last_epoch == 3
    assert scheduler.best != float("inf")


def test_the_scheduler_of_the_module_with_another_monitor_is_left_to_lightning(make: Make, tmp_path: Path) -> None:
    def configure(self: Any) -> Any:
        config = super(type(self), self).configure_optimizers()
        config["lr_scheduler"] |= {"monitor": "val_mae", "frequency": 3}
        return config

    trainer = fit(*make({"configure_optimizers": configure}), tmp_path)
    assert trainer.lr_scheduler_configs[0].scheduler.last_epoch == 1
    assert float(trainer.lr_scheduler_configs[0].scheduler.best) > 0


def test_optimization_by_hand_steps_what_it_steps(make: Make, tmp_path: Path) -> None:
    def configure(self: Any) -> Any:
        self.automatic_optimization = False
        optimizer = SGD(self.parameters(), lr=RATE)
        return [optimizer], [cosine(optimizer)]

    def step(self: Any, batch: Any, batch_idx: int) -> Any:
        optimizer = self.optimizers()
        optimizer.zero_grad()
        loss = super(type(self), self).training_step(batch, batch_idx)
        self.manual_backward(loss)
        optimizer.step()
        if self.trainer.is_last_batch:
            self.lr_schedulers().step()

    rates = Rates()
    trainer = fit(*make({"configure_optimizers": configure, "training_step": step}), tmp_path, rates)
    assert rates.rates == pytest.approx(simulate(cosine, False, 4 * STEPS))
    assert trainer.callback_metrics["train_loss"] > 0


def test_the_learning_rate_finder_tries_rising_rates_and_suggests_one(make: Make, tmp_path: Path) -> None:
    module, data = make()
    weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=20, default_root_dir=tmp_path, logger=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, enable_checkpointing=False,
    )  # fmt: skip
    finder = Tuner(trainer).lr_find(module, **data, min_lr=1e-6, max_lr=1.0, num_training=40)
    tried, losses = finder.results["lr"], finder.results["loss"]
    assert len(tried) >= 20
    assert np.all(np.diff(tried) > 0)
    assert tried[0] < 1e-5
    assert tried[-1] > 1e-2
    assert min(losses[20:]) < 0.98 * max(losses[:20]), losses  # the first few are those of Lightning's smoothing
    assert 1e-5 < finder.suggestion() < 1.0
    assert module.learning_rate == finder.suggestion() == module.hparams["learning_rate"]
    assert all(torch.equal(tensor, weights[name]) for name, tensor in module.state_dict().items())
    rates = Rates()
    fit(module, data, tmp_path, rates, max_epochs=1)
    assert set(rates.rates) == {finder.suggestion()}


def test_the_callback_that_finds_the_learning_rate_starts_with_it(make: Make, tmp_path: Path) -> None:
    finder, rates = LearningRateFinder(min_lr=1e-6, num_training_steps=30, early_stop_threshold=None), Rates()
    module, data = make(lr_scheduler_patience=100)
    fit(module, data, tmp_path, finder, rates, max_epochs=5)
    assert finder.optimal_lr is not None
    assert np.all(np.diff(finder.optimal_lr.results["lr"]) > 0)
    assert rates.rates == [finder.optimal_lr.suggestion()] * 5 * STEPS
    assert rates.rates[0] > 1e-5


def test_stochastic_weight_averaging_averages(make: Make, tmp_path: Path) -> None:
    class Starts(pl.Callback):
        def __init__(self) -> None:
            self.weights: list[list[torch.Tensor]] = []

        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            self.weights.append([parameter.detach().clone() for parameter in pl_module.parameters()])

    starts, rates = Starts(), Rates()
    averaging = StochasticWeightAveraging(swa_lrs=0.05, swa_epoch_start=2, annealing_epochs=1)
    module, data = make()
    fit(module, data, tmp_path, averaging, starts, rates)
    assert rates.rates[-1] == pytest.approx(0.05)
    expected = [torch.stack(tensors).mean(dim=0) for tensors in zip(*starts.weights[1:], strict=True)]
    for parameter, mean in zip(module.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.detach(), mean)


# Losses of training steps


def test_a_training_step_of_the_user_keeps_the_loss_that_it_logs(make: Make, tmp_path: Path) -> None:
    def replaced(self: Any, batch: Any, batch_idx: int) -> Any:
        self.log("train_loss", 5.0 + batch_idx, on_step=False, on_epoch=True, batch_size=1)
        return next(self.network.head.parameters()).sum()

    def extended(self: Any, batch: Any, batch_idx: int) -> Any:
        loss = super(type(self), self).training_step(batch, batch_idx)
        self.log_dict({"train_loss": 5.0 + batch_idx}, on_step=False, on_epoch=True, batch_size=1)
        return loss

    for step in (replaced, extended):
        metrics = MetricsCallback(tmp_path / "metrics.csv", verbose=False)
        trainer = fit(*make({"training_step": step}), tmp_path, metrics, max_epochs=2)
        assert trainer.callback_metrics["train_loss"] == 8.0
        assert metrics.history["train_loss"] == [8.0, 8.0]


def test_a_training_step_that_only_returns_its_loss_has_it_logged(make: Make, tmp_path: Path) -> None:
    losses: list[float] = []

    def step(self: Any, batch: Any, batch_idx: int) -> Any:
        loss = next(self.network.head.parameters()).square().mean() + batch_idx
        losses.append(float(loss.detach()))
        return {"loss": loss}

    trainer = fit(*make({"training_step": step}), tmp_path, max_epochs=1)
    assert float(trainer.callback_metrics["train_loss"]) == pytest.approx(np.mean(losses))


# Accumulated gradients


def test_batches_of_one_step_have_masks_of_their_own_and_single_ones_those_of_before(
    make: Make, tmp_path: Path
) -> None:
    seeds: list[int] = []

    def step(self: Any, batch: Any, batch_idx: int) -> Any:
        seeds.append(torch.initial_seed())
        return super(type(self), self).training_step(batch, batch_idx)

    fit(*make({"training_step": step}), tmp_path, GradientAccumulationScheduler({0: 3, 1: 2}), max_epochs=2)
    assert len(set(seeds)) == len(seeds) == 2 * STEPS
    seeds.clear()
    fit(*make({"training_step": step}), tmp_path, max_epochs=1)
    words = [np.random.SeedSequence((1, i, 0)).generate_state(1, np.uint64)[0] >> np.uint64(1) for i in range(STEPS)]
    assert seeds == [int(word) for word in words]


def test_accumulated_steps_are_resumed_exactly(make: Make, tmp_path: Path) -> None:
    def run(folder: Path, resume: Path | None) -> dict[str, torch.Tensor]:
        keep = pl.callbacks.ModelCheckpoint(folder / "steps", "{step}", every_n_train_steps=1, save_top_k=-1)
        module, data = make()
        fit(module, data, folder, keep, max_epochs=2, resume=resume, accumulate_grad_batches=3)
        return module.state_dict()

    whole = run(tmp_path / "whole", None)
    for step in (1, 2, 3, 5):
        resumed = run(tmp_path / f"from {step}", tmp_path / "whole" / "steps" / f"step={step}.ckpt")
        assert all(torch.equal(tensor, resumed[name]) for name, tensor in whole.items()), step


def test_no_checkpoint_is_written_within_an_accumulated_step(train: Train, tmp_path: Path) -> None:
    class Accumulate(pl.Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            trainer.accumulate_grad_batches = 3

    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if batch_idx == 4:
                raise RuntimeError("stop")

    options: dict[str, Any] = {"batch_size": 16, "checkpoint_steps": 1}
    whole = train(folder=tmp_path / "whole", callbacks=[Accumulate()], **options)
    with pytest.raises(RuntimeError, match="stop"):
        train(folder=tmp_path / "parts", callbacks=[Accumulate(), Stop()], **options)
    last = tmp_path / "parts" / "checkpoints" / "last.ckpt"
    resumed = train(folder=tmp_path / "parts", callbacks=[Accumulate()], resume=last, **options)
    assert same_weights(whole, resumed)


# Names of tensors


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("prefix", ["model.", "module.", "network.", "model.network.", "_orig_mod.", ""])
def test_a_state_dict_is_loaded_whatever_its_prefixes(make: Make, prefix: str, strict: bool) -> None:
    module, other = make()[0], make(seed=2)[0]
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1.0)
    bare = {name.removeprefix("network."): tensor for name, tensor in other.state_dict().items()}
    result = module.load_state_dict({f"{prefix}{name}": tensor for name, tensor in bare.items()}, strict=strict)
    assert not result.missing_keys
    assert not result.unexpected_keys
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in module.state_dict().items())


def test_a_state_dict_that_matches_nothing_is_refused(make: Make) -> None:
    module = make()[0]
    for wrong in ({}, {"state_dict": module.state_dict()}, {"encoder.weight": torch.zeros(1)}):
        with pytest.raises(ArtifactError, match=r"no tensor of the state dict belongs to this Replaced: .*\nHint: .*"):
            module.load_state_dict(wrong, strict=False)
    name, tensor = next(iter(module.state_dict().items()))
    with pytest.raises(ArtifactError, match="twice, with different prefixes"):
        module.load_state_dict({name: tensor, f"module.{name}": tensor}, strict=False)


def test_targets_of_another_shape_are_refused_and_not_repeated(world: World) -> None:
    module = TFTModule(world.model.to_dict())
    batch = example_batch(world.model, 5)
    for wrong in (batch.target[..., 0], batch.target[:, :1], batch.target[:1]):
        for step in (module.training_step, module.validation_step):
            with pytest.raises(ConfigError, match=r"the shape of target in a batch must be \[5, 4, 1\], not \["):
                step(batch._replace(target=wrong), 0)
