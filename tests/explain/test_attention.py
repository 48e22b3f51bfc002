from __future__ import annotations

import numpy as np
import pytest

from fusecast.explain.attention import AttentionProfile, AttentionStore, AttentionTally

LOOKBACK, HORIZON = 6, 3


def masked_attention(batches) -> np.ndarray:
    """Attention of all windows at once, NaN at masked positions: [W, H, T]."""
    blocks = []
    for batch, output in batches:
        attention = output.attention.double().numpy().copy()
        for window in range(len(attention)):
            for step in range(LOOKBACK):
                if batch.past_mask.shape[1] and not batch.past_mask[window, step]:
                    attention[window, :, step] = np.nan
        blocks.append(attention)
    return np.concatenate(blocks)


def a_profile(mean: list[float], horizon: int = 1) -> AttentionProfile:
    values = np.array(mean)
    position = np.arange(len(mean)) - (len(mean) - horizon)
    return AttentionProfile(position=position, mean=values, p10=values, p50=values, p90=values)


@pytest.mark.parametrize("masked", [True, False])
def test_attention_agrees_with_numpy_on_all_windows(masked: bool, windows_of) -> None:
    batches = [windows_of(seed, count, masked=masked) for seed, count in enumerate((5, 8, 1))]
    tally = AttentionTally(LOOKBACK, HORIZON)
    for batch, output in batches:
        tally.add(batch, output)
    everything = masked_attention(batches)

    expected = {h: everything[:, h] for h in range(HORIZON)} | {None: everything.mean(axis=1)}
    for step, values in expected.items():
        profile = tally.profile() if step is None else tally.profiles_by_step()[step]
        assert profile.position.tolist() == list(range(-LOOKBACK, HORIZON))
        np.testing.assert_allclose(profile.mean, np.nanmean(values, axis=0))
        percentiles = np.stack([profile.p10, profile.p50, profile.p90])
        np.testing.assert_allclose(percentiles, np.nanpercentile(values, (10, 50, 90), axis=0))


def test_without_padding_the_mean_attention_adds_to_one(windows_of) -> None:
    tally = AttentionTally(LOOKBACK, HORIZON)
    tally.add(*windows_of(0, 30, masked=False))
    assert tally.profile().mean.sum() == pytest.approx(1.0)
    assert all(profile.mean.sum() == pytest.approx(1.0) for profile in tally.profiles_by_step())


def test_a_step_ahead_never_attends_to_later_steps(windows_of) -> None:
    tally = AttentionTally(LOOKBACK, HORIZON)
    tally.add(*windows_of(0, 30))
    first = tally.profiles_by_step()[0]
    assert (first.mean[first.position > 0] == 0).all()
    assert first.mean[first.position == 0] > 0


def test_adding_does_not_change_the_output(windows_of) -> None:
    batch, output = windows_of(0, 30)
    double = output._replace(attention=output.attention.double())
    before = double.attention.clone()
    AttentionTally(LOOKBACK, HORIZON).add(batch, double)
    assert bool((double.attention == before).all())


def test_top_lags_are_the_highest_peaks_of_the_past() -> None:
    #                    -6    -5   -4    -3    -2   -1    0
    profile = a_profile([0.05, 0.2, 0.05, 0.15, 0.1, 0.12, 0.9])
    assert profile.top_lags(2) == [(-5, 0.2), (-3, 0.15)]
    assert profile.top_lags(9) == [(-5, 0.2), (-3, 0.15), (-1, 0.12)]


def test_a_plateau_is_one_peak_and_positions_always_masked_are_none() -> None:
    assert a_profile([np.nan, 0.1, 0.3, 0.3, 0.1, 0.0]).top_lags() == [(-2, 0.3)]


def test_the_table_of_a_profile_has_a_row_a_position_and_null_where_masked() -> None:
    frame = a_profile([0.4, np.nan]).to_frame()
    assert frame.row(0, named=True) == {"position": -1, "mean": 0.4, "p10": 0.4, "p50": 0.4, "p90": 0.4}
    assert frame["mean"].to_list() == [0.4, None]


def test_a_scratch_file_holds_the_same_as_memory(keep) -> None:
    attention = np.random.default_rng(0).dirichlet(np.ones(7), (9, 2))
    attention[3, :, :2] = np.nan
    memory, file = keep(attention, 5), keep(attention, 5, max_bytes=100)
    assert memory.in_memory
    assert not file.in_memory
    for store in (memory, file):
        values = np.concatenate([block for _, block in store.blocks()])
        np.testing.assert_allclose(values, attention, rtol=1e-6)


def test_blocks_cover_a_span_once_and_in_order() -> None:
    store = AttentionStore(10, 600_000, 1)  # six windows a block
    parts = [part for part, _ in store.blocks(1, 9)]
    assert [(part.start, part.stop) for part in parts] == [(1, 7), (7, 9)]
