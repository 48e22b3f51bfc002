"""Weights of pytorch-forecasting give the forecasts that the installed library gives."""

from __future__ import annotations

import importlib.util
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.helpers.python_server import run_python
from tests.helpers.random_batches import build_batch

from fusecast.errors import ArtifactError, ConfigError
from fusecast.interop import Migration, convert
from fusecast.model.batch import Batch, Output

HERE = Path(__file__).parent
GUIDE = HERE.parents[1] / "docs" / "migrate.md"
CASES = ["stretched", "square", "bare", "single static", "not causal", "two targets", "shared"]

needs_the_library = pytest.mark.skipif(
    importlib.util.find_spec("pytorch_forecasting") is None,
    reason="pytorch-forecasting is not installed: pip install 'fusecast[parity]'",
)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks, inputs and forecasts of the library, made by a process of its own."""
    folder = tmp_path_factory.mktemp("reference")
    ran = run_python(HERE.parent / "helpers" / "pytorch_forecasting_reference.py", folder)
    assert ran.returncode == 0, ran.stderr
    return folder


def batch_from(x: dict[str, torch.Tensor], described: dict[str, Any]) -> Batch:
    """Order their inputs, by their names, as the converted network takes them."""
    reals, categories = described["x_reals"], described["x_categoricals"]
    targets = [described["target"]] if isinstance(described["target"], str) else described["target"]
    known, known_categories = described["time_varying_reals_decoder"], described["time_varying_categoricals_decoder"]
    others = [name for name in described["time_varying_reals_encoder"] if name not in known and name not in targets]
    observed_categories = [
        name for name in described["time_varying_categoricals_encoder"] if name not in known_categories
    ]

    def pick(values: torch.Tensor, names: list[str], order: list[str]) -> torch.Tensor:
        return values[..., [order.index(name) for name in names]]

    steps = torch.arange(x["encoder_cont"].shape[1])
    return build_batch(
        static_real=pick(x["encoder_cont"][:, 0], described["static_reals"], reals),
        static_cat=pick(x["encoder_cat"][:, 0], described["static_categoricals"], categories),
        past_real=pick(x["encoder_cont"], [*targets, *others, *known], reals),
        past_cat=pick(x["encoder_cat"], [*observed_categories, *known_categories], categories),
        future_real=pick(x["decoder_cont"], known, reals),
        future_cat=pick(x["decoder_cat"], known_categories, categories),
        past_mask=steps < x["encoder_lengths"].unsqueeze(1),  # they pad on the right
    )


def run(migration: Migration, batch: Batch) -> Output:
    with torch.no_grad():
        return migration.network(batch)


@needs_the_library
@pytest.mark.parametrize("case", CASES)
def test_imported_weights_give_the_forecasts_of_the_library(case, reference):
    described = torch.load(reference / f"{case}.pth", weights_only=True)["hyper_parameters"]
    expected = torch.load(reference / f"{case}.io", weights_only=True)
    migration = convert(reference / f"{case}.pth")
    assert migration.kind == "pytorch-forecasting"
    assert migration.matching.complete
    output = run(migration, batch_from(expected["x"], described))
    torch.testing.assert_close(output.quantiles, expected["forecast"], rtol=0, atol=1e-4)
    torch.testing.assert_close(output.attention, expected["attention"], rtol=0, atol=1e-5)


@needs_the_library
@pytest.mark.parametrize("switch", [{"attention_mask": "inclusive"}, {"layer_norm_eps": 1e-2}], ids=["mask", "epsilon"])
def test_the_comparison_detects_other_mathematics(switch, reference):
    described = torch.load(reference / "stretched.pth", weights_only=True)["hyper_parameters"]
    expected = torch.load(reference / "stretched.io", weights_only=True)
    migration = convert(reference / "stretched.pth", sizes=switch)
    output = run(migration, batch_from(expected["x"], described))
    assert (output.quantiles - expected["forecast"]).abs().max() > 1e-3


@needs_the_library
def test_a_trained_checkpoint_is_refused_until_it_is_exported_as_in_the_guide(reference):
    with pytest.raises(ArtifactError, match=r"tft.ckpt is refused(.|\n)*docs/migrate.md"):
        convert(reference / "tft.ckpt")
    blocks = GUIDE.read_text(encoding="utf-8").split("```python\n")[1:]
    (snippet,) = (block.split("```")[0] for block in blocks if "dataset_parameters" in block)
    ran = run_python("-c", snippet, cwd=reference)
    assert ran.returncode == 0, ran.stderr

    described = json.loads((reference / "tft.json").read_text(encoding="utf-8"))
    migration = convert(reference / "tft.pth", config=described)
    config = migration.config
    assert (config.lookback, config.horizon, config.quantiles) == (7, 3, (0.1, 0.5, 0.9))
    expected = torch.load(reference / "trained.io", weights_only=True)
    output = run(migration, batch_from(expected["x"], described))
    torch.testing.assert_close(output.quantiles, expected["forecast"], rtol=0, atol=1e-4)


def refusal(
    reference: Path, state: dict[str, torch.Tensor] | None = None, case: str = "stretched", **changes: Any
) -> str:
    content = torch.load(reference / f"{case}.pth", weights_only=True)
    torch.save(state or content["state_dict"], reference / "changed.pth")
    with pytest.raises(ArtifactError) as refused:
        convert(reference / "changed.pth", config=content["hyper_parameters"] | changes)
    return str(refused.value)


@needs_the_library
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": "demand"}, "the target 'demand' is no real input of its encoder"),
        ({"categorical_groups": {"weather": ["rain", "snow"]}}, "sums groups of categories"),
        ({"time_varying_reals_encoder": ["day", "sales"]}, "known variable 'price' is an input of its decoder"),
        ({"share_single_variable_networks": True}, "category 'weather' has a network of its own"),
        ({"static_reals": None}, "lacks static_reals, without which its tensors cannot be interpreted"),
    ],
)
def test_networks_that_cannot_be_reproduced_are_refused_with_the_reason(changes, words, reference):
    assert words in refusal(reference, **changes)


@needs_the_library
def test_widths_that_no_switch_reproduces_are_refused_with_the_reason(reference):
    state = torch.load(reference / "stretched.pth", weights_only=True)["state_dict"]
    mixed = state | {"prescalers.price.weight": torch.zeros(12, 1)}
    assert "are the hidden size 12 for some reals, not for all" in refusal(reference, mixed)
    wide = state | {"prescalers.price.weight": torch.zeros(13, 1)}
    assert "the embedding of 'price' is wider than the hidden size 12" in refusal(reference, wide)
    apart = state | {"post_lstm_gate_decoder.fc.bias": torch.zeros(24)}
    assert "post_lstm_gate_decoder.fc.bias differs from post_lstm_gate_encoder.fc.bias" in refusal(reference, apart)


@needs_the_library
def test_a_state_dict_without_its_hyper_parameters_is_refused(reference):
    torch.save(torch.load(reference / "bare.pth", weights_only=True)["state_dict"], reference / "alone.pth")
    with pytest.raises(ArtifactError, match=r"lacks static_categoricals(.|\n)*with --config"):
        convert(reference / "alone.pth")
    content = torch.load(reference / "bare.pth", weights_only=True)
    described = {name: value for name, value in content["hyper_parameters"].items() if name != "max_prediction_length"}
    torch.save({"state_dict": content["state_dict"], "hyper_parameters": described}, reference / "alone.pth")
    with pytest.raises(ConfigError, match=r"^horizon cannot be inferred"):
        convert(reference / "alone.pth")


def test_continuous_integration_has_the_library():
    project = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = next(line for line in project["optional-dependencies"]["dev"] if line.startswith("fusecast["))
    assert "parity" in extras
