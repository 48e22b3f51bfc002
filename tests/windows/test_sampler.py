from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusecast.errors import ConfigError, TrainingError
from fusecast.windows.sampler import Permutation, SeededSampler


def epoch(sampler: SeededSampler, number: int) -> list[int]:
    sampler.set_epoch(number)
    return [window for batch in sampler for window in batch]


@given(size=st.integers(1, 700), seed=st.integers(0, 2**64 - 1), number=st.integers(0, 100))
def test_a_permutation_meets_every_number_once(size, seed, number):
    order = Permutation(size, seed, number)(np.arange(size))
    assert np.bincount(order, minlength=size).tolist() == [1] * size


@given(size=st.integers(2, 10**15), positions=st.lists(st.integers(0, 10**15), min_size=2, max_size=20, unique=True))
def test_any_part_of_a_huge_permutation_can_be_computed(size, positions):
    positions = np.array([position for position in positions if position < size], dtype=np.int64)
    order = Permutation(size, 1, 2)(positions)
    assert ((order >= 0) & (order < size)).all()
    assert len(np.unique(order)) == len(positions)


@pytest.mark.parametrize("size", [2, 3, 5, 7, 12])
def test_every_number_is_equally_often_in_every_place(size):
    draws = 1500
    orders = np.array([Permutation(size, seed, 0)(np.arange(size)) for seed in range(draws)])
    for position in range(size):
        counts = np.bincount(orders[:, position], minlength=size)
        spread = np.sqrt(draws / size * (1 - 1 / size))
        assert np.abs(counts - draws / size).max() < 5 * spread


def test_neighbours_do_not_stay_neighbours():
    order = Permutation(100_000, 3, 0)(np.arange(100_000))
    steps = np.diff(order)
    assert len(np.unique(steps)) > 50_000
    assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.02
    assert abs(np.corrcoef(np.arange(100_000), order)[0, 1]) < 0.02


def test_the_order_is_a_function_of_seed_and_epoch_alone():
    one, two = (SeededSampler(50, batch_size=7, shuffle=True, seed=3) for _ in range(2))
    third = epoch(two, 2)  # not preceded by the others
    assert [epoch(one, number) for number in range(3)][2] == third
    assert epoch(one, 1) != third
    assert epoch(SeededSampler(50, batch_size=7, shuffle=True, seed=4), 2) != third


def test_without_shuffling_windows_come_in_order():
    sampler = SeededSampler(10, batch_size=4)
    assert list(sampler) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(sampler) == 3
    sampler.set_epoch(5)
    assert next(iter(sampler)) == [0, 1, 2, 3]


def test_no_windows_are_no_batches():
    assert list(SeededSampler(0, batch_size=4, shuffle=True, windows_per_epoch=10)) == []


@given(
    size=st.integers(1, 60),
    per_epoch=st.integers(1, 80),
    batch_size=st.integers(1, 9),
)
def test_short_epochs_walk_through_all_windows_before_any_comes_again(size, per_epoch, batch_size):
    sampler = SeededSampler(size, batch_size=batch_size, shuffle=True, windows_per_epoch=per_epoch)
    stream = [window for number in range(-(-3 * size // per_epoch)) for window in epoch(sampler, number)]
    for begin in range(0, 3 * size, size):
        assert sorted(stream[begin : begin + size]) == list(range(size))


@given(
    size=st.integers(1, 60),
    batch_size=st.integers(1, 9),
    world=st.integers(1, 5),
    shuffle=st.booleans(),
    number=st.integers(0, 3),
)
def test_processes_take_different_windows_of_an_epoch(size, batch_size, world, shuffle, number):
    shares = [
        epoch(SeededSampler(size, batch_size=batch_size, shuffle=shuffle, rank=rank, world_size=world), number)
        for rank in range(world)
    ]
    together = [window for share in shares for window in share]
    assert len(set(together)) == len(together)
    if shuffle:
        assert {len(share) for share in shares} == {size // world}
    else:
        assert sorted(together) == list(range(size))


@given(
    size=st.integers(1, 60),
    batch_size=st.integers(1, 9),
    per_epoch=st.none() | st.integers(1, 80),
    world=st.integers(1, 3),
    number=st.integers(0, 4),
    data=st.data(),
)
def test_a_sampler_continues_where_another_stopped(size, batch_size, per_epoch, world, number, data):
    def sampler(seed: int) -> SeededSampler:
        return SeededSampler(
            size, batch_size=batch_size, shuffle=True, seed=seed, windows_per_epoch=per_epoch, world_size=world
        )

    first, second = sampler(1), sampler(9)
    first.set_epoch(number)
    batches = list(first)
    first.batches_done = data.draw(st.integers(0, len(batches)))
    second.load_state_dict(first.state_dict())
    second.set_epoch(number)  # as Lightning does at the start of the epoch it resumes
    assert list(second) == batches[first.batches_done :]
    assert list(second) == batches  # and only once


def test_training_can_continue_with_another_batch_size():
    first = SeededSampler(100, batch_size=10, shuffle=True)
    windows = epoch(first, 3)
    first.batches_done = 4
    second = SeededSampler(100, batch_size=20, shuffle=True)
    second.load_state_dict(first.state_dict())
    assert [window for batch in second for window in batch] == windows[40:]


def test_another_epoch_starts_at_its_beginning():
    sampler = SeededSampler(20, batch_size=5, shuffle=True)
    sampler.load_state_dict({"seed": 0, "epoch": 1, "windows": 10, "size": 20})
    sampler.set_epoch(2)
    assert len(list(sampler)) == 4


def test_a_position_among_other_windows_is_refused():
    with pytest.raises(TrainingError, match=r"it had 21 windows .*, and now there are 20"):
        SeededSampler(20, batch_size=5).load_state_dict({"seed": 0, "epoch": 1, "windows": 10, "size": 21})


@pytest.mark.parametrize(
    "options",
    [{"batch_size": 0}, {"batch_size": 1, "windows_per_epoch": 0}, {"batch_size": 1, "rank": 2, "world_size": 2}],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ConfigError, match=r"must (be at least 1|lie in)"):
        SeededSampler(20, **options)


@settings(max_examples=5)
@given(seed=st.integers(0, 2**31))
def test_long_epochs_are_one_order_although_they_are_computed_in_chunks(seed):
    sampler = SeededSampler(40_000, batch_size=1_000, shuffle=True, seed=seed)
    windows = epoch(sampler, 0)
    assert windows == sampler.windows_at(0, np.arange(40_000)).tolist()
    assert len(set(windows)) == 40_000
