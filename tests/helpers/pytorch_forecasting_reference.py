"""Run by a process of its own, with pytorch-forecasting: networks of that library, inputs and what they forecast.

Writes into the folder named: ``CASE.pth`` (state dict and plain hyper-parameters), ``CASE.io`` (inputs, forecasts and
attention before any output transformer), and the checkpoint of a trained model, as its trainer saves it.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402
from lightning.pytorch import Trainer  # noqa: E402
from pytorch_forecasting import TimeSeriesDataSet  # noqa: E402
from pytorch_forecasting.data import GroupNormalizer, MultiNormalizer  # noqa: E402
from pytorch_forecasting.metrics import MultiLoss, QuantileLoss  # noqa: E402
from pytorch_forecasting.models import TemporalFusionTransformer  # noqa: E402

B, L, H = 4, 7, 3
LEVELS = [0.1, 0.5, 0.9]
CARDINALITIES = {"shop": 4, "region": 3, "weather": 5, "holiday": 2}
ONLY_TARGET: dict[str, Any] = {
    "static_categoricals": [],
    "static_reals": [],
    "time_varying_categoricals_encoder": [],
    "time_varying_categoricals_decoder": [],
    "time_varying_reals_encoder": ["sales"],
    "time_varying_reals_decoder": [],
}
INPUTS: dict[str, Any] = {
    "static_categoricals": ["shop", "region"],
    "static_reals": ["area"],
    "time_varying_categoricals_encoder": ["weather", "holiday"],
    "time_varying_categoricals_decoder": ["holiday"],
    "time_varying_reals_encoder": ["price", "day", "sales", "temperature"],
    "time_varying_reals_decoder": ["price", "day"],
}
SIZES: dict[str, Any] = {"hidden_size": 12, "attention_head_size": 3, "hidden_continuous_size": 5}
TABLES = {"shop": (4, 3), "region": (3, 12), "weather": (5, 2), "holiday": (2, 1)}

CASES: dict[str, dict[str, Any]] = {
    "stretched": {**INPUTS, **SIZES, "embedding_sizes": TABLES, "lstm_layers": 2},
    "square": {
        **INPUTS,
        "hidden_size": 8,
        "attention_head_size": 1,
        "hidden_continuous_size": 8,
        "embedding_sizes": TABLES,
    },
    "bare": {**ONLY_TARGET, **SIZES},
    "single static": {
        **INPUTS,
        **SIZES,
        "static_categoricals": ["shop"],
        "static_reals": [],
        "embedding_sizes": TABLES,
    },
    "not causal": {**INPUTS, **SIZES, "embedding_sizes": TABLES, "causal_attention": False},
    "two targets": {**INPUTS, **SIZES, "embedding_sizes": TABLES, "target": ["temperature", "sales"]},
    "shared": {
        **INPUTS,
        **SIZES,
        "embedding_sizes": {**TABLES, "weather": (5, 12), "holiday": (2, 12)},
        "share_single_variable_networks": True,
    },
}


def listed_names(names: list[str], lists: dict[str, Any], kind: str) -> list[str]:
    return [name for name in names if any(name in lists[key] for key in lists if kind in key)]


def draw_inputs(case: dict[str, Any], lengths: list[int]) -> dict[str, Any]:
    def at(names: list[str], steps: int) -> tuple[torch.Tensor, torch.Tensor]:
        codes = [torch.randint(CARDINALITIES[name], (B, 1 if name in ("shop", "region") else steps)) for name in names]
        columns = [code.expand(B, steps) for code in codes]
        return torch.stack(columns, -1) if columns else torch.zeros(B, steps, 0).long(), torch.randn(B, steps, 5)

    categories = case["x_categoricals"]
    past, future = at(categories, L), at(categories, H)
    scale = torch.tensor([[0.0, 1.0]] * B)
    several = isinstance(case["target"], list)
    return {
        "encoder_cat": past[0], "decoder_cat": future[0], "encoder_cont": past[1], "decoder_cont": future[1],
        "encoder_lengths": torch.tensor(lengths), "decoder_lengths": torch.tensor([H] * B),
        "target_scale": [scale, scale] if several else scale,
    }  # fmt: skip


def build_network(case: dict[str, Any]) -> TemporalFusionTransformer:
    options = {name: value for name, value in case.items() if name not in ("target", "max_prediction_length")}
    options.pop("quantiles")
    loss: Any = QuantileLoss(LEVELS)
    scaler: Any = GroupNormalizer()
    if isinstance(case["target"], list):
        loss, scaler = MultiLoss([QuantileLoss(LEVELS)] * 2), MultiNormalizer([GroupNormalizer(), GroupNormalizer()])
        options["output_size"] = [3, 3]
    network = TemporalFusionTransformer(**options, loss=loss, output_transformer=scaler).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network


def compute_outputs(network: TemporalFusionTransformer, x: dict[str, Any]) -> dict[str, Any]:
    with torch.no_grad():
        out = network(x)
    forecast = out["prediction"]
    several = isinstance(forecast, list)
    attention = torch.cat((out["encoder_attention"], out["decoder_attention"]), -1).mean(2)
    return {"x": x, "forecast": torch.stack(forecast if several else [forecast], 2), "attention": attention}


def write_random_cases(folder: Path) -> None:
    for name, options_of_case in CASES.items():
        torch.manual_seed(3)
        case = {
            "output_size": 3, "max_encoder_length": L, "max_prediction_length": H, "target": "sales",
            "quantiles": LEVELS, "x_reals": ["area", "price", "day", "sales", "temperature"], **options_of_case,
        }  # fmt: skip
        case["x_categoricals"] = listed_names(list(CARDINALITIES), case, "categoricals")
        case["embedding_sizes"] = {name: case["embedding_sizes"][name] for name in case["x_categoricals"]}
        network = build_network(case)
        torch.save({"state_dict": network.state_dict(), "hyper_parameters": case}, folder / f"{name}.pth")
        shorter = [7, 4, 1, 6] if name == "stretched" else [L] * B
        torch.save(compute_outputs(network, draw_inputs(case, shorter)), folder / f"{name}.io")


def write_trained_case(folder: Path) -> None:
    torch.manual_seed(4)
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "step": np.tile(np.arange(40), 3),
            "shop": np.repeat(["north", "south", "east"], 40),
            "price": random.normal(size=120),
            "sales": 5 + random.normal(size=120).cumsum() / 5,
        }
    )
    data = TimeSeriesDataSet(
        table, time_idx="step", target="sales", group_ids=["shop"], max_encoder_length=L, max_prediction_length=H,
        min_encoder_length=L, static_categoricals=["shop"], time_varying_known_reals=["step", "price"],
        time_varying_unknown_reals=["sales"], target_normalizer=GroupNormalizer(groups=["shop"]),
        add_relative_time_idx=True, add_target_scales=True, add_encoder_length=True,
    )  # fmt: skip
    network = TemporalFusionTransformer.from_dataset(
        data, hidden_size=8, attention_head_size=2, hidden_continuous_size=4, loss=QuantileLoss(LEVELS)
    )
    loader = data.to_dataloader(train=True, batch_size=B, num_workers=0)
    trainer = Trainer(
        max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.fit(network, loader)
    trainer.save_checkpoint(folder / "tft.ckpt")
    x = next(iter(loader))[0]
    x["target_scale"] = torch.tensor([[0.0, 1.0]] * B)
    plain = {name: value for name, value in x.items() if isinstance(value, torch.Tensor)}
    torch.save(compute_outputs(network.eval(), plain) | {"x_reals": network.hparams.x_reals}, folder / "trained.io")


if __name__ == "__main__":
    torch.set_num_threads(1)
    write_random_cases(Path(sys.argv[1]))
    write_trained_case(Path(sys.argv[1]))
