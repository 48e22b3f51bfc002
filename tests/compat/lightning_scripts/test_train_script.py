"""The script at the root of the repository, as a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.helpers.python_server import run_python
from tests.helpers.tables import two_waves

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "train_tft_lightning.py"


ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "src")))}


def python(*words: object, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    ran = run_python(*words, cwd=cwd, env=ENVIRONMENT)
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran


def test_the_script_trains_on_the_bundled_data_and_its_model_predicts(tmp_path: Path) -> None:
    small = ("num_epochs=1", "hidden_size=4", "num_heads=1", "window_size=12", "batch_size=1024", "learning_rate=1e-2")
    command = [sys.executable, str(SCRIPT), "--config", *small]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=ENVIRONMENT).stdout
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


def copy_scripts(folder: Path, old: str, new: str) -> Path:
    """Copy the four scripts, with an edited config; return the one that trains."""
    for name in ("config_lightning.py", "dataset.py", "tft_lightning_model.py", "train_tft_lightning.py"):
        text = (ROOT / name).read_text(encoding="utf-8")
        if name == "config_lightning.py":
            assert old in text
            text = text.replace(old, new)
        (folder / name).write_text(text, encoding="utf-8")
    two_waves().write_parquet(folder / "table.parquet")
    return folder / "train_tft_lightning.py"


SMALL = """    num_epochs = 1
    hidden_size = 4
    num_heads = 1
    window_size = 6
    data_path = "table.parquet"
    logger = "none"
    accelerator = "cpu"
"""


def test_the_script_uses_what_stands_in_the_config_file_and_sets_earlier_runs_aside(tmp_path: Path) -> None:
    own = '"""Settings."""\n\n\nclass LightningTrainingConfig:\n' + SMALL  # of a user who has such a file already
    script = copy_scripts(tmp_path, (ROOT / "config_lightning.py").read_text(encoding="utf-8"), own)
    folder = tmp_path / "checkpoints_lightning"
    printed = python(script, cwd=tmp_path).stdout
    assert "epoch   0" in printed
    settings = json.loads((folder / "training_config.json").read_text(encoding="utf-8"))
    assert (settings["hidden_size"], settings["num_epochs"], settings["data_path"]) == (4, 1, "table.parquet")
    assert settings["batch_size"] == 256

    script = copy_scripts(tmp_path, "    # Files\n", SMALL)  # edited
    printed = python(script, "--config", "batch_size=16", cwd=tmp_path).stdout
    assert f"moved to {Path('checkpoints_lightning', 'earlier-1')}" in printed
    settings = json.loads((folder / "training_config.json").read_text(encoding="utf-8"))
    assert (settings["hidden_size"], settings["num_epochs"], settings["batch_size"]) == (4, 1, 16)

    ran = python(script, "--config", "batch_size=16", "num_epochs=2", "ckpt_path=last", cwd=tmp_path)
    assert "going on from" in ran.stdout
    assert "epoch   1" in ran.stdout
    assert "epoch   0" not in ran.stdout
    assert sum(path.name.startswith("earlier") for path in folder.iterdir()) == 1


def test_a_wrong_config_file_prints_an_error_without_traceback(tmp_path: Path) -> None:
    ran = python(copy_scripts(tmp_path, "    # Files\n", "    num_epoch = 3\n"), cwd=tmp_path, code=2)
    assert "Error: there is no option 'num_epoch'\nHint: did you mean 'num_epochs'?" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "checkpoints_lightning").exists()


def test_a_misspelt_setting_prints_an_error_without_traceback(tmp_path: Path) -> None:
    ran = python(SCRIPT, "--config", "num_epoch=1", cwd=tmp_path, code=2)
    assert "there is no option 'num_epoch'\nHint: did you mean 'num_epochs'?" in ran.stderr
    assert "Traceback" not in ran.stderr
