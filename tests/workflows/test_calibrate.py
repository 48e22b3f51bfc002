"""Calibration of a run: the origins that the adaptive method is updated with."""

from __future__ import annotations

import pytest

from fusecast.workflows.calibrate import steps_between_origins


@pytest.mark.parametrize("horizon", [1, 3, 6, 24, 30, 48, 168])
def test_adaptive_is_updated_at_every_hour_of_the_week(horizon: int) -> None:
    every = steps_between_origins(horizon)
    assert 1 <= every <= max(1, horizon // 4)
    assert len({origin * every % 168 for origin in range(168)}) == 168
