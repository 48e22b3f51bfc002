"""Read tables from files and frames, and write tables of results."""

from __future__ import annotations

import csv
import gzip
import os
import re
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import polars as pl

from fusecast.data.issues import Issues
from fusecast.data.parsing import MIN_SHARE_OF_NUMBERS, is_missing_word, read_times
from fusecast.errors import ArtifactError, DatabaseError, DataError
from fusecast.io.atomic import replace_file, scratch_folder
from fusecast.io.databases.address import OBJECT_STORES, Query, is_url, kind_of, parse_address, without_secrets
from fusecast.io.databases.reading import read_query
from fusecast.io.documents import check_file
from fusecast.io.objects import read_objects
from fusecast.io.parquet import ParquetTable, refuse_duplicates

if TYPE_CHECKING:
    from narwhals.typing import IntoDataFrame, IntoLazyFrame
    from numpy.typing import NDArray

TableLike: TypeAlias = (
    "IntoDataFrame | IntoLazyFrame | Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]] | NDArray[Any]"
    " | str | Path | Query"
)
"""A path, the address of an object in a store, a query of a database, a pandas, polars or Arrow frame, a dict of
columns, a list of rows, or a structured array."""

CSV_ENDINGS = (".csv", ".csv.gz", ".tsv", ".tsv.gz")
ARROW_ENDINGS = (".feather", ".arrow", ".ipc")
SPREADSHEET = ".xlsx"
SUPPORTED = (
    *CSV_ENDINGS,
    ".parquet (also a folder)",
    *ARROW_ENDINGS,
    f"{SPREADSHEET} (the first sheet)",
    "pandas, polars and pyarrow tables",
    "dicts of columns",
    "lists of rows",
    "queries of databases",
)
TIME_NAMES = ("ds", "date", "datetime", "time", "timestamp")
WRITABLE_ENDINGS = (".parquet", ".csv", ".feather", ".arrow")
CODE = r"^\s*0\d|\.\d*[1-9]0+\s*$"
"""A number that a name may hold, and that loses digits as a number: 007, and version 1.10."""
DECIMAL_COMMA = r"^\s*[+-]?\d+(,\d+)?\s*$"


def read_table(source: TableLike, *, keys: Collection[str] = ()) -> pl.DataFrame:
    """Read the table of a path, an address, a query, a frame, a dict of columns, a list of rows or an array.

    Text files may be separated by comma, semicolon, tab or bar. Columns whose every cell is a number, or empty, NA,
    NaN and the like, become numbers (with decimal commas too where commas do not separate columns); a column with the
    usual name of a time column is parsed unless its dates are ambiguous; all other text stays as it is, such as 1,234
    where the comma may separate thousands. Empty lines are skipped. The index of a pandas frame becomes columns where
    it has a name, levels or times. `keys` are columns that hold names: in a text file, 007 stays 007 in them.

    Raise a DataError when a file is missing, unreadable or of an unknown kind, two columns have the same name, or
    there are no rows, and a DatabaseError as :func:`~fusecast.io.databases.reading.read_query`.
    """
    if isinstance(source, Query):
        frame = read_query(source)
    elif isinstance(source, str) and is_url(source):
        frame = read_object(source, keys)
    elif isinstance(source, (str, Path)):
        frame = read_file(Path(source), keys)
    elif isinstance(source, pl.DataFrame | pl.LazyFrame):
        frame = source.lazy().collect()
    elif isinstance(source, Mapping):
        frame = from_columns(source)
    elif isinstance(source, list | tuple) and all(isinstance(row, Mapping) for row in source):
        names = dict.fromkeys(name for row in source for name in row)
        frame = from_columns({name: [row.get(name) for row in source] for name in names})
    elif isinstance(source, np.ndarray) and source.dtype.names:
        frame = from_columns({name: source[name] for name in source.dtype.names})
    elif is_instance_from("pandas", source):
        frame = from_pandas(source)
    elif is_instance_from("pyarrow", source):
        frame = from_arrow(source)
    else:
        raise DataError.unsupported_source(f"a {type(source).__name__}", SUPPORTED)
    if frame.is_empty():
        raise DataError.empty_table()
    return frame.with_columns(map(to_plain_type, frame.iter_columns()))


