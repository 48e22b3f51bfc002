"""Loaders of whole batches, with an order that can be resumed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from fusecast.data.arrays import IntArray
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.model.batch import Batch
from fusecast.windows.device_gatherer import DevicePanel
from fusecast.windows.gatherer import make_gatherer
from fusecast.windows.sampler import SeededSampler
from fusecast.windows.window_index import WindowIndex

BatchT = TypeVar("BatchT")
LOADING_OPTIONS = (
    "num_workers", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context", "generator",
    "prefetch_factor", "persistent_workers",
)  # fmt: skip
"""Options of a DataLoader that concern how batches are loaded, and not which."""


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
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
    )


class BatchDataset(Dataset[BatchT]):
    """A dataset that can gather whole batches, which a :class:`ResumableLoader` makes use of.

    Its items are single windows, as those of any other dataset, so that it can be used in any DataLoader, with any
    sampler, and as a part of other datasets.
    """

    def __len__(self) -> int:
        raise NotImplementedError

    def gather(self, windows: Sequence[int] | IntArray) -> BatchT:
        """Return the windows of these numbers as one batch."""
        raise NotImplementedError


class WindowDataset(BatchDataset[Batch]):
    """The windows of an index over `source`, an encoded panel, on the device of the panel."""

    def __init__(self, source: EncodedPanel | DevicePanel, index: WindowIndex) -> None:
        self.index = index
        self.gatherer = make_gatherer(source, index)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, window: int) -> Batch:
        """Return one window, without the dimension of the batch."""
        return self.__getitems__([window])[0]

    def __getitems__(self, windows: Sequence[int]) -> list[Batch]:
        """Return single windows; torch's ``default_collate`` makes a Batch of them."""
        batch = _widen_masks(self.gather(windows))
        return [Batch._make(values) for values in zip(*batch, strict=True)]

    def gather(self, windows: Sequence[int] | IntArray) -> Batch:
        """Return the windows of these numbers as one batch."""
        return self.gatherer(np.asarray(windows, dtype=np.int64))


class ResumableLoader(DataLoader[BatchT]):
    """A DataLoader that counts the batches taken from it, so that training resumes within an epoch.

    After the end of an epoch comes the next. Lightning saves and restores this state automatically. The batches of a
    :class:`BatchDataset` are gathered whole. With a sampler of another kind (that of Lightning's ``overfit_batches``),
    it is a DataLoader like any other, and has no position.
    """

    def __iter__(self) -> Iterator[BatchT]:  # type: ignore[override]
        """Yield the batches of the sampler's epoch, from the loaded position if there is one."""
        sampler = self._find_sampler()
        if sampler is None:
            yield from self._batches()
            return
        epoch = sampler.epoch
        for batch in self._batches():
            sampler.batches_done += 1
            yield batch
        sampler.set_epoch(epoch + 1)

    @property
    def seeded_sampler(self) -> SeededSampler:
        """The sampler that computes the order."""
        sampler = self._find_sampler()
        assert sampler is not None
        return sampler

    def state_dict(self) -> dict[str, Any]:
        """Return the position in the order, as plain values; nothing without a position."""
        sampler = self._find_sampler()
        return {} if sampler is None else sampler.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a position; raise a TrainingError when the number of windows has changed."""
        sampler = self._find_sampler()
        if sampler is not None and state_dict:
            sampler.load_state_dict(state_dict)

    def _find_sampler(self) -> SeededSampler | None:
        sampler: object = self.batch_sampler
        return sampler if isinstance(sampler, SeededSampler) else None

    def _batches(self) -> Iterator[BatchT]:
        if not isinstance(self.dataset, BatchDataset):
            return super().__iter__()
        whole = self._whole_batches
        whole._iterator = self._iterator  # noqa: SLF001  None after Lightning has ended the workers behind it
        iterator = iter(whole)
        if self.num_workers:
            # Lightning ends the workers behind this attribute with the training. Left to the collection of garbage,
            # each of them would be waited for, five seconds long.
            self._iterator = iterator
        return iterator

    @cached_property
    def _whole_batches(self) -> DataLoader[BatchT]:
        """A loader of the same batches, that gathers each as a whole."""
        options = {name: getattr(self, name) for name in LOADING_OPTIONS}
        whole: Any = _WholeBatches(self.dataset)
        return DataLoader(whole, batch_sampler=self.batch_sampler, collate_fn=_keep_batch, **options)


class WindowLoader(ResumableLoader[Batch]):
    """A resumable loader of the batches of a :class:`WindowDataset`."""

    def _batches(self) -> Iterator[Batch]:
        """Bypass the DataLoader where it would only pass numbers on to the gatherer, batch by batch."""
        sampler = self._find_sampler()
        if self.num_workers or self.pin_memory or sampler is None or not isinstance(self.dataset, WindowDataset):
            yield from super()._batches()
            return
        for windows in sampler.chunks():
            yield from self.dataset.gatherer.batches(windows, sampler.batch_size)


class _WholeBatches(Dataset[Any]):
    """A dataset that a DataLoader asks for lists of windows, and that returns each list as one batch."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, windows: Sequence[int]) -> Any:
        return self.dataset.gather(windows)


def _keep_batch(batch: Any) -> Any:
    """Collate nothing: the dataset returns whole batches."""
    return batch


def _widen_masks(batch: Batch) -> Batch:
    """Return a batch with all masks at their full width, so that its windows can be stacked with those of others."""
    values = {
        "static_real_present": batch.static_real,
        "past_real_present": batch.past_real,
        "future_real_present": batch.future_real,
        "past_mask": batch.past_real[..., 0],
        "target_mask": batch.target,
    }
    absent = {name: value for name, value in values.items() if not getattr(batch, name).shape[-1]}
    return batch._replace(**{name: torch.ones_like(value, dtype=torch.bool) for name, value in absent.items()})
