from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from tests.helpers.networks import as_dtype
from tests.helpers.training_fixtures import World

from fusecast.config import TrainingConfig
from fusecast.errors import ConfigError
from fusecast.model.batch import example_batch
from fusecast.model.config import ModelConfig
from fusecast.training.datamodule import WindowDataModule
from fusecast.training.lightning_module import TFTModule, median_error

LIGHTNINGS_ADVICE = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*LeafSpec", "ignore:.*smaller than the logging interval",
    "ignore:.*is_sparse",
)  # fmt: skip


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_the_error_of_the_median_is_the_mean_over_targets_that_count(missing: float) -> None:
    config = ModelConfig(horizon=3, lookback=4, num_targets=2, observed_reals=2, quantiles=(0.1, 0.4, 0.9))
    batch = example_batch(config, 5, missing=missing)
    quantiles = torch.randn(5, 3, 2, 3)
    errors = [
        abs(float(quantiles[b, h, y, 1] - batch.target[b, h, y]))
        for b, h, y in torch.cartesian_prod(torch.arange(5), torch.arange(3), torch.arange(2)).tolist()
        if missing == 0.0 or batch.target_mask[b, h, y]
    ]
    assert float(median_error(quantiles, batch, config.quantiles)) == pytest.approx(sum(errors) / len(errors), rel=1e-5)


@pytest.fixture
def data(world: World) -> WindowDataModule:
    return WindowDataModule(
        world.encoded, train=world.train, valid=world.valid, config=TrainingConfig(batch_size=32, windows_per_epoch=128)
    )


def build(world: World) -> TFTModule:
    torch.manual_seed(0)
    return TFTModule(world.model.to_dict(), learning_rate=0.01, seed=0)


def trainer(folder: Path, **options: Any) -> pl.Trainer:
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    quiet |= {"enable_checkpointing": False, "accelerator": "cpu", "default_root_dir": folder, "max_epochs": 3}
    quiet |= {"use_distributed_sampler": False, "num_sanity_val_steps": 0}
    return pl.Trainer(**{**quiet, **options})


@LIGHTNINGS_ADVICE
@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed"])
def test_a_precision_that_is_supported_trains(
    world: World, data: WindowDataModule, tmp_path: Path, precision: str
) -> None:
    module, losses = build(world), []
    tracker = pl.callbacks.LambdaCallback(
        on_train_epoch_end=lambda trainer, _: losses.append(float(trainer.callback_metrics["val_loss"]))
    )
    trainer(tmp_path, precision=precision, callbacks=[tracker]).fit(module, data)
    assert losses[-1] < 0.8 * losses[0]
    expected = torch.float64 if precision == "64-true" else torch.float32
    assert {parameter.dtype for parameter in module.parameters()} == {expected}


@LIGHTNINGS_ADVICE
@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_a_precision_that_would_round_weights_is_refused(
    world: World, data: WindowDataModule, tmp_path: Path, precision: str
) -> None:
    with pytest.raises(ConfigError, match=f"precision cannot be {precision}"):
        trainer(tmp_path, precision=precision).fit(build(world), data)


def test_a_precision_that_the_options_lack_is_refused_with_those_there_are() -> None:
    for precision in ("bf16-true", "16-true", "transformer-engine"):
        with pytest.raises(ConfigError, match=rf"precision cannot be '{precision}'\nHint"):
            TrainingConfig(precision=precision)


def test_all_steps_return_their_loss_and_the_optimizer_can_be_made_by_hand(
    world: World, data: WindowDataModule
) -> None:
    module = build(world).eval()
    batch = next(iter(data.val_dataloader()))
    losses = [step(batch, 0) for step in (module.training_step, module.validation_step, module.test_step)]
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(losses[1], losses[2])
    optimizer = module.configure_optimizers()["optimizer"]
    losses[0].backward()
    optimizer.step()
    assert module.training_step(batch, 0) < losses[0]


@LIGHTNINGS_ADVICE
def test_a_test_gives_the_metrics_of_a_validation(world: World, data: WindowDataModule, tmp_path: Path) -> None:
    module, loader = build(world), data.val_dataloader()
    (validated,) = trainer(tmp_path).validate(module, loader, verbose=False)
    (tested,) = trainer(tmp_path).test(module, loader, verbose=False)
    assert tested == {name.replace("val", "test"): value for name, value in validated.items()}


@LIGHTNINGS_ADVICE
def test_lightnings_pruning_prunes_what_is_trained_and_forecast(
    world: World, data: WindowDataModule, tmp_path: Path
) -> None:
    module, batch = build(world), next(iter(data.val_dataloader()))
    trainer(tmp_path, callbacks=[pl.callbacks.ModelPruning("l1_unstructured", amount=0.3)]).fit(module, data)
    assert (module.network.enrich.hidden.weight == 0).float().mean() > 0.1
    expected = copy.deepcopy(module).double().eval()(as_dtype(batch, torch.float64)).quantiles
    with torch.no_grad():
        torch.testing.assert_close(module.eval()(batch).quantiles.double(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("head", ["quantile", "normal", "student_t"])
def test_what_stands_in_a_step_of_weight_zero_changes_no_gradient(head: str) -> None:
    config = ModelConfig(horizon=3, lookback=4, hidden_size=8, num_heads=2, observed_reals=1, head=head)
    batch = example_batch(config, 5, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([1.0, 0.0, 2.0]).expand(5, 3)
    gradients = []
    for corrupted in (0.0, 1e30):
        torch.manual_seed(0)
        module = TFTModule(config.to_dict(), seed=0).eval()
        target = batch.target.clone()
        target[:, 1] = corrupted
        weighted = batch._replace(target=target, sample_weight=weights)
        module._loss(module.network(weighted), weighted).backward()
        gradients.append([each.grad for each in module.parameters() if each.grad is not None])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))
    assert any(bool(gradient.any()) for gradient in gradients[0])
