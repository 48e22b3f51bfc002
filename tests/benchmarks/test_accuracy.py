from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from benchmarks.sets import SETS, actuals, make_real_task, split_rows, standardised

from benchmarks import accuracy


def test_a_real_task_is_split_and_scaled_by_its_training_rows(dataset: Callable[[str], Path], tmp_path: Path) -> None:
    source = dataset("stallion").parent
    task = make_real_task("stallion", source, tmp_path / "stallion", head=50)
    columns = task.columns()
    lengths = np.bincount(columns["series"])
    assert set(lengths.tolist()) == {50}
    assert set(task.train_end) == {30}
    assert set(task.cutoffs) == {(44,)}  # the test is rows 40 to 49, forecasts are 6 rows long and end with the series
    training = columns["t"] < 30
    for series in (0, 17):
        seen = columns["y"][(columns["series"] == series) & training]
        assert seen.mean() == pytest.approx(0, abs=1e-5)
        assert seen.std() == pytest.approx(1, abs=1e-4)
    assert task.static_categories == {"series": 350, "agency": 58, "sku": 25}
    first = actuals(task)[0]
    frame = pl.read_parquet(source / "stallion.parquet").sort("unique_id", "ds").head(50)["y"].to_numpy()
    expected = (frame[44:50] - frame[:30].mean()) / frame[:30].std()
    np.testing.assert_allclose(first, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", list(SETS))
def test_every_column_of_every_set_is_there(name: str, dataset: Callable[[str], Path], tmp_path: Path) -> None:
    task = make_real_task(name, dataset(name).parent, tmp_path, head=600)
    columns = task.columns()
    size = len(columns["y"])
    for column in (*task.temporal, *task.static):
        assert len(columns[column]) == size
        assert np.isfinite(columns[column]).all()
    for column, count in {**task.static_categories, **task.observed_categories}.items():
        assert 0 <= columns[column].min() <= columns[column].max() < count
    assert all(cutoff - task.lookback >= 0 for series in task.cutoffs for cutoff in series)


def test_the_split_is_ours() -> None:
    from fusecast.config import SplitConfig

    assert SplitConfig(validation=0.2, test=0.2)  # what benchmarks.ours asks for, and asserts to be the same
    train_end, valid_end = split_rows(np.array([100, 101, 60]), 15)
    assert train_end.tolist() == [60, 61, 30]
    assert valid_end.tolist() == [80, 81, 45]


def test_a_constant_series_is_not_divided_by_nothing() -> None:
    values = standardised(np.full(6, 3.0), np.array([0, 0, 0, 1, 1, 1]), np.array([True] * 6))
    np.testing.assert_array_equal(values, np.zeros(6))


def test_perfect_forecasts_have_no_risk_and_crossed_ones_are_sorted() -> None:
    actual = np.arange(12.0).reshape(3, 4) + 1
    perfect = np.repeat(actual[..., None], 3, axis=-1)
    assert accuracy.score_forecasts(perfect, actual, (0.1, 0.5, 0.9))["P50"] == 0
    crossed = np.stack((actual + 1, actual, actual - 1), axis=-1)
    scores = accuracy.score_forecasts(crossed, actual, (0.1, 0.5, 0.9))
    assert scores["coverage"] == 1
    with pytest.raises(ValueError, match="the shape"):
        accuracy.score_forecasts(perfect[:2], actual, (0.1, 0.5, 0.9))


@pytest.mark.usefixtures("forked_processes")
def test_a_training_that_is_done_is_not_done_again(
    dataset: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = dataset("stallion").parent
    arguments = ["--sets", "stallion", "--libraries", "fusecast", "--steps", "2", "--seeds", "1", "--threads", "1"]
    arguments += ["--head", "50", "--source", str(source), "--out", str(tmp_path)]
    assert accuracy.main(arguments) == 0
    first = capsys.readouterr().out
    assert "| stallion | 2 | fusecast | 1 |" in first

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("it was asked again")

    monkeypatch.setattr(accuracy, "ask", refuse)
    assert accuracy.main(arguments) == 0
    assert capsys.readouterr().out == first
    kept = json.loads((tmp_path / "stallion-fusecast-2-0.json").read_text(encoding="utf-8"))
    assert 0 < kept["scores"]["P50"] < 10
    with pytest.raises(AssertionError, match="asked again"):
        accuracy.main([*arguments, "--head", "48"])  # another task: nothing of it is kept
