"""Loader: a DataLoader of whole batches, with an order that can be resumed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from fusecast.features.encoded_panel import EncodedPanel
from fusecast.model.batch import Batch
from fusecast.windows.device_gatherer import DevicePanel
from fusecast.windows.gatherer import gatherer_of
from fusecast.windows.sampler import SeededSampler
from fusecast.windows.window_index import WindowIndex


class WindowDataset(Dataset[Batch]):
    """The windows of an index over an encoded panel; a list of numbers gives one Batch, where the panel is."""

    def __init__(self, source: EncodedPanel | DevicePanel, index: WindowIndex) -> None:
        self.index = index
        self.gatherer = gatherer_of(source, index)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, window: int) -> Batch:
        return self.gatherer(np.array([window], dtype=np.int64))

    def __getitems__(self, windows: Sequence[int] | NDArray[np.int64]) -> Batch:
        """Give the windows of these numbers as one batch."""
        return self.gatherer(np.asarray(windows, dtype=np.int64))


class WindowLoader(DataLoader[Batch]):
    """A DataLoader that counts the batches taken from it, so that training resumes within an epoch.

    An epoch that ran to its end is followed by the next. Lightning saves and restores this state by itself.
    """

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Give the batches of the sampler's epoch, from where a loaded state stood."""
        sampler = self.seeded_sampler
        epoch = sampler.epoch
        for batch in self._batches():
            sampler.done += 1
            yield batch
        sampler.set_epoch(epoch + 1)

    def _batches(self) -> Iterator[Batch]:
        """Go around the DataLoader where it would only hand numbers to the gatherer, batch by batch."""
        data: Any = self.dataset
        if self.num_workers or self.pin_memory or not isinstance(data, WindowDataset):
            yield from super().__iter__()
            return
        sampler = self.seeded_sampler
        for windows in sampler.chunks():
            yield from data.gatherer.batches(windows, sampler.batch_size)

    @property
    def seeded_sampler(self) -> SeededSampler:
        """The batch sampler, as what it is."""
        sampler: Any = self.batch_sampler
        assert isinstance(sampler, SeededSampler)
        return sampler

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that comes next."""
        self.seeded_sampler.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Where the order stands, in plain values."""
        return self.seeded_sampler.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where :meth:`state_dict` stood."""
        self.seeded_sampler.load_state_dict(state_dict)


def make_loader(
    source: EncodedPanel | DevicePanel,
    index: WindowIndex,
    *,
    batch_size: int,
    shuffle: bool = False,
    seed: int = 0,
    windows_per_epoch: int | None = None,
    drop_last: bool = False,
    num_workers: int = 0,
    pin_memory: bool = False,
    rank: int = 0,
    world: int = 1,
) -> WindowLoader:
    """Make a loader of batches of windows; what the options mean stands at :class:`SeededSampler`.

    Gathering is fast enough to feed a network from the training process (`num_workers` 0), where alone it can be done
    of a :class:`DevicePanel`; the order is the same for both. With several processes give each its `rank` of
    `world`, and tell Lightning ``use_distributed_sampler=False``.
    """
    on_device = isinstance(source, DevicePanel)
    assert not (on_device and (num_workers or pin_memory)), "batches of a device are gathered in the process itself"
    sampler = SeededSampler(
        len(index),
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        windows_per_epoch=windows_per_epoch,
        drop_last=drop_last,
        rank=rank,
        world=world,
    )
    return WindowLoader(
        WindowDataset(source, index),
        batch_sampler=sampler,
        collate_fn=_as_it_is,
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
    )


def _as_it_is(batch: Any) -> Any:
    return batch
