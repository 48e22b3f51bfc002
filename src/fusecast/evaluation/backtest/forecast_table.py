"""The columns of tables of forecasts: of a backtest, and of `predict`."""

from __future__ import annotations

from collections.abc import Sequence

PREDICTOR, ACTUAL = "predictor", "actual"


def key_columns(columns: Sequence[str]) -> list[str]:
    """Return the names of the ids and, last, of the time: they precede the cutoff."""
    return [name for name in columns[: list(columns).index("cutoff")] if name != PREDICTOR]


def target_prefixes(targets: Sequence[str]) -> dict[str, str]:
    """Return by target what its columns begin with: nothing where there is one target."""
    return {target: "" if len(targets) == 1 else f"{target}:" for target in targets}
