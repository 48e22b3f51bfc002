from __future__ import annotations

import pytest
import torch
from tests.helpers.encoded_panels import gather, load, make_encoded
from torch.utils.data import DataLoader

from fusecast.windows.dataloader import WindowDataset
from fusecast.windows.window_index import WindowIndex

ENCODED = make_encoded([40, 30])
INDEX = WindowIndex.between(lengths=[40, 30], begin=0, end=40, lookback=8, horizon=4)  # 29 + 19 windows


def windows(batches) -> list[list[int]]:
    return [batch.window.tolist() for batch in batches]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_loader_yields_whole_batches(num_workers):
    loader = load(ENCODED, INDEX, batch_size=20, num_workers=num_workers)
    assert isinstance(loader, DataLoader)
    batches = list(loader)
    assert windows(batches) == [list(range(20)), list(range(20, 40)), list(range(40, 48))]
    for batch in batches:
        for one, other in zip(batch, gather(ENCODED, INDEX, batch.window), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_a_dataset_returns_a_batch_for_a_list_and_for_one_number():
    dataset = WindowDataset(ENCODED, INDEX)
    assert len(dataset) == 48
    assert windows([dataset.__getitems__([5, 2]), dataset[7]]) == [[5, 2], [7]]


def test_each_epoch_has_an_order_of_its_own_and_the_same_again_from_the_same_seed():
    loader = load(ENCODED, INDEX, batch_size=20, shuffle=True, seed=5)
    epochs = [windows(loader) for _ in range(3)]
    again = load(ENCODED, INDEX, batch_size=20, shuffle=True, seed=5)
    again.seeded_sampler.set_epoch(2)
    assert windows(again) == epochs[2]
    assert epochs[0] != epochs[1] != epochs[2]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_loader_resumes_after_the_last_batch_that_was_taken(num_workers):
    def make():
        return load(ENCODED, INDEX, batch_size=4, shuffle=True, seed=5, num_workers=num_workers)

    loader = make()
    loader.seeded_sampler.set_epoch(1)
    whole = windows(loader)
    loader.seeded_sampler.set_epoch(1)
    batches = iter(loader)
    taken = windows(next(batches) for _ in range(5))
    state = loader.state_dict()
    assert taken == whole[:5]
    resumed = make()
    resumed.load_state_dict(state)
    assert windows(resumed) == whole[5:]
    assert resumed.state_dict()["epoch"] == 2


def test_leaving_an_epoch_early_does_not_make_the_next_one_shorter():
    loader = load(ENCODED, INDEX, batch_size=4)
    next(iter(loader))  # as a sanity check before training does
    assert len(list(loader)) == len(loader) == 12
