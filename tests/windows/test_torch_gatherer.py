from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.encoded_panels import every_cutoff, gather, make_encoded, slow_batch

from fusecast.model.batch import Batch
from fusecast.windows.window_index import WindowIndex
from fusecast.windows.window_scaling import MIN_WINDOW_SCALE

MASKS = {"static_real_present", "past_real_present", "future_real_present", "past_mask", "target_mask"}


def assert_as_slow(batch: Batch, expected: dict[str, np.ndarray]) -> None:
    step = expected["past_mask"]
    for name, reference in expected.items():
        tensor = getattr(batch, name)
        assert tensor.is_contiguous(), name
        if name in MASKS and tensor.shape != reference.shape:
            # a mask of width 0 claims that nothing is missing, in steps that are not masked themselves
            claimed = reference | ~step[:, :, None] if name == "past_real_present" else reference
            assert tensor.shape[-1] == 0, name
            assert tensor.shape[:-1] == reference.shape[:-1], name
            assert claimed.all(), name
            continue
        if name in MASKS and name != "past_real_present":
            assert not reference.all() or reference.size == 0, f"{name} should have width 0"
        assert tuple(tensor.shape) == reference.shape, name
        np.testing.assert_allclose(tensor.numpy(), reference, rtol=1e-4, atol=1e-5, err_msg=name)


few = st.integers(0, 2)


