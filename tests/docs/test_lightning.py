"""What docs/lightning.md shows runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from fusecast.compat.lightning_scripts.module import TemporalFusionTransformerLightning
from fusecast.model.config import ModelConfig
from fusecast.model.tft import TemporalFusionTransformer

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "lightning.md").read_text(encoding="utf-8")
SMALL = {"hidden_size": 8, "num_heads": 2, "num_epochs": 1, "batch_size": 64, "accelerator": "cpu", "logger": "none"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def overrides() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines()]
    words = [shlex.split(line) for line in lines if "train_tft_lightning.py" in line]
    return [each[each.index("--config") + 1 :] if "--config" in each else [] for each in words]


@pytest.fixture
def at_the_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*LeafSpec")  # Lightning's advice
def test_the_python_of_the_page_runs(at_the_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import config_lightning

    real = config_lightning.LightningTrainingConfig
    epochs = iter((1, 2))

    def small(**options: Any) -> Any:
        return real(**{**options, **SMALL, "num_epochs": next(epochs)})

    monkeypatch.setattr(config_lightning, "LightningTrainingConfig", small)
    steps = np.arange(400)
    data = pl.DataFrame({"a": np.sin(steps / 3), "b": np.cos(steps / 5)})
    data.write_parquet("table.parquet")
    torch.save(TemporalFusionTransformerLightning(2, 8, 2).state_dict(), "old.pth")
    config = ModelConfig(horizon=24, lookback=168, observed_reals=2, hidden_size=8, num_heads=2)
    torch.save(TemporalFusionTransformer(config).state_dict(), "network.pth")
    namespace: dict[str, Any] = {"data": data}
    sources = blocks("python")
    assert len(sources) == 8
    for source in sources:
        shrunk = source.replace("hidden_size=32, num_heads=4", "hidden_size=8, num_heads=2")
        exec(re.sub(r"\b(pl|L)\.Trainer\(", r"\1.Trainer(accelerator='cpu', logger=False, ", shrunk), namespace)
    assert namespace["forecast"].shape == (8, 24, 1, 3)
    assert namespace["trainer"].current_epoch == 2, "the last block resumes"
    files = {path.name for path in Path("checkpoints_lightning").iterdir()}
    assert {"last.ckpt", "previous.ckpt", "metrics.csv", "training_config.json"} <= files


def test_the_commands_of_the_page_name_settings_that_exist(at_the_root: Path) -> None:
    from config_lightning import LightningTrainingConfig

    settings = overrides()
    assert len(settings) == 5
    for words in settings:
        LightningTrainingConfig.with_overrides(words).training()


def test_the_links_of_the_page_lead_somewhere() -> None:
    for link in re.findall(r"\]\((\w+\.md)\)", PAGE):
        assert (ROOT / "docs" / link).is_file(), link