def convert_like(source: object, frame: pl.DataFrame) -> Any:
    """Convert a frame to the kind of table that `source` is: pandas, Arrow, else polars (also for paths and dicts)."""
    if is_instance_from("pandas", source):
        return frame.to_pandas()
    if is_instance_from("pyarrow", source):
        return frame.to_arrow()
    return frame


def is_instance_from(library: str, value: object) -> bool:
    """Return whether the type of a value is from a library, without importing the library."""
    return library in sys.modules and type(value).__module__.partition(".")[0] == library


def write_table(frame: Any, place: str | Path) -> None:
    """Write a polars, pandas or Arrow frame as Parquet, CSV or Arrow, by the ending of the path, whole or not at all.

    An address of an object in a store is written by polars. Raise an ArtifactError as :func:`check_writable`, and where
    the disk is full or the store refuses.
    """
    check_writable(place)
    table = frame if isinstance(frame, pl.DataFrame) else pl.DataFrame(frame)
    writers: dict[str, Callable[[Any], object]] = {".parquet": table.write_parquet, ".csv": table.write_csv}
    write = writers.get(Path(place).suffix.lower(), table.write_ipc)
    if not is_url(place):
        with replace_file(Path(place)) as temporary:
            write(temporary)
        return
    try:
        write(place)
    except (pl.exceptions.PolarsError, OSError) as error:
        shown = without_secrets(str(place))
        raise ArtifactError.refused_by_system(shown, str(error).replace(str(place), shown).splitlines()[0]) from None


def check_writable(place: str | Path) -> None:
    """Check, before the work, that its result can be written to a path or an address.

    Raise an ArtifactError when the ending is unknown, and as :func:`check_folder`.
    """
    if Path(place).suffix.lower() not in WRITABLE_ENDINGS:
        raise ArtifactError.unknown_ending(without_secrets(str(place)), WRITABLE_ENDINGS)
    if not is_url(place):
        check_folder(Path(place))


def check_folder(path: Path) -> None:
    """Raise an ArtifactError where the folder of a file is missing or not writable, or the path is a folder."""
    if not path.parent.is_dir():
        raise ArtifactError.cannot_write(f"folder {path.parent}", "does not exist", "create it first")
    if not os.access(path.parent, os.W_OK | os.X_OK) and not os.access(path, os.W_OK):
        raise ArtifactError.read_only_folder(path.parent)
    if path.is_dir():
        raise ArtifactError.cannot_write(path, "is a folder where a file is to be written")


def check_apart(path: str | Path, *sources: Any) -> None:
    """Raise an ArtifactError where results would overwrite a table that they are computed from.

    Sources that are no files, such as frames and None, are ignored.
    """
    path = Path(path)
    for source in sources:
        if isinstance(source, str | Path) and Path(source).exists() and path.exists() and path.samefile(source):
            raise ArtifactError.cannot_write(path, "is an input of these results, and would be overwritten")


def read_file(path: Path, keys: Collection[str] = ()) -> pl.DataFrame:
    """Read a file by its ending."""
    name = path.name.lower()
    if not path.exists():
        raise DataError.no_file(path)
    try:
        if path.is_dir():
            return ParquetTable.at(path).read()
        check_file(path, sys.maxsize)
        if name.endswith(CSV_ENDINGS):
            return read_csv(path, keys)
        if name.endswith(".parquet"):
            return ParquetTable.at(path).read()
        if name.endswith(ARROW_ENDINGS):
            return pl.read_ipc(path)
        if name.endswith(SPREADSHEET):
            return read_spreadsheet(path)
    except pl.exceptions.NoDataError:
        raise DataError.empty_table(f"file {path}") from None
    except (pl.exceptions.PolarsError, OSError, EOFError, UnicodeDecodeError, ValueError) as error:
        if name.endswith(CSV_ENDINGS) and (isinstance(error, UnicodeDecodeError) or "utf-8" in str(error)):
            raise DataError.not_utf8(path) from error
        raise DataError.unreadable_file(path, str(error).splitlines()[0]) from error
    raise DataError.unsupported_source(f"file {path}", SUPPORTED)


