"""Read tables from files and frames, and write result tables."""

from __future__ import annotations

import csv
import gzip
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from fusecast.data.issues import Issues
from fusecast.data.parsing import blank, read_times
from fusecast.errors import ArtifactError, DataError

CSV = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
ARROW = (".feather", ".arrow", ".ipc")
SUPPORTED = (*CSV, ".parquet", *ARROW, "pandas, polars and pyarrow tables", "dicts of columns")
TIME_WORDS = ("ds", "date", "datetime", "time", "timestamp")
DECIMAL_COMMA = r"^\s*[+-]?\d+(,\d+)?\s*$"


def read_table(source: object, *, keys: Collection[str] = ()) -> pl.DataFrame:
    """Give the table that a path, frame or dict holds.

    Text files may be separated by comma, semicolon, tab or bar. Columns whose every cell is a number, or empty, NA,
    NaN and the like, become numbers (with decimal commas too where commas do not separate columns); a column of
    times named like one is parsed unless its dates are ambiguous; all other text stays as it is, such as 1,234 where
    it may be meant in thousands. Lines without a cell are left out. The index of a pandas frame becomes columns where
    it has a name, levels or times.

    Parameters
    ----------
    source
        A path, a frame or a dict of columns.
    keys
        Columns that name something: in a text file, 007 stays 007 in them.

    Raises
    ------
    DataError
        When a file is missing, unreadable or of an unknown kind, two columns have one name, or there are no rows.
    """
    if isinstance(source, (str, Path)):
        frame = read_file(Path(source), keys)
    elif isinstance(source, pl.DataFrame):
        frame = source
    elif isinstance(source, pl.LazyFrame):
        frame = source.collect()
    elif isinstance(source, Mapping):
        frame = from_columns(source)
    elif is_from("pandas", source):
        frame = from_pandas(source)
    elif is_from("pyarrow", source):
        refuse_duplicates(source.schema.names)  # type: ignore[attr-defined]
        frame = as_frame(pl.from_arrow(source))
    else:
        raise DataError.unsupported_source(f"a {type(source).__name__}", SUPPORTED)
    if frame.is_empty():
        raise DataError.empty_table()
    return frame


def read_future(source: object, id_: str | None) -> pl.DataFrame | None:
    """Give the table of the known columns of steps to come, whose series an id column may name; None for None."""
    return None if source is None else read_table(source, keys=keys_of(id_))


def keys_of(id_: str | None) -> tuple[str, ...]:
    """Give the columns that name something."""
    return () if id_ is None else (id_,)


def like(source: object, frame: pl.DataFrame) -> Any:
    """Convert a frame to the kind of table that `source` is: pandas, pyarrow, else polars (for paths and dicts too)."""
    if is_from("pandas", source):
        return frame.to_pandas()
    if is_from("pyarrow", source):
        return frame.to_arrow()
    return frame


def is_from(library: str, value: object) -> bool:
    """Tell whether a value is of a library, without importing it: who has the value has imported it."""
    return library in sys.modules and type(value).__module__.partition(".")[0] == library


def read_file(path: Path, keys: Collection[str] = ()) -> pl.DataFrame:
    """Read a file by its ending."""
    name = path.name.lower()
    if not path.exists():
        raise DataError.no_file(path)
    try:
        if name.endswith(CSV):
            return read_csv(path, keys)
        if name.endswith(".parquet"):
            refuse_duplicates(parquet_names(path))
            return pl.read_parquet(path)
        if name.endswith(ARROW):
            return pl.read_ipc(path)
    except pl.exceptions.NoDataError:
        raise DataError.empty_table(f"file {path}") from None
    except (pl.exceptions.PolarsError, OSError, EOFError, UnicodeDecodeError, ValueError) as error:
        if name.endswith(CSV) and (isinstance(error, UnicodeDecodeError) or "utf-8" in str(error)):
            raise DataError.not_utf8(path) from error
        raise DataError.unreadable_file(path, str(error).splitlines()[0]) from error
    raise DataError.unsupported_source(f"file {path}", SUPPORTED)


