"""What docs/serving.md shows runs as it is written, at the address of another port."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.helpers.serving import running

from fusecast.forecaster import Forecaster
from fusecast.serving.app import create_app
from fusecast.serving.models import Models

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


CURLS = [block for block in blocks("sh") if block.startswith("curl")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the files of the examples: daily sales with a plan in their last rows, and both apart."""
    place, days, rng = tmp_path_factory.mktemp("shop"), 100, np.random.default_rng(0)
    sales = pl.DataFrame(
        {
            "unique_id": ["a"] * days,
            "ds": [datetime(2025, 1, 1) + timedelta(days=n) for n in range(days)],
            "y": [*rng.normal(10, 1, days - 2), None, None],
            "price": rng.uniform(1, 2, days),
            "promo": rng.choice(["yes", "no"], days),
        }
    )
    sales.write_csv(place / "sales.csv")
    sales.head(days - 2).write_parquet(place / "sales.parquet")
    sales.tail(2).drop("y").write_csv(place / "plan.csv")
    training: dict[str, Any] = {"max_steps": 2, "members": 1, "final": "none", "logger": "none", "accelerator": "cpu"}
    network = {"hidden_size": 4, "num_heads": 1}
    Forecaster(2, 5, known=["price", "promo"], frequency="1d", network=network, training=training).fit(
        sales, folder=place / "run"
    )
    return place


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with running(create_app(Models({"run": folder / "run"}))) as url:
        yield url


@pytest.mark.parametrize("command", CURLS)
def test_a_command_is_answered(command: str, address: str, folder: Path) -> None:
    ran = subprocess.run(
        ["bash", "-c", command.replace("curl ", "curl -sS --fail-with-body ").replace(ADDRESS, address)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    if "text/csv" in command and "Accept" in command:
        assert ran.stdout.startswith("unique_id,ds,cutoff,step,y_hat,")
    else:
        assert len(json.loads(ran.stdout)["forecasts"]) == 2


def test_the_python_example(address: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (code,) = blocks("python")
    names: dict[str, Any] = {}
    exec(code.replace(ADDRESS, address), names)
    assert names["forecasts"].columns[:2] == ["unique_id", "ds"]
    assert len(names["forecasts"]) == 2


def test_all_examples_are_tried() -> None:
    assert len(CURLS) == PAGE.count("curl ") == 5
