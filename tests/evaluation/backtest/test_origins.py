"""Origins of a backtest: every window once, in blocks and chunks that know what came before."""

from __future__ import annotations

import numpy as np
import pytest

from fusecast.errors import ConfigError
from fusecast.evaluation.backtest.origins import Origins
from fusecast.windows.window_index import WindowIndex


@pytest.fixture
def index() -> WindowIndex:
    """Windows of three series, of which the last has none."""
    return WindowIndex(lookback=3, horizon=2, first_cutoff=[5, 8, 9], last_cutoff=[20, 11, 8], stride=3)


def test_blocks_hold_every_window_once_and_know_only_earlier_rows(index) -> None:
    origins = Origins(index=index, refit_every=2, chunk_windows=2)
    windows, chunks = [], list(origins.chunks())
    for chunk in chunks:
        series, cutoff = chunk.index.locate(np.arange(len(chunk.index)))
        assert len(series) <= 2
        known = origins.known_rows(chunk.block, np.array([30, 12, 9]))
        assert (known[series] <= cutoff).all()
        origin = (cutoff - index.first_cutoff[series]) // index.stride
        assert (origin // 2 == chunk.block).all()
        windows += list(zip(series.tolist(), cutoff.tolist(), strict=True))
    assert sorted(windows) == [(0, 5), (0, 8), (0, 11), (0, 14), (0, 17), (0, 20), (1, 8), (1, 11)]
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    assert origins.num_blocks == 3


def test_known_rows_of_a_series_without_origins_are_all_or_those_of_its_first_cutoff(index) -> None:
    origins = Origins(index=index, refit_every=1)
    lengths = np.array([30, 12, 9])
    assert origins.known_rows(0, lengths).tolist() == [5, 8, 9]
    assert origins.known_rows(3, lengths).tolist() == [14, 12, 9]


def test_without_refits_one_block_holds_all_windows_in_order_of_their_origins(index) -> None:
    origins = Origins(index=index, chunk_windows=4)
    assert origins.num_blocks == 1
    assert origins.block_index(0) is index
    located = [chunk.index.locate(np.arange(len(chunk.index)))[1].tolist() for chunk in origins.chunks()]
    assert located == [[5, 8, 8, 11], [11, 14], [17, 20]]


def test_a_refit_after_no_origins_is_refused(index) -> None:
    with pytest.raises(ConfigError, match="refit_every"):
        Origins(index=index, refit_every=0)
