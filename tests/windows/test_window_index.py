from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusecast.errors import ConfigError
from fusecast.windows.window_index import WindowIndex


def listed(index: WindowIndex) -> list[tuple[int, int]]:
    series, cutoffs = index.locate(np.arange(len(index)))
    return list(zip(series.tolist(), cutoffs.tolist(), strict=True))


@given(
    spans=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 22)), min_size=1, max_size=4),
    lookback=st.integers(1, 8),
    horizon=st.integers(1, 4),
    stride=st.integers(1, 4),
    min_history=st.none() | st.integers(0, 9),
    align=st.sampled_from(["begin", "end"]),
)
def test_windows_are_those_that_a_search_through_all_cutoffs_finds(
    spans, lookback, horizon, stride, min_history, align
):
    lengths, begin, end = np.array(spans).T
    index = WindowIndex.between(
        lengths=lengths,
        begin=begin,
        end=end,
        lookback=lookback,
        horizon=horizon,
        stride=stride,
        min_history=min_history,
        align=align,
    )
    expected = []
    for series, (length, first, last) in enumerate(spans):
        fitting = [c for c in range(1, length + 1) if first <= c and c + horizon <= min(last, length)]
        if min_history is None:
            whole = [c for c in range(1, length + 1) if c >= lookback and c + horizon <= min(last, length)]
            # too short for a whole lookback: the latest window there is, if its targets lie in the span
            fitting = [c for c in fitting if c >= lookback] if whole else fitting[-1:]
        else:
            fitting = [c for c in fitting if c >= min_history]
        chosen = fitting[::stride] if align == "begin" else sorted(fitting[::-1][::stride])
        expected += [(series, c) for c in chosen]
    assert listed(index) == expected
    assert len(index) == len(expected)


def test_a_series_shorter_than_the_lookback_still_has_a_window():
    index = WindowIndex.between(lengths=[5, 50], begin=0, end=50, lookback=10, horizon=2)
    assert listed(index)[:2] == [(0, 3), (1, 10)]


@given(
    lengths=st.lists(st.integers(0, 60), min_size=1, max_size=3), lookback=st.integers(1, 20), end=st.integers(0, 60)
)
def test_training_takes_windows_with_a_quarter_of_the_rows_of_short_series(
    lengths: list[int], lookback: int, end: int
) -> None:
    index = WindowIndex.for_training(lengths=lengths, end=end, lookback=lookback, horizon=3)
    expected = []
    for series, length in enumerate(lengths):
        last = min(length, end) - 3
        least = lookback if last >= 2 * lookback else min(lookback, max(last // 4, min(last, 4)))  # known rows
        expected += [(series, cutoff) for cutoff in range(1, last + 1) if cutoff >= least]
    assert listed(index) == expected


def test_final_networks_have_windows_with_little_history_where_the_judged_ones_had_them():
    """A series of two lookbacks with all its rows may have been shorter with its training rows alone."""
    sizes = {"lengths": [30, 60], "lookback": 10, "horizon": 3}
    index = WindowIndex.for_training(**sizes, end=[30, 60], judged_end=[20, 40])
    first = {series: min(cutoff for s, cutoff in listed(index) if s == series) for series in (0, 1)}
    assert first == {0: 6, 1: 10}  # a quarter of the 27 rows before the last window, and the whole lookback
    assert listed(WindowIndex.for_training(**sizes, end=[30, 60]))[0] == (0, 10)


def test_the_lookback_may_reach_before_the_span_but_targets_may_not():
    index = WindowIndex.between(lengths=[50], begin=40, end=46, lookback=10, horizon=3)
    assert listed(index) == [(0, 40), (0, 41), (0, 42), (0, 43)]


def test_one_window_a_series_at_its_end():
    assert listed(WindowIndex.at_end(lengths=[5, 0, 7], lookback=3, horizon=2)) == [(0, 5), (2, 7)]


def test_numbers_without_a_window_are_refused():
    index = WindowIndex.at_end(lengths=[5, 7], lookback=3, horizon=2)
    for wrong in ([2], [-1], [0, 5]):
        with pytest.raises(IndexError, match="numbered 0 to 1"):
            index.locate(wrong)


def test_memory_grows_with_series_and_not_with_windows():
    index = WindowIndex.between(lengths=[10**12], begin=0, end=10**12, lookback=10, horizon=2)
    assert len(index) == 10**12 - 11
    assert index.locate([10**12 - 12])[1].tolist() == [10**12 - 2]


def test_a_subset_keeps_the_numbers_of_the_series():
    index = WindowIndex.between(lengths=[6, 6, 6], begin=0, end=6, lookback=3, horizon=2)
    assert listed(index.subset([2])) == [(2, 3), (2, 4)]
    assert listed(index.subset(np.array([True, False, False]))) == [(0, 3), (0, 4)]
    assert listed(index.subset([])) == []


@given(
    lengths=st.lists(st.integers(0, 60), min_size=1, max_size=6),
    stride=st.integers(1, 3),
    most=st.integers(1, 40),
)
def test_thinning_keeps_an_even_choice_of_the_windows_and_as_many_as_it_may(lengths, stride, most):
    index = WindowIndex.between(lengths=lengths, begin=0, end=max(lengths), lookback=3, horizon=2, stride=stride)
    thin = index.thin(most)
    assert set(listed(thin)) <= set(listed(index))
    assert len(thin) <= most
    assert len(thin) >= min(len(index), most) / 2
    if len(index) <= most:
        assert listed(thin) == listed(index)
    elif np.count_nonzero(index.counts) <= most:
        assert ((thin.counts > 0) == (index.counts > 0)).all()
        last = [max(c for s, c in listed(index) if s == series) for series in np.flatnonzero(index.counts)]
        assert [max(c for s, c in listed(thin) if s == series) for series in np.flatnonzero(thin.counts)] == last


@pytest.mark.parametrize("name", ["lookback", "horizon", "stride"])
def test_impossible_sizes_are_refused(name):
    sizes = {"lookback": 3, "horizon": 2, "stride": 1, name: 0}
    with pytest.raises(ConfigError, match=f"{name} must be at least 1, not 0"):
        WindowIndex.between(lengths=[9], begin=0, end=9, **sizes)
