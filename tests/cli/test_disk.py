"""A full disk and a read-only folder: every command ends with a sentence and code 2, and the old files are whole."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from tests.helpers.disks import FILLER, fill_disk, read_only, small_disk, temporary_files
from tests.helpers.images import needs_kaleido
from tests.helpers.python_server import run_python
from tests.helpers.tables import HORIZON, LOOKBACK, ROLES, TINY, future_of, shop_table

from fusecast import ArtifactError, Forecaster
from fusecast.cli.app import main
from fusecast.compat.lightning_scripts.module import TemporalFusionTransformerLightning
from fusecast.interop import convert

FIT = [
    *("fit", "{data}", "--horizon", "4", "--lookback", "12", "--hidden-size", "8", "--num-heads", "2"),
    *("--static", "city", "--known", "promotion", "--observed", "weather,visitors", "--max-steps", "4"),
    *("--set", "training.checkpoint_steps=1", "--members", "1", "--final", "none"),
]
COMMANDS = {
    "fit": [*FIT, "--out", "{folder}/new"],
    "predict csv": ["predict", "{run}", "--future", "{future}", "--out", "{folder}/forecasts.csv"],
    "predict parquet": ["predict", "{run}", "--future", "{future}", "--out", "{folder}/forecasts.parquet"],
    "predict arrow": ["predict", "{run}", "--future", "{future}", "--out", "{folder}/forecasts.arrow"],
    "evaluate": ["evaluate", "{run}"],
    "backtest": ["backtest", "{run}", "--stride", "4", "--baselines", "last"],
    "calibrate": ["calibrate", "{run}", "--method", "cqr"],
    "explain": ["explain", "{run}", "--permutation", "0", "--figures", "none", "--what-if", "promotion=1"],
    "report": ["report", "{run}"],
    "migrate": ["migrate", "{weights}", "--to", "{folder}/converted.ckpt"],
    "demo": ["demo", "--out", "{folder}/demo", "--max-minutes", "0.01"],
}
RESULTS = {
    *("forecasts.csv", "forecasts.parquet", "forecasts.arrow", "converted.ckpt"),
    *(f"run/{name}" for name in ("metrics.json", "backtest.parquet", "backtest.json", "report.html")),
    "run/explanation/importances.csv",
}


SCRIPTS_MODULE = TemporalFusionTransformerLightning(input_size=3, hidden_size=8, num_heads=2)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table, its future, a fitted run with all results, and weights to convert."""
    folder = tmp_path_factory.mktemp("inputs")
    shop_table().write_csv(folder / "table.csv")
    future_of(shop_table()).write_csv(folder / "future.csv")
    Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY).fit(folder / "table.csv").save(folder / "run")
    for name in RESULTS:
        (folder / "results" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "results" / name).write_text(f"the old {name}")
    torch.save(SCRIPTS_MODULE.state_dict(), folder / "weights.pth")
    return folder


def copy_run(inputs: Path, folder: Path) -> None:
    """Write the run, old weights and old results of every command into a folder."""
    shutil.copytree(inputs / "results", folder, dirs_exist_ok=True)
    shutil.copytree(inputs / "run", folder / "run", dirs_exist_ok=True)
    shutil.copy(inputs / "weights.pth", folder)


