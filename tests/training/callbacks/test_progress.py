from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from tests.helpers.training_fixtures import AfterSteps, Train

from fusecast.errors.training import TrainingInterrupted
from fusecast.training.callbacks.history import History
from fusecast.training.callbacks.progress import ProgressReport


def test_elsewhere_than_on_a_terminal_an_epoch_is_a_line(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    train(progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    first, *epochs = err.splitlines()
    assert "parameters on cpu, precision 32-true, 4 batches an epoch" in first
    assert [line.split()[:4] for line in epochs] == [["epoch", "0", "step", "4"], ["epoch", "1", "step", "8"]]


def test_a_terminal_is_shown_a_bar(train: Train) -> None:
    history, written = History(), StringIO()
    console = Console(file=written, force_terminal=True, width=100)
    train(callbacks=[ProgressReport(history, console)])
    assert "epoch 1" in written.getvalue()
    assert "━" in written.getvalue()


def test_nothing_is_printed_when_progress_is_off(train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    train()
    assert capsys.readouterr() == ("", "")


def test_an_interruption_is_confirmed_where_there_are_weights_to_keep(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    message = "interrupted: the best weights so far are kept"
    train(progress=True, callbacks=[AfterSteps(6, interrupt)])
    assert message in capsys.readouterr().err
    with pytest.raises(TrainingInterrupted):
        train(folder=tmp_path / "other", progress=True, callbacks=[AfterSteps(2, interrupt)])
    assert message not in capsys.readouterr().err


def test_in_a_notebook_one_line_is_updated(tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    fit = """
import os
os.environ["OMP_NUM_THREADS"] = "1"
from tests.helpers.tables import TINY, shop_table
from fusecast import Forecaster
def fit(**options):
    training = {**TINY["training"], "max_epochs": 3, "windows_per_epoch": 32, **options}
    Forecaster(4, 12, **{**TINY, "training": training}).fit(shop_table().select("unique_id", "ds", "y"))
"""
    script = f"""
from fusecast.compat.lightning_scripts.train import LightningTrainingConfig, train_tft_lightning
table = {str(tmp_path / "table.parquet")!r}
shop_table().select("unique_id", "ds", "y").write_parquet(table)
sizes = dict(hidden_size=4, num_heads=1, window_size=12, batch_size=32, num_epochs=2)
files = dict(data_path=table, checkpoint_dir={str(tmp_path)!r}, logger="none")
_ = train_tft_lightning(LightningTrainingConfig(**sizes, **files))
"""
    cells = [nbformat.v4.new_code_cell(source) for source in (fit + "fit()", "fit(progress=True)", script)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    quiet, shown, of_script = (cell["outputs"] for cell in notebook.cells)
    assert quiet == []
    lines = [output["data"]["text/plain"] for output in shown if output["output_type"] == "display_data"]
    assert len(lines) == 1
    assert lines[0].startswith("epoch   1")
    streams = "".join(output["text"] for output in shown if output["output_type"] == "stream")
    assert "epoch" not in streams
    assert "\x1b" not in streams
    assert "\r" not in streams
    left = [output["data"]["text/plain"] for output in of_script if output["output_type"] == "display_data"]
    assert "".join(left) == ""  # the script prints a line an epoch itself
