from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from tests.helpers.tables import two_waves

from fusecast.compat.lightning_scripts.dataloaders import make_dataloaders
from fusecast.compat.lightning_scripts.module import TemporalFusionTransformerLightning
from fusecast.errors import ArtifactError, ConfigError
from fusecast.model.batch import Batch

# advice of Lightning on trainers, and its own calls of torch
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*LeafSpec", "ignore:.*smaller than the logging interval",
    "ignore:.*exists and is not empty", "ignore:.*ckpt_path.*callbacks", "ignore:You called `self.log",
    "ignore:The dirpath has changed",
)  # fmt: skip

FEATURES, WINDOW = 3, 6


def model(**options: Any) -> TemporalFusionTransformerLightning:
    torch.manual_seed(0)
    return TemporalFusionTransformerLightning(FEATURES, hidden_size=8, num_heads=2, **options)


@pytest.mark.parametrize("output_size", [None, 1, FEATURES, 5])
def test_forward_gives_a_point_for_every_output(output_size: int | None) -> None:
    forecast = model(output_size=output_size).eval()(torch.randn(4, WINDOW, FEATURES))
    assert forecast.shape == (4, output_size or FEATURES)
    assert forecast.dtype == torch.float32


def test_the_forecast_is_the_median_of_the_network() -> None:
    module = model().eval()
    x = torch.randn(4, WINDOW, FEATURES)
    none, codes, mask = torch.zeros(4, 0), torch.zeros(4, 0, dtype=torch.int64), torch.zeros(4, 0, dtype=torch.bool)
    fields: dict[str, Any] = dict.fromkeys(Batch._fields, none)
    fields |= {"static_cat": codes, "past_real": x, "past_cat": codes.view(4, 1, 0).expand(4, WINDOW, 0)}
    fields |= {"future_real": none.view(4, 1, 0), "future_cat": codes.view(4, 1, 0), "static_real_present": mask}
    fields |= {"past_real_present": mask.view(4, 1, 0), "future_real_present": mask.view(4, 1, 0), "past_mask": mask}
    assert torch.equal(module(x), module.network(Batch(**fields)).quantiles[:, 0, :, 0])


def test_inputs_and_forecasts_are_in_the_units_of_the_data() -> None:
    module = model().eval()
    x = torch.randn(4, WINDOW, FEATURES)
    plain = module(x)
    for center, scale in (("center", "scale"), ("target_center", "target_scale")):
        getattr(module, center).fill_(50.0)
        getattr(module, scale).fill_(10.0)
    torch.testing.assert_close(module(10 * x + 50), 10 * plain + 50, rtol=1e-5, atol=1e-4)


def test_a_batch_of_another_shape_is_refused() -> None:
    for wrong in (torch.zeros(4, WINDOW, 2), torch.zeros(WINDOW, FEATURES)):
        with pytest.raises(ConfigError, match=r"the shape of a batch must be \[B, steps, 3\], not \["):
            model()(wrong)


def test_training_takes_the_statistics_of_the_training_rows(tmp_path: Path) -> None:
    train, valid, _ = make_dataloaders(two_waves().with_columns(a=1000 + 50 * np.arange(160.0)), WINDOW, 16)
    module = TemporalFusionTransformerLightning(2, hidden_size=8, num_heads=2)
    trainer = trainer_of_one_epoch(tmp_path)
    trainer.fit(module, train, valid)
    assert torch.equal(module.center, train.steps.center)
    assert torch.equal(module.target_scale, train.steps.scale)
    assert trainer.callback_metrics["train_loss"] < 3, "losses are of standardised values"


def test_a_data_module_and_a_search_for_the_learning_rate_keep_the_statistics(tmp_path: Path) -> None:
    train, valid, _ = make_dataloaders(two_waves().with_columns(a=1000 + 50 * np.arange(160.0)), WINDOW, 16)
    module = TemporalFusionTransformerLightning(2, hidden_size=8, num_heads=2)
    finder = pl.callbacks.LearningRateFinder(num_training_steps=4, early_stop_threshold=None)
    data = pl.LightningDataModule.from_datasets()
    data.train_dataloader, data.val_dataloader = lambda: train, lambda: valid  # type: ignore[method-assign]
    trainer_of_one_epoch(tmp_path, callbacks=[finder]).fit(module, datamodule=data)
    assert torch.equal(module.center, train.steps.center)
    assert torch.equal(module.target_scale, train.steps.scale)