@given(
    lengths=st.lists(st.integers(0, 14), min_size=1, max_size=4).filter(lambda lengths: sum(lengths) > 0),
    lookback=st.integers(1, 9),
    horizon=st.integers(1, 5),
    missing=st.sampled_from([0.0, 0.0, 0.3]),
    empty_rows=st.sampled_from([0.0, 0.0, 0.3]),
    window_scaling=st.sampled_from(["none", "mean", "last", "season"]),
    columns=st.fixed_dictionaries(
        {
            "targets": st.integers(1, 2),
            **dict.fromkeys(("observed", "known", "static"), few),
            **dict.fromkeys(("observed_categories", "known_categories", "static_categories"), few),
            "position": st.booleans(),
            "weighted": st.booleans(),
        }
    ),
    data=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_a_batch_equals_windows_gathered_one_by_one(
    lengths, lookback, horizon, missing, empty_rows, window_scaling, columns, data
):
    encoded = make_encoded(
        lengths, missing=missing, empty_rows=empty_rows, window_scaling=window_scaling, seed=len(lengths), **columns
    )
    index = every_cutoff(lengths, lookback, horizon)
    windows = data.draw(st.lists(st.integers(0, len(index) - 1), min_size=1, max_size=6))
    assert_as_slow(gather(encoded, index, windows), slow_batch(encoded, index, windows))


def test_types_are_those_of_the_legend():
    index = WindowIndex.between(lengths=[20], begin=0, end=20, lookback=4, horizon=2)
    batch = gather(make_encoded([20]), index, [0, 3])
    kinds = {torch.float32: 0, torch.int64: 0, torch.bool: 0}
    for name, tensor in batch._asdict().items():
        kinds[tensor.dtype] += 1
        assert (tensor.dtype == torch.bool) == (name in MASKS), name
    assert kinds == {torch.float32: 8, torch.int64: 4, torch.bool: 5}


def test_the_first_step_to_forecast_is_position_zero():
    index = WindowIndex.between(lengths=[20], begin=0, end=20, lookback=4, horizon=2)
    batch = gather(make_encoded([20]), index, [0])
    assert batch.past_real[0, :, -1].tolist() == [-1.0, -0.75, -0.5, -0.25]
    assert batch.future_real[0, :, -1].tolist() == [0.0, 0.25]


def test_a_batch_without_gaps_has_no_masks_and_one_window_with_padding_brings_them():
    index = WindowIndex.between(lengths=[9, 30], begin=0, end=30, lookback=8, horizon=2)
    encoded = make_encoded([9, 30])
    whole = gather(encoded, index, [1, 2])
    assert {name for name in MASKS if getattr(whole, name).shape[-1]} == set()
    padded = gather(encoded, index, [0, 2])
    assert padded.past_mask.tolist() == [[False] + [True] * 7, [True] * 8]
    assert {name for name in MASKS if getattr(padded, name).shape[-1]} == {"past_mask"}
    torch.testing.assert_close(padded.past_real[1], whole.past_real[1], rtol=0, atol=0)


def test_steps_beyond_the_end_of_the_series_do_not_count():
    index = WindowIndex.at_end(lengths=[10, 12], lookback=4, horizon=3)
    batch = gather(make_encoded([10, 12]), index, [0, 1])
    assert not batch.target_mask.any()
    assert not batch.future_real_present[:, :, 0].any()
    assert batch.future_real_present[:, :, 1].all()  # the relative position
    assert (batch.future_cat == 0).all()


def with_other_rows(encoded, rows):
    """Return the panel with other numbers in some rows."""
    reals, categories = encoded.reals.copy(), encoded.categories.copy()
    reals[rows] += 7.0
    categories[rows] = (categories[rows] + 1) % 5
    return replace(encoded, reals=reals, categories=categories)


SEEN = ("static_real", "static_cat", "past_real", "past_cat", "past_mask", "past_real_present", "center", "scale")


@pytest.mark.parametrize("window_scaling", ["none", "mean", "last", "season"])
def test_nothing_after_the_cutoff_is_in_the_past_of_a_window(window_scaling):
    encoded = make_encoded([30, 25], window_scaling=window_scaling)
    index = WindowIndex.between(lengths=[30, 25], begin=0, end=30, lookback=8, horizon=4)
    windows = np.arange(19)  # all of the first series; the last cutoff is 26
    (_, cutoffs) = index.locate(windows)
    for window, cutoff in zip(windows, cutoffs, strict=True):
        before = gather(encoded, index, [window])
        after = gather(with_other_rows(encoded, slice(cutoff, None)), index, [window])
        for name in SEEN:
            torch.testing.assert_close(getattr(after, name), getattr(before, name), rtol=0, atol=0)
        # what is known in advance is listened to, and so is the row before the cutoff
        assert not torch.equal(after.future_real, before.future_real)
        earlier = gather(with_other_rows(encoded, slice(cutoff - 1, cutoff)), index, [window])
        assert not torch.equal(earlier.past_real, before.past_real)


def test_observed_values_and_targets_of_the_future_are_not_among_its_inputs():
    encoded = make_encoded([30], known=2, known_categories=2)
    reals, categories = encoded.reals.copy(), encoded.categories.copy()
    reals[:, :2] += 7.0  # the target and the observed column
    categories[:, :1] += 1
    other = replace(encoded, reals=reals, categories=categories)
    index = WindowIndex.between(lengths=[30], begin=0, end=30, lookback=8, horizon=4)
    one, two = (gather(panel, index, [0, 5]) for panel in (encoded, other))
    torch.testing.assert_close(one.future_real, two.future_real, rtol=0, atol=0)
    torch.testing.assert_close(one.future_cat, two.future_cat, rtol=0, atol=0)
    assert not torch.equal(one.past_real, two.past_real)


def test_the_order_of_series_changes_no_window():
    encoded = make_encoded([12, 20])
    swapped = replace(
        encoded,
        indptr=np.array([0, 20, 32]),
        reals=np.concatenate([encoded.reals[12:], encoded.reals[:12]]),
        categories=np.concatenate([encoded.categories[12:], encoded.categories[:12]]),
        **{
            name: getattr(encoded, name)[::-1].copy()
            for name in ("static_reals", "static_reals_present", "static_categories", "center", "scale")
        },
    )
    one = WindowIndex.between(lengths=[12, 20], begin=0, end=20, lookback=9, horizon=2)
    two = WindowIndex.between(lengths=[20, 12], begin=0, end=20, lookback=9, horizon=2)
    order = np.concatenate([np.arange(one.counts[0]) + one.counts[1], np.arange(one.counts[1])])
    a, b = gather(encoded, one, np.arange(len(one))), gather(swapped, two, order)
    for name, tensor in a._asdict().items():
        if name != "window":
            torch.testing.assert_close(tensor, getattr(b, name), rtol=0, atol=0)


@pytest.mark.parametrize("window_scaling", ["mean", "last", "season"])
def test_window_scaling_leads_back_to_the_units_of_the_data(window_scaling):
    plain = make_encoded([30, 25], missing=0.2, targets=2)
    scaled = replace(plain, window_scaling=window_scaling)
    index = WindowIndex.between(lengths=[30, 25], begin=0, end=30, lookback=8, horizon=4)
    windows = np.arange(len(index))
    a, b = gather(plain, index, windows), gather(scaled, index, windows)
    units = [x.target * x.scale[:, None] + x.center[:, None] for x in (a, b)]
    torch.testing.assert_close(units[1][a.target_mask], units[0][a.target_mask], rtol=1e-4, atol=1e-5)
    assert (b.target[~b.target_mask] == 0).all()
    assert not torch.equal(a.target, b.target)


def test_window_scaling_of_a_constant_lookback_is_bounded():
    encoded = make_encoded([20], window_scaling="mean")
    encoded.reals[:10, 0] = 3.0
    index = WindowIndex.between(lengths=[20], begin=8, end=20, lookback=8, horizon=4)
    batch = gather(encoded, index, [0])
    assert (batch.past_real[0, :, 0] == 0).all()
    np.testing.assert_allclose(batch.target[0, :, 0], (encoded.reals[8:12, 0] - 3.0) / MIN_WINDOW_SCALE, rtol=1e-5)


def test_arrays_mapped_from_a_file_read_only_can_be_gathered_from(tmp_path):
    encoded = make_encoded([30, 25])
    mapped = {}
    for name in ("reals", "reals_present", "categories"):
        np.save(tmp_path / f"{name}.npy", getattr(encoded, name))
        mapped[name] = np.load(tmp_path / f"{name}.npy", mmap_mode="r" if getattr(encoded, name).size else None)
    index = WindowIndex.between(lengths=[30, 25], begin=0, end=30, lookback=8, horizon=4)
    batch = gather(replace(encoded, **mapped), index, [0, 3, 20])
    for one, other in zip(batch, gather(encoded, index, [0, 3, 20]), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
