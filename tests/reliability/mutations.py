"""Damage to files: of their bytes, of what is in their place, and of the values in them."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import random
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import torch
import yaml

HUGE_DIGITS, DEEP = "9" * 5_000, "[" * 100_000
RAW = "@raw:"
"""Marks a text that is written into JSON and YAML without quotes."""
WRONG_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        "x",
        "",
        "1",
        -1,
        0,
        1.5,
        -1e300,
        10**9,
        10**12,
        10**30,
        2**63 - 1,
        [],
        {},
        [1, "x", None],
        {"a": {}},
    ),
    *([[[[[[1]]]]]], ["x"] * 10_000, "\u0000", "é" * 10_000, "2020-13-45", "../../etc/passwd", "self", "__class__"),
    *(f"{RAW}{token}" for token in ("1e400", "-1e400", HUGE_DIGITS, DEEP, DEEP + "]" * 100_000, '{"a":' * 100_000)),
)
TOKENS_OF_JSON = ("NaN", "Infinity", "-Infinity", "nul", "1.", "01", "'x'", '"\\ud800"', '{"a": 1, "a": 2}')
TOKENS_OF_YAML = (
    *(".nan", ".inf", "0x" + "f" * 5_000, "1:99:99", "!!python/object/apply:os.system [true]", "!!bool x", "!!int ''"),
    *(
        "&a [*a]",
        "*nowhere",
        "=",
        "<<",
        "0001-01-01 00:00:00 +23:59",
        "2020-02-31",
        "!!binary x",
        "? {}",
        "'",
        "{a: 1, a: 2}",
    ),
)
LAUGHS = "\n".join(
    ["a0: &a0 [x,x,x,x,x,x,x,x,x]"] + [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
)


@dataclass(frozen=True)
class Damage:
    """A change of a file, made by `apply`; where it is `exact`, the file must then count as damaged, or as the same."""

    text: str
    exact: bool
    apply: Callable[[Path], object]


def damages(file: Path, count: int, rng: random.Random) -> Iterator[Damage]:
    """Yield `count` kinds of damage to a file: to its bytes, to its values, and of the file as a whole."""
    special = [*in_its_place(), *special_contents(file)]
    rng.shuffle(special)
    for i in range(count):
        if special and i % 5 == 4:
            yield special.pop()
        elif i % 2 and (damage := of_values(file, rng)) is not None:
            yield damage
        else:
            yield of_bytes(file, rng)


def of_bytes(file: Path, rng: random.Random) -> Damage:
    """Flip, cut, insert, remove or repeat bytes."""
    content, size = file.read_bytes(), file.stat().st_size
    at, length = rng.randrange(size), rng.choice((1, 2, 7, 64, 1_000))
    kind = rng.choice(("flip", "flip", "flip", "cut", "insert", "remove", "repeat", "zero", "random"))
    after = content[at + length :]
    changed = {
        "flip": lambda: content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :],
        "cut": lambda: content[:at],
        "insert": lambda: content[:at] + rng.randbytes(length) + content[at:],
        "remove": lambda: content[:at] + after,
        "repeat": lambda: content[: at + length] + content[at:],
        "zero": lambda: content[:at] + bytes(length) + after,
        "random": lambda: content[:at] + rng.randbytes(length) + after,
    }[kind]()
    return Damage(f"{kind} {length} at byte {at} of {size}", True, partial(_write, changed))


def in_its_place() -> list[Damage]:
    """Return what may stand in place of a file."""
    return [
        Damage("a folder", True, lambda path: (path.unlink(), path.mkdir())),
        Damage("a pipe", True, lambda path: (path.unlink(), os.mkfifo(path))),
        Damage("a link to itself", True, lambda path: (path.unlink(), path.symlink_to(path))),
        Damage("a link to nowhere", True, lambda path: (path.unlink(), path.symlink_to("nowhere"))),
        Damage("a link to a device", True, lambda path: (path.unlink(), path.symlink_to("/dev/zero"))),
        Damage("a sparse file of 1 TB", True, lambda path: os.truncate(path, 2**40)),
        Damage("nothing", True, lambda path: path.unlink()),
    ]


def special_contents(file: Path) -> list[Damage]:
    """Return whole contents that parsers have trouble with."""
    own = file.read_bytes()
    contents = {
        "empty": b"",
        "NUL": bytes(1_000),
        "a byte order mark": b"\xef\xbb\xbf" + own,
        "UTF-16": own.decode("latin-1").encode("utf-16"),
        "not UTF-8": b"\xff\xfe\xfa" + own,
        "deep lists": b"[" * 200_000,
        "deep mappings": b'{"a":' * 200_000,
        "a number of 5,000 digits": HUGE_DIGITS.encode(),
        "aliases of aliases": LAUGHS.encode(),
        "a text": b'"text"',
        "a list": b"[]",
        "a mapping": b"{}",
        "null": b"null",
        "a pickle": b"cos\nsystem\n(S'true'\ntR.",
        "blank": b"\n \n",
        "twice": own + own,
    }
    return [Damage(name, True, partial(_write, content)) for name, content in contents.items()]


def of_values(file: Path, rng: random.Random) -> Damage | None:
    """Change a value to a wrong one, or remove, rename or repeat it, and make checksums anew; None for other files."""
    suffix = file.suffix
    if suffix == ".parquet":
        how = rng.choice(PART_CHANGES)
        return Damage(f"{how} in the table", False, partial(change_part, how, rng.random()))
    if suffix not in READERS:
        return None
    values = READERS[suffix](file)
    places = list(find_places(values))
    container, name = rng.choice(places)
    wrong = list(WRONG_VALUES)
    if suffix in (".json", ".yaml"):
        wrong += [RAW + token for token in (TOKENS_OF_JSON if suffix == ".json" else TOKENS_OF_YAML)]
    if suffix == ".ckpt":
        wrong = [value for value in wrong if not (isinstance(value, str) and value.startswith(RAW))] + _tensors()
    if name in ("compile", "weight_init", "start"):
        wrong = [value for value in wrong if value is not True]  # a minute of compiling, and nothing wrong with it
    kind = rng.choice(("replace", "replace", "replace", "replace", "remove", "rename"))
    value = copy.deepcopy(rng.choice(wrong))
    if kind == "replace":
        container[name] = value
    elif isinstance(container, list):
        kind = "remove"
        del container[name]
    else:
        old = container.pop(name)
        if kind == "rename":
            container[rng.choice(("self", "", "x" * 10_000, "é", f"{name} "))] = old
    text = f"{kind} {name!r}" + (f" by {str(value)[:60]!r}" if kind == "replace" else "")
    return Damage(f"{text} in the values", False, partial(WRITERS[suffix], values))


def find_places(values: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every list or mapping within values, with each of its positions or names."""
    if isinstance(values, dict | list):
        for name in list(values) if isinstance(values, dict) else range(min(len(values), 5)):
            yield values, name
            yield from find_places(values[name])


