"""Windows of rows as (x, y), gathered a batch at a time from the one array that holds all rows."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from fusecast.windows.sampler import SeededSampler

Pair = tuple[Tensor, Tensor]


class StepDataset(Dataset[Pair]):
    """Windows of `window_size` rows, ``x``, and the row after each, ``y``; no window is ever copied beforehand.

    Parameters
    ----------
    values
        float32 [N, F], of any strides; shared, never written to.
    targets
        int64 [W]: the row that is the ``y`` of each window. The rows before it must be of the same sequence.
    window_size
        Rows of ``x``.
    names
        Of the F columns.
    center, scale
        Means and deviations [F] of the rows that training may see, for a model to standardise by.
    """

    def __init__(
        self,
        values: NDArray[np.float32],
        targets: NDArray[np.int64],
        window_size: int,
        *,
        names: Sequence[str],
        center: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable", category=UserWarning)
            self.values = torch.from_numpy(values)
        self.targets = targets
        self.window_size = window_size
        self.names = tuple(names)
        self.center, self.scale = center, scale
        N, F = self.values.shape
        along, across = self.values.stride()
        # window w is rows w to w + window_size - 1: a view, whatever the layout of the array
        self._windows = self.values.as_strided((N - window_size + 1, window_size, F), (along, along, across))

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, window: int) -> Pair:
        """Give x ``[window_size, F]`` and y ``[F]``."""
        row = int(self.targets[window])
        return self.values[row - self.window_size : row].clone(), self.values[row].clone()

    def __getitems__(self, windows: Sequence[int]) -> Pair:
        """Give x ``[B, window_size, F]`` and y ``[B, F]``, one gather each."""
        rows = torch.from_numpy(self.targets[np.asarray(windows, dtype=np.int64)])
        return self._windows.index_select(0, rows - self.window_size), self.values.index_select(0, rows)


class StepSampler(DistributedSampler[int]):
    """Window numbers in an order that follows from seed and epoch, each process of a run taking its share.

    It is a DistributedSampler for Lightning's sake, which puts none of its own in its place. Unlike torch's, it never
    gives a window twice in an epoch, and leaves none out where it does not shuffle. With `shared` False every process
    takes all of them.
    """

    def __init__(self, size: int, *, batch_size: int, shuffle: bool, seed: int = 0, shared: bool = True) -> None:
        self.shuffle = shuffle
        self.shared = shared
        self.order = SeededSampler(size, batch_size=batch_size, shuffle=shuffle, seed=seed)

    def __len__(self) -> int:
        self._take_place()
        return self.order.share

    def __iter__(self) -> Iterator[int]:
        self._take_place()
        for batch in self.order:
            yield from batch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that comes next; a position that was loaded is kept where it is of this epoch."""
        self.order.set_epoch(epoch)

    def _take_place(self) -> None:
        there = self.shared and torch.distributed.is_available() and torch.distributed.is_initialized()
        self.order.rank = torch.distributed.get_rank() if there else 0
        self.order.world = torch.distributed.get_world_size() if there else 1


class StepLoader(DataLoader[Pair]):
    """A DataLoader of (x, y) that knows how far it is, so that training resumes within an epoch.

    Lightning saves and restores this state by itself.
    """

    def __iter__(self) -> Iterator[Pair]:  # type: ignore[override]
        """Give the batches of the sampler's epoch, from where a loaded state stood."""
        order = self.order
        epoch = order.epoch
        for batch in super().__iter__():
            order.done += 1
            yield batch
        order.set_epoch(epoch + 1)

    @property
    def order(self) -> SeededSampler:
        """The order of the windows, with where it stands."""
        batches: Any = self.batch_sampler  # torch's, or what Lightning wraps around it to predict
        sampler = batches.sampler
        assert isinstance(sampler, StepSampler)
        return sampler.order

    @property
    def steps(self) -> StepDataset:
        """The dataset, as what it is."""
        assert isinstance(self.dataset, StepDataset)
        return self.dataset

    def whole(self) -> StepLoader:
        """The same batches, all of them in every process."""
        order = self.order
        loader = step_loader(self.steps, order.batch_size, shuffle=order.shuffle, seed=order.seed, shared=False)
        loader.order.set_epoch(order.epoch)
        return loader

    def state_dict(self) -> dict[str, Any]:
        """Where the order stands, in plain values."""
        return self.order.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where :meth:`state_dict` stood.

        Raises
        ------
        TrainingError
            If there are not as many windows as there were.
        """
        self.order.load_state_dict(state_dict)


def step_loader(
    dataset: StepDataset, batch_size: int, *, shuffle: bool = False, seed: int = 0, shared: bool = True
) -> StepLoader:
    """Make the loader of a dataset; gathering is so quick that it happens in the training process."""
    sampler = StepSampler(len(dataset), batch_size=batch_size, shuffle=shuffle, seed=seed, shared=shared)
    return StepLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        collate_fn=_as_it_is,
        pin_memory=torch.cuda.is_available(),
    )


def _as_it_is(batch: Any) -> Any:
    return batch
