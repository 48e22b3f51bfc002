"""Compare two recordings, table by table: ``python tests/golden/compare.py OLD NEW``.

A difference of numbers is given relative to their scale: the largest value of the column, of the same series where the
table has several. Of the flat summaries, whose numbers have nothing in common, each is its own scale, but 0.1 at least,
and 1 at least where it is a difference: a skill, a bias, a shift of a calibration.
"""

# ruff: noqa: T201  a script that talks on stdout

from __future__ import annotations

import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import polars as pl

IDS = ("unique_id", "series", "field")
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
DIFFERENCES = {"difference": "before", "bias": "mae", "distance": None, "increase": None, "spread": None}
"""Columns that are differences of others: their scale is that of the other column, or 1."""
LEAST = 0.1


@dataclass(frozen=True)
class Comparison:
    """How two tables or texts differ."""

    worst: float = 0.0
    """Largest difference relative to the scale; infinite where something else than numbers differs."""
    why: str = "equal"

    def __str__(self) -> str:
        return self.why if math.isinf(self.worst) or not self.worst else f"{self.worst:.1e} of the scale, {self.why}"


def compare(old: pl.DataFrame | str, new: pl.DataFrame | str) -> Comparison:
    """Compare what was recorded under one name."""
    if isinstance(old, str) or isinstance(new, str):
        return compare_texts(str(old), str(new))
    return compare_tables(old, new)


def compare_tables(old: pl.DataFrame, new: pl.DataFrame) -> Comparison:
    """Compare two tables: all but floats must be equal, in the same order of rows and columns."""
    if old.schema != new.schema:
        return Comparison(math.inf, f"columns were {dict(old.schema)} and are {dict(new.schema)}")
    if old.height != new.height:
        return Comparison(math.inf, f"{old.height} rows were there, and {new.height} are")
    floats = [name for name, kind in old.schema.items() if kind.is_float()]
    for name in old.columns:
        if name not in floats and not old[name].equals(new[name], null_equal=True):
            row = (old[name].ne_missing(new[name])).arg_true()[0]
            return Comparison(math.inf, f"{name!r} was {old[name][row]!r} and is {new[name][row]!r} in row {row}")
    comparisons = (compare_column(old, new, name) for name in floats)
    return max(comparisons, key=lambda each: each.worst, default=Comparison())


def compare_column(old: pl.DataFrame, new: pl.DataFrame, name: str) -> Comparison:
    """Compare a column of floats; missing, NaN and infinite values must stand in the same places."""
    one, other = old[name], new[name]
    if one.equals(other, null_equal=True):
        return Comparison()
    apart = (one - other).abs().to_list()
    sizes = scales(old, name).to_list()
    worst, where = 0.0, 0
    for row, (a, b, difference, size) in enumerate(zip(one, other, apart, sizes, strict=True)):
        if a == b or (a is not None and b is not None and math.isnan(a) and math.isnan(b)):
            continue
        if difference is None or not math.isfinite(difference):
            return Comparison(math.inf, f"{name!r} was {a} and is {b} in row {row}")
        if difference / (size or LEAST) > worst:
            worst, where = difference / (size or LEAST), row
    return Comparison(worst, f"{name!r} was {one[where]:.9g} and is {other[where]:.9g} in row {where}")


def scales(table: pl.DataFrame, name: str) -> pl.Series:
    """Scale of each value of a column."""
    values = pl.col(name).abs()
    if "key" in table.columns:  # a flat summary
        least = pl.when(pl.col("key").str.contains("skill|bias|shift")).then(1.0).otherwise(LEAST)
        return table.select(pl.max_horizontal(values, least).alias(name))[name]
    if name.endswith("skill"):
        return pl.Series([1.0] * table.height)
    if name in DIFFERENCES:
        other = DIFFERENCES[name]
        if other is None or other not in table.columns:
            return pl.Series([1.0] * table.height)
        values = pl.col(other).abs()
    largest = values.filter(values.is_finite()).max()
    ids = [each for each in IDS if each in table.columns]
    if ids:
        largest = largest.over(ids[0])
    return table.with_columns(largest.fill_null(0.0).alias("scale"))["scale"]


def compare_texts(old: str, new: str) -> Comparison:
    """Compare two texts: words must be equal, numbers may differ by one in their last digit."""
    if old == new:
        return Comparison()
    words = [NUMBER.sub("0", text).split() for text in (old, new)]
    if words[0] != words[1]:
        pairs = zip(*words, strict=False)
        first = next((f"{a!r} and is {b!r}" for a, b in pairs if a != b), "of another length")
        return Comparison(math.inf, f"the text was {first}")
    for a, b in zip(NUMBER.findall(old), NUMBER.findall(new), strict=True):
        digits = len(a.partition("e")[0].partition(".")[2])
        exponent = int(a.partition("e")[2] or 0)
        if a != b and abs(number(a) - number(b)) > 1.5 * 10.0 ** (exponent - digits):
            return Comparison(math.inf, f"the text had {a} and has {b}")
    return Comparison(1e-12, "last digits of numbers in the text")


def number(text: str) -> float:
    """Number of a text such as 1,234.5."""
    return float(text.replace(",", ""))


def main() -> int:
    """Print a line a table that differs, and a summary."""
    from tests.golden.tables import read

    old, new = (Path(name) for name in sys.argv[1:3])
    names = [{path.relative_to(folder) for path in folder.rglob("*") if path.is_file()} for folder in (old, new)]
    for name in sorted(names[0] ^ names[1]):
        print(f"{name}: only in {old if name in names[0] else new}")
    common = sorted(names[0] & names[1])
    equal, worst = 0, 0.0
    for name in common:
        found = compare(read(old / name), read(new / name))
        equal += found == Comparison()
        worst = max(worst, found.worst)
        if found != Comparison():
            print(f"{name}: {found}")
    print(f"{equal} of {len(common)} equal bit for bit; the largest difference is {worst:.1e} of the scale")
    return int(equal < len(common) or names[0] != names[1])


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    sys.exit(main())
