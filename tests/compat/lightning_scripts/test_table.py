"""Read tables and arrays as the scripts take them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from fusecast.compat.lightning_scripts.table import read_rows
from fusecast.errors import DataError


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame({"seq_ix": np.repeat([0, 1], 4), "f": np.arange(8.0), **columns})


@pytest.mark.parametrize("kind", ["text", "object", "number", "nullable"])
def test_yes_and_no_are_read_in_every_notation(kind: str) -> None:
    flags = [True, False, False, True] * 2
    written: Any = {
        "text": [str(flag) for flag in flags],
        "object": pd.Series(flags, dtype=object),
        "number": [float(flag) for flag in flags],
        "nullable": pd.array(flags, dtype="boolean"),
    }[kind]
    needed = read_rows(frame(need_prediction=written)).needed
    assert needed is not None
    assert needed.tolist() == flags


@pytest.mark.parametrize("odd", ["maybe", np.nan, None])
def test_neither_yes_nor_no_is_refused(odd: Any) -> None:
    with pytest.raises(DataError, match=r"'need_prediction' holds .* in row 2, which is neither true nor false"):
        read_rows(frame(need_prediction=pd.Series([True, False, odd, *[True] * 5], dtype=object)))


def test_a_row_without_the_name_of_its_sequence_is_refused() -> None:
    for missing in (np.nan, None):
        sequences = pd.Series([0, 0, missing, 0, 1, 1, 1, 1], dtype=object)
        with pytest.raises(DataError, match="'seq_ix' is empty in row 2"):
            read_rows(frame(seq_ix=sequences))
        with pytest.raises(DataError, match="'seq_ix' is empty in row 2"):
            read_rows(frame(seq_ix=sequences.astype(float)))


def test_a_path_has_the_rows_of_its_table(tmp_path: Path) -> None:
    frame().to_csv(tmp_path / "table.csv", index=False)
    np.testing.assert_array_equal(read_rows(str(tmp_path / "table.csv")).values, read_rows(frame()).values)


TIMES = pd.date_range("2024-01-01", periods=4, freq="h")


@pytest.mark.parametrize(
    "times",
    [TIMES, TIMES.tz_localize("Europe/Berlin"), TIMES.strftime("%d.%m.%Y %H:%M"), range(20_240_101, 20_240_105)],
    ids=["times", "zone", "text", "counted"],
)
def test_rows_are_sorted_by_sequence_and_step_whatever_type_they_have(times: Any) -> None:
    names = pd.Categorical(["b"] * 4 + ["a"] * 4)
    ordered = frame(ds=[*times, *times]).drop(columns="seq_ix").assign(unique_id=names)
    rows = read_rows(ordered.iloc[[3, 1, 0, 2, 7, 6, 4, 5]])
    assert rows.names == ("f",)
    assert rows.values[:, 0].tolist() == list(range(8)), "sequences keep the order of their first rows"
    assert rows.run.tolist() == [0] * 4 + [1] * 4
    assert rows.moment.tolist() == rows.moment.tolist()[:4] * 2


def test_numbers_of_every_type_are_features() -> None:
    numbers = {
        "nullable": pd.array([1, 2, 3, 4] * 2, dtype="Int64"),
        "object": pd.Series([1, 2.5, True, 4] * 2, dtype=object),
        "flag": [True, False] * 4,
    }
    assert read_rows(frame(**numbers)).values[0].tolist() == [0.0, 1.0, 1.0, 1.0]
    with pytest.raises(DataError, match=r"missing or infinite in 'object' \(2\); the first is in row 2"):
        read_rows(frame(object=pd.Series([1, 2, None, 4] * 2, dtype=object)))


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (["first", "second", "third", "fourth"], "'ds' holds 'first' in row 0"),
        ([0.5, 1.5, 2.5, 3.5], "'ds' has type Float64"),
        ([0, 1, None, 3], "'ds' holds neither whole numbers nor times, such as 'None'"),
    ],
    ids=["text", "fractions", "missing"],
)
def test_steps_that_are_neither_whole_numbers_nor_times_are_refused(step: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_rows(pl.DataFrame({"ds": step, "f": np.arange(4.0)}))


def test_two_columns_of_one_name_are_refused() -> None:
    with pytest.raises(DataError, match="more than one column named 'f'"):
        read_rows(pd.DataFrame(np.zeros((3, 2)), columns=["f", "f"]))
