"""Each pair of lines in docs/coming-from.md runs: ours always, that of the other library where it is installed."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.helpers.tables import shop_table

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "coming-from.md").read_text(encoding="utf-8")
INTRODUCTION, *SECTIONS = re.split(r"^## From ", PAGE, flags=re.MULTILINE)
PAIR = re.compile(
    r"^```python\n# (?P<peer>\S+?):?(?: [^\n]*)?\n(?P<theirs>.*?)\n# fusecast[^\n]*\n(?P<ours>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
PAIRS = {section.partition("\n")[0]: [match.groupdict() for match in PAIR.finditer(section)] for section in SECTIONS}
MODULES = {
    "pytorch-forecasting": "pytorch_forecasting",
    "darts": "darts",
    "neuralforecast": "neuralforecast",
    "AutoGluon": "autogluon.timeseries",
}
IMPORTS = {
    "pytorch-forecasting": """
import lightning.pytorch as pl
from pytorch_forecasting import TemporalFusionTransformer, TimeSeriesDataSet
from pytorch_forecasting.metrics import MAE, QuantileLoss
table["step"] = table.groupby("unique_id").cumcount()
""",
    "darts": """
from darts import TimeSeries
from darts.dataprocessing.transformers import Scaler, StaticCovariatesTransformer
from darts.explainability import TFTExplainer
from darts.metrics import mae
from darts.models import TFTModel
from darts.utils.likelihood_models import QuantileRegression
""",
    "neuralforecast": """
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import MQLoss
from neuralforecast.models import TFT
""",
    "AutoGluon": "from autogluon.timeseries import TimeSeriesDataFrame, TimeSeriesPredictor\n",
}
SMALL = {
    "hidden_size=32": "hidden_size=8",
    "attention_head_size=4": "attention_head_size=1",
    "num_attention_heads=4": "num_attention_heads=1",
    "n_head=4": "n_head=1",
    '"hidden_dim": 32': '"hidden_dim": 8',
    "max_epochs=20": "max_epochs=1, limit_train_batches=2, accelerator='cpu', logger=False, enable_progress_bar=False",
    "n_epochs=20": "n_epochs=1, pl_trainer_kwargs={'accelerator': 'cpu', 'enable_progress_bar': False, 'max_steps': 2}",
    "max_steps=1000": "max_steps=2, accelerator='cpu', enable_progress_bar=False",
    "time_limit=600": "time_limit=60",
    '"max_epochs": 20': '"max_epochs": 1, "num_batches_per_epoch": 2',
}
"""What makes the lines of the other libraries quick."""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the table and the plan of the page, and go to their folder."""
    rows = shop_table(2, 24 * 16).rename({"promotion": "price"})
    rows = rows.drop("weather").sort("unique_id", "ds")
    begin = rows["ds"].unique().sort()[-24]
    rows.filter(rows["ds"] < begin).write_parquet(tmp_path / "sales.parquet")
    rows.filter(rows["ds"] >= begin).select("unique_id", "ds", "price").write_parquet(tmp_path / "plan.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def begin() -> dict[str, Any]:
    """Run the first block of the page."""
    names: dict[str, Any] = {}
    (block,) = re.findall(r"^```python\n(.*?)^```", INTRODUCTION, flags=re.MULTILINE | re.DOTALL)
    exec(block, names)
    return names


def test_every_library_has_ten_pairs() -> None:
    assert {name: len(pairs) for name, pairs in PAIRS.items()} == dict.fromkeys(MODULES, 10)
    assert PAGE.count("```python") == 41
    assert all(pair["peer"] == name for name, pairs in PAIRS.items() for pair in pairs)


@pytest.mark.parametrize("library", PAIRS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_our_lines_run(library: str, shop: Path) -> None:
    from fusecast import Forecaster

    def small(*sizes: int, **options: Any) -> Forecaster:
        quick = {
            "max_steps": 2,
            "members": 1,
            "final": "none",
            "logger": "none",
            "progress": False,
            "accelerator": "cpu",
        }
        options["network"] = options.get("network", {}) | {"hidden_size": 4, "num_heads": 1}
        options["training"] = options.get("training", {}) | quick
        return Forecaster(*sizes, **options)

    names = begin()
    small.load = Forecaster.load  # type: ignore[attr-defined]
    names["Forecaster"] = small
    for pair in PAIRS[library]:
        exec(pair["ours"], names)
    assert len(names["forecasts"]) == 48, "24 steps of two series"


def find_python(library: str) -> str | None:
    """Return the Python that has a library: this one, or that of an environment of `make bench-venvs`."""
    if find_spec(MODULES[library].partition(".")[0]) is not None:
        return sys.executable
    name, folder = library.lower(), os.environ.get("FUSECAST_BENCH_VENVS")
    place = Path(folder, name) if folder else ROOT / f".venv-{name}"
    python = place / "bin" / "python"
    return str(python) if python.exists() and (folder or (place / ".installed").exists()) else None


@pytest.mark.parametrize("library", PAIRS)
@pytest.mark.filterwarnings("ignore")
def test_their_lines_run(library: str, shop: Path) -> None:
    python = find_python(library)
    if python is None:
        pytest.skip(f"{library} is not installed")
    for name in ("sales", "plan"):  # other environments may read no Parquet
        pl.read_parquet(f"{name}.parquet").write_csv(f"{name}.csv")
    reading = "".join(
        f"{name} = pd.read_csv('{file}.csv', parse_dates=['ds'])\n"
        for name, file in (("table", "sales"), ("future", "plan"))
    )
    code = "".join(pair["theirs"] for pair in PAIRS[library])
    for line, quick in SMALL.items():
        code = code.replace(line, quick)
    Path("theirs.py").write_text(f"import pandas as pd\n{reading}{IMPORTS[library]}\n{code}", encoding="utf-8")
    if python == sys.executable:
        runpy.run_path("theirs.py")
        return
    ran = subprocess.run(
        [python, "-W", "ignore", "theirs.py"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
