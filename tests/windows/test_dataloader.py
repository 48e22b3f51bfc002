from __future__ import annotations

import pytest
import torch
from tests.helpers.encoded_panels import every_cutoff, gather, load, make_encoded
from torch.utils.data import ConcatDataset, DataLoader, Subset

from fusecast.model.config import ModelConfig
from fusecast.model.tft import TemporalFusionTransformer
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


def test_a_dataset_has_single_windows_and_gathers_whole_batches():
    dataset = WindowDataset(ENCODED, INDEX)
    assert len(dataset) == 48
    assert dataset.gather([5, 2]).window.tolist() == [5, 2]
    assert [item.window.item() for item in (*dataset.__getitems__([5, 2]), dataset[7])] == [5, 2, 7]


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_any_dataloader_makes_the_same_batches_of_a_dataset(missing):
    encoded = make_encoded([40, 30], missing=missing, empty_rows=missing)
    index = every_cutoff([40, 30], 8, 4) if missing else INDEX  # padded windows, which have masks, among others
    dataset = WindowDataset(encoded, index)
    joined = ConcatDataset([Subset(dataset, range(3)), Subset(dataset, range(3, len(dataset)))])
    config = ModelConfig(**encoded.inputs.sizes(), lookback=8, horizon=4, hidden_size=4, num_heads=1)
    network = TemporalFusionTransformer(config).eval()
    for source in (dataset, joined):
        loader = DataLoader(source, batch_size=20)
        assert len(list(loader)) == len(loader)
        for batch in loader:
            expected = gather(encoded, index, batch.window)
            for name in ("past_real", "past_cat", "future_real", "target", "center", "scale", "weight"):
                assert torch.equal(getattr(batch, name), getattr(expected, name)), name
            torch.testing.assert_close(network(batch).quantiles, network(expected).quantiles, rtol=1e-5, atol=1e-6)


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
