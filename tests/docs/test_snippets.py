"""The Python and the commands of pages that have no test file of their own."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
import typer
from tests.helpers.tables import TINY, shop_table
from typer.testing import CliRunner

from fusecast import Forecaster
from fusecast.cli.app import app
from fusecast.model.config import ModelConfig
from fusecast.model.tft import TemporalFusionTransformer

ROOT = Path(__file__).resolve().parents[2]
PAGES = {
    page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8")
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
}
RUN_BY = {
    "README.md": "test_readme.py",
    "docs/lightning.md": "test_lightning.py",
    "docs/coming-from.md": "test_coming_from.py",
    "docs/serving.md": "../serving/test_docs.py",
    **dict.fromkeys(
        (f"docs/{name}.md" for name in ("backtest", "calibration", "heads", "migrate", "notebook", "scale")), __file__
    ),
}
"""The test that runs the Python of each page that has some."""


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], flags=re.MULTILINE | re.DOTALL)


def lines(page: str) -> Iterator[str]:
    """Yield the lines of a page's commands; lines that end in a backslash go on."""
    for block in re.findall(r"^```(?:sh|bash|console)\n(.*?)^```", PAGES[page], flags=re.MULTILINE | re.DOTALL):
        yield from block.replace("\\\n", " ").splitlines()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_page_with_python_has_a_test_that_runs_it() -> None:
    assert {page for page in PAGES if blocks(page, "python")} == set(RUN_BY)
    for page, test in RUN_BY.items():
        text = (Path(__file__).parent / test).read_text(encoding="utf-8")
        assert Path(page).name in text or Path(page).stem in text, page


def small(*sizes: int, calibration: str = "none", **options: Any) -> Forecaster:
    """Return the forecaster of a page with a small network, and two steps of training."""
    network = options.pop("network", {}) | {"hidden_size": 4, "num_heads": 1}
    return Forecaster(
        *sizes, **options, network=network, training={**TINY["training"], "max_steps": 2}, calibration=calibration
    )


def run_command(line: str) -> str:
    """Run a command of fusecast, and return what it prints, in one line."""
    ran = CliRunner().invoke(app, shlex.split(line)[1:])
    assert ran.exit_code == 0, ran.output
    return re.sub(r"\s+", " ", ran.output)


def test_the_python_of_backtests_calibration_and_heads(folder: Path) -> None:
    table = shop_table(2, 24 * 21).select("unique_id", "ds", pl.col("y").round().abs())
    table.write_parquet("table.parquet")
    small(24, 48).fit("table.parquet", folder="run")
    first, second = blocks("docs/backtest.md", "python")
    names: dict[str, Any] = {"Forecaster": Forecaster}
    exec(first, names)
    assert names["result"].metrics("step").height == 24 * len(names["result"].grouped_scores)
    assert Path("backtest.parquet").is_file()

    table.write_parquet("m4_hourly.parquet")
    exec(second, {})
    assert pl.read_parquet("m4_twentieth.parquet")["unique_id"].unique().to_list() == ["shop 0"]

    (block,) = blocks("docs/calibration.md", "python")
    names = {"Forecaster": small, "table": table, "future": None}
    exec(block, names)
    assert names["forecaster"].calibration.method == "adaptive"

    (block,) = blocks("docs/heads.md", "python")
    assert eval(block, {"Forecaster": small}).config.network.head == "negative_binomial"


def test_the_python_of_plots(folder: Path) -> None:
    table = shop_table(2, 24 * 15).select("unique_id", "ds", "y", "visitors")
    names: dict[str, Any] = {"Forecaster": small, "table": table}
    for block in blocks("docs/notebook.md", "python"):
        exec(block, names)
    assert Path("forecasts.png").stat().st_size > 10_000
    assert names["other"].config.network.hidden_size == 32
    assert names["scores"].height == 4


def test_the_python_of_old_weights(folder: Path) -> None:
    """The last block is run by tests/interop/test_pytorch_forecasting.py, with that library."""
    config = ModelConfig(horizon=24, lookback=168, hidden_size=8, num_heads=2)
    torch.save(TemporalFusionTransformer(config).state_dict(), "old.pth")
    torch.save({"model": {"weight": torch.ones(1)}, "epoch": 3}, "checkpoint.pt")
    convert, load, extract, _ = blocks("docs/migrate.md", "python")
    names: dict[str, Any] = {}
    for block in (convert, load, extract):
        exec(block, names)
    assert names["module"].model_config == names["migration"].config == config
    assert torch.load("nvidia.pth", weights_only=True)["weight"] == 1


def test_forecasts_of_a_folder_as_the_page_makes_them(folder: Path) -> None:
    (block,) = blocks("docs/scale.md", "python")
    exec(block, {})
    fit, predict, *_ = [line for line in lines("docs/scale.md") if re.match(r"fusecast (fit|predict) \S*sales", line)]
    (remove,) = [line for line in lines("docs/scale.md") if line.startswith("rm ")]
    run_command(fit.replace("--max-steps 200", "--max-steps 2 --hidden-size 4 --num-heads 1 --lookback 48"))
    assert "288 rows are new" in run_command(predict)
    Path(shlex.split(remove)[1]).unlink()
    assert "96 rows are new" in run_command(predict)
    assert "288 rows are new" in PAGES["docs/scale.md"]
    assert "96 rows are new" in PAGES["docs/scale.md"]


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_name_what_there_is(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", PAGES[page], flags=re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
    for words in map(shlex.split, (line for line in lines(page) if "-m fusecast " in line)):
        verb, *rest = words[words.index("fusecast") + 1 :]
        assert typer.main.get_group(app).commands[verb].make_context(verb, rest).params
    for module in re.findall(r"(?:^|`)python -m ((?:benchmarks|tests)[\w.]*)", PAGES[page], flags=re.MULTILINE):
        assert find_spec(module) is not None, module
    for script in re.findall(r"(?:^|`)python ((?:examples|tests|benchmarks)/\S+\.py)", PAGES[page], flags=re.MULTILINE):
        assert (ROOT / script).is_file(), script
