"""Tables that are plain, and tables that are hostile: wrong types, gaps, odd names, odd bytes."""

from __future__ import annotations

import gzip
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

NOT_FINITE = 4
TINY = [
    *("--horizon", "4", "--lookback", "12", "--hidden-size", "8", "--num-heads", "2", "--batch-size", "16"),
    *("--max-steps", "1", "--max-epochs", "1", "--accelerator", "cpu"),
    *("--set", "training.logger=none", "--set", "training.progress=false", "--members", "1", "--final", "none"),
]
BEGIN, STEPS, HORIZON = datetime(2024, 1, 1), 120, 4
ODD_NAMES = (
    *("__index__", "", " ", "=1+1", "@SUM(A1)", "\U0001f600", "a\nb", "a,b", '"', "y:q0.1", "q0.5", "cutoff", "step"),
    *("predictor", "actual", "y_hat", "series:unique_id", "calendar:hour", "relative_position", "sample", "self"),
    *("\u0000", "\u202e", "x" * 10_000, "0", "None", "nan", "../y", "y ", "Y", "ds.1", "[/bold]", "{y}", "%s"),
)
ODD_CELLS = (
    "=cmd|' /C calc'!A0",
    "\U0001f600",
    "a\nb",
    '"',
    "\u0000",
    "nan",
    "1,234",
    "1e400",
    "9" * 400,
    "x" * 100_000,
)
ODD_NUMBERS = (float("inf"), float("-inf"), float("nan"), 1e308, -1e308, 5e-324, 1e38, 1e39, 2.0**63, 1e-300)
ODD_TIMES = (
    *("0000-00-00", "9999-12-31 23:00", "0001-01-01", "2024-13-01", "2024-02-30", "10000-01-01", "-0001-01-01", "now"),
    *("2024-01-01T00:00+99:00", "1e10", "\u0662\u0660\u0662\u0664-01-01", "", "292277026596-12-04"),
)


@dataclass(frozen=True)
class Table:
    """A hostile table: how it is written, and the options that `fit` needs for it."""

    name: str
    write: Callable[[Path], Path]
    options: Sequence[str]