def read_object(url: str, keys: Collection[str] = ()) -> pl.DataFrame:
    """Read an object of a store, or several by a pattern, by the ending; a folder is one of Parquet files.

    polars reads it, with the credentials that it finds in the environment.
    """
    if kind_of(url) not in OBJECT_STORES:
        raise DatabaseError.no_query(parse_address(url).shown)
    shown, name = without_secrets(url), url.partition("?")[0].lower()
    try:
        if name.endswith(CSV_ENDINGS):
            with scratch_folder("fusecast-csv-") as folder:
                path = folder / PurePosixPath(shown).name.removesuffix(".gz").replace("*", "_")
                lines = pl.scan_csv(url, has_header=False, separator="\x1f", quote_char=None, schema={"": pl.String})
                path.write_text("\n".join(lines.collect()[""].fill_null("")), encoding="utf-8")
                return read_csv(path, keys)
        if name.endswith(ARROW_ENDINGS):
            return pl.scan_ipc(url).collect()
        if name.endswith((".parquet", "/")):
            return pl.scan_parquet(url).collect()
    except FileNotFoundError:
        raise DataError.no_file(shown) from None
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise DataError.unreadable_file(shown, str(error).replace(url, shown).splitlines()[0]) from None
    raise DataError.unsupported_source(f"object {shown}", SUPPORTED)


def read_csv(path: Path, keys: Collection[str] = ()) -> pl.DataFrame:
    """Read separated text; :func:`read_table` states how its cells are parsed."""
    with open_text(path) as file:
        skipped, header = next(((n, line) for n, line in enumerate(file) if line.strip()), (0, ""))
    if not header.strip():
        raise DataError.empty_table(f"file {path}")
    separator = max(",;\t|", key=header.count)
    names = next(csv.reader([header], delimiter=separator))
    refuse_duplicates(names)

    def read(as_text: Collection[str], only: Sequence[str] | None = None) -> pl.DataFrame:
        # Types are inferred from every row: a sample would miss the first cell of another type after it.
        return pl.read_csv(
            path,
            columns=only,
            separator=separator,
            skip_lines=skipped,
            infer_schema_length=None,
            null_values=[""],
            schema_overrides=dict.fromkeys(as_text, pl.String),
        )

    ids = [name for name in keys if name in names]
    try:
        frame = read(ids)
    except pl.exceptions.ComputeError:
        refuse_ragged(path, separator, len(names))
        raise
    months: list[str] = []
    if doubtful := [column.name for column in frame.iter_columns() if may_be_misread(column, separator)]:
        cells = read(doubtful, doubtful)
        months = [name for name in doubtful if are_months(cells[name].drop_nulls())]
        frame = frame.with_columns(cells[name] for name in months)
        if separator != ",":
            refuse_thousands_dots(frame, cells.drop(months), path)
    if all(column.null_count() for column in frame.iter_columns()):
        frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))
    padded = {*months, *(name for name in ids if frame[name].str.contains(CODE).any())}
    whole = [frame[name].cast(pl.Int64, strict=False) for name in ids if name not in padded]
    frame = frame.with_columns(column for column in whole if column.null_count() == frame[column.name].null_count())
    return frame.with_columns(
        parse_text_column(column, decimal_comma=separator != ",")
        for column in frame.iter_columns()
        if column.dtype == pl.String and column.name not in padded
    )


def read_spreadsheet(path: Path) -> pl.DataFrame:
    """Read the first sheet of a spreadsheet."""
    try:
        return pl.read_excel(path)
    except ModuleNotFoundError:
        raise DataError.no_reader_of_spreadsheets(path) from None
    except Exception as error:
        raise DataError.unreadable_file(path, str(error).splitlines()[0]) from error


