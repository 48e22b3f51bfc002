"""JSON and YAML from anywhere: what they state, or a ValueError in words; never a hang or a large allocation."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fusecast.io.documents import check_file, parse_json, parse_yaml, read_bytes, take

LAUGHS = "\n".join(
    [
        "a: &a [x, x, x]",
        *(f"{name}: &{name} [*{before}, *{before}]" for before, name in zip("abcdef", "bcdefg", strict=True)),
    ]
)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "'c' twice"),
        (b"[NaN]", "nan, which is no number"),
        (b"[-Infinity]", "-inf"),
        (b"1e400", "inf"),
        (b"[" + b"9" * 5_000 + b"]", "4300 digits"),
        (b"[" + b"9" * 30 + b"]", "more than 64 bits"),
        (b"[" * 41 + b"]" * 41, "nested more than 40 deep"),
        (b"[" * 100_000, "nested more than 40 deep"),
        (b'{"a":' * 100_000, "nested more than 40 deep"),
    ],
)
def test_json_that_states_nothing_sensible_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_json(content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (LAUGHS, "anchors, aliases and tags"),
        ("a: *b", "anchors, aliases and tags"),
        ("a: !!bool x", "anchors, aliases and tags"),
        ("a: !!python/object/apply:os.getcwd []", "anchors, aliases and tags"),
        ("a: 1\na: 2", "'a' occurs twice"),
        ("a: 0x" + "f" * 5_000, "more than 64 bits"),
        ("? 0x" + "f" * 5_000 + "\n: 1", "more than 64 bits"),
        ("a: .inf", "inf, which is no number"),
        ("a: 2020-02-31", "day is out of range"),
        ("a: [" * 1_000, "nested more than 40 deep|not YAML"),
        ("[" * 100_000, "nested more than 40 deep"),
        ("a: \x00", "not YAML"),
        ("a: =", "not YAML"),
        ("'", "not YAML"),
        (b"a: \xff", "not UTF-8"),
    ],
)
def test_yaml_that_states_nothing_sensible_is_refused(content: bytes | str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_yaml(content)


def test_a_byte_order_mark_changes_nothing() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}
    assert parse_yaml(b"\xef\xbb\xbfa: 1e-3") == {"a": 1e-3}


def test_only_files_of_a_sensible_size_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 2**40)
    for name, words in (("", "a folder"), ("pipe", "a pipe"), ("large", "1,099,511,627,776 bytes")):
        with pytest.raises(ValueError, match=words):
            read_bytes(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        check_file(tmp_path / "missing")


def test_values_have_the_kind_that_is_asked_for() -> None:
    values = {"text": "x", "count": 3, "flag": True, "nothing": None, "numbers": [1, 2.5], "texts": ["a", 1]}
    assert take(values, "count", int) == take(values, "count", float) == 3
    assert take(values, "numbers", list, items=float) == [1, 2.5]
    assert take(values, "nothing", str, optional=True) is None
    for name, kind, words in (
        ("missing", int, "lacks 'missing'"),
        ("text", int, "'text' must be a whole number, not 'x'"),
        ("flag", int, "must be a whole number, not True"),
        ("flag", float, "must be a number"),
        ("nothing", str, "must be a text, not None"),
        ("count", list, "must be a list"),
    ):
        with pytest.raises(ValueError, match=words):
            take(values, name, kind)
    with pytest.raises(ValueError, match="'texts' must hold a text at each place, not 1"):
        take(values, "texts", list, items=str)
