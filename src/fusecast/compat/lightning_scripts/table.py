"""A table or an array becomes rows of numbers, sequence by sequence, without copies that can be avoided."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusecast.errors import DataError
from fusecast.io.tables import read_table

SEQUENCES = ("seq_ix", "unique_id")
STEPS = ("step_in_seq", "ds")
NEEDED = "need_prediction"
BLOCK = 65_536
"""Rows that are checked at once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """The rows of all sequences end to end, each sequence in the order of its steps."""

    values: NDArray[np.float32]  # [N, F], any strides; an array that was given as float32 is shared, not copied
    names: tuple[str, ...]  # of the F columns
    run: NDArray[np.int64]  # [N] number of the unbroken run of steps that a row belongs to; rising
    moment: NDArray[np.int64]  # [N] what the split goes by: a later moment is never trained on before an earlier one
    needed: NDArray[np.bool_] | None  # [N] rows to be forecast; None: all


def read_rows(data: Any) -> Table:
    """Understand a DataFrame (pandas, polars, Arrow), the path of a table, a 2-D array or a tensor.

    Columns named ``seq_ix`` or ``unique_id`` tell sequences apart, ``step_in_seq`` or ``ds`` orders their rows,
    ``need_prediction`` marks rows to be forecast; all other columns are features and must be numbers.

    Raises
    ------
    DataError
        If a feature is not numeric or has a value that is missing or infinite, if there is no feature or no row, or if
        a sequence has two rows for one step.
    """
    if isinstance(data, str | Path):
        data = read_table(data)
    if not hasattr(data, "columns"):
        values = _array(data)
        names = tuple(f"x{number}" for number in range(values.shape[1]))
        rows = len(values)
        nothing = np.zeros(rows, dtype=np.int64)
        _check_finite(values, names)
        return Table(values=values, names=names, run=nothing, moment=np.arange(rows), needed=None)

    if hasattr(data, "set_axis") and not all(isinstance(name, str) for name in data.columns):
        data = data.set_axis([str(name) for name in data.columns], axis=1)
    columns = [str(name) for name in (data.column_names if hasattr(data, "column_names") else data.columns)]
    by_sequence = next((name for name in SEQUENCES if name in columns), None)
    by_step = next((name for name in STEPS if name in columns), None)
    features = tuple(name for name in columns if name not in (*SEQUENCES, *STEPS, NEEDED))
    if not features:
        raise DataError.no_features((*SEQUENCES, *STEPS, NEEDED))
    if len(data) == 0:
        raise DataError.empty_table()
    sequence = np.zeros(len(data), dtype=np.int64) if by_sequence is None else _sequences(data, by_sequence)
    step = None if by_step is None else _steps(_column(data, by_step), by_step)
    needed = _flags(_column(data, NEEDED), NEEDED) if NEEDED in columns else None

    order = _order(sequence, step)
    values = _features(data, features, order)
    if order is not None:
        sequence = sequence[order]
        step = None if step is None else step[order]
        needed = None if needed is None else needed[order]
    first = np.flatnonzero(np.r_[True, sequence[1:] != sequence[:-1]])
    place = np.arange(len(sequence)) - np.repeat(first, np.diff(np.r_[first, len(sequence)]))
    if step is not None:
        _refuse_duplicates(sequence, step, by_step or "")
    _check_finite(values, features)
    moment = place if step is None else step
    if by_sequence == "seq_ix" and len(first) >= 3:
        moment = sequence
    counted = step if step is not None and _column(data, by_step or "").dtype.kind in "iu" else None
    return Table(values=values, names=features, run=_runs(sequence, counted), moment=moment, needed=needed)


def _array(data: Any) -> NDArray[np.float32]:
    values = np.asarray(data.detach().cpu() if hasattr(data, "detach") else data)
    if values.ndim != 2 or values.dtype.kind not in "fiub":
        raise DataError.not_a_matrix(values.shape, str(values.dtype))
    if 0 in values.shape:
        raise DataError.empty_table("the array")
    if values.dtype == np.float32 and min(values.strides) > 0:
        return values
    return np.array(values, dtype=np.float32)


def _column(data: Any, name: str) -> NDArray[Any]:
    column = data[name]
    if getattr(column.dtype if hasattr(column, "dtype") else None, "tz", None) is not None:
        column = column.dt.tz_convert(None)
    array: NDArray[Any] = column.to_numpy()
    return array