def open_text(path: Path) -> IO[str]:
    """Open a text file, compressed by gzip or not, for reading."""
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    return cast("IO[str]", opener(path, "rt", encoding="utf-8-sig", newline=""))


def refuse_ragged(path: Path, separator: str, width: int) -> None:
    """Raise for the first row that has more cells than the header, if any has."""
    with open_text(path) as file:
        for row in (reader := csv.reader(file, delimiter=separator)):
            if len(row) > width:
                raise DataError.ragged(path, reader.line_num, len(row), width, separator)


def to_plain_type(column: pl.Series) -> pl.Series:
    """Return a column of bytes as text, decimals as floats or whole numbers, and objects in one type.

    Whole numbers beyond 64 bits become text, which loses no digit.
    """
    dtype = column.dtype
    if dtype == pl.Binary:
        return bytes_to_text(column)
    if dtype == pl.Object:
        return read_objects(column.name, column.to_list())
    if str(dtype) in ("Int128", "UInt128"):
        return column.cast(pl.String)
    if isinstance(dtype, pl.Decimal):
        whole = column.cast(pl.Int64, strict=False) if dtype.scale == 0 else column
        return (
            whole if whole.dtype == pl.Int64 and whole.null_count() == column.null_count() else column.cast(pl.Float64)
        )
    return column


def bytes_to_text(column: pl.Series) -> pl.Series:
    """Return a column of bytes as text, or as hexadecimal numbers where it is none."""
    try:
        return column.cast(pl.String)
    except pl.exceptions.ComputeError:
        return column.bin.encode("hex")


def parse_text_column(column: pl.Series, *, decimal_comma: bool) -> pl.Series:
    """Convert a text column to numbers, booleans or times if all its cells are."""
    empty = is_missing_word(column).fill_null(value=True)
    cells = column.filter(~empty)
    if cells.is_empty():
        return column if column.null_count() < len(column) else column.cast(pl.Float64)
    if decimal_comma and not has_thousands_separators(cells):
        numeric = column.str.contains(DECIMAL_COMMA).fill_null(value=False)
        if int(numeric.sum()) >= MIN_SHARE_OF_NUMBERS * len(cells):  # the others are named where numbers are needed
            column = column.str.replace(",", ".", literal=True).zip_with(numeric, column)
            cells = column.filter(~empty)
    # "nan" and the like count as missing here; a name such as "inf" must not be parsed as a number
    numbers = cells.str.strip_chars().cast(pl.Float64, strict=False)
    if not numbers.null_count() and cells.str.contains(r"\d").any():
        return column.set(empty, None).str.strip_chars().cast(pl.Float64)
    if cells.str.to_lowercase().is_in(["true", "false"]).all():
        return column.set(empty, None).str.to_lowercase() == "true"
    if column.name.lower() in TIME_NAMES:
        issues = Issues()
        times = read_times(column, None, issues)
        if times is not None and not issues:
            return times
    return column


def has_thousands_separators(cells: pl.Series, mark: str = ",") -> bool:
    """Return whether every comma, or other mark, may separate thousands: 1,234 is then ambiguous, and not converted."""
    marked = cells.filter(cells.str.contains(mark, literal=True))
    pattern = rf"^\s*[+-]?[1-9]\d{{0,2}}{re.escape(mark)}\d{{3}}\s*$"
    return not marked.is_empty() and bool(marked.str.contains(pattern).all())


def may_be_misread(column: pl.Series, separator: str) -> bool:
    """Return whether a column that was read as numbers may hold months, 01.2014, or thousands, 1.006 for 1006."""
    if not column.dtype.is_float():
        return False
    low, high = column.min(), column.max()
    return separator != "," or (isinstance(low, float) and isinstance(high, float) and 1 < low <= high < 13)


def are_months(cells: pl.Series) -> bool:
    """Return whether all cells are months as 01.2014, at least one of which begins with a zero."""
    return bool(cells.str.contains(r"^(?:0[1-9]|1[0-2])\.\d{4}$").all() and cells.str.starts_with("0").any())


