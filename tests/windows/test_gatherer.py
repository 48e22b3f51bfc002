"""Batches of the kernel equal those of the plain gatherer, bit for bit where nothing is summed."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.encoded_panels import assert_same_batch, every_cutoff, load, make_encoded

from fusecast.data import arrays
from fusecast.kernels import library as build
from fusecast.model.batch import Batch
from fusecast.windows import gatherer, sampler, torch_gatherer
from fusecast.windows.gatherer import make_gatherer
from fusecast.windows.sampler import Permutation
from fusecast.windows.window_index import WindowIndex

pytestmark = pytest.mark.skipif(build.library() is None, reason="no C compiler here, or FUSECAST_KERNELS=0")

# window scaling sums in another order
SUMMED = dict.fromkeys(("past_real", "target", "center", "scale", "weight"), 2e-5)
ENCODED = make_encoded([40, 30])
INDEX = WindowIndex.between(lengths=[40, 30], begin=0, end=40, lookback=8, horizon=4)  # 29 + 19 windows


@given(
    lengths=st.lists(st.integers(0, 14), min_size=1, max_size=5).filter(lambda lengths: sum(lengths) > 0),
    lookback=st.integers(1, 9),
    horizon=st.integers(1, 5),
    stride=st.integers(1, 4),
    missing=st.sampled_from([0.0, 0.3, 1.0]),
    empty_rows=st.sampled_from([0.0, 0.3]),
    window_scaling=st.sampled_from(["none", "mean", "last", "season"]),
    columns=st.fixed_dictionaries(
        {
            "targets": st.integers(1, 3),
            "known": st.integers(0, 10),  # more than the kernel copies without a loop
            **dict.fromkeys(("observed", "static"), st.integers(0, 2)),
            **dict.fromkeys(("observed_categories", "known_categories", "static_categories"), st.integers(0, 2)),
            "position": st.booleans(),
            "weighted": st.booleans(),
        }
    ),
    size=st.integers(1, 7),
    data=st.data(),
)
@settings(max_examples=200, deadline=None)
def test_batches_of_the_kernel_equal_those_of_the_plain_gatherer(
    lengths, lookback, horizon, stride, missing, empty_rows, window_scaling, columns, size, data
):
    encoded = make_encoded(lengths, missing=missing, empty_rows=empty_rows, window_scaling=window_scaling, **columns)
    index = every_cutoff(lengths, lookback, horizon, stride)
    windows = np.array(data.draw(st.lists(st.integers(0, len(index) - 1), min_size=1, max_size=20)))
    gather = make_gatherer(encoded, index)
    batches = list(gather.batches(windows, size))
    assert [len(batch.window) for batch in batches] == [
        len(windows[n : n + size]) for n in range(0, len(windows), size)
    ]
    for number, batch in enumerate(batches):
        part = windows[number * size : (number + 1) * size]
        plain = gather.plain(part)
        assert_same_batch(batch, plain, tolerance=SUMMED if window_scaling != "none" else {})
        assert_same_batch(gather(part), batch)  # the same to the last bit, whatever its neighbours are


@pytest.mark.parametrize("window", [-1, 48, 2**40])
def test_a_window_that_there_is_not_is_refused(window):
    with pytest.raises(IndexError, match=f"numbered 0 to 47, not .*{window}"):
        make_gatherer(ENCODED, INDEX)([window])


def test_no_windows_are_an_empty_batch():
    assert make_gatherer(ENCODED, INDEX)([]).past_real.shape == (0, 8, 4)


def test_batches_that_are_kept_are_never_written_again(monkeypatch):
    monkeypatch.setattr(gatherer, "MAX_BYTES_PER_CALL", 8_000)  # three batches or so
    loader = load(ENCODED, INDEX, batch_size=5, shuffle=True, seed=1)
    batches = [batch for _ in range(20) for batch in loader]
    plain = loader.dataset.gatherer.plain
    for batch in batches:
        assert_same_batch(batch, plain(batch.window.numpy().copy()))


def test_memory_of_mapped_files_is_returned_after_few_windows(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "WINDOWS_IN_MEMORY", 10)
    gathered, between = [0], []
    np.save(tmp_path / "reals.npy", ENCODED.reals)
    mapped = replace(ENCODED, reals=np.load(tmp_path / "reals.npy", mmap_mode="r"))
    gather = make_gatherer(mapped, INDEX)
    fill = gatherer.Gatherer._fill

    def counted(self, fields, size):
        gathered[0] += len(fields["window"])
        return fill(self, fields, size)

    def released(*arrays):
        assert [array.ctypes.data for array in arrays] == [mapped.reals.ctypes.data]
        between.append(gathered[0])
        gathered[0] = 0

    monkeypatch.setattr(gatherer.Gatherer, "_fill", counted)
    monkeypatch.setattr(torch_gatherer, "release", released)
    batches = list(gather.batches(np.arange(48), 5))
    assert between == [10, 10, 10, 10]
    for batch, same in zip(batches, load(ENCODED, INDEX, batch_size=5), strict=True):
        assert_same_batch(batch, same)


def test_a_batch_may_be_changed_while_gradients_of_its_neighbour_are_awaited():
    one, two, *_ = load(ENCODED, INDEX, batch_size=5)
    weight = torch.ones((), requires_grad=True)
    loss = (one.past_real * weight).sum()
    two.past_real.zero_()
    loss.backward()
    torch.testing.assert_close(weight.grad, one.past_real.sum())


def test_a_batch_may_be_trained_on_although_its_neighbour_was_asked_for_in_inference_mode():
    batches = iter(load(ENCODED, INDEX, batch_size=5))
    with torch.inference_mode():
        next(batches)
    weight = torch.ones((), requires_grad=True)
    (next(batches).past_real * weight).sum().backward()
    assert weight.grad is not None


def test_a_pickled_gatherer_gathers_the_same():
    again = pickle.loads(pickle.dumps(make_gatherer(ENCODED, INDEX)))
    assert_same_batch(again([3, 40]), make_gatherer(ENCODED, INDEX)([3, 40]))


def test_numbers_of_another_type_take_the_plain_path():
    doubled = replace(ENCODED, reals=ENCODED.reals.astype(np.float64))
    gather = make_gatherer(doubled, INDEX)
    assert not gather.has_kernel()
    assert gather([0]).past_real.dtype == torch.float64


@pytest.mark.parametrize("shuffle", [False, True])
def test_without_kernels_a_loader_gives_the_same_batches(shuffle, monkeypatch):
    encoded = make_encoded([40, 30], missing=0.2)

    def batches() -> list[Batch]:
        return list(load(encoded, INDEX, batch_size=5, shuffle=shuffle, seed=4, windows_per_epoch=33))

    fast = batches()
    monkeypatch.setattr(gatherer, "library", lambda: None)
    monkeypatch.setattr(sampler, "library", lambda: None)
    slow = batches()
    assert len(fast) == len(slow) == 7
    for one, other in zip(fast, slow, strict=True):
        assert_same_batch(one, other)


@given(size=st.integers(1, 2**50), seed=st.integers(0, 2**64 - 1), data=st.data())
def test_the_order_of_the_kernel_is_the_one_of_numpy(size, seed, data):
    places = np.array(data.draw(st.lists(st.integers(0, size - 1), max_size=20)), dtype=np.int64)
    permutation = Permutation(size, seed, 3)
    assert permutation(places).tolist() == permutation.plain(places).tolist()


@pytest.mark.parametrize("size", range(1, 40))
def test_the_order_of_few_windows_is_the_one_of_numpy(size):
    places = np.arange(size)
    for seed in range(5):
        assert Permutation(size, seed)(places).tolist() == Permutation(size, seed).plain(places).tolist()
