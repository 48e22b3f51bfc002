"""make_dataloaders: a table in, three loaders of (x, y) out; no row is a target in two of them."""

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

from fusecast.compat.lightning_scripts.table import BLOCK, Table, read_rows
from fusecast.errors import ConfigError, DataError
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
        return self.order.num_windows

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
        self.order.world_size = torch.distributed.get_world_size() if there else 1


class StepLoader(DataLoader[Pair]):
    """A DataLoader of (x, y) that knows how far it is, so that training resumes within an epoch.

    Lightning saves and restores this state by itself.
    """

    def __iter__(self) -> Iterator[Pair]:  # type: ignore[override]
        """Give the batches of the sampler's epoch, from where a loaded state stood."""
        order = self.order
        epoch = order.epoch
        for batch in super().__iter__():
            order.batches_done += 1
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


SMALLEST_SCALE = 1e-8


def make_dataloaders(
    data: Any,
    window_size: int,
    batch_size: int,
    *,
    validation: float = 0.15,
    test: float = 0.15,
    seed: int = 42,
) -> tuple[StepLoader, StepLoader, StepLoader]:
    """Make DataLoaders of ``x float32 [B, window_size, F]`` and ``y float32 [B, F]``, the step after the window.

    Parameters
    ----------
    data
        A DataFrame (pandas, polars, Arrow), the path of a table, a 2-D array or tensor; every column is a feature, save
        ``seq_ix`` or ``unique_id`` (windows never cross from one sequence into the next), ``step_in_seq`` or ``ds``
        (the order of a sequence's rows; where counted steps are left out, no window bridges the gap), and
        ``need_prediction`` (only rows where it is true are ever a ``y``; the others are history alone).
    window_size, batch_size
        Steps of history; windows a batch.
    validation, test
        Shares of the windows that are kept from training. Where ``seq_ix`` names three sequences or more, whole
        sequences are kept, the last ones; otherwise the last steps: everything to be forecast for validation lies
        after everything learnt from, in all sequences, and the test after that.
    seed
        Of the order of training windows, which differs from epoch to epoch.

    Returns
    -------
    Loaders to train (shuffled), validate and test (in order). Values are those of the data, unscaled; the rows are
    held once, as they were given where that is a float32 array.

    Raises
    ------
    DataError
        See :func:`~fusecast.compat.lightning_scripts.table.read_rows`; and if three parts need more windows.
    ConfigError
        If a size or a share is out of its range.
    """
    for name, size in (("window_size", window_size), ("batch_size", batch_size)):
        if isinstance(size, bool) or not isinstance(size, int | np.integer):
            raise ConfigError.out_of_range(name, repr(size), "1, 2, ...")
        if size < 1:
            raise ConfigError.not_positive(name, size)
    for name, share in (("validation", validation), ("test", test), ("validation and test", validation + test)):
        if not 0.0 < share < 1.0:
            raise ConfigError.out_of_range(name, share, "(0, 1)")
    table = read_rows(data)
    targets = _targets(table, window_size)
    bounds = _bounds(table.moment[targets], validation, test)
    if bounds is None:
        needed = -1 if table.needed is None else int(table.needed.sum())
        raise DataError.windows_too_long(window_size, int(np.bincount(table.run).max()), needed)
    center, scale = _statistics(table, bounds[0])
    moment = table.moment[targets]
    parts = (moment < bounds[0], (moment >= bounds[0]) & (moment < bounds[1]), moment >= bounds[1])
    train, valid, tested = (
        StepDataset(table.values, targets[part], window_size, names=table.names, center=center, scale=scale)
        for part in parts
    )
    return (
        step_loader(train, batch_size, shuffle=True, seed=seed),
        step_loader(valid, batch_size),
        step_loader(tested, batch_size),
    )


def _targets(table: Table, window_size: int) -> NDArray[np.int64]:
    """Rows that have a whole window before them in their run, and are to be forecast."""
    inside = table.run[window_size:] == table.run[:-window_size]
    if table.needed is not None:
        inside &= table.needed[window_size:]
    return np.flatnonzero(inside) + window_size


def _bounds(moments: NDArray[np.int64], validation: float, test: float) -> tuple[int, int] | None:
    """Moments at which validation and test begin; None where there are not three different ones."""
    distinct, counts = np.unique(moments, return_counts=True)
    if len(distinct) < 3:
        return None
    before = np.cumsum(counts) - counts  # windows before each moment
    total = len(moments)
    first = int(np.clip(np.searchsorted(before, (1 - validation - test) * total - 0.5), 1, len(distinct) - 2))
    second = int(np.clip(np.searchsorted(before, (1 - test) * total - 0.5), first + 1, len(distinct) - 1))
    return int(distinct[first]), int(distinct[second])


def _statistics(table: Table, end: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [F] of the rows before validation, and of no other."""
    count, total, squares = 0, np.zeros(len(table.names)), np.zeros(len(table.names))
    shift = table.values[int(np.argmax(table.moment < end))].astype(np.float64)  # keeps the squares small
    for begin in range(0, len(table.values), BLOCK):
        seen = table.moment[begin : begin + BLOCK] < end
        rows = table.values[begin : begin + BLOCK][seen].astype(np.float64) - shift
        count, total, squares = count + len(rows), total + rows.sum(axis=0), squares + (rows**2).sum(axis=0)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    deviation[deviation < SMALLEST_SCALE] = 1.0  # a constant feature
    return torch.tensor(mean + shift, dtype=torch.float32), torch.tensor(deviation, dtype=torch.float32)
