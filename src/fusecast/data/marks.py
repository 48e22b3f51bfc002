"""Marks: when the parts of a split begin, so that the same split can be made on a table that has grown since."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

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

    def rows(part: str) -> NDArray[np.int64]:
        ticks = np.where(known, np.asarray(marks[part], dtype=np.int64)[place], panel.start)
        return np.clip(panel.clock.first_step_at(panel.start, ticks), 0, panel.lengths)

    return Split(train_end=rows("validation"), valid_end=rows("test"))
