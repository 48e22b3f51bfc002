"""Seasons: after how many steps a series of some frequency tends to repeat itself."""

from __future__ import annotations

from fusecast.data.frequency import Frequency

DAY = 86_400_000_000  # microseconds, as in Frequency.width


def seasons_for(frequency: str) -> tuple[int, ...]:
    """Give the usual seasons of a frequency in steps, shortest first; (1,) where it has none.

    >>> seasons_for("1h"), seasons_for("30m"), seasons_for("1d"), seasons_for("1mo"), seasons_for("1i")
    ((24, 168), (48, 336), (7,), (12,), (1,))
    """
    step = Frequency.parse(frequency)
    if step.months:
        return _whole(12, step.months)
    if step.unit == "w":
        return _whole(52, step.count)
    if step.is_integer:
        return (1,)
    found = (*_whole(DAY, step.width), *_whole(7 * DAY, step.width))
    return tuple(season for season in found if season > 1) or (1,)


def _whole(span: int, step: int) -> tuple[int, ...]:
    """Give the number of steps in a span, if it is whole."""
    return (span // step,) if span % step == 0 and span >= step else (1,)
