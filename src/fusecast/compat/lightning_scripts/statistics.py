"""Means and deviations of inputs and outputs, and the names of the features, from whatever loader there is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple

import numpy as np
import torch
from pytorch_lightning.utilities.seed import isolate_rng
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, Subset, default_collate

from fusecast.compat.lightning_scripts.dataloaders import MIN_SCALE, Pair, StepLoader
from fusecast.errors import ConfigError, DataError

MAX_WINDOWS = 1_000
"""Windows, evenly spaced, from which statistics are computed where a dataset does not have them."""
MAX_BATCHES = 1_000
"""Batches from which they are computed where the windows of a loader are not numbered."""
POSITIONAL_NAMES = ("x{}", "{}", "column_{}")
"""How this package, pandas and polars number the columns of an array."""


class Statistics(NamedTuple):
    """Means and deviations of inputs [input_size] and outputs [output_size], float32 on the CPU."""

    center: Tensor
    scale: Tensor
    target_center: Tensor
    target_scale: Tensor


def check_inputs(x: Tensor, input_size: int) -> None:
    """Raise a ConfigError where inputs are not ``[B, steps, input_size]``."""
    if x.ndim != 3 or x.shape[-1] != input_size:
        raise ConfigError.wrong_value("the shape of a batch", list(x.shape), f"[B, steps, {input_size}]")


def check_pair(batch: Any, output_size: int) -> Pair:
    """Return x and y of a batch; a ConfigError is raised where it is no pair, or y is not ``[B, output_size]``."""
    if not isinstance(batch, list | tuple) or len(batch) < 2 or not all(hasattr(part, "shape") for part in batch[:2]):
        raise ConfigError.not_a_pair(type(batch).__name__)
    x, y = batch[:2]
    if y.shape != (len(x), output_size):
        raise ConfigError.wrong_target("y", y.shape, (len(x), output_size))
    return x, y


def find_statistics(loaders: Sequence[Any], input_size: int, output_size: int) -> Statistics | None:
    """Return the statistics of the windows of some loaders together; None where they are not numbered.

    Those of ``make_dataloaders`` are taken as they are. Others are computed from an evenly spaced sample of the
    windows: no loader is iterated, and the caller's random numbers stay as they are.

    Raises
    ------
    ConfigError
        If batches are no pairs (x, y) of these sizes.
    DataError
        If values are missing or infinite.
    """
    groups = [list_datasets(loader) for loader in loaders]
    known = [_read_statistics(dataset) for dataset in chain.from_iterable(groups)]
    first = known[0] if known and all(groups) else None
    agree = first is not None and all(other is not None and all(map(torch.equal, first, other)) for other in known)
    if first is not None and agree and len(first[0]) == input_size == output_size:
        return Statistics(*first, *first)
    samples = [_sample_windows(loader) for loader in loaders]
    if None in samples:
        return None
    return _compute_statistics(chain.from_iterable(filter(None, samples)), input_size, output_size)


def fit_statistics(loader: Any, input_size: int, output_size: int) -> Statistics:
    """Return the statistics as :func:`find_statistics` does, or of the first batches where windows are not numbered."""
    found = find_statistics([loader], input_size, output_size)
    return found or _compute_statistics(islice(loader, MAX_BATCHES), input_size, output_size)


def list_datasets(loader: Any) -> list[Any]:
    """Return the datasets whose items a loader passes on as they are, those inside subsets and joined ones."""
    collate = getattr(loader, "collate_fn", default_collate)
    if not hasattr(loader, "dataset") or not (collate is default_collate or isinstance(loader, StepLoader)):
        return []
    return list(_parts(loader.dataset))


def read_names(loaders: Iterable[Any]) -> list[tuple[str, ...]]:
    """Return the names of the features in each dataset of some loaders that has them."""
    datasets = chain.from_iterable(map(list_datasets, loaders))
    return [tuple(names) for dataset in datasets if (names := getattr(dataset, "names", None)) is not None]


def match_names(trained: Sequence[str], given: Sequence[str]) -> list[int]:
    """Return where in `given` each feature of the training is.

    Columns of an array have no names but their numbers: they are where they were.

    Raises
    ------
    DataError
        If features are missing, or others are there.
    """
    if set(trained) == set(given) and len(trained) == len(given):
        return [given.index(name) for name in trained]
    if len(trained) == len(given) and (_are_positional(trained) or _are_positional(given)):
        return list(range(len(trained)))
    missing, unknown = ([name for name in a if name not in b] for a, b in ((trained, given), (given, trained)))
    raise DataError.other_columns(missing, unknown)


def _parts(dataset: Any) -> Iterator[Any]:
    if isinstance(dataset, Subset):
        yield from _parts(dataset.dataset)
    elif isinstance(dataset, ConcatDataset):
        for part in dataset.datasets:
            yield from _parts(part)
    else:
        yield dataset


def _read_statistics(dataset: Any) -> Pair | None:
    """Return the means and deviations that a dataset has for all of its features."""
    center, scale = getattr(dataset, "center", None), getattr(dataset, "scale", None)
    return (center, scale) if isinstance(center, Tensor) and isinstance(scale, Tensor) else None


def _sample_windows(loader: Any) -> Iterable[Any] | None:
    """Return batches of windows, evenly spaced among those that a loader may draw; None where they are not numbered."""
    dataset: Any = getattr(loader, "dataset", None)
    numbered = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
    if not numbered or isinstance(dataset, IterableDataset) or not hasattr(loader, "batch_sampler"):
        return None
    drawn = np.asarray(getattr(loader.sampler, "indices", range(len(dataset))))  # those of a SubsetRandomSampler
    count = min(len(drawn), MAX_WINDOWS)
    return DataLoader(
        dataset,
        batch_size=None if loader.batch_sampler is None else loader.batch_size or 64,
        sampler=drawn[np.arange(count) * len(drawn) // max(count, 1)].tolist(),
        collate_fn=default_collate if isinstance(loader, StepLoader) else loader.collate_fn,
    )


def _compute_statistics(batches: Iterable[Any], input_size: int, output_size: int) -> Statistics:
    """Compute means and deviations over all rows of some batches; a DataError is raised where they are not finite."""
    inputs, outputs = Moments(input_size), Moments(output_size)
    with isolate_rng():
        for batch in batches:
            x, y = check_pair(batch, output_size)
            check_inputs(x, input_size)
            inputs.add(x)
            outputs.add(y)
    if not inputs.count:
        raise DataError.empty_loader("compute means and deviations from")
    return Statistics(*inputs.result("the inputs x"), *outputs.result("the outputs y"))


class Moments:
    """Mean and standard deviation of each column, in one pass."""

    def __init__(self, columns: int) -> None:
        self.count = 0
        self._shift = self._total = self._squares = torch.zeros(columns, dtype=torch.float64)

    def add(self, values: Any) -> None:
        """Add rows [..., columns]."""
        rows = torch.as_tensor(values).detach().to("cpu", torch.float64).flatten(0, -2)
        if not self.count and len(rows):
            self._shift = rows[0]  # keeps the squares small
        rows = rows - self._shift
        self.count += len(rows)
        self._total, self._squares = self._total + rows.sum(dim=0), self._squares + rows.square().sum(dim=0)

    def result(self, what: str) -> Pair:
        """Return means and deviations, float32; 1 for a constant. A DataError is raised where they are not finite."""
        mean = self._total / self.count
        deviation = (self._squares / self.count - mean.square()).clamp(min=0.0).sqrt()
        deviation[deviation < MIN_SCALE] = 1.0
        center, scale = (mean + self._shift).float(), deviation.float()
        if not (center.isfinite().all() and scale.isfinite().all()):
            raise DataError.no_statistics(what)
        return center, scale


def _are_positional(names: Sequence[str]) -> bool:
    return any(list(names) == [pattern.format(i) for i in range(len(names))] for pattern in POSITIONAL_NAMES)