def plain_columns(series: int = 2, steps: int = STEPS) -> dict[str, list[Any]]:
    """Return the columns of the table that the runs are made of."""
    rows = [(s, t) for s in range(series) for t in range(steps)]
    return {
        "unique_id": [f"s{s}" for s, _ in rows],
        "ds": [BEGIN + timedelta(hours=t) for _, t in rows],
        "y": [10.0 * (s + 1) + (t % 24) + 0.1 * ((7 * t) % 5) for s, t in rows],
        "holiday": [int(t % 24 > 20) for _, t in rows],
        "weather": [("clear", "mist", "rain")[t // 5 % 3] for _, t in rows],
        "temp": [20.0 - t % 7 for _, t in rows],
    }


def write_plain_table(path: Path, future: Path) -> None:
    """Write the table of the runs, and the known column of the steps after it."""
    frame = pl.DataFrame(plain_columns(steps=STEPS + HORIZON))
    last = BEGIN + timedelta(hours=STEPS)
    frame.filter(pl.col("ds") < last).write_csv(path)
    frame.filter(pl.col("ds") >= last).select("unique_id", "ds", "holiday").write_csv(future)


def require_finite(path: Path) -> None:
    """End the process with a code of its own where forecasts hold NaN or infinite numbers."""
    forecasts = pl.read_csv(path)
    for name in ("y_hat", "q0.1", "q0.5", "q0.9"):
        column = forecasts[name].cast(pl.Float64)
        if column.null_count() or not column.is_finite().all():
            sys.exit(NOT_FINITE)


def hostile_tables(count: int, rng: random.Random) -> list[Table]:
    """Return `count` hostile tables, every kind about as often."""
    kinds = [*WHOLE, *FRAMES, *FRAMES]
    order = [kinds[i % len(kinds)] for i in range(count)]
    return [_make(kind, rng.randrange(2**32)) for kind in order]


def _make(kind: str, seed: int) -> Table:
    rng = random.Random(seed)
    if kind in WHOLE:
        ending = rng.choice((".csv", ".csv", ".parquet", ".arrow", ".csv.gz", ".tsv", ".feather"))
        return Table(f"{kind}{ending} ({seed})", lambda folder: _write_bytes(WHOLE[kind](rng), folder, ending), ())
    ending = rng.choice((".csv", ".parquet", ".arrow"))
    options = rng.choice(((), ("--known", "holiday", "--observed", "weather,temp"), ("--observed", "temp")))
    return Table(f"{kind}{ending} ({seed})", lambda folder: _write_frame(kind, rng, folder, ending), options)


def _write_bytes(content: bytes, folder: Path, ending: str) -> Path:
    path = folder / f"table{ending}"
    path.write_bytes(gzip.compress(content) if ending == ".csv.gz" and b"\x1f\x8b" not in content[:2] else content)
    return path


def _write_frame(kind: str, rng: random.Random, folder: Path, ending: str) -> Path:
    frame = FRAMES[kind](pl.DataFrame(plain_columns()), rng)
    path = folder / f"table{ending}"
    if ending == ".csv":
        no_text = (pl.Binary, pl.Duration)
        nested = [name for name, dtype in frame.schema.items() if dtype.is_nested() or dtype in no_text]
        frame.with_columns(pl.lit("[1, 2]").alias(name) for name in nested).write_csv(path)
    elif ending == ".parquet":
        frame.write_parquet(path)
    else:
        frame.write_ipc(path)
    return path


def _text(
    rng: random.Random, change: Callable[[list[list[str]], random.Random], object] | None = None, join: str = ","
) -> bytes:
    columns = plain_columns()
    rows = [list(columns), *([str(cell) for cell in row] for row in zip(*columns.values(), strict=True))]
    if change is not None:
        change(rows, rng)
    return "\n".join(join.join(row) for row in rows).encode("utf-8", "surrogatepass")


def _put(cells: Sequence[str], column: int | None = None) -> Callable[[list[list[str]], random.Random], None]:
    def change(rows: list[list[str]], rng: random.Random) -> None:
        for _ in range(rng.choice((1, 5, 100))):
            row = rng.choice(rows[1:])
            row[rng.randrange(len(row)) if column is None else column] = rng.choice(cells)

    return change


def _ragged(rows: list[list[str]], rng: random.Random) -> None:
    row = rng.choice(rows)
    row.append("1") if rng.random() < 0.5 else row.pop()


def _header(rows: list[list[str]], rng: random.Random) -> None:
    rows[0][rng.randrange(len(rows[0]))] = rng.choice((*ODD_NAMES, rows[0][0]))


def _quote(rows: list[list[str]], rng: random.Random) -> None:
    row = rng.choice(rows[1:])
    row[4] = rng.choice(('"a\nb"', '"unclosed', '"a""b"', "'a\nb'", '"a\r\nb"', '""'))


WHOLE: dict[str, Callable[[random.Random], bytes]] = {
    "odd cells": lambda rng: _text(rng, _put(ODD_CELLS)),
    "odd times": lambda rng: _text(rng, _put(ODD_TIMES, 1)),
    "mixed zones": lambda rng: _text(rng, _put(("2024-01-01T00:00+01:00", "2024-01-02T00:00Z", "2024-01-03 00:00"), 1)),
    "odd targets": lambda rng: _text(rng, _put((*map(str, ODD_NUMBERS), "x", "", "1,5", "true", "0x10", "1_000"), 2)),
    "ragged": lambda rng: _text(rng, _ragged),
    "odd header": lambda rng: _text(rng, _header),
    "quotes": lambda rng: _text(rng, _quote),
    "semicolons": lambda rng: _text(rng, join=";"),
    "not UTF-8": lambda rng: _text(rng) + b"\n\xff\xfe,2024-01-01,1,0,a,1\n",
    "UTF-16": lambda rng: _text(rng).decode().encode("utf-16"),
    "NUL": lambda rng: _text(rng).replace(b"clear", b"\x00"),
    "NUL alone": lambda rng: bytes(10_000),
    "empty": lambda rng: b"",
    "blank": lambda rng: b"\n\n\n",
    "header alone": lambda rng: b"unique_id,ds,y\n",
    "one row": lambda rng: b"unique_id,ds,y\na,2024-01-01,1\n",
    "one column": lambda rng: b"y\n1\n2\n3\n",
    "random": lambda rng: rng.randbytes(5_000),
    "a picture": lambda rng: b"\x89PNG\r\n\x1a\n" + rng.randbytes(2_000),
    "Parquet magic": lambda rng: b"PAR1" + rng.randbytes(2_000) + b"PAR1",
    "Arrow magic": lambda rng: b"ARROW1\x00\x00" + rng.randbytes(2_000) + b"ARROW1",
    "a zip": lambda rng: b"PK\x03\x04" + rng.randbytes(2_000),
    "cut gzip": lambda rng: gzip.compress(_text(rng))[: rng.randrange(10, 500)],
    "a gzip bomb": lambda rng: gzip.compress(b"unique_id,ds,y\n" + b"a" * 200_000_000, 1),
    "10,000 columns": lambda rng: (
        (",".join(["ds", "y", *(f"c{i}" for i in range(10_000))]) + "\n").encode()
        + b"\n".join(b"2024-01-%02d," % day + b"1" + b",2" * 10_000 for day in range(1, 29))
    ),
}


def _with(frame: Any, name: str, values: Sequence[Any], dtype: Any = None) -> Any:
    return frame.with_columns(pl.Series(name, values, dtype=dtype, strict=False))


def _cells(frame: Any, name: str, rng: random.Random, choices: Sequence[Any]) -> list[Any]:
    values = frame[name].to_list()
    for _ in range(rng.choice((1, 5, 50))):
        values[rng.randrange(len(values))] = rng.choice(choices)
    return values


def _nested(frame: Any, rng: random.Random) -> Any:
    name = rng.choice(frame.columns)
    n = len(frame)
    values = rng.choice(([[1, 2]] * n, [{"a": 1}] * n, [b"\xff\x00"] * n, [[]] * n, [timedelta(1)] * n, [None] * n))
    return frame.with_columns(pl.Series(name, values))


def _renamed(frame: Any, rng: random.Random) -> Any:
    return frame.rename({rng.choice(frame.columns): rng.choice(ODD_NAMES)})


def _times(frame: Any, rng: random.Random) -> Any:
    n = len(frame)
    values: Sequence[Any] = rng.choice(
        (
            [date(1, 1, 1) + timedelta(days=i) for i in range(n)],
            [date(9999, 1, 1) + timedelta(days=i % 300) for i in range(n)],
            [datetime(2024, 3, 31, tzinfo=UTC) + timedelta(hours=i) for i in range(n)],
            [2**62 + i for i in range(n)],
            [-(2**62) + i for i in range(n)],
            [float(i) / 3 for i in range(n)],
            [10**18 * (i % 9) for i in range(n)],
            [i % 2 == 0 for i in range(n)],
            [timedelta(hours=i) for i in range(n)],
            [BEGIN + timedelta(days=365 * i) for i in range(n)],
            [BEGIN if i else datetime(1900, 1, 1) for i in range(n)],
            [BEGIN + timedelta(microseconds=i) for i in range(n)],
            [datetime(1, 1, 1) if i % 7 == 0 else datetime(9999, 12, 31) for i in range(n)],
        )
    )
    return frame.with_columns(pl.Series("ds", values))


def _zoned(frame: Any, rng: random.Random) -> Any:
    zone = rng.choice(("UTC", "Europe/Berlin", "Asia/Kathmandu"))
    return frame.with_columns(pl.col("ds").dt.replace_time_zone(zone, ambiguous="null", non_existent="null"))


FAR_TIMES = (datetime(1, 1, 1), datetime(9999, 1, 1))
NO_NAMES = (None, "", " ", "s0 ")
FRAMES: dict[str, Callable[[Any, random.Random], Any]] = {
    "odd numbers": lambda frame, rng: _with(frame, "y", _cells(frame, "y", rng, ODD_NUMBERS)),
    "odd covariate": lambda frame, rng: _with(frame, "temp", _cells(frame, "temp", rng, ODD_NUMBERS)),
    "infinite target": lambda frame, rng: _with(frame, "y", [rng.choice(ODD_NUMBERS)] * len(frame)),
    "target of text": lambda frame, rng: _with(frame, "y", ["x"] * len(frame)),
    "target of nulls": lambda frame, rng: _with(frame, "y", [None] * len(frame)),
    "constant": lambda frame, rng: _with(frame, "y", [7.0] * len(frame)),
    "huge integers": lambda frame, rng: _with(frame, "y", [2**63 - i for i in range(1, len(frame) + 1)], pl.UInt64),
    "null ids": lambda frame, rng: _with(frame, "unique_id", _cells(frame, "unique_id", rng, NO_NAMES)),
    "a series a row": lambda frame, rng: _with(frame, "unique_id", [str(i) for i in range(len(frame))]),
    "number ids": lambda frame, rng: _with(frame, "unique_id", [i // STEPS * 0.5 for i in range(len(frame))]),
    "duplicate keys": lambda frame, rng: pl.concat([frame, frame.sample(rng.choice((1, 50)), seed=1)]),
    "gaps": lambda frame, rng: frame.sample(fraction=rng.choice((0.05, 0.3, 0.8)), seed=1),
    "shuffled": lambda frame, rng: frame.sample(fraction=1.0, shuffle=True, seed=rng.randrange(99)),
    "null times": lambda frame, rng: _with(frame, "ds", _cells(frame, "ds", rng, (None,))),
    "odd clock": _times,
    "zones": lambda frame, rng: frame.with_columns(
        pl.col("ds").dt.replace_time_zone(rng.choice(("UTC", "Europe/Berlin")), ambiguous="null", non_existent="null")
    ),
    "far apart": lambda frame, rng: _with(frame, "ds", _cells(frame, "ds", rng, FAR_TIMES)),
    "nested": _nested,
    "renamed": _renamed,
    "no target": lambda frame, rng: frame.drop("y"),
    "no time": lambda frame, rng: frame.drop("ds"),
    "no rows": lambda frame, rng: frame.clear(),
    "few rows": lambda frame, rng: frame.head(rng.choice((1, 2, 3, 10))),
    "many categories": lambda frame, rng: _with(frame, "weather", [f"level {i}" for i in range(len(frame))]),
    "a category": lambda frame, rng: frame.with_columns(pl.col("weather").cast(pl.Categorical)),
    "extra columns": lambda frame, rng: frame.with_columns(pl.lit(1).alias(name) for name in ODD_NAMES),
}
