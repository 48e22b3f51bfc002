"""The script at the root of the repository, as a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "train_tft_lightning.py"


def python(*words: object, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environment)
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran


def test_the_script_trains_on_the_bundled_data_and_its_model_predicts(tmp_path: Path) -> None:
    small = ("num_epochs=1", "hidden_size=4", "num_heads=1", "window_size=12", "batch_size=1024", "learning_rate=1e-2")
    printed = python(SCRIPT, "--config", *small, cwd=tmp_path).stdout
    sizes = [int(number.replace(",", "")) for number in re.findall(r"([\d,]+) to (?:train|validate|test)", printed)]
    assert sum(sizes) == 17_544 - 12
    for words in ("17,544 rows", "left out, as they are not numbers: weather", "parameters", "epoch   0", "test loss"):
        assert words in printed
    assert f"tensorboard --logdir {Path('checkpoints_lightning', 'tft_logs')}" in printed

    folder = tmp_path / "checkpoints_lightning"
    (best,) = folder.glob("tft-epoch=00-val_loss=*.ckpt")
    assert {"last.ckpt", "tft_logs", "training_config.json", "metrics.csv"} <= {path.name for path in folder.iterdir()}
    assert json.loads((folder / "training_config.json").read_text(encoding="utf-8"))["hidden_size"] == 4

    code = f"""
import numpy as np
from config_lightning import LightningTrainingConfig
from dataset import make_dataloaders
from tft_lightning_model import (
    GatedResidualNetwork, MetricsCallback, MultiHeadAttention, TemporalFusionTransformerLightning
)
from train_tft_lightning import predict_with_model, train_tft_lightning
model = TemporalFusionTransformerLightning.load_from_checkpoint({str(best)!r})
test = make_dataloaders(np.random.rand(200, model.input_size).astype("float32"), 12, 32)[2]
predictions, actuals = predict_with_model({str(best)!r}, test, device="cpu")
assert type(predictions) is type(actuals) is np.ndarray and predictions.shape == actuals.shape
assert LightningTrainingConfig().hidden_size == 32
"""
    printed = python("-c", code, cwd=tmp_path).stdout
    assert re.search(r"MSE [\d.]+  RMSE [\d.]+  MAE [\d.]+  R² -?[\d.]+", printed)


def test_a_misspelt_setting_prints_an_error_without_traceback(tmp_path: Path) -> None:
    ran = python(SCRIPT, "--config", "num_epoch=1", cwd=tmp_path, code=2)
    assert "there is no option 'num_epoch'\nHint: did you mean 'num_epochs'?" in ran.stderr
    assert "Traceback" not in ran.stderr
