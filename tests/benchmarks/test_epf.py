from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks import epf


def test_seasonal_naive_has_the_published_scores(dataset: Callable[[str], Path]) -> None:
    prices = pl.read_parquet(dataset("epf_nordpool")).sort("ds")["y"].to_numpy().astype(np.float64)
    scores = epf.fev_scores(epf.seasonal_naive(prices), prices)
    assert [round(scores[name], 4) for name in epf.SCORES] == [1.5298, 1.7613, 0.0692]


def test_the_last_480_rows_are_forecast_once_each() -> None:
    cutoffs = epf.cutoffs(1_000)
    rows = (cutoffs[:, None] + np.arange(epf.HORIZON)).ravel()
    np.testing.assert_array_equal(rows, np.arange(520, 1_000))


def test_our_model_runs_on_a_few_rows(
    dataset: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--head", "1200", "--steps", "2", "--lookback", "24", "--hidden", "8", "--validation-days", "3"]
    arguments += ["--windows-per-epoch", "128", "--quiet", "--accelerator", "cpu", "--seeds", "2"]
    code = epf.main([*arguments, "--source", str(dataset("epf_nordpool").parent), "--out", str(tmp_path)])
    assert code == 0
    printed = capsys.readouterr().out
    assert "fusecast, 2 seeds averaged" in printed
    assert (tmp_path / "epf.json").is_file()