def _features(data: Any, names: tuple[str, ...], order: NDArray[np.int64] | None) -> NDArray[np.float32]:
    if hasattr(data, "iloc") and all(str(kind) == "float32" for kind in data.dtypes[list(names)]):
        others = [name for name in data.columns if name not in names]
        whole: NDArray[np.float32] = data.drop(columns=others).to_numpy()  # shares memory where pandas has one block
        return whole if order is None else whole[order]
    values = np.empty((len(data), len(names)), dtype=np.float32)
    for number, name in enumerate(names):
        column = _column(data, name)
        if column.dtype.kind == "O" and {type(each) for each in column[:BLOCK]} <= {int, float, bool, type(None)}:
            column = column.astype(np.float64)  # None becomes NaN, which is reported with its row
        if column.dtype.kind not in "fiub":
            raise DataError.not_numeric(name, str(getattr(data[name], "dtype", column.dtype)))
        values[:, number] = column if order is None else column[order]
    return values


def _sequences(data: Any, name: str) -> NDArray[np.int64]:
    """Number the sequences of a column in which none may be missing."""
    column = _column(data, name)
    if (missing := _missing(column)).any():
        raise DataError.missing_sequence(name, int(missing.argmax()))
    return _codes(column)


def _flags(column: NDArray[Any], name: str) -> NDArray[np.bool_]:
    """Read yes and no: booleans, 0 and 1, and the words for them that CSV files hold."""
    if column.dtype.kind in "biu":
        return column.astype(bool)
    words = np.char.lower(column.astype(str))
    yes, no = np.isin(words, ("true", "1", "1.0")), np.isin(words, ("false", "0", "0.0"))
    if not (yes | no).all():
        row = int((~(yes | no)).argmax())
        raise DataError.not_a_flag(name, str(column[row]), row)
    return yes


def _missing(column: NDArray[Any]) -> NDArray[np.bool_]:
    if column.dtype.kind == "O":
        return np.array([each is None or each != each or str(each) == "<NA>" for each in column], dtype=np.bool_)
    return np.isnan(column) if column.dtype.kind == "f" else np.zeros(len(column), dtype=np.bool_)


def _codes(column: NDArray[Any]) -> NDArray[np.int64]:
    """Number the sequences in order of appearance."""
    if column.dtype.kind in "iu" and np.all(column[1:] >= column[:-1]):
        return np.cumsum(np.r_[False, column[1:] != column[:-1]], dtype=np.int64)
    unique, first, codes = np.unique(
        column if column.dtype.kind != "O" else column.astype(str), return_index=True, return_inverse=True
    )
    rank = np.empty(len(unique), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(unique))
    numbered: NDArray[np.int64] = rank[codes]
    return numbered


def _steps(column: NDArray[Any], name: str) -> NDArray[np.int64]:
    """Steps or times as integers that rise with them."""
    if column.dtype.kind in "OU":
        try:
            column = column.astype("datetime64[us]")
        except (ValueError, TypeError):
            raise DataError.not_steps(name, str(column[0])) from None
    if column.dtype.kind == "f":
        if not np.all(np.isfinite(column)) or np.any(column != np.floor(column)):
            raise DataError.not_steps(name, str(column[0]))
        return column.astype(np.int64)
    if column.dtype.kind in "iu":
        return column.astype(np.int64, copy=False)
    if column.dtype.kind == "M" and not np.isnat(column).any():
        return column.view(np.int64)
    raise DataError.not_steps(name, str(column[0]))


def _order(sequence: NDArray[np.int64], step: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
    """Give the order by sequence and step; None where the rows have it already."""
    rising = sequence[1:] >= sequence[:-1]
    if step is not None:
        rising &= (sequence[1:] > sequence[:-1]) | (step[1:] >= step[:-1])
    if rising.all():
        return None
    keys = (sequence,) if step is None else (step, sequence)
    return np.lexsort(keys)


def _runs(sequence: NDArray[np.int64], step: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """Number the runs of steps that follow each other: a sequence breaks where counted steps are left out."""
    breaks = sequence[1:] != sequence[:-1]
    if step is not None:
        ahead = np.diff(step)
        within = ahead[~breaks]
        breaks |= ahead != (within.min() if len(within) else 1)
    return np.cumsum(np.r_[False, breaks], dtype=np.int64)


def _refuse_duplicates(sequence: NDArray[np.int64], step: NDArray[np.int64], name: str) -> None:
    twice = np.flatnonzero((sequence[1:] == sequence[:-1]) & (step[1:] == step[:-1]))
    if len(twice):
        raise DataError.step_twice(name, len(twice), int(twice[0]) + 1)


def _check_finite(values: NDArray[np.float32], names: tuple[str, ...]) -> None:
    bad: dict[str, int] = {}
    first = None
    for begin in range(0, len(values), BLOCK):
        block = values[begin : begin + BLOCK]
        if np.isfinite(block).all():
            continue
        rows, columns = np.nonzero(~np.isfinite(block))
        first = int(rows[0]) + begin if first is None else first
        for column in columns.tolist():
            bad[names[column]] = bad.get(names[column], 0) + 1
    if first is not None:
        raise DataError.values_missing(bad, first)
