from __future__ import annotations

from collections.abc import Collection, Iterable


def some_of(names: Collection[object], limit: int = 5) -> str:
    """Quote the first few of a collection, and count the rest."""
    shown = ", ".join(repr(name) for name in list(names)[:limit])
    rest = len(names) - limit
    return f"{shown} and {rest} more" if rest > 0 else shown


def did_you_mean(name: str, available: Iterable[str]) -> str:
    """Give a hint line naming the closest spelling, or the names there are."""
    from difflib import get_close_matches

    names = list(available)
    close = get_close_matches(name, names, n=1)
    if close:
        return f"Hint: did you mean {close[0]!r}?"
    return f"Hint: there are {some_of(sorted(names), 20)}"


class FusecastError(Exception):
    """Base of every error that a user of fusecast can cause and mend."""
