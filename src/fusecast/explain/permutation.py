"""Permutation importance: the increase of the loss when a variable is taken from other windows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from fusecast.data.arrays import IntArray
from fusecast.features.encoded_panel import EncodedPanel, Inputs
from fusecast.model.batch import Batch, Output
from fusecast.model.losses import quantile_loss
from fusecast.windows.gatherer import make_gatherer
from fusecast.windows.window_index import WindowIndex


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
    """Measure how much the loss increases when each window gets a variable's values from another window.

    Past and future values of a known variable move together. The values of one window stay together: only the window
    that they belong to is shuffled, over all windows and series, and no window keeps its own values (Breiman 2001;
    Fisher, Rudin and Dominici 2019). The loss is the quantile loss in scaled units, as in training.

    Parameters
    ----------
    network
        Returns the output of a batch, without dropout.
    repeats
        Shuffles of each variable, averaged.

    Returns
    -------
    One row a variable in order of falling increase: `variable`, `groups` (past, future, static), `loss` (without
    shuffling), `shuffled` (mean loss with it), `increase` (relative), `spread` (standard deviation of the increase
    over the repeats), `constant` (the same in every window: shuffling cannot change anything).
    """
    gatherer = make_gatherer(encoded, index)
    variables = _variable_columns(encoded.inputs)
    windows = np.arange(len(index))
    rng = np.random.default_rng(seed)
    orders = [random_cycle(len(index), rng) for _ in range(repeats)]
    total = np.zeros((len(variables), repeats))
    varies = np.zeros(len(variables), dtype=np.bool_)
    baseline, weight, done = 0.0, 0.0, 0
    for first in range(0, len(index), batch_size):
        chunk = slice(first, first + batch_size)
        batch = gatherer(windows[chunk])
        loss, count = _loss(network(batch), batch, levels)
        baseline, weight = baseline + loss * count, weight + count
        for r, order in enumerate(orders):
            donor = gatherer(order[chunk])
            for v, variable in enumerate(variables):
                changed = _with_values_from(donor, batch, variable)
                fields = [field for field, _, _ in variable.columns]
                varies[v] |= any(not torch.equal(getattr(changed, f), getattr(batch, f)) for f in fields)
                total[v, r] += _loss(network(changed), batch, levels)[0] * count
        done += len(batch.window)
        if on_progress is not None:
            on_progress(done, len(index))
    baseline, shuffled = baseline / max(weight, 1.0), total / max(weight, 1.0)
    increase = shuffled / baseline - 1 if baseline > 0 else np.full_like(shuffled, np.nan)
    frame = pl.DataFrame(
        {
            "variable": [one.variable for one in variables],
            "groups": [",".join(one.groups) for one in variables],
            "loss": [baseline] * len(variables),
            "shuffled": shuffled.mean(axis=1),
            "increase": increase.mean(axis=1),
            "spread": increase.std(axis=1),
            "constant": ~varies,
        }
    )
    return frame.sort("increase", descending=True, maintain_order=True)


def random_cycle(count: int, rng: np.random.Generator) -> IntArray:
    """Draw a permutation without fixed points: one cycle through all, in random order [count].

    Of few windows, an ordinary permutation would often leave some, or all, in place and show no increase.
    """
    order = rng.permutation(count)
    donors = np.empty(count, dtype=np.int64)
    donors[order] = np.roll(order, -1)
    return donors


def _loss(output: Output, batch: Batch, levels: Sequence[float]) -> tuple[float, float]:
    """Return the mean quantile loss of a batch, and the number of values in that mean."""
    count = batch.target.numel() if batch.target_mask.shape[-1] == 0 else int(batch.target_mask.sum())
    loss = quantile_loss(output.quantiles.cpu(), batch.target, batch.target_mask, levels, batch.weight)
    return float(loss), float(count)


@dataclass(frozen=True)
class _VariableColumns:
    """The columns of a batch that hold a variable: (field, its presence mask or None, column)."""

    variable: str
    groups: tuple[str, ...]
    columns: tuple[tuple[str, str | None, int], ...]


def _variable_columns(inputs: Inputs) -> list[_VariableColumns]:
    """Return every variable once, with all columns that hold it."""
    groups: dict[str, list[str]] = {}
    columns: dict[str, list[tuple[str, str | None, int]]] = {}
    for group, kind, names in (
        ("past", "real", (*inputs.targets, *inputs.observed_reals, *inputs.known_reals)),
        ("past", "cat", (*inputs.observed_categories, *inputs.known_categories)),
        ("future", "real", inputs.known_reals),
        ("future", "cat", tuple(inputs.known_categories)),
        ("static", "real", inputs.static_reals),
        ("static", "cat", tuple(inputs.static_categories)),
    ):
        mask = f"{group}_real_present" if kind == "real" else None
        for column, name in enumerate(names):
            groups.setdefault(name, []).append(group)
            columns.setdefault(name, []).append((f"{group}_{kind}", mask, column))
    return [_VariableColumns(name, tuple(groups[name]), tuple(columns[name])) for name in groups]


def _with_values_from(donor: Batch, batch: Batch, variable: _VariableColumns) -> Batch:
    """Return a batch with the values of one variable, and their presence, replaced by those of another batch."""
    changes: dict[str, Tensor] = {}
    for field, mask, column in variable.columns:
        values = changes.get(field, getattr(batch, field)).clone()
        values[..., column] = getattr(donor, field)[..., column]
        changes[field] = values
        if mask is None:
            continue
        present, donor_present = getattr(batch, mask), getattr(donor, mask)
        if present.shape[-1] or donor_present.shape[-1]:
            changes[mask] = _full_mask(present, values).clone()
            changes[mask][..., column] = _full_mask(donor_present, values)[..., column]
    return batch._replace(**changes)


def _full_mask(mask: Tensor, values: Tensor) -> Tensor:
    return mask if mask.shape[-1] else torch.ones(values.shape, dtype=torch.bool)
