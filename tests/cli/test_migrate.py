"""`fusecast migrate` as a process: the table, the checkpoint, and exit codes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch
from tests.helpers.python_server import run_python

from fusecast.compat.lightning_scripts.module import TemporalFusionTransformerLightning
from fusecast.model.config import ModelConfig
from fusecast.model.tft import TemporalFusionTransformer

CONFIG = ModelConfig(horizon=3, lookback=5, known_reals=1, hidden_size=8, num_heads=2)


def run(*words: object, folder: Path) -> subprocess.CompletedProcess[str]:
    return run_python("-m", "fusecast", "migrate", *words, cwd=folder)


def test_weights_of_the_script_convert_and_load_in_one_command(tmp_path):
    module = TemporalFusionTransformerLightning(input_size=3, hidden_size=8, num_heads=2).eval()
    torch.save({f"module.{name}": tensor for name, tensor in module.state_dict().items()}, tmp_path / "old.pth")
    ran = run("old.pth", "--to", "converted.ckpt", folder=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "Wrote checkpoint: converted.ckpt" in ran.stdout
    loaded = TemporalFusionTransformerLightning.load_from_checkpoint(tmp_path / "converted.ckpt").eval()
    x = torch.randn(2, 6, 3)
    assert torch.equal(loaded(x), module(x))


def test_a_partial_match_prints_its_table_and_ends_with_code_2(tmp_path):
    state = TemporalFusionTransformer(CONFIG).state_dict()
    state["spare"] = state.pop("enrich.hidden.bias")
    torch.save({"model_state_dict": state}, tmp_path / "old.pth")
    (tmp_path / "sizes.yaml").write_text("horizon: 3\nlookback: 5\n")
    words = ("old.pth", "--to", "new.ckpt", "--config", "sizes.yaml", "--set", "layer_norm_eps=1e-3")
    ran = run(*words, folder=tmp_path)
    assert ran.returncode == 2
    lines = [line.split() for line in ran.stdout.splitlines()]
    assert ["missing", "enrich.hidden.bias", "enrich.hidden.bias", "no", "enrich.hidden.bias"] in lines
    assert ["unexpected", "spare", "8"] in lines
    assert ["matched", "head.projection.bias", "head.projection.bias", "3"] in lines
    assert f"{len(state) - 1} matched, 1 missing, 1 unexpected, 0 wrong shape" in ran.stdout
    assert "Hint: --partial loads what matches" in ran.stderr
    assert not (tmp_path / "new.ckpt").exists()

    ran = run(*words, "--partial", folder=tmp_path)
    assert ran.returncode == 0, ran.stderr
    content = torch.load(tmp_path / "new.ckpt", weights_only=True)
    assert content["hyper_parameters"]["model"]["layer_norm_eps"] == 1e-3
    assert "Note: quantile levels 0.1, 0.5, 0.9 are assumed" in ran.stdout


@pytest.mark.parametrize("name", ["sizes.json", "sizes.yaml"])
def test_a_file_that_describes_nothing_is_refused(name, tmp_path):
    torch.save(TemporalFusionTransformer(CONFIG).state_dict(), tmp_path / "old.pth")
    (tmp_path / name).write_text("[1, 2]")
    ran = run("old.pth", "--config", name, folder=tmp_path)
    assert ran.returncode == 2
    assert "it holds no options, but list" in ran.stderr
