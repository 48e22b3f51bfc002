"""A mistake ends with a message and code 2, before any training."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest.mock import patch

import pytest

from fusecast.cli.app import main
from fusecast.cli.output import print_path
from fusecast.data.samples import sample_path

SMALL = [
    *("--horizon", "6", "--lookback", "24", "--hidden-size", "8", "--num-heads", "2"),
    *("--known", "holiday,workingday", "--observed", "weather,temp"),
]


def error_of(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Run the command line in this process, check that it ends with code 2, and return what it wrote to stderr."""
    with patch.object(sys, "argv", ["fusecast", *map(str, words)]), pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--known", "holliday"], "did you mean 'holiday'"),
        (["--num-heads", "3"], "num_heads must divide hidden_size: 8 is not divisible by 3"),
        (["--quantiles", "0.9,0.1"], "quantiles must increase"),
        (["--dropout", "1.5"], "dropout must lie in"),
        (["--horizon", "100000"], "none of 1 series is long enough for validation 0.15 and test 0.15: of 17544 rows"),
        (["--horizon", "0"], "horizon must be a whole number of at least 1, not 0"),
        (["--horizon", "many"], "Invalid value for '--horizon'"),
        (["--known", "temp"], "more than one role"),
        (["--frequency", "fortnight"], "not understood"),
        (["--set", "training.momentum=1"], "training.momentum is not an option"),
        (["--set", "trainig.seed=1"], "trainig is not an option\nHint: did you mean 'training'"),
        (["--test", "[1"], "as YAML"),
        (["--set", "network.hidden=1"], "did you mean 'hidden_size'"),
    ],
)
def test_a_mistake_is_reported_before_training(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = sample_path("bike_sharing")
    assert message in error_of(capsys, "fit", data, "--out", tmp_path / "run", *SMALL, *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("words", [["fit", "nowhere.csv", *SMALL], ["evaluate", "nowhere"], ["inspect", "nowhere.csv"]])
def test_a_missing_file_is_named(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere" in error_of(capsys, *words)


def test_a_fit_without_its_horizon_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert "horizon must be given" in error_of(capsys, "fit", sample_path("bike_sharing"))


@pytest.mark.parametrize("folder", ["file", "file/run"])
def test_a_folder_that_cannot_be_made_is_reported_before_training(
    folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    error = error_of(capsys, "fit", sample_path("bike_sharing"), "--out", tmp_path / folder, *SMALL)
    assert str(tmp_path / folder) in error
    assert "Hint" in error


def test_paths_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    print_path("forecasts", Path("run[lr=1]/[/x].csv"))
    assert capsys.readouterr().out == "Wrote forecasts: run[lr=1]/[/x].csv\n"
