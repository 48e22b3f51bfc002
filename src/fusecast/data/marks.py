"""Marks: when the parts of a split begin, and how close rows lie, to know a table again that has grown since."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusecast.data.panel import Panel
from fusecast.data.split import Split
from fusecast.errors import DataError

FEW = 3
"""Pairs of neighbouring rows that say nothing yet about how far apart rows are."""


def marks_of(panel: Panel, split: Split) -> dict[str, Any]:
    """Give the ticks at which validation and test begin, by the names of the series, as plain values.

    `closest` is the least distance in steps between two rows of a series, None where there are no two.
    """
    clock = panel.clock
    return {
        "series": [str(name) for name in panel.ids.tolist()],
        "validation": clock.advance(panel.start, split.train_end).tolist(),
        "test": clock.advance(panel.start, split.valid_end).tolist(),
        "closest": closest(panel)[0],
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


def check_spacing(panel: Panel, marks: dict[str, Any]) -> None:
    """Refuse a table all of whose rows lie farther apart than any that the model was fitted on: it has other steps.

    The gaps would be filled with missing values, and the forecasts would look as if nothing were wrong.

    Raises
    ------
    DataError
        Saying how far apart rows are, and were.
    """
    then, (now, pairs) = marks.get("closest"), closest(panel)
    if then is not None and now is not None and pairs >= FEW and now > then:
        raise DataError.other_spacing(panel.clock.frequency, now, then)


def closest(panel: Panel) -> tuple[int | None, int]:
    """Least distance in steps between neighbouring rows of a series that hold anything, and how many pairs it is of."""
    filled = np.zeros(panel.num_rows, dtype=np.bool_)
    series = np.repeat(np.arange(panel.num_series), panel.lengths)
    steps = np.empty(0, dtype=np.int64)
    for present in (
        *(~np.isnan(values) for values in panel.reals.values()),
        *(codes >= 0 for codes in panel.categories.values()),
    ):
        filled |= present
        rows = np.flatnonzero(filled)
        steps = np.diff(rows)[np.diff(series[rows]) == 0]
        if steps.size and steps.min() == 1:
            break  # no more of them come closer
    return (int(steps.min()) if steps.size else None), int(steps.size)
