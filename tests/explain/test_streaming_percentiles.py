from __future__ import annotations

import numpy as np
import pytest

from fusecast.explain.streaming_percentiles import StreamingPercentiles

PERCENTS = (10, 50, 90)


def samples(seed: int, count: int = 4000) -> np.ndarray:
    """Large shares, small shares, almost none, with holes."""
    rng = np.random.default_rng(seed)
    values = np.stack([rng.beta(2, 2, count), rng.beta(1, 200, count), rng.beta(0.2, 5, count)], axis=1)
    values[rng.random(values.shape) < 0.1] = np.nan
    return values


@pytest.mark.parametrize("exact_values", [0, 1000, 10**9])
def test_means_are_those_of_numpy_however_many_samples(exact_values: int) -> None:
    values = samples(0)
    streaming = StreamingPercentiles(3, exact_values)
    for block in np.array_split(values, 13):
        streaming.add(block)
    np.testing.assert_allclose(streaming.mean(), np.nanmean(values, axis=0), rtol=1e-12)
    np.testing.assert_array_equal(streaming.count, (~np.isnan(values)).sum(axis=0))


def test_percentiles_of_few_samples_are_exact() -> None:
    values = samples(1, 50)
    streaming = StreamingPercentiles(3)
    for block in np.array_split(values, 4):
        streaming.add(block)
    np.testing.assert_array_equal(streaming.percentiles(PERCENTS), np.nanpercentile(values, PERCENTS, axis=0))


def test_percentiles_of_many_samples_are_within_a_bin() -> None:
    values = samples(2)
    streaming = StreamingPercentiles(3, exact_values=1000)
    for block in np.array_split(values, 13):
        streaming.add(block)
    expected = np.nanpercentile(values, PERCENTS, axis=0)
    bin_width = 3 / 512 * np.maximum(np.cbrt(expected) + 1 / 512, 1 / 512) ** 2
    assert (np.abs(streaming.percentiles(PERCENTS) - expected) <= bin_width).all()


def test_zero_and_one_have_their_bins() -> None:
    streaming = StreamingPercentiles(2, exact_values=0)
    streaming.add(np.tile([[0.0, 1.0]], (100, 1)))
    low, high = streaming.percentiles((50,))[0]
    assert 0 <= low < 1e-7
    assert 1 - 3 / 512 < high <= 1


def test_a_column_without_samples_is_undefined() -> None:
    streaming = StreamingPercentiles(2)
    streaming.add(np.array([[np.nan, 0.5]]))
    assert np.isnan(streaming.mean()).tolist() == [True, False]
    assert np.isnan(streaming.percentiles()).tolist() == [[True, False]] * 3
    assert np.isnan(StreamingPercentiles(2).percentiles()).all()
