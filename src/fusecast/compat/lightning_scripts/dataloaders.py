"""make_dataloaders: turn a table into three loaders of (x, y); no row is a target in two of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from torch.utils.data.distributed import DistributedSampler

from fusecast.compat.lightning_scripts.table import ROWS_PER_BLOCK, Table, read_rows
from fusecast.data.arrays import IntArray
from fusecast.errors import ConfigError, DataError
from fusecast.windows.dataloader import BatchDataset, ResumableLoader
from fusecast.windows.sampler import SeededSampler

Pair = tuple[Tensor, Tensor]
MIN_SCALE = 1e-8
"""Standard deviation below which a feature is constant."""


def make_dataloaders(
    data: Any,
    window_size: int,
    batch_size: int,
    *,
    validation: float = 0.15,
    test: float = 0.15,
    seed: int = 42,
    num_workers: int = 0,
) -> tuple[StepLoader, StepLoader, StepLoader]:
    """Return DataLoaders of ``x float32 [B, window_size, F]`` and ``y float32 [B, F]``, the step after the window.

    Parameters
    ----------
    data
        A DataFrame (pandas, polars, Arrow), the path of a table, a 2-D array or tensor; every column is a feature but
        ``seq_ix`` or ``unique_id`` (windows never cross from one sequence into the next), ``step_in_seq`` or ``ds``
        (the order of a sequence's rows; where counted steps are left out, no window bridges the gap), and
        ``need_prediction`` (only rows where it is true are ever a ``y``; the others are history alone).
    window_size, batch_size
        Steps of history; windows a batch.
    validation, test
        Shares of the windows that are kept from training. Where ``seq_ix`` names three sequences or more, whole
        sequences are kept, the last ones; otherwise the last steps: every target of validation lies after every target
        of training, in all sequences, and those of the test after that.
    seed
        Determines the order of training windows, which differs from epoch to epoch.
    num_workers
        Processes of each loader that gather batches; the batches and their order are the same for any number. A batch
        is two array gathers, so 0, in the process itself, is fastest.

    Returns
    -------
    Loaders to train (shuffled), validate and test (in order). Values are those of the data, unscaled. The rows are held
    once; a float32 array is shared, not copied. The ``dataset`` of a loader has one pair ``x [window_size, F]``,
    ``y [F]`` for each window, and can be used in any other DataLoader.

    Raises
    ------
    DataError
        See :func:`~fusecast.compat.lightning_scripts.table.read_rows`; and if there are too few windows for three
        splits.
    ConfigError
        If a size or a share is out of its range.
    """
    for name, size, least in (
        ("window_size", window_size, 1),
        ("batch_size", batch_size, 1),
        ("num_workers", num_workers, 0),
    ):
        if isinstance(size, bool) or not isinstance(size, int | np.integer):
            raise ConfigError.out_of_range(name, repr(size), f"{least}, {least + 1}, ...")
        if size < least:
            raise ConfigError.wrong_value(name, size, f"at least {least}")
    for name, share in (("validation", validation), ("test", test), ("validation and test", validation + test)):
        if not 0.0 < share < 1.0:
            raise ConfigError.out_of_range(name, share, "(0, 1)")
    table = read_rows(data)
    targets = _find_targets(table, window_size)
    moment = table.moment[targets]
    bounds = _split_moments(moment, validation, test)
    if bounds is None:
        needed = -1 if table.needed is None else int(table.needed.sum())
        raise DataError.windows_too_long(window_size, int(np.bincount(table.run).max()), needed)
    center, scale = _compute_statistics(table, bounds[0])
    split = np.searchsorted(bounds, moment, side="right")  # 0: training, 1: validation, 2: test
    datasets = (
        StepDataset(table.values, targets[split == i], window_size, names=table.names, center=center, scale=scale)
        for i in range(3)
    )
    train, valid, tested = (
        make_step_loader(dataset, batch_size, shuffle=i == 0, seed=seed if i == 0 else 0, num_workers=num_workers)
        for i, dataset in enumerate(datasets)
    )
    return train, valid, tested


class StepDataset(BatchDataset[Pair]):
    """Windows of `window_size` rows, ``x``, and the row after each, ``y``; windows are views until they are gathered.

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
        Means and standard deviations [F] of the training rows, for a model to standardise by.
    """

    def __init__(
        self,
        values: NDArray[np.float32],
        targets: IntArray,
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
        """Return x ``[window_size, F]`` and y ``[F]``."""
        row = int(self.targets[window])
        return self.values[row - self.window_size : row].clone(), self.values[row].clone()

    def __getitems__(self, windows: Sequence[int]) -> list[Pair]:
        """Return a pair for each window, as :meth:`__getitem__` does."""
        return list(zip(*self.gather(windows), strict=True))

    def gather(self, windows: Sequence[int] | IntArray) -> Pair:
        """Return x ``[B, window_size, F]`` and y ``[B, F]``, one gather each."""
        rows = torch.from_numpy(self.targets[np.asarray(windows, dtype=np.int64)])
        return self._windows.index_select(0, rows - self.window_size), self.values.index_select(0, rows)


class StepSampler(DistributedSampler[int]):
    """Window numbers in an order that follows from seed and epoch; each process of a run takes its share.

    Lightning replaces every sampler but a DistributedSampler. Unlike torch's, this one never repeats a window within an
    epoch, and omits none where it does not shuffle. With `shared` False every process takes all windows.
    """

    def __init__(self, size: int, *, batch_size: int, shuffle: bool, seed: int = 0, shared: bool = True) -> None:
        super().__init__(cast("Dataset[int]", range(size)), num_replicas=1, rank=0, shuffle=shuffle, seed=seed)
        self.shared = shared
        self.seeded = SeededSampler(size, batch_size=batch_size, shuffle=shuffle, seed=seed)

    def __len__(self) -> int:
        self._update_rank()
        return self.seeded.num_windows

    def __iter__(self) -> Iterator[int]:
        self._update_rank()
        for batch in self.seeded:
            yield from batch

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next iteration; a loaded position in the same epoch is kept."""
        self.seeded.set_epoch(epoch)

    def _update_rank(self) -> None:
        """Take the share of this process; the processes may be joined after the loader is made."""
        joined = self.shared and torch.distributed.is_available() and torch.distributed.is_initialized()
        self.seeded.rank = torch.distributed.get_rank() if joined else 0
        self.seeded.world_size = torch.distributed.get_world_size() if joined else 1


class StepLoader(ResumableLoader[Pair]):
    """A resumable loader of (x, y). Its constructor is that of a DataLoader: Lightning calls it to predict."""

    def _find_sampler(self) -> SeededSampler | None:
        # of torch's BatchSampler, or of what Lightning wraps around it to predict
        sampler = getattr(self.batch_sampler, "sampler", None)
        return sampler.seeded if isinstance(sampler, StepSampler) else None

    @property
    def steps(self) -> StepDataset:
        """The dataset, with its type."""
        assert isinstance(self.dataset, StepDataset)
        return self.dataset

    def unshared(self) -> StepLoader:
        """Return a loader of the same batches, all of them in every process."""
        sampler = self.seeded_sampler
        options: dict[str, Any] = {"shuffle": sampler.shuffle, "seed": sampler.seed, "shared": False}
        loader = make_step_loader(self.steps, sampler.batch_size, **options)
        loader.seeded_sampler.set_epoch(sampler.epoch)
        return loader


def make_step_loader(
    dataset: StepDataset,
    batch_size: int,
    *,
    shuffle: bool = False,
    seed: int = 0,
    shared: bool = True,
    num_workers: int = 0,
) -> StepLoader:
    """Return the loader of a dataset."""
    sampler = StepSampler(len(dataset), batch_size=batch_size, shuffle=shuffle, seed=seed, shared=shared)
    return StepLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def _find_targets(table: Table, window_size: int) -> IntArray:
    """Return the rows that have a whole window before them in their run, and are to be forecast."""
    inside = table.run[window_size:] == table.run[:-window_size]
    if table.needed is not None:
        inside &= table.needed[window_size:]
    return np.flatnonzero(inside) + window_size


def _split_moments(moments: IntArray, validation: float, test: float) -> tuple[int, int] | None:
    """Return the moments at which validation and test begin; None where there are not three different ones."""
    distinct, counts = np.unique(moments, return_counts=True)
    if len(distinct) < 3:
        return None
    before = np.cumsum(counts) - counts  # windows before each moment
    total = len(moments)
    first = int(np.clip(np.searchsorted(before, (1 - validation - test) * total - 0.5), 1, len(distinct) - 2))
    second = int(np.clip(np.searchsorted(before, (1 - test) * total - 0.5), first + 1, len(distinct) - 1))
    return int(distinct[first]), int(distinct[second])


def _compute_statistics(table: Table, end: int) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation [F] of the rows before moment `end`, where validation begins."""
    count, total, squares = 0, np.zeros(len(table.names)), np.zeros(len(table.names))
    shift = table.values[int(np.argmax(table.moment < end))].astype(np.float64)  # keeps the squares small
    for begin in range(0, len(table.values), ROWS_PER_BLOCK):
        trains = table.moment[begin : begin + ROWS_PER_BLOCK] < end
        rows = table.values[begin : begin + ROWS_PER_BLOCK][trains].astype(np.float64) - shift
        count, total, squares = count + len(rows), total + rows.sum(axis=0), squares + (rows**2).sum(axis=0)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0.0))
    deviation[deviation < MIN_SCALE] = 1.0  # a constant feature
    return torch.tensor(mean + shift, dtype=torch.float32), torch.tensor(deviation, dtype=torch.float32)
