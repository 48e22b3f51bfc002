"""Read a table or an array as rows of numbers, sequence by sequence, without avoidable copies."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.arrays import BoolArray, IntArray
from fusecast.data.frequency_inference import infer_frequency
from fusecast.data.issues import Issues, first_true
from fusecast.data.parsing import encode_levels, read_times
from fusecast.data.time_grid import TimeGrid
from fusecast.errors import DataError, DataWarning, SchemaError
from fusecast.errors.base import warn
from fusecast.io.parquet import refuse_duplicates
from fusecast.io.tables import is_instance_from, read_table

SEQUENCE_COLUMNS = ("seq_ix", "unique_id")
STEP_COLUMNS = ("step_in_seq", "ds")
NEEDED_COLUMN = "need_prediction"
KEYS = (*SEQUENCE_COLUMNS, *STEP_COLUMNS, NEEDED_COLUMN)
"""Columns that are no features."""
FLAGS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
ROWS_PER_BLOCK = 65_536
"""Rows that are checked or summed at once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """The rows of all sequences end to end, each sequence in the order of its steps."""

    values: NDArray[np.float32]  # [N, F], any strides; a float32 array is shared, not copied
    names: tuple[str, ...]  # of the F columns
    run: IntArray  # [N] number of the unbroken run of steps that a row belongs to; never decreasing
    moment: IntArray  # [N] decides about the split: no row trains that has a later moment than a validated one
    needed: BoolArray | None  # [N] rows to be forecast; None: all

    def __repr__(self) -> str:
        return f"Table(rows={len(self.values)}, names={self.names})"


def read_rows(data: Any) -> Table:
    """Read a DataFrame (pandas, polars, Arrow), a dict of columns, the path of a table, a 2-D array or a tensor.

    Columns named ``seq_ix`` or ``unique_id`` distinguish sequences, ``step_in_seq`` or ``ds`` order their rows,
    ``need_prediction`` marks rows to be forecast; all other columns are features and must be numbers.

    Raises
    ------
    DataError
        If a feature is not numeric or has a value that is missing or infinite, if there is no feature or no row, or if
        a sequence has two rows for one step.
    """
    if isinstance(data, str | Path | Mapping | pl.LazyFrame):
        data = read_table(data)
    if not hasattr(data, "columns"):
        return _read_array(data)
    if is_instance_from("pandas", data) and not all(isinstance(name, str) for name in data.columns):
        data = data.set_axis([str(name) for name in data.columns], axis=1)
    refuse_duplicates(data.column_names if is_instance_from("pyarrow", data) else data.columns)
    frame = nw.from_native(data, eager_only=True)
    features = tuple(name for name in frame.columns if name not in KEYS)
    if not features:
        raise DataError.no_features(KEYS)
    if not len(frame):
        raise DataError.empty_table()
    keys = _read_keys(frame)
    by_sequence = next((name for name in SEQUENCE_COLUMNS if name in keys), None)
    by_step = next((name for name in STEP_COLUMNS if name in keys), None)
    sequence = np.zeros(len(frame), dtype=np.int64) if by_sequence is None else _number_sequences(keys[by_sequence])
    times = None if by_step is None else _read_times(keys[by_step])
    step = None if times is None else times.to_physical().cast(pl.Int64).to_numpy()
    needed = _read_flags(keys[NEEDED_COLUMN]) if NEEDED_COLUMN in keys else None

    order = _find_order(sequence, step)
    values = _read_features(frame, features, order)
    if order is not None:
        sequence = sequence[order]
        step = None if step is None else step[order]
        times = None if times is None else times.gather(order)
        needed = None if needed is None else needed[order]
    begins = np.r_[True, sequence[1:] != sequence[:-1]]
    if step is not None:
        repeated = np.flatnonzero(~begins[1:] & (step[1:] == step[:-1]))
        if len(repeated):
            raise DataError.step_twice(by_step or "", len(repeated), int(repeated[0]) + 1)
    _check_finite(values, features)

    first = np.flatnonzero(begins)
    if by_sequence == "seq_ix" and len(first) >= 3:
        moment = sequence
    elif step is not None:
        moment = step
    else:
        moment = np.arange(len(sequence)) - first[np.cumsum(begins) - 1]
    if times is not None:
        begins[1:] |= _find_breaks(times, np.cumsum(begins) - 1)
    return Table(values=values, names=features, run=np.cumsum(begins) - 1, moment=moment, needed=needed)


def _read_array(data: Any) -> Table:
    """Read an array or a tensor [N, F] as one sequence."""
    values = np.asarray(data.detach().cpu() if hasattr(data, "detach") else data)
    if values.ndim != 2 or values.dtype.kind not in "fiub":
        raise DataError.not_a_matrix(values.shape, str(values.dtype))
    if 0 in values.shape:
        raise DataError.empty_table("the array")
    if values.dtype != np.float32 or min(values.strides) <= 0:
        values = np.array(values, dtype=np.float32)
    names = tuple(f"x{i}" for i in range(values.shape[1]))
    _check_finite(values, names)
    rows = np.arange(len(values))
    return Table(values=values, names=names, run=np.zeros_like(rows), moment=rows, needed=None)