def parquet_names(path: Path) -> list[str]:
    """Names of the columns of a Parquet file."""
    import pyarrow.parquet as pq

    names: list[str] = pq.read_schema(path).names
    return names


def read_csv(path: Path, keys: Collection[str] = ()) -> pl.DataFrame:
    """Read separated text; see :func:`read_table` for what becomes of its cells."""
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        above, header = next(((n, line) for n, line in enumerate(file) if line.strip()), (0, ""))
    if not header.strip():
        raise DataError.empty_table(f"file {path}")
    separator = max(",;\t|", key=header.count)
    names = next(csv.reader([header], delimiter=separator))
    refuse_duplicates(names)
    as_text = {name: pl.String for name in keys if name in names}
    try:
        # Every row is looked at for the types: a sample would fail, or lie, at the first odd cell after it.
        frame = pl.read_csv(
            path,
            separator=separator,
            skip_lines=above,
            infer_schema_length=None,
            null_values=[""],
            schema_overrides=as_text,
        )
    except pl.exceptions.ComputeError:
        refuse_ragged(path, separator, len(names))
        raise
    if all(column.null_count() for column in frame.iter_columns()):
        frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))
    padded = {name for name in as_text if frame[name].str.contains(r"^\s*0\d").any()}
    frame = frame.with_columns(as_int_if_whole(frame[name]) for name in as_text if name not in padded)
    return frame.with_columns(
        parse_text_column(column, decimal_comma=separator != ",")
        for column in frame.iter_columns()
        if column.dtype == pl.String and column.name not in padded
    )


def as_int_if_whole(text: pl.Series) -> pl.Series:
    """Read text as whole numbers if that is what all its cells are."""
    numbers = text.cast(pl.Int64, strict=False)
    return numbers if numbers.null_count() == text.null_count() else text


def refuse_ragged(path: Path, separator: str, width: int) -> None:
    """Raise for the first row that has more cells than the header, if there is one."""
    with (gzip.open if path.name.lower().endswith(".gz") else open)(
        path, "rt", encoding="utf-8-sig", newline=""
    ) as file:
        for row in (reader := csv.reader(file, delimiter=separator)):
            if len(row) > width:
                raise DataError.ragged(path, reader.line_num, len(row), width, separator)


def parse_text_column(column: pl.Series, *, decimal_comma: bool) -> pl.Series:
    """Read a text column as numbers, booleans or times if that is what all its cells are."""
    empty = blank(column).fill_null(value=True)
    cells = column.filter(~empty)
    if cells.is_empty():
        return column if column.null_count() < len(column) else column.cast(pl.Float64)
    if decimal_comma and cells.str.contains(DECIMAL_COMMA).all() and not in_thousands(cells):
        column = column.str.replace(",", ".", literal=True)
        cells = column.filter(~empty)
    # "nan" and the like are numbers for a parser and missing for us; a name such as "inf" must not pass for one
    numbers = cells.str.strip_chars().cast(pl.Float64, strict=False)
    if not numbers.null_count() and cells.str.contains(r"\d").any():
        return column.set(empty, None).str.strip_chars().cast(pl.Float64)
    if cells.str.to_lowercase().is_in(["true", "false"]).all():
        return column.set(empty, None).str.to_lowercase() == "true"
    if column.name.lower() in TIME_WORDS:
        problems = Issues()
        times = read_times(column, None, problems)
        if times is not None and not problems:
            return times
    return column


def in_thousands(cells: pl.Series) -> bool:
    """Tell whether each comma may part thousands: 1,234 is as likely that as a decimal number, and is not guessed."""
    with_comma = cells.filter(cells.str.contains(",", literal=True))
    return not with_comma.is_empty() and bool(with_comma.str.contains(r"^\s*[+-]?[1-9]\d{0,2},\d{3}\s*$").all())


