"""What cannot work is an error in words, with code 2, before any training."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import patch

import pytest

from fusecast.cli.app import main
from fusecast.cli.output import written
from fusecast.data.samples import sample_path

SMALL = [
    *("--horizon", "6", "--lookback", "24", "--hidden-size", "8", "--heads", "2"),
    *("--known", "holiday,workingday", "--observed", "weather,temp"),
]


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Run the command line in this process, see it end with code 2, and give what it said."""
    with patch.object(sys, "argv", ["fusecast", *map(str, words)]), pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--known", "holliday"], "did you mean 'holiday'"),
        (["--heads", "3"], "cannot be shared by 3 attention heads"),
        (["--quantiles", "0.9,0.1"], "quantiles must increase"),
        (["--dropout", "1.5"], "dropout must lie in"),
        (["--horizon", "100000"], "horizon"),
        (["--horizon", "0"], "horizon"),
        (["--known", "temp"], "more than one role"),
        (["--frequency", "fortnight"], "not understood"),
        (["--set", "training.momentum=1"], "no option 'momentum'"),
        (["--set", "trainig.seed=1"], "did you mean 'training'"),
        (["--test", "[1"], "as YAML"),
        (["--set", "network.hidden=1"], "did you mean 'hidden_size'"),
    ],
)
def test_what_cannot_work_is_said_before_training(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = sample_path("bike_sharing")
    assert message in refused(capsys, "fit", data, "--out", tmp_path / "run", *SMALL, *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", [["fit", "nowhere.csv", *SMALL], ["evaluate", "nowhere"], ["inspect", "nowhere.csv"]])
def test_what_is_not_there_is_named(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere" in refused(capsys, *words)


def test_a_fit_without_its_sizes_asks_for_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert "option horizon: it must be given" in refused(capsys, "fit", sample_path("bike_sharing"))


@pytest.mark.parametrize("place", ["file", "file/run"])
def test_a_folder_that_cannot_be_made_is_said_before_training(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    said = refused(capsys, "fit", sample_path("bike_sharing"), "--out", tmp_path / place, *SMALL)
    assert str(tmp_path / place) in said
    assert "Hint" in said


def test_paths_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    written("forecasts", Path("run[lr=1]/[/x].csv"))
    assert capsys.readouterr().out == "Wrote forecasts: run[lr=1]/[/x].csv\n"