def _read_keys(frame: nw.DataFrame[Any]) -> Mapping[str, pl.Series]:
    """Return the columns that are no features, as those of any other table."""
    names = [name for name in frame.columns if name in KEYS]
    if not names:
        return {}
    return read_table(nw.maybe_reset_index(frame.select(*names)).to_native()).to_dict()


def _number_sequences(column: pl.Series) -> IntArray:
    """Return the number [N] of each row's sequence, in order of appearance."""
    if column.dtype.is_float():
        column = column.fill_nan(None)
    if column.null_count():
        raise DataError.missing_sequence(column.name, first_true(column.is_null()))
    text = column.cast(pl.String)
    return encode_levels(text, text.unique(maintain_order=True)).astype(np.int64)


def _read_times(column: pl.Series) -> pl.Series:
    """Return steps or times [N], none missing."""
    issues = Issues()
    times = read_times(column, None, issues, counted=True)
    issues.raise_if_any()
    if times is None or times.null_count():
        row = 0 if times is None else first_true(times.is_null())
        raise DataError.not_steps(column.name, str(column[row]))
    return times


def _find_breaks(times: pl.Series, sequence: IntArray) -> BoolArray:
    """Return whether a step is left out, or lies apart, between each row and the next [N - 1].

    Where times of sequences are too irregular for steps, nothing is, which a DataWarning says.
    """
    if times.dtype.is_integer():
        ahead = np.diff(times.cast(pl.Int64).to_numpy())
        within = ahead[np.diff(sequence) == 0]
        return np.asarray(ahead != (within.min() if len(within) else 1))
    first = np.flatnonzero(np.r_[True, np.diff(sequence) != 0])
    if len(first) == len(times):
        return np.zeros(len(times) - 1, dtype=np.bool_)
    try:
        time_grid = TimeGrid.from_times(times, infer_frequency(times, sequence.astype(np.int32), times.name))
    except SchemaError as error:
        warn(DataWarning.windows_across_gaps(times.name, str(error).partition("\n")[0]))
        return np.zeros(len(times) - 1, dtype=np.bool_)
    ticks = time_grid.ticks(times)
    return np.asarray(np.diff(time_grid.steps_between(ticks[first][sequence], ticks)) != 1)


def _read_flags(column: pl.Series) -> BoolArray:
    """Return yes and no [N] from booleans, 0 and 1, and the words for them in CSV files."""
    if column.dtype.is_integer():
        flags = column != 0
    else:
        words = column.cast(pl.String).str.to_lowercase()
        flags = words.replace_strict(FLAGS, default=None, return_dtype=pl.Boolean)
    if flags.null_count():
        row = first_true(flags.is_null())
        raise DataError.not_a_flag(column.name, str(column[row]), row)
    return flags.to_numpy()


def _find_order(sequence: IntArray, step: IntArray | None) -> IntArray | None:
    """Return the order [N] by sequence and step; None where the rows have it already."""
    ordered = sequence[1:] >= sequence[:-1]
    if step is not None:
        ordered &= (sequence[1:] > sequence[:-1]) | (step[1:] >= step[:-1])
    if ordered.all():
        return None
    return np.lexsort((sequence,) if step is None else (step, sequence))


def _read_features(frame: nw.DataFrame[Any], names: Collection[str], order: IntArray | None) -> NDArray[np.float32]:
    """Return the features [N, F], in an order of the rows."""
    if all(dtype == nw.Float32 for name, dtype in frame.schema.items() if name in names):
        whole: NDArray[np.float32] = frame.drop(KEYS, strict=False).to_numpy()  # shared if pandas has one block
        return whole if order is None else whole[order]
    values = np.empty((len(frame), len(names)), dtype=np.float32)
    for i, name in enumerate(names):
        column = frame[name]
        if not (column.dtype.is_numeric() or column.dtype in (nw.Boolean, nw.Object)):
            raise DataError.not_numeric(name, str(column.dtype))
        numbers = column.to_numpy()
        if numbers.dtype.kind == "O":
            try:
                numbers = numbers.astype(np.float64)  # None becomes NaN, which is refused with its row
            except (TypeError, ValueError):
                raise DataError.not_numeric(name, str(column.dtype)) from None
        values[:, i] = numbers if order is None else numbers[order]
    return values


def _check_finite(values: NDArray[np.float32], names: Collection[str]) -> None:
    """Raise a DataError that counts the values that are missing or infinite, by column."""
    bad = np.zeros(len(names), dtype=np.int64)
    first = None
    for begin in range(0, len(values), ROWS_PER_BLOCK):
        infinite = ~np.isfinite(values[begin : begin + ROWS_PER_BLOCK])
        if infinite.any():
            bad += infinite.sum(axis=0)
            first = begin + int(infinite.any(axis=1).argmax()) if first is None else first
    if first is not None:
        raise DataError.values_missing({name: int(n) for name, n in zip(names, bad, strict=True) if n}, first)
