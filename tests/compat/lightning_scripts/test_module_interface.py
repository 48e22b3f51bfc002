"""What users of Lightning do with the module: losses, attributes, metrics, precisions, pruning, optimizers by hand."""

from __future__ import annotations

import copy
import math
import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from tests.helpers.python_server import run_python
from tests.helpers.tables import two_waves
from torch import Tensor, nn

from fusecast.compat.lightning_scripts.dataloaders import make_dataloaders
from fusecast.compat.lightning_scripts.metrics_callback import MetricsCallback
from fusecast.compat.lightning_scripts.module import TemporalFusionTransformerLightning
from fusecast.errors import ConfigError

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:.*LeafSpec", "ignore:.*smaller than the logging interval",
    "ignore:.*exists and is not empty", "ignore:.*have no `val_dataloader`",
)  # fmt: skip

WINDOW, FEATURES = 6, 2


def build(**options: Any) -> TemporalFusionTransformerLightning:
    torch.manual_seed(0)
    settings = {"hidden_size": 8, "num_heads": 2, "learning_rate": 0.01, "seed": 0}
    return TemporalFusionTransformerLightning(FEATURES, **{**settings, **options})


def train(
    module: TemporalFusionTransformerLightning, folder: Path, *, epochs: int = 1, offset: float = 0.0, **options: Any
) -> pl.Trainer:
    table = two_waves()
    loaders = make_dataloaders(table.select(table["a"] + offset, table["b"]), WINDOW, 16)
    quiet: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    quiet |= {"enable_checkpointing": False, "accelerator": "cpu", "default_root_dir": folder}
    trainer = pl.Trainer(max_epochs=epochs, **{**quiet, **options})
    trainer.fit(module, *loaders[:2])
    return trainer


class Losses(pl.Callback):
    """The first batch and the loss of each step."""

    def __init__(self) -> None:
        self.first: tuple[Tensor, Tensor] | None = None
        self.values: list[float] = []

    def on_train_batch_start(self, _trainer: Any, _module: Any, batch: tuple[Tensor, Tensor], *_: Any) -> None:
        self.first = self.first or batch

    def on_train_batch_end(self, _trainer: Any, _module: Any, outputs: Any, *_: Any) -> None:
        self.values.append(float(outputs["loss"]))


# --- losses and attributes -----------------------------------------------------------------------------------------


def test_a_criterion_set_by_the_user_is_what_is_trained_and_validated(tmp_path: Path) -> None:
    assert isinstance(build().criterion, nn.MSELoss)
    trained = {}
    for criterion in (nn.MSELoss(), nn.L1Loss(), nn.HuberLoss(delta=0.1)):
        module, losses = build(dropout=0.0), Losses()
        module.criterion = criterion
        trainer = train(module, tmp_path, callbacks=[losses])
        metrics = trainer.callback_metrics
        expected = {"L1Loss": metrics["val_mae"], "MSELoss": metrics["val_rmse"].square()}.get(type(criterion).__name__)
        if expected is not None:
            torch.testing.assert_close(metrics["val_loss"], expected)
        fresh = build(dropout=0.0)
        for name in ("center", "scale", "target_center", "target_scale"):
            getattr(fresh, name).copy_(getattr(module, name))
        x, y = losses.first
        loss = criterion(fresh(x) / module.scale, y / module.scale).detach()
        assert losses.values[0] == pytest.approx(float(loss), rel=1e-3)
        trained[type(criterion).__name__] = module.network.head.projection.weight
        assert "criterion" not in " ".join(module.state_dict())
    weights = list(trained.values())
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])


def test_a_criterion_that_returns_several_numbers_is_refused() -> None:
    module = build()
    module.criterion = nn.MSELoss(reduction="none")
    with pytest.raises(ConfigError, match=r"the loss of criterion must be one number, not of shape \[4, 2\]"):
        module.training_step((torch.zeros(4, WINDOW, FEATURES), torch.zeros(4, FEATURES)), 0)


def test_the_attributes_of_the_scripts_have_the_values_of_the_constructor() -> None:
    options = {"hidden_size": 16, "num_heads": 4, "num_lstm_layers": 2, "dropout": 0.3, "learning_rate": 0.02}
    options |= {"lr_scheduler_factor": 0.3, "lr_scheduler_patience": 3, "output_size": 1}
    module = build(**options)
    for name, value in {**options, "input_size": FEATURES}.items():
        assert getattr(module, name) == module.hparams[name] == value


@pytest.mark.parametrize(
    "name", ["input_size", "output_size", "hidden_size", "num_heads", "num_lstm_layers", "dropout"]
)
def test_a_size_cannot_be_changed_once_the_network_is_built(name: str) -> None:
    module = build()
    value = getattr(module, name)
    with pytest.raises(ConfigError, match=rf"{name} is {value} since the model was built, and cannot be changed"):
        setattr(module, name, 4)
    setattr(module, name, value)
    assert getattr(module, name) == value