def read_files(folder: Path) -> dict[str, bytes]:
    """Return the contents of all files of a folder and below it, but what only fills the disk."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != FILLER]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def error_of(capsys: pytest.CaptureFixture[str], name: str, inputs: Path, folder: Path) -> str:
    """Run a command in this process, check that it ends with code 2, and return what it wrote to stderr."""
    paths = {"data": "table.csv", "future": "future.csv", "weights": "weights.pth"}
    values = {key: str(inputs / path) for key, path in paths.items()} | {"folder": folder, "run": folder / "run"}
    words = [word.format(**values) for word in COMMANDS[name]]
    with patch.object(sys, "argv", ["fusecast", *words]), pytest.raises(SystemExit) as ended:
        main()
    error = capsys.readouterr().err
    assert ended.value.code == 2, error
    return error


@pytest.mark.parametrize("name", COMMANDS)
def test_a_full_disk_is_named_and_every_file_stays(
    name: str, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path / "disk", 2048) as folder:
        copy_run(inputs, folder)
        fill_disk(folder)
        before = read_files(folder)
        error = error_of(capsys, name, inputs, folder)
        reason = "the disk is full, or has gone" if name == "migrate" else "No space left on device"
        assert f" cannot be written: {reason}\nHint: free disk space" in error
        assert str(folder) in error
        assert read_files(folder) == before
        assert temporary_files(folder) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_read_only_folder_is_named(
    name: str, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy_run(inputs, tmp_path)
    before = read_files(tmp_path)
    with read_only(tmp_path) as folder:
        error = error_of(capsys, name, inputs, folder)
    assert str(tmp_path) in error
    assert "Hint" in error
    assert read_files(tmp_path) == before


@needs_kaleido
@pytest.mark.parametrize("words", [("report", "--figures", "figures"), ("explain", "--permutation", "0")])
def test_figures_on_a_full_disk_leave_the_old_ones(
    words: tuple[str, ...], inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path / "disk", 2048) as folder:
        copy_run(inputs, folder)
        verb, *options = words
        target = folder / "page.html" if verb == "report" else folder / "figures"
        (folder / "page.html").write_bytes(bytes(1_000_000))  # the page can be replaced, and not the figures
        command = ["fusecast", verb, str(folder / "run"), *options, "--out", str(target)]
        command = [str(folder / word) if word == "figures" else word for word in command]
        fill_disk(folder)
        before = read_files(folder)
        with patch.object(sys, "argv", command), pytest.raises(SystemExit) as ended:
            main()
        error = capsys.readouterr().err
        assert ended.value.code == 2, error
        assert "No space left on device" in error
        assert read_files(folder) == before
        assert temporary_files(folder) == []


@pytest.mark.parametrize("kilobytes", [4, 40, 250, 600])
def test_a_disk_that_fills_up_while_training_ends_it_with_a_sentence(
    kilobytes: int, inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path / "disk", kilobytes) as folder:
        error = error_of(capsys, "fit", inputs, folder)
        assert re.search(rf"Error: (a file in )?{folder}.*: (No space left|the disk is full)", error)
        assert temporary_files(folder) == []


def test_logs_that_cannot_be_written_are_named_without_a_traceback(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "new" / "logs").mkdir(parents=True)
    words = [word.format(data=inputs / "table.csv", folder=tmp_path) for word in COMMANDS["fit"]]
    with read_only(tmp_path / "new" / "logs"):
        ran = run_python("-m", "fusecast", *words)
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"Error: {tmp_path / 'new' / 'logs'}")
    assert "Traceback" not in ran.stderr


def test_output_that_cannot_be_written_is_said(inputs: Path) -> None:
    command = [sys.executable, "-m", "fusecast", "inspect", str(inputs / "table.csv")]
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.startswith("Error: the output: No space left on device\nHint: ")
    assert "Traceback" not in ran.stderr


CALLS: dict[str, Callable[[Forecaster, Path], object]] = {
    "fit": lambda model, folder: model.fit(folder=folder / "new"),
    "save": lambda model, folder: model.save(folder / "run"),
    "calibrate": lambda model, _: model.calibrate("cqr"),
    "backtest": lambda model, folder: model.backtest(stride=4, baselines=["last"], out=folder / "backtest.parquet"),
    "backtest results": lambda model, folder: model.backtest(stride=4).write(folder / "backtest.parquet"),
    "evaluation": lambda model, folder: model.evaluate().write(folder / "run" / "metrics.json"),
    "report": lambda model, folder: model.report(folder / "run" / "report.html"),
    "explanation": lambda model, folder: model.explain().write(folder / "run" / "explanation", figure=None),
    "convert": lambda _, folder: convert(folder / "weights.pth", folder / "converted.ckpt"),
}


@pytest.mark.parametrize("name", CALLS)
def test_python_raises_the_same_error(name: str, inputs: Path, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 2048) as folder:
        copy_run(inputs, folder)
        forecaster = Forecaster.load(folder / "run")
        forecaster.prepare()
        fill_disk(folder)
        before = read_files(folder)
        with pytest.raises(ArtifactError, match=f"{folder}.* cannot be written: (No space left|the disk is full)"):
            CALLS[name](forecaster, folder)
        assert read_files(folder) == before
        assert temporary_files(folder) == []


def test_a_cut_run_file_is_not_resumed(inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy_run(inputs, tmp_path)
    path = tmp_path / "run" / "run.yaml"
    whole = path.read_text()
    for length in (0, 20, len(whole) // 2, len(whole) - 80, len(whole) - 10):
        path.write_text(whole[:length])
        words = ["fusecast", "fit", "--resume", "--out", str(tmp_path / "run"), "--horizon", "4", "--lookback", "12"]
        with patch.object(sys, "argv", words), pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert "is empty" if length == 0 else "is cut short" in capsys.readouterr().err
        assert path.read_text() == whole[:length]