def from_columns(source: Mapping[Any, Any]) -> pl.DataFrame:
    """Make a frame of a dict of columns."""
    try:
        return pl.DataFrame({str(name): values for name, values in source.items()})
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise DataError.unsupported_source(f"this dict ({str(error).splitlines()[0]})", SUPPORTED) from error


def from_pandas(source: Any) -> pl.DataFrame:
    """Read a pandas frame (or a series), its index too where that says something."""
    import pandas as pd

    frame = source.to_frame("y" if source.name is None else source.name) if isinstance(source, pd.Series) else source
    if not isinstance(frame, pd.DataFrame):
        raise DataError.unsupported_source(f"a pandas {type(source).__name__}", SUPPORTED)
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    index = frame.index
    if isinstance(index, pd.MultiIndex) or index.name is not None:
        names = [name for name in index.names if name is not None]
        refuse_duplicates([*map(str, names), *frame.columns])
        frame = frame.reset_index()
    elif isinstance(index, (pd.DatetimeIndex, pd.PeriodIndex)):
        refuse_duplicates(["ds", *frame.columns])
        frame = frame.rename_axis("ds").reset_index()
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    refuse_duplicates(frame.columns)
    for name in frame.columns:
        if isinstance(frame[name].dtype, pd.PeriodDtype):
            frame = frame.assign(**{name: frame[name].dt.to_timestamp()})
        elif frame[name].dtype == object:
            frame = frame.assign(**{name: plain_objects(frame[name])})
    return pl.from_pandas(frame)


def plain_objects(column: Any) -> Any:
    """Write the objects of a pandas column as text if they are of more than one type, such as numbers and words."""
    present = column.dropna()
    if len({type(value) for value in present}) <= 1 and not any(getattr(v, "tzinfo", None) for v in present):
        return column
    return column.map(
        lambda value: value.isoformat() if hasattr(value, "isoformat") else str(value), na_action="ignore"
    )


def as_frame(table: pl.DataFrame | pl.Series) -> pl.DataFrame:
    """Narrow what polars makes of an Arrow table."""
    assert isinstance(table, pl.DataFrame)
    return table


def refuse_duplicates(names: Sequence[Any]) -> None:
    """Raise if a name comes twice."""
    repeated = [name for name, count in Counter(map(str, names)).items() if count > 1]
    if repeated:
        raise DataError.duplicate_columns(repeated)


ENDINGS = (".parquet", ".csv", ".feather", ".arrow")


def check_writable(path: Path) -> None:
    """Find out before the work whether its result can be written.

    Raises
    ------
    ArtifactError
        When the ending is unknown or the folder does not exist.
    """
    if path.suffix.lower() not in ENDINGS:
        raise ArtifactError.unknown_ending(path, ENDINGS)
    check_folder(path)


def check_folder(path: Path) -> None:
    """Raise an ArtifactError where a file's folder does not exist, or a folder has its name."""
    if not path.parent.is_dir():
        raise ArtifactError.no_folder(path.parent)
    if path.is_dir():
        raise ArtifactError.folder_in_the_way(path)


def check_apart(path: Path, *sources: Any) -> None:
    """Raise an ArtifactError where results would be written over a table that they are made from.

    Sources that are no files, such as frames and None, are passed over.
    """
    for source in sources:
        if isinstance(source, str | Path) and Path(source).exists() and path.exists() and path.samefile(source):
            raise ArtifactError.would_overwrite(path)


def write_table(frame: Any, path: Path) -> None:
    """Write a polars, pandas or Arrow frame as Parquet, CSV or Arrow, by the ending of the path."""
    check_writable(path)
    table = frame if isinstance(frame, pl.DataFrame) else pl.DataFrame(frame)
    match path.suffix.lower():
        case ".parquet":
            table.write_parquet(path)
        case ".csv":
            table.write_csv(path)
        case _:
            table.write_ipc(path)