def test_a_subclass_may_have_a_layer_of_that_name() -> None:
    class WithDropout(TemporalFusionTransformerLightning):
        def __init__(self) -> None:
            super().__init__(FEATURES, hidden_size=8, num_heads=2)
            self.dropout = nn.Dropout(0.5)

        def forward(self, x: Tensor) -> Tensor:
            return self.dropout(super().forward(x))

    assert WithDropout().eval()(torch.zeros(1, WINDOW, FEATURES)).shape == (1, FEATURES)


def test_the_learning_rate_and_its_schedule_can_be_set_before_training(tmp_path: Path) -> None:
    module = build()
    module.learning_rate, module.lr_scheduler_factor, module.lr_scheduler_patience = 0.5, 0.1, 0
    rates = []

    class Rates(pl.Callback):
        def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    train(module, tmp_path, epochs=8, callbacks=[Rates()])
    assert rates[0] == 0.5
    assert min(rates) <= 0.05
    assert all(later == earlier or later == pytest.approx(0.1 * earlier) for earlier, later in pairwise(rates))


# --- steps by hand -------------------------------------------------------------------------------------------------


def test_all_steps_return_their_loss() -> None:
    module = build().eval()
    batch = torch.randn(4, WINDOW, FEATURES), torch.randn(4, FEATURES)
    expected = nn.functional.mse_loss(module(batch[0]), batch[1])
    for step in (module.training_step, module.validation_step, module.test_step):
        assert torch.equal(step(batch, 0), expected)


def test_the_optimizer_can_be_made_by_hand() -> None:
    module = build()
    made = module.configure_optimizers()
    optimizer, x = made["optimizer"], torch.randn(32, WINDOW, FEATURES)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = module.training_step((x, x[:, -1]), 0)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert isinstance(made["lr_scheduler"]["scheduler"], torch.optim.lr_scheduler.ReduceLROnPlateau)


# --- metrics -------------------------------------------------------------------------------------------------------


def test_the_root_mean_squared_error_can_be_monitored_and_is_logged_once(tmp_path: Path) -> None:
    logger = pl.loggers.CSVLogger(tmp_path / "logs")
    best = pl.callbacks.ModelCheckpoint(tmp_path, "{epoch}-{val_rmse:.4f}", monitor="val_rmse")
    stop = pl.callbacks.EarlyStopping("val_rmse", patience=0, min_delta=10.0)
    metrics, options = MetricsCallback(verbose=False), {"logger": logger, "enable_checkpointing": True}
    module = build()
    trainer = train(module, tmp_path, epochs=5, callbacks=[metrics, best, stop], log_every_n_steps=1, **options)
    assert trainer.current_epoch < 5, "stopped early"
    history = metrics.history
    assert [math.sqrt(loss) for loss in history["val_loss"]] == pytest.approx(history["val_rmse"], rel=1e-5)
    assert float(best.best_model_score) == pytest.approx(min(history["val_rmse"]))
    lines = Path(logger.log_dir, "metrics.csv").read_text().splitlines()
    column = lines[0].split(",").index("val_rmse")
    logged = [float(line.split(",")[column]) for line in lines[1:] if line.split(",")[column]]
    assert logged == pytest.approx(history["val_rmse"], rel=1e-5), "one value an epoch"


# --- precision -----------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*AMP with fp16 is not supported on CPU")
@pytest.mark.parametrize("precision", ["64-true", "bf16-mixed", "16-mixed"])
def test_a_precision_that_is_supported_trains(tmp_path: Path, precision: str) -> None:
    module, losses = build(), Losses()
    trainer = train(module, tmp_path, epochs=8, offset=1000.0, precision=precision, callbacks=[losses])
    assert trainer.callback_metrics["val_loss"] < 0.8
    assert sum(losses.values[-5:]) < 0.6 * sum(losses.values[:5])
    expected = torch.float64 if precision == "64-true" else torch.float32
    assert {tensor.dtype for tensor in module.state_dict().values()} == {expected}
    assert float(module.center[0]) == pytest.approx(1000, rel=1e-3)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
@pytest.mark.parametrize("verb", ["fit", "predict"])
def test_a_precision_that_would_round_the_data_is_refused_before_anything_changes(
    tmp_path: Path, precision: str, verb: str
) -> None:
    module = build()
    before = copy.deepcopy(module.state_dict())
    pairs = torch.utils.data.TensorDataset(torch.zeros(4, WINDOW, FEATURES), torch.zeros(4, FEATURES))
    trainer = pl.Trainer(precision=precision, accelerator="cpu", default_root_dir=tmp_path, logger=False, max_epochs=1)
    words = rf"precision cannot be {precision}: .*\n.*available are 32-true, .*bf16-mixed"
    with pytest.raises(ConfigError, match=words):
        getattr(trainer, verb)(module, torch.utils.data.DataLoader(pairs))
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert {tensor.dtype for tensor in module.state_dict().values()} == {torch.float32}


