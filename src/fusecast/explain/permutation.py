"""Permutation importance: what the loss rises by when a variable is taken from other windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusecast.features.encoded_panel import EncodedPanel, Inputs
from fusecast.model.batch import Batch, Output
from fusecast.model.losses import quantile_loss
from fusecast.windows.gatherer import Gatherer
from fusecast.windows.window_index import WindowIndex


@dataclass(frozen=True)
class _Places:
    """Where a variable stands in a batch: (field, its presence mask or none, column)."""

    variable: str
    groups: tuple[str, ...]
    columns: tuple[tuple[str, str | None, int], ...]


def permutation_importance(
    network: Callable[[Batch], Output],
    encoded: EncodedPanel,
    index: WindowIndex,
    levels: Sequence[float],
    *,
    repeats: int = 2,
    seed: int = 0,
    batch_size: int = 256,
    on_progress: Callable[[int, int], None] | None = None,
) -> pl.DataFrame:
    """Give each window a variable's values from another window, and see how much worse the forecasts become.

    Past and future values of a known variable move together. The windows of one series of values stay whole: only
    which window they belong to is shuffled, over all windows and series, and none keeps its own (Breiman 2001; Fisher,
    Rudin and Dominici 2019). The loss is the quantile loss in scaled units, as in training.

    Parameters
    ----------
    network
        Gives the output of a batch, without dropout.
    repeats
        Shuffles a variable, averaged.

    Returns
    -------
    One row a variable in order of falling increase: `variable`, `groups` (past, future, static), `loss` (without
    shuffling), `shuffled` (mean loss with it), `increase` (relative), `spread` (standard deviation of the increase
    over the repeats), `constant` (the same in every window: shuffling can show nothing).
    """
    gatherer = Gatherer(encoded, index)
    variables = _places(encoded.inputs)
    windows = np.arange(len(index))
    rng = np.random.default_rng(seed)
    orders = [cycle(len(index), rng) for _ in range(repeats)]
    total = np.zeros((len(variables), repeats))
    moved = np.zeros(len(variables), dtype=np.bool_)
    usual, weight, done = 0.0, 0.0, 0
    for first in range(0, len(index), batch_size):
        part = slice(first, first + batch_size)
        batch = gatherer(windows[part])
        loss, count = _loss(network(batch), batch, levels)
        usual, weight = usual + loss * count, weight + count
        for r, order in enumerate(orders):
            donor = gatherer(order[part])
            for v, places in enumerate(variables):
                changed = _swapped(batch, donor, places)
                moved[v] |= any(not torch.equal(getattr(changed, f), getattr(batch, f)) for f, _, _ in places.columns)
                total[v, r] += _loss(network(changed), batch, levels)[0] * count
        done += len(batch.window)
        if on_progress is not None:
            on_progress(done, len(index))
    usual, shuffled = usual / max(weight, 1.0), total / max(weight, 1.0)
    increase = shuffled / usual - 1 if usual > 0 else np.full_like(shuffled, np.nan)
    frame = pl.DataFrame(
        {
            "variable": [places.variable for places in variables],
            "groups": [",".join(places.groups) for places in variables],
            "loss": [usual] * len(variables),
            "shuffled": shuffled.mean(axis=1),
            "increase": increase.mean(axis=1),
            "spread": increase.std(axis=1),
            "constant": ~moved,
        }
    )
    return frame.sort("increase", descending=True, maintain_order=True)


def cycle(count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw a permutation in which nothing keeps its place: one round trip through all, in random order [count].

    Of few windows, a usual permutation would leave some, or all, as they are, and say that nothing was lost.
    """
    way = rng.permutation(count)
    donors = np.empty(count, dtype=np.int64)
    donors[way] = np.roll(way, -1)
    return donors


def _loss(output: Output, batch: Batch, levels: Sequence[float]) -> tuple[float, float]:
    """Mean quantile loss of a batch, and over how many values it is."""
    count = batch.target.numel() if batch.target_mask.shape[-1] == 0 else int(batch.target_mask.sum())
    return float(quantile_loss(output.quantiles.cpu(), batch.target, batch.target_mask, levels, batch.weight)), float(
        count
    )


def _swapped(batch: Batch, donor: Batch, places: _Places) -> Batch:
    changes: dict[str, Tensor] = {}
    for name, mask, column in places.columns:
        values = changes.get(name, getattr(batch, name)).clone()
        values[..., column] = getattr(donor, name)[..., column]
        changes[name] = values
        if mask is None:
            continue
        own, other = getattr(batch, mask), getattr(donor, mask)
        if own.shape[-1] or other.shape[-1]:
            present = _whole(own, values).clone()
            present[..., column] = _whole(other, values)[..., column]
            changes[mask] = present
    return batch._replace(**changes)


def _whole(mask: Tensor, values: Tensor) -> Tensor:
    return mask if mask.shape[-1] else torch.ones(values.shape, dtype=torch.bool)


def _places(inputs: Inputs) -> list[_Places]:
    """Every variable once, with all the places it stands in."""
    found: dict[str, tuple[list[str], list[tuple[str, str | None, int]]]] = {}

    def note(group: str, kind: str, names: Sequence[str]) -> None:
        for column, name in enumerate(names):
            groups, columns = found.setdefault(name, ([], []))
            groups.append(group)
            columns.append((f"{group}_{kind}", f"{group}_real_present" if kind == "real" else None, column))

    note("past", "real", (*inputs.targets, *inputs.observed_reals, *inputs.known_reals))
    note("past", "cat", (*inputs.observed_categories, *inputs.known_categories))
    note("future", "real", inputs.known_reals)
    note("future", "cat", tuple(inputs.known_categories))
    note("static", "real", inputs.static_reals)
    note("static", "cat", tuple(inputs.static_categories))
    return [_Places(name, tuple(groups), tuple(columns)) for name, (groups, columns) in found.items()]


def spearman(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Rank correlation, ties sharing their mean rank; NaN where one of the two does not vary."""
    a, b = _ranks(np.asarray(first, dtype=float)), _ranks(np.asarray(second, dtype=float))
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / size if size > 0 else float("nan")


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: NDArray[np.float64] = ((last - counts + 1 + last) / 2)[place]
    return mean
