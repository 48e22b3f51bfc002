"""The base of all errors, and the text helpers that messages share: counts, lists, hints on spelling."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice

MAX_EXAMPLES = 5
"""Examples that a message shows; the rest is counted."""


def format_count(count: int, noun: str) -> str:
    """Return a count with its noun.

    >>> format_count(1, "row"), format_count(2000, "row"), format_count(2, "series")
    ('1 row', '2,000 rows', '2 series')
    """
    plural = noun if count == 1 or noun == "series" else f"{noun}s"
    return f"{count:,} {plural}"


def list_examples(examples: Iterable[str], total: int, limit: int = MAX_EXAMPLES) -> str:
    """Join the first few examples of `total` cases, and count the rest.

    >>> list_examples(["a", "b"], 7)
    'a, b and 5 more'
    """
    shown = list(islice(examples, limit))
    rest = total - len(shown)
    return ", ".join(shown) + (f" and {rest:,} more" if rest > 0 else "")


def some_of(names: Collection[object], limit: int = MAX_EXAMPLES) -> str:
    """Quote the first few of a collection, and count the rest."""
    return list_examples(map(repr, names), len(names), limit)


def shorten(value: object, limit: int = 100) -> str:
    """Return the text of a value as Python writes it, cut where it is long.

    >>> shorten([1, 2]), shorten("abcdefgh", 5)
    ('[1, 2]', "'abcd...")
    """
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."


def join_words(words: Sequence[str]) -> str:
    """Join words as in a sentence.

    >>> join_words(["a"]), join_words(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def did_you_mean(name: str, available: Iterable[str]) -> str:
    """Return a hint line with the closest spelling, or with the names that exist."""
    from difflib import get_close_matches

    names = list(available)
    if close := get_close_matches(name, names, n=1):
        return f"Hint: did you mean {close[0]!r}?"
    return f"Hint: available are {some_of(sorted(names), 20)}"


class FusecastWarning(UserWarning):
    """Base of every warning: something that a user has to know to judge a result. Python shows each text once."""


_COLLECTED: ContextVar[list[FusecastWarning] | None] = ContextVar("collected", default=None)


@contextmanager
def collect_warnings() -> Iterator[list[FusecastWarning]]:
    """Collect the warnings of this thread in a list instead of showing them: what Python shows is of all threads."""
    collected: list[FusecastWarning] = []
    token = _COLLECTED.set(collected)
    try:
        yield collected
    finally:
        _COLLECTED.reset(token)


def warn(warning: FusecastWarning) -> None:
    """Warn at the line that called into the package."""
    if (collected := _COLLECTED.get()) is not None:
        collected.append(warning)
        return
    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "fusecast":
        level, frame = level + 1, frame.f_back
    warnings.warn(warning, stacklevel=level - 1 if frame is None else level)


class FusecastError(Exception):
    """Base of every error that a user of fusecast can cause and correct."""
