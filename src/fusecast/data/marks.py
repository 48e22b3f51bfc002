"""Marks: when the parts of a split begin, so that the same split can be made on a table that has grown since."""

from __future__ import annotations

from typing import Any

import numpy as np

from fusecast.data.panel import Panel
from fusecast.data.split import Split


def marks_of(panel: Panel, split: Split) -> dict[str, Any]:
    """Give the ticks at which validation and test begin, by the names of the series, as plain values."""
    clock = panel.clock
    return {
        "series": [str(name) for name in panel.ids.tolist()],
        "validation": clock.advance(panel.start, split.train_end).tolist(),
        "test": clock.advance(panel.start, split.valid_end).tolist(),
    }


def split_at(panel: Panel, marks: dict[str, Any]) -> Split:
    """Split a panel where another was split.

    Rows that were targets of training or validation then are never in the test now. Series that were not there
    then are in the test from their first row on.
    """
    number = {name: place for place, name in enumerate(marks["series"])}
    place = np.array([number.get(str(name), -1) for name in panel.ids.tolist()], dtype=np.int64)
    known = place >= 0

    def row(part: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        ticks = np.where(known, np.asarray(marks[part], dtype=np.int64)[place], panel.start)
        rows = np.array(
            [
                int(panel.clock.first_step_at(panel.start[s : s + 1], int(tick))[0]) if known[s] else 0
                for s, tick in enumerate(ticks)
            ],
            dtype=np.int64,
        )
        return np.clip(rows, 0, panel.lengths)

    return Split(train_end=row("validation"), valid_end=row("test"))
