"""What every recording shares: where data lie, the results of a Forecaster as tables, and files of tables.

Only the public surface of fusecast is used, so that the same code records two versions of it: ``Forecaster``, the
command line, the scripts at the root, and ``fusecast.model`` as the README shows it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

import fusecast

HERE = Path(__file__).resolve().parent
FILES = HERE / "files"
"""Files that a version before wrote, and what it made of them."""
TABLES = FILES / "tables"
PACKAGE = Path(fusecast.__file__).resolve().parent
ROOT = PACKAGE.parents[1]
"""The checkout of the version in use: its four scripts lie there."""

Tables = dict[str, pl.DataFrame | str]
"""Name of a result -> a table, or a text."""
Data = Callable[[str], Path]
"""Gives the path of a real data set by its name."""


def bundled(name: str) -> Path:
    """Path of a file that travels with the package, whatever folder of the package it is in."""
    (path,) = PACKAGE.rglob(name)
    return path


def bikes(days: int) -> pl.DataFrame:
    """The last days of the bundled table."""
    return pl.read_parquet(bundled("bike_sharing.parquet")).tail(24 * days)


def bike_plan(steps: int) -> pl.DataFrame:
    """Known columns of the steps after the bundled table."""
    return pl.read_csv(bundled("bike_sharing_future.csv"), try_parse_dates=True).head(steps)


def flat(values: Any) -> pl.DataFrame:
    """Nested plain values as one row a value: `key`, and the value as a `number` or as a `text`."""
    rows = list(_leaves("", values))
    return pl.DataFrame(rows, schema={"key": pl.String, "number": pl.Float64, "text": pl.String}, orient="row")


def _leaves(key: str, value: Any) -> Iterator[tuple[str, float | None, str | None]]:
    if isinstance(value, Mapping):
        for name, below in value.items():
            yield from _leaves(f"{key}/{name}", below)
    elif isinstance(value, list | tuple):
        for number, below in enumerate(value):
            yield from _leaves(f"{key}/{number}", below)
    elif isinstance(value, float):
        yield key, value, None
    else:
        yield key, None, str(value)


def backtested(name: str, result: Any, *groups: str) -> Tables:
    """Tables of a backtest: forecasts, the summary, and where groups are named, their scores."""
    made: Tables = {name: result.table, f"{name}_summary": flat(result.to_dict())}
    if groups:
        made[f"{name}_scores"] = pl.concat([result.metrics(by) for by in groups], how="diagonal")
    return made


def explained(name: str, explanation: Any) -> Tables:
    """Tables and sentences of an explanation."""
    made: Tables = {f"{name}_{kind}": table for kind, table in explanation.tables().items()}
    return made | {f"{name}_sentences": "\n".join(explanation.sentences())}


def one_explained(name: str, explanation: Any) -> Tables:
    """Tables and words of one explained forecast."""
    made: Tables = {f"{name}_{kind}": table for kind, table in explanation.tables().items()}
    return made | {f"{name}_words": explanation.words}


def written_report(path: Path) -> str:
    """Say whether a report is there; what is in it is not compared."""
    text = path.read_text(encoding="utf-8")
    whole = text.lstrip().lower().startswith("<!doctype html>") and text.rstrip().endswith("</html>")
    return f"a whole page: {whole}\nmore than 100 kB: {len(text) > 100_000}"


def history_of(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """The losses of training, without what depends on the time it took."""
    return pl.DataFrame(rows).drop("seconds", "windows_per_second")


def environment() -> dict[str, str]:
    """Environment of a process of the version in use: a page of fixed width, without colours."""
    taken = ("FORCE_COLOR", "PY_COLORS", "CLICOLOR_FORCE", "GITHUB_ACTIONS", "TERMINAL_WIDTH")
    usual = {name: value for name, value in os.environ.items() if name not in taken}
    said = {"COLUMNS": "120", "NO_COLOR": "1", "TERM": "dumb", "PYTHONIOENCODING": "utf-8"}
    return usual | said | {"PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), str(ROOT)])}


HELPS = """
import contextlib, io, json, runpy, sys
said = []
for words in [["--help"], *([verb, "--help"] for verb in sys.argv[1:])]:
    sys.argv, out = ["fusecast", *words], io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        runpy.run_module("fusecast", run_name="__main__", alter_sys=True)
    said.append(out.getvalue())
print(json.dumps(said))
"""


def commands(*lines: list[Any], folder: Path) -> list[str]:
    """Run lines of the command line one after another, as ``python -m fusecast`` does, here; give stdout of each.

    All lines must end with code 0. What is loaded once need not be loaded again for each.
    """
    shown = []
    for line in lines:
        out, before = io.StringIO(), sys.argv
        sys.argv = ["fusecast", *map(str, line)]
        try:
            with contextlib.chdir(folder), contextlib.redirect_stdout(out):
                runpy.run_module("fusecast", run_name="__main__", alter_sys=True)
        except SystemExit as end:
            if end.code:
                raise RuntimeError(f"fusecast {line} ended with code {end.code}:\n{out.getvalue()}") from end
        finally:
            sys.argv = before
        shown.append(without_seconds(out.getvalue()))
    return shown


def helps(verbs: Sequence[str]) -> list[str]:
    """What ``--help`` of the command line and of its verbs prints on a page of fixed width, in a process of its own."""
    ran = subprocess.run(
        [sys.executable, "-c", HELPS, *verbs],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=environment(),
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return [without_seconds(text) for text in json.loads(ran.stdout)]


def without_seconds(text: str) -> str:
    """A text without the time that something took, and without spaces at the ends of lines."""
    text = re.sub(r"\b\d+(\.\d+)? s\b", "N s", text)
    return "\n".join(line.rstrip() for line in text.splitlines()).strip() + "\n"


def write(made: Tables, folder: Path) -> None:
    """Write tables as Parquet, as small as they can be, and texts as text into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in made.items():
        if isinstance(table, str):
            (folder / f"{name}.txt").write_text(table.rstrip() + "\n", encoding="utf-8")
            continue
        floats = [column for column, kind in table.schema.items() if kind.is_float()]
        pq.write_table(
            table.to_arrow(),
            folder / f"{name}.parquet",
            compression="zstd",
            compression_level=19,
            use_dictionary=[column for column in table.columns if column not in floats],
            use_byte_stream_split=floats,
            write_statistics=False,
            store_schema=False,
        )


def read(path: Path) -> pl.DataFrame | str:
    """Read what `write` wrote under one name."""
    return pl.read_parquet(path) if path.suffix == ".parquet" else path.read_text(encoding="utf-8")