def _tensors() -> list[Any]:
    nan, infinite = torch.full((2,), float("nan")), torch.tensor(float("inf"))
    return [torch.zeros(3), torch.zeros(0), nan, infinite, torch.zeros(2, 2, dtype=torch.int64), torch.tensor(1.0)] * 2


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _with_raw_tokens(values: Any) -> str:
    """Return JSON, which is YAML too, with the marked texts written as they are."""
    text = json.dumps(values, indent=1)
    return re.sub(rf'"{RAW}((?:[^"\\\\]|\\\\.)*)"', lambda found: json.loads(f'"{found[1]}"'), text)


def _write_json(values: Any, path: Path) -> None:
    if path.name == "config.json" and isinstance(values.get("sha256"), dict):
        values["sha256"].pop("config.json", None)
    path.write_text(_with_raw_tokens(values))
    if path.name == "preprocessor.json":
        _renew_checksum(path)


def _write_yaml(values: Any, path: Path) -> None:
    path.write_text(_with_raw_tokens(values))


def _read_header(path: Path) -> Any:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return {
        "header": json.loads(content[8 : 8 + length]),
        "data": list(struct.unpack("<8f", content[8 + length : 40 + length])),
    }


def _write_header(values: Any, path: Path) -> None:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    data = content[8 + length :]
    if isinstance(values.get("data"), list) and len(values["data"]) == 8:
        number = [value if isinstance(value, float) and abs(value) < 1e38 else float("nan") for value in values["data"]]
        data = struct.pack("<8f", *number) + data[32:]
    header = _with_raw_tokens(values.get("header")).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    _renew_checksum(path)


def _renew_checksum(path: Path) -> None:
    config = path.parent / "config.json"
    values = json.loads(config.read_text())
    values["sha256"].pop("config.json", None)
    values["sha256"][path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    config.write_text(json.dumps(values))


def _read_checkpoint(path: Path) -> Any:
    return torch.load(path, weights_only=True)


def _write_checkpoint(values: Any, path: Path) -> None:
    torch.save(values, path)


def change_part(how: str, number: float, path: Path) -> None:
    """Change the table of a part of a backtest, and name it by its checksum."""
    frame = pl.read_parquet(path)
    column = frame.columns[int(number * len(frame.columns))]
    frame = {
        "drop": lambda: frame.drop(column),
        "text": lambda: frame.with_columns(pl.col(column).cast(pl.String)),
        "nested": lambda: frame.with_columns(pl.concat_list(pl.lit(1), pl.lit(2)).alias(column)),
        "shorter": lambda: frame.head(len(frame) - 1),
        "null": lambda: frame.with_columns(pl.lit(None).alias(column)),
        "renamed": lambda: frame.rename({column: "x"}),
        "one name": lambda: frame.with_columns(pl.lit("a").alias("predictor")),
        "reversed": frame.reverse,
        "empty": frame.clear,
        "twice": lambda: pl.concat([frame, frame]),
        "levels": lambda: frame.rename({"q0.1": "q9", "q0.9": "q0.1"}),
        "level of a square": lambda: frame.rename({"q0.1": "q\u00b2"}),
    }[how]()
    frame.write_parquet(path)
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    path.rename(path.with_name(f"{path.name[:11]}-{checksum}.parquet"))


PART_CHANGES = (
    *("drop", "text", "nested", "shorter", "null", "renamed", "one name", "reversed", "empty", "twice", "levels"),
    "level of a square",
)


READERS: dict[str, Callable[[Path], Any]] = {
    ".json": lambda path: json.loads(path.read_text()),
    ".yaml": lambda path: yaml.safe_load(path.read_text()),
    ".safetensors": _read_header,
    ".ckpt": _read_checkpoint,
}
WRITERS: dict[str, Callable[[Any, Path], None]] = {
    ".json": _write_json,
    ".yaml": _write_yaml,
    ".safetensors": _write_header,
    ".ckpt": _write_checkpoint,
}
