"""The command line as a process of its own, on a real file."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml
from tests.helpers.python_server import run_python

from fusecast import Forecaster
from fusecast.data.samples import load_sample, sample_future_path

SMALL = [
    *("--horizon", "6", "--lookback", "24", "--hidden-size", "8", "--num-heads", "2"),
    *("--known", "holiday,workingday", "--observed", "weather,temp"),
]
SHORT = [
    "--batch-size",
    "16",
    "--max-steps",
    "4",
    "--test",
    "2",
    "--validation",
    "2",
    "--members",
    "1",
    "--final",
    "none",
]


def fusecast(*words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    ran = run_python("-m", "fusecast", *words)
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran


def start_anew(*words: object) -> str:
    """Run fusecast in a new Python, as a shell does, and return what it printed."""
    command = [sys.executable, "-m", "fusecast", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The last 60 days of the bundled data as a CSV."""
    path = tmp_path_factory.mktemp("data") / "bikes.csv"
    load_sample("bike_sharing").tail(60 * 24).write_csv(path)
    return path


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    start_anew("fit", data, "--out", out, *SMALL, *SHORT)
    return out


def test_inspect_proposes_a_command_that_runs(data: Path, tmp_path: Path) -> None:
    shown = fusecast("inspect", data).stdout
    command = next(line for line in shown.splitlines() if line.strip().startswith("fusecast fit"))
    words = command.split()[1:]
    words[words.index("--out") + 1] = str(tmp_path / "run")
    words[words.index("--horizon") + 1] = "6"
    fusecast(*words, "--hidden-size", 8, "--num-heads", 2, *SHORT)
    assert (tmp_path / "run" / "model.safetensors").is_file()


def check_proposal(table: Path, run: Path, words: str) -> None:
    """Run the command that `inspect` proposes, with few steps, and forecast."""
    shown = fusecast("inspect", table).stdout
    command = next(line for line in shown.splitlines() if line.strip().startswith("fusecast fit"))
    assert words in command
    given = shlex.split(command)[1:]
    given[given.index("--out") + 1] = str(run)
    fusecast(*given, "--hidden-size", 8, "--num-heads", 2, *SHORT)
    fusecast("predict", run, "--out", run / "forecasts.parquet")


def test_inspect_finds_keys_of_several_columns(tmp_path: Path) -> None:
    rows = [(q, s, i) for s in ("Bonn", "Lyon") for i in (1, 2) for q in range(48)]
    table = pl.DataFrame(
        {
            "quarter": [f"{2000 + q // 4} Q{q % 4 + 1}" for q, _, _ in rows],
            "store": [s for _, s, _ in rows],
            "item": [i for _, _, i in rows],
            "sold": [100.0 + 10 * (q % 4) + 5 * i for q, _, i in rows],
        }
    )
    table.write_csv(tmp_path / "sales.csv")
    check_proposal(tmp_path / "sales.csv", tmp_path / "run", "--id store,item --time quarter --target sold")
    forecasts = pl.read_parquet(tmp_path / "run" / "forecasts.parquet")
    assert forecasts.select("store", "item").unique().sort("store", "item").rows() == sorted(
        {(s, i) for _, s, i in rows}
    )


def test_the_command_for_tourism_runs(dataset: Callable[[str], Path], tmp_path: Path) -> None:
    table = dataset("small/tourism.csv")
    check_proposal(table, tmp_path / "run", "--id Region,State,Purpose --time Quarter --target Trips")
    assert len(pl.read_parquet(tmp_path / "run" / "forecasts.parquet")) == 304 * 4


@pytest.mark.slow
def test_a_run_holds_what_reproduces_it(run: Path, tmp_path: Path) -> None:
    files = {path.name for path in run.iterdir()}
    assert {"run.yaml", "config.json", "preprocessor.json", "model.safetensors", "history.csv", "checkpoints"} <= files
    fusecast("fit", "--config", run / "run.yaml", "--out", tmp_path / "again")
    for name in ("preprocessor.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (run / name).read_bytes()


def test_options_win_over_the_yaml_file(run: Path, tmp_path: Path) -> None:
    fusecast(
        "fit", "--config", run / "run.yaml", "--out", tmp_path / "other", "--seed", 7, "--set", "network.dropout=0.2"
    )
    values = yaml.safe_load((tmp_path / "other" / "run.yaml").read_text(encoding="utf-8"))
    assert values["training"]["seed"] == 7
    assert values["network"]["dropout"] == 0.2
    assert values["training"]["max_steps"] == 4


def test_predict_in_a_new_process_gives_the_forecasts_of_the_library(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "forecasts.parquet"
    fusecast("predict", run, "--future", sample_future_path("bike_sharing"), "--out", out)
    written = pl.read_parquet(out)
    here = Forecaster.load(run).predict(pl.read_csv(sample_future_path("bike_sharing")))
    assert written.height == 6
    for name in ("y_hat", "q0.1", "q0.5", "q0.9"):
        np.testing.assert_allclose(written[name].to_numpy(), here[name].to_numpy(), rtol=0, atol=1e-6)


def test_evaluate_prints_the_baselines_beside_the_model_and_writes_the_metrics(run: Path) -> None:
    shown = fusecast("evaluate", run).stdout
    for word in ("TFT", "seasonal naive 24", "seasonal naive 168", "P50 risk", "P90 risk", "MASE", "80% coverage"):
        assert word in shown
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["windows"] == 2
    assert metrics["scores"]["TFT"]["y"]["quantile_risk"]["0.5"] > 0


def test_report_writes_one_page(run: Path) -> None:
    assert str(run / "report.html") in fusecast("report", run).stdout
    assert (run / "report.html").stat().st_size < 8_000_000


def test_a_run_is_never_overwritten(run: Path, data: Path) -> None:
    before = (run / "model.safetensors").read_bytes()
    ran = fusecast("fit", data, "--out", run, *SMALL, *SHORT, code=2)
    assert "already holds a run" in ran.stderr
    assert (run / "model.safetensors").read_bytes() == before