def test_a_resumed_run_keeps_the_statistics_of_its_checkpoint(tmp_path: Path, checkpoint: Path) -> None:
    train, valid, _ = make_dataloaders(two_waves() * 2, WINDOW, 16)
    module = TemporalFusionTransformerLightning(2, hidden_size=8, num_heads=2, dropout=0.3)
    trainer_of_one_epoch(tmp_path, max_epochs=2).fit(module, train, valid, ckpt_path=checkpoint, weights_only=True)
    assert torch.equal(module.center, torch.load(checkpoint, weights_only=True)["state_dict"]["center"])
    assert not torch.equal(module.center, train.steps.center)


def test_loaders_of_the_user_train_the_module(tmp_path: Path) -> None:
    pairs = torch.utils.data.TensorDataset(torch.randn(40, WINDOW, FEATURES), torch.randn(40, 2))
    loader = torch.utils.data.DataLoader(pairs, batch_size=16)
    module = model(output_size=2)
    trainer_of_one_epoch(tmp_path).fit(module, loader, loader)
    torch.testing.assert_close(module.center, pairs.tensors[0].flatten(0, 1).mean(dim=0))


@pytest.mark.parametrize("shape", [(16, 1, FEATURES), (16, 1), (16,), (15, FEATURES)])
def test_a_y_of_another_shape_is_refused_and_not_repeated(tmp_path: Path, shape: tuple[int, ...]) -> None:
    batch = (torch.randn(16, WINDOW, FEATURES), torch.randn(shape))
    said = rf"the shape of y in a batch must be \[16, 3\], not {re.escape(str(list(shape)))}\nHint: "
    module = model()
    for step in (module.training_step, module.validation_step, module.test_step):
        with pytest.raises(ConfigError, match=said):
            step(batch, 0)
    if len(batch[1]) == 16:
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*batch), batch_size=16)
        with pytest.raises(ConfigError, match=said):
            trainer_of_one_epoch(tmp_path, num_sanity_val_steps=0).fit(module, loader, loader)


def test_a_batch_that_is_no_pair_is_refused() -> None:
    for wrong in (torch.zeros(4, WINDOW, FEATURES), {"x": 1}, (torch.zeros(4, WINDOW, FEATURES),)):
        with pytest.raises(ConfigError, match=r"a batch must be a pair \(x, y\), not a (Tensor|dict|tuple)"):
            model().training_step(wrong, 0)


def test_weights_of_the_network_alone_are_loaded_and_have_no_statistics(tmp_path: Path) -> None:
    train, _, _ = make_dataloaders(two_waves() * 100, WINDOW, 16)
    old = TemporalFusionTransformerLightning(2, hidden_size=8, num_heads=2).network.state_dict()
    module = TemporalFusionTransformerLightning(2, hidden_size=8, num_heads=2)
    with pytest.raises(RuntimeError, match=r"Missing key.*center"):
        module.load_state_dict(old)
    with pytest.warns(UserWarning, match="the state dict holds no means and deviations: until training"):
        module.load_state_dict(old, strict=False)
    assert all(torch.equal(tensor, module.network.state_dict()[name]) for name, tensor in old.items())
    trainer_of_one_epoch(tmp_path).fit(module, train, train)
    assert torch.equal(module.center, train.steps.center)


def trainer_of_one_epoch(folder: Path, **options: Any) -> pl.Trainer:
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    return pl.Trainer(**{"max_epochs": 1, "accelerator": "cpu", "default_root_dir": folder, **quiet, **options})


def test_a_trainer_of_the_user_predicts_every_row_in_order(tmp_path: Path) -> None:
    _, _, test = make_dataloaders(two_waves(), WINDOW, 7)
    module = TemporalFusionTransformerLightning(2, hidden_size=8, num_heads=2)
    forecast = torch.cat(trainer_of_one_epoch(tmp_path).predict(module, test))
    module.eval()
    expected = torch.cat([module(x) for x, _ in test])
    torch.testing.assert_close(forecast, expected, rtol=0, atol=1e-6)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    train, valid, _ = make_dataloaders(two_waves(), WINDOW, 16)
    trainer = trainer_of_one_epoch(tmp_path)
    trainer.fit(TemporalFusionTransformerLightning(2, hidden_size=8, num_heads=2, dropout=0.3), train, valid)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    return tmp_path / "model.ckpt"


def test_a_checkpoint_holds_plain_values_and_loads_by_its_path_alone(checkpoint: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    assert content["hyper_parameters"]["dropout"] == 0.3
    loaded = TemporalFusionTransformerLightning.load_from_checkpoint(checkpoint)
    assert loaded.hparams["hidden_size"] == 8
    assert set(content["state_dict"]) == set(loaded.state_dict())
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in content["state_dict"].items())
    assert not torch.equal(loaded.center, torch.zeros(2))


