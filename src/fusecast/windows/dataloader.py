"""Loaders of whole batches, with an order that can be resumed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from torch.utils.data import DataLoader, Dataset

from fusecast.data.arrays import IntArray
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.model.batch import Batch
from fusecast.windows.device_gatherer import DevicePanel
from fusecast.windows.gatherer import make_gatherer
from fusecast.windows.sampler import SeededSampler
from fusecast.windows.window_index import WindowIndex

BatchT = TypeVar("BatchT")


def make_loader(
    source: EncodedPanel | DevicePanel,
    index: WindowIndex,
    sampler: SeededSampler,
    *,
    num_workers: int = 0,
    pin_memory: bool = False,
) -> WindowLoader:
    """Return a loader of batches of windows, in the order of a sampler of their numbers.

    Gathering is fast enough to feed a network from the training process (`num_workers` 0); windows of a
    :class:`DevicePanel` can only be gathered there. With several processes, pass ``use_distributed_sampler=False`` to
    Lightning's trainer.
    """
    on_device = isinstance(source, DevicePanel)
    assert not (on_device and (num_workers or pin_memory)), "batches of a device are gathered in the process itself"
    return WindowLoader(
        WindowDataset(source, index),
        batch_sampler=sampler,
        collate_fn=keep_batch,
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
    )


class WindowDataset(Dataset[Batch]):
    """The windows of an index over an encoded panel; a list of numbers is one Batch, on the device of the panel."""

    def __init__(self, source: EncodedPanel | DevicePanel, index: WindowIndex) -> None:
        self.index = index
        self.gatherer = make_gatherer(source, index)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, window: int) -> Batch:
        return self.gatherer(np.array([window], dtype=np.int64))

    def __getitems__(self, windows: Sequence[int] | IntArray) -> Batch:
        """Return the windows of these numbers as one batch."""
        return self.gatherer(np.asarray(windows, dtype=np.int64))


class ResumableLoader(DataLoader[BatchT]):
    """A DataLoader that counts the batches taken from it, so that training resumes within an epoch.

    After the end of an epoch comes the next. Lightning saves and restores this state automatically.
    """

    def __iter__(self) -> Iterator[BatchT]:  # type: ignore[override]
        """Yield the batches of the sampler's epoch, from the loaded position if there is one."""
        sampler = self.seeded_sampler
        epoch = sampler.epoch
        for batch in self._batches():
            sampler.batches_done += 1
            yield batch
        sampler.set_epoch(epoch + 1)

    def _batches(self) -> Iterator[BatchT]:
        return super().__iter__()

    @property
    def seeded_sampler(self) -> SeededSampler:
        """The sampler that computes the order."""
        sampler: object = self.batch_sampler
        assert isinstance(sampler, SeededSampler)
        return sampler

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the order, as plain values."""
        return self.seeded_sampler.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a position; raise a TrainingError when the number of windows has changed."""
        self.seeded_sampler.load_state_dict(state_dict)


class WindowLoader(ResumableLoader[Batch]):
    """A resumable loader of the batches of a :class:`WindowDataset`."""

    def _batches(self) -> Iterator[Batch]:
        """Bypass the DataLoader where it would only pass numbers on to the gatherer, batch by batch."""
        if self.num_workers or self.pin_memory or not isinstance(self.dataset, WindowDataset):
            yield from super()._batches()
            return
        sampler = self.seeded_sampler
        for windows in sampler.chunks():
            yield from self.dataset.gatherer.batches(windows, sampler.batch_size)


def keep_batch(batch: BatchT) -> BatchT:
    """Collate nothing: the dataset returns whole batches."""
    return batch