def test_a_module_converted_by_hand_is_refused() -> None:
    for convert in (nn.Module.half, nn.Module.bfloat16):
        with pytest.raises(ConfigError, match=r"precision cannot be torch\.b?float16"):
            convert(build())(torch.zeros(4, WINDOW, FEATURES))


# --- pruning, hooks, copies ----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*is_sparse")
def test_lightnings_pruning_prunes_what_is_trained_and_forecast(tmp_path: Path) -> None:
    module = build()
    shares = []

    class Shares(pl.Callback):
        def on_validation_end(self, _trainer: Any, module: Any) -> None:
            shares.append(float((module.network.head.projection.weight == 0).float().mean()))

    pruning = pl.callbacks.ModelPruning("l1_unstructured", amount=0.3)
    train(module, tmp_path, epochs=3, callbacks=[pruning, Shares()], num_sanity_val_steps=0)
    linear = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    zeros = sum(int((layer.weight == 0).sum()) for layer in linear) / sum(layer.weight.numel() for layer in linear)
    assert zeros > 0.3
    assert shares[0] < shares[-1] < 1
    x = torch.randn(5, WINDOW, FEATURES)
    expected = copy.deepcopy(module).double().eval()(x.double())
    with torch.no_grad():
        torch.testing.assert_close(module.eval()(x).double(), expected, rtol=1e-4, atol=1e-4)


def test_training_with_a_hook_on_every_layer_gives_the_same_loss(tmp_path: Path) -> None:
    plain, hooked, called = build(dropout=0.0), build(dropout=0.0), set()
    for name, layer in hooked.named_modules():
        layer.register_forward_hook(lambda *_, name=name: called.add(name))
    losses = [train(module, tmp_path).callback_metrics["val_loss"] for module in (plain, hooked)]
    assert called >= {name for name, layer in hooked.named_modules() if not list(layer.children())} - {
        "network.embedding", "network.recurrence", "network.head",
    }  # fmt: skip
    torch.testing.assert_close(*losses, rtol=1e-3, atol=0)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_a_trained_module_can_be_copied(tmp_path: Path, copied: Any) -> None:
    module, x = build(), torch.randn(5, WINDOW, FEATURES)
    module.criterion = nn.L1Loss()
    train(module, tmp_path)
    other = copied(module).eval()
    assert torch.equal(other(x), module.eval()(x))
    assert (other.hidden_size, type(other.criterion)) == (8, nn.L1Loss)
    train(other.train(), tmp_path)


@pytest.mark.filterwarnings("ignore:.*TorchScript", "ignore:.*to_torchscript", "ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit", "ignore:Converting a tensor")
def test_a_traced_module_forecasts_batches_of_other_sizes() -> None:
    module = build().eval()
    traced = module.to_torchscript(method="trace", example_inputs=torch.randn(4, WINDOW, FEATURES))
    for windows, steps in ((1, WINDOW), (7, 2 * WINDOW)):
        x = torch.randn(windows, steps, FEATURES)
        torch.testing.assert_close(traced(x), module(x), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning")
def test_an_exported_module_forecasts_batches_of_other_sizes() -> None:
    module, size = build().eval(), torch.export.Dim("size", min=2, max=64)
    program = torch.export.export(module, (torch.randn(4, WINDOW, FEATURES),), dynamic_shapes=({0: size},))
    x = torch.randn(7, WINDOW, FEATURES)
    torch.testing.assert_close(program.module()(x), module(x), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_a_compiled_module_forecasts_the_same() -> None:
    module, x = build().eval(), torch.randn(4, WINDOW, FEATURES)
    torch.testing.assert_close(torch.compile(module, backend="eager")(x), module(x), rtol=1e-4, atol=1e-5)


def test_the_old_exporter_to_onnx_does_not_end_the_process() -> None:
    code = """
import io, torch
from torch.onnx._internal.torchscript_exporter import onnx_proto_utils
from fusecast.compat.lightning_scripts.module import TemporalFusionTransformerLightning
try:
    import onnx
except ImportError:  # the exporter's last step, which adds functions of onnxscript, of which there are none
    onnx_proto_utils._add_onnxscript_fn = lambda content, _opsets: content
model, file = TemporalFusionTransformerLightning(3, hidden_size=8, num_heads=2).eval(), io.BytesIO()
axes = {"x": {0: "windows"}}
torch.onnx.export(model, (torch.randn(4, 10, 3),), file, dynamo=False, input_names=["x"], dynamic_axes=axes)
assert file.tell() > 10_000
"""
    done = run_python("-c", code)
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stderr[-2000:]}"