@pytest.mark.parametrize("name", ["center", "network.head.projection.bias"])
def test_weights_and_statistics_that_are_not_finite_are_refused_and_buffers_of_the_user_may_be(
    checkpoint: Path, name: str
) -> None:
    class WithLimit(TemporalFusionTransformerLightning):
        def __init__(self, *sizes: Any, **options: Any) -> None:
            super().__init__(*sizes, **options)
            self.register_buffer("limit", torch.tensor(torch.inf))

    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"]["limit"] = torch.tensor(torch.inf)
    torch.save(content, checkpoint)
    assert WithLimit.load_from_checkpoint(checkpoint, input_size=2).limit == torch.inf
    content["state_dict"][name][0] = torch.nan
    torch.save(content, checkpoint)
    with pytest.raises(ArtifactError, match=f"model.ckpt holds weights that are NaN or infinite: '{name}'\n"):
        WithLimit.load_from_checkpoint(checkpoint, input_size=2)


def test_a_checkpoint_with_code_is_refused_and_not_executed(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(tmp_path / "sprung"),)

    torch.save({"state_dict": {}, "hyper_parameters": {"input_size": Trap()}}, tmp_path / "trap.ckpt")
    for options in ({}, {"weights_only": False}):
        with pytest.raises(ArtifactError, match=r"trap\.ckpt is refused: it holds (posix|nt)\.mkdir"):
            TemporalFusionTransformerLightning.load_from_checkpoint(tmp_path / "trap.ckpt", **options)
    assert not (tmp_path / "sprung").exists()


def test_a_trainer_of_the_user_resumes_exactly_even_from_after_the_last_step_of_an_epoch(tmp_path: Path) -> None:
    def train(folder: Path, resume: Path | None) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        torch.manual_seed(1)
        loaders = make_dataloaders(two_waves(), WINDOW, 16)[:2]
        assert len(loaders[0]) == 7
        module = TemporalFusionTransformerLightning(
            2, hidden_size=8, num_heads=2, dropout=0.2, learning_rate=0.3, lr_scheduler_patience=0, seed=1
        )
        keep = pl.callbacks.ModelCheckpoint(folder / "steps", "{step}", every_n_train_steps=1, save_top_k=-1)
        trainer = pl.Trainer(
            max_epochs=3,
            accelerator="cpu",
            callbacks=[keep, pl.callbacks.EarlyStopping("val_loss", patience=2)],
            default_root_dir=folder,
            enable_progress_bar=False,
            enable_model_summary=False,
            logger=False,
        )
        trainer.fit(module, *loaders, ckpt_path=resume, weights_only=True)
        return module.state_dict(), {"steps": trainer.global_step, "lr": trainer.optimizers[0].param_groups[0]["lr"]}

    whole = train(tmp_path / "whole", None)
    for step in (1, 7, 14):
        resumed = train(tmp_path / f"from {step}", tmp_path / "whole" / "steps" / f"step={step}.ckpt")
        assert resumed[1] == whole[1], step
        assert all(torch.equal(tensor, resumed[0][name]) for name, tensor in whole[0].items()), step


def test_bf16_trains_on_a_cpu_without_nan(tmp_path: Path) -> None:
    train, valid, _ = make_dataloaders(two_waves(), WINDOW, 16)
    module = TemporalFusionTransformerLightning(2, hidden_size=8, num_heads=2)
    trainer = trainer_of_one_epoch(tmp_path, precision="bf16-mixed", gradient_clip_val=1.0)
    trainer.fit(module, train, valid)
    assert torch.isfinite(trainer.callback_metrics["val_loss"])
    assert all(torch.isfinite(tensor).all() for tensor in module.state_dict().values())


def test_fp16_with_a_grad_scaler_stays_finite() -> None:
    """What mixed precision does on a card without bf16, as far as a CPU can do it."""
    module = model()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    x, y = 30 * torch.randn(16, WINDOW, FEATURES), torch.randn(16, FEATURES)
    for _ in range(5):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.float16):
            loss = torch.nn.functional.mse_loss(module(x), y)
        assert torch.isfinite(loss)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        assert torch.isfinite(torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0))
        scaler.step(optimizer)
        scaler.update()
    assert all(torch.isfinite(tensor).all() for tensor in module.state_dict().values())