def refuse_thousands_dots(frame: pl.DataFrame, cells: pl.DataFrame, path: Path) -> None:
    """Raise a DataError for a column of `cells`, read as numbers, whose every dot may separate thousands.

    It may where other columns of the `frame` have decimal commas, and surely where other cells have no dot: 843, 1.006.
    """
    has_decimal_commas = any(
        column.str.contains(",").any() and column.drop_nulls().str.contains(DECIMAL_COMMA).all()
        for column in frame.iter_columns()
        if column.dtype == pl.String
    )
    for column in cells.iter_columns():
        has_dot = column.str.contains(".", literal=True)
        if has_thousands_separators(column.drop_nulls(), ".") and (has_decimal_commas or not has_dot.all()):
            row = int(has_dot.fill_null(value=False).arg_max() or 0)
            raise DataError.thousands_or_decimals(path, column.name, column[row], row)


def from_columns(source: Mapping[Any, Any]) -> pl.DataFrame:
    """Build a frame from a dict of columns."""
    try:
        return pl.DataFrame({str(name): unify_list(str(name), values) for name, values in source.items()})
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError) as error:
        raise DataError.unsupported_source(f"this dict ({str(error).splitlines()[0]})", SUPPORTED) from error


def unify_list(name: str, values: Any) -> Any:
    """Return a list of values of several types, or of decimals, as a column of one type; all else as it is."""
    if isinstance(values, list | tuple) or (isinstance(values, np.ndarray) and values.dtype == object):
        types = set(map(type, values)) - {type(None)}
        if len(types) > 1 or Decimal in types:
            return read_objects(name, values)
    return values


def from_pandas(source: Any) -> pl.DataFrame:
    """Convert a pandas frame or series, with its index where that has a name, levels or times."""
    import pandas as pd

    frame = source.to_frame("y" if source.name is None else source.name) if isinstance(source, pd.Series) else source
    if not isinstance(frame, pd.DataFrame):
        raise DataError.unsupported_source(f"a pandas {type(source).__name__}", SUPPORTED)
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    if isinstance(frame.index, (pd.DatetimeIndex, pd.PeriodIndex)) and frame.index.name is None:
        frame = frame.rename_axis("ds")
    copies = [level for level in range(frame.index.nlevels) if is_copy_of_column(frame, level)]
    if copies:
        frame = frame.reset_index(level=copies, drop=True)
    names = [name for name in frame.index.names if name is not None]
    refuse_duplicates([*names, *frame.columns])
    if names or isinstance(frame.index, pd.MultiIndex):
        frame = frame.reset_index()
        frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    for name in frame.columns:
        if isinstance(frame[name].dtype, pd.PeriodDtype):
            frame = frame.assign(**{name: frame[name].dt.to_timestamp()})
    columns = {}
    for name in frame.columns:
        column = frame[name]
        try:
            columns[name] = pl.from_pandas(column) if is_of_one_type(column) else read_objects(name, column)
        except (pl.exceptions.PolarsError, TypeError, ValueError, NotImplementedError, OverflowError):
            columns[name] = read_objects(name, column)
    return pl.DataFrame(columns)


def is_copy_of_column(frame: Any, level: int) -> bool:
    """Return whether a level of the index is the column of its name, as after ``set_index(..., drop=False)``."""
    name = str(frame.index.names[level])
    if list(frame.columns).count(name) != 1:
        return False
    return bool(frame.index.get_level_values(level).equals(frame.set_index(name).index))


def is_of_one_type(column: Any) -> bool:
    """Return whether a pandas column holds no objects, or objects that are all text, or all times without a zone."""
    if column.dtype != object:
        return True
    types = {type(value) for value in column.dropna()}
    return (
        len(types) == 1
        and issubclass(next(iter(types)), str | bytes | date)
        and all(getattr(value, "tzinfo", None) is None for value in column.dropna())
    )


def from_arrow(table: Any) -> pl.DataFrame:
    """Convert an Arrow table."""
    refuse_duplicates(table.schema.names)
    return pl.DataFrame(table)
