"""Permutation importance, the increase of the loss when a variable is shuffled; its agreement with the weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from fusecast.data.arrays import FloatArray, IntArray
from fusecast.explain.importance import Importance
from fusecast.features.encoded_panel import EncodedPanel, Inputs
from fusecast.model.batch import Batch, Output
from fusecast.model.losses import quantile_loss
from fusecast.windows.gatherer import make_gatherer
from fusecast.windows.window_index import WindowIndex

MIN_VARIABLES = 3  # of a group, for a rank correlation
HIGH_WEIGHT, LOW_WEIGHT = 1.5, 0.5
"""Times its even share of a group's selection from which, and up to which, the weight of a variable is notable."""
LOW_INCREASE, HIGH_INCREASE = 0.02, 0.1
"""Relative increase of the loss below which a variable is not needed, and from which it clearly is."""

BatchColumn = tuple[str, str | None, int]
"""Field of a batch, the field of its presence mask or None, and the column there."""


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
    that they belong to is shuffled, over all windows and series, and no window keeps its values (Breiman 2001; Fisher,
    Rudin and Dominici 2019). The loss is the quantile loss in scaled units, as in training; `network` must not drop
    units out, and each variable is shuffled `repeats` times.

    Returns one row a variable in order of falling increase: `variable`, `groups` (past, future, static), `loss`
    (without shuffling), `shuffled` (mean loss with it), `increase` (relative), `spread` (standard deviation of the
    increase over the repeats), `constant` (the same in every window: shuffling cannot change anything).
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
            for v, columns in enumerate(variables.values()):
                changed = _with_values_from(donor, batch, columns)
                varies[v] |= any(not torch.equal(getattr(changed, f), getattr(batch, f)) for f, _, _ in columns)
                total[v, r] += _loss(network(changed), batch, levels)[0] * count
        done += len(batch.window)
        if on_progress is not None:
            on_progress(done, len(index))
    baseline, shuffled = baseline / max(weight, 1.0), total / max(weight, 1.0)
    increase = shuffled / baseline - 1 if baseline > 0 else np.full_like(shuffled, np.nan)
    frame = pl.DataFrame(
        {
            "variable": list(variables),
            "groups": [",".join(f.partition("_")[0] for f, _, _ in columns) for columns in variables.values()],
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


def _variable_columns(inputs: Inputs) -> dict[str, list[BatchColumn]]:
    """Return every variable with all columns of a batch that hold it."""
    variables: dict[str, list[BatchColumn]] = {}
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
            variables.setdefault(name, []).append((f"{group}_{kind}", mask, column))
    return variables


def _with_values_from(donor: Batch, batch: Batch, columns: Sequence[BatchColumn]) -> Batch:
    """Return a batch with the values of one variable, and their presence, replaced by those of another batch."""
    changes: dict[str, Tensor] = {}
    for field, mask, column in columns:
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


@dataclass(frozen=True, kw_only=True, eq=False)
class Agreement:
    """Both importances of every variable side by side, and the conclusions."""

    table: pl.DataFrame
    """One row a group and variable: `weight`, `increase`, `weight_rank`, `increase_rank`, `constant`."""
    correlation: dict[str, float]
    """Rank correlation within each group of at least three variables that can be shuffled."""
    notes: tuple[str, ...]  # sentences about the groups and about each variable on which the two disagree

    def __repr__(self) -> str:
        return f"Agreement({', '.join(f'{group} {value:.2f}' for group, value in self.correlation.items())})"


def compare_importances(importances: Sequence[Importance], permutation: pl.DataFrame) -> Agreement:
    """Compare selection weights with the increase of the loss when a variable is shuffled.

    A known variable is in the past and in the future group with the same increase: it is shuffled in both.
    """
    increase = dict(zip(permutation["variable"], permutation["increase"], strict=True))
    constant = dict(zip(permutation["variable"], permutation["constant"], strict=True))
    table = pl.DataFrame(
        [
            {
                "group": row.group,
                "variable": row.variable,
                "weight": row.mean,
                "increase": increase[row.variable],
                "constant": constant[row.variable],
            }
            for row in importances
        ]
    ).with_columns(
        weight_rank=pl.col("weight").rank("min", descending=True).over("group").cast(pl.Int64),
        increase_rank=pl.col("increase").rank("min", descending=True).over("group").cast(pl.Int64),
    )
    correlation: dict[str, float] = {}
    notes: list[str] = []
    for group in table["group"].unique(maintain_order=True):
        in_group = pl.col("group") == group
        varying = table.filter(in_group & ~pl.col("constant"))
        if varying.height >= MIN_VARIABLES:
            correlation[group] = rank_correlation(varying["weight"].to_numpy(), varying["increase"].to_numpy())
            if np.isfinite(correlation[group]):
                notes.append(_describe_group(group, correlation[group]))
        notes += _describe_variables(table.filter(in_group), table.filter(~in_group))
    return Agreement(table=table, correlation=correlation, notes=tuple(notes))


def rank_correlation(first: FloatArray, second: FloatArray) -> float:
    """Return Spearman's rank correlation, ties sharing their mean rank; NaN where one of the two does not vary."""
    from scipy.stats import spearmanr

    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(spearmanr(first, second).statistic)


def _describe_group(group: str, correlation: float) -> str:
    if correlation >= 0.7:
        relation = "agree"
    elif correlation >= 0.3:
        relation = "agree in part"
    elif correlation > -0.3:
        relation = "hardly agree"
    else:
        relation = "contradict each other"
    return f"For {group} variables, selection weights and shuffling {relation} (rank correlation {correlation:.2f})."


def _describe_variables(group: pl.DataFrame, other_groups: pl.DataFrame) -> list[str]:
    notes: list[str] = []
    unchecked: list[str] = []
    even = 1 / group.height
    for row in group.iter_rows(named=True):
        name, weight, increase = row["variable"], row["weight"], row["increase"]
        elsewhere = other_groups.filter(pl.col("variable") == name)["weight"].to_list()
        selected = f"{name!r} gets {weight:.0%} of the {row['group']} selection, yet shuffling it"
        if row["constant"]:
            unchecked += [f"{name!r} ({weight:.0%})"] if weight >= HIGH_WEIGHT * even else []
        elif weight >= HIGH_WEIGHT * even and increase < LOW_INCREASE:
            notes.append(
                f"{selected} changes the loss by only {increase:+.1%}: other variables may carry the same information, "
                "or the network selects it without needing it."
            )
        elif weight <= LOW_WEIGHT * even and increase >= HIGH_INCREASE and max(elsewhere, default=0.0) <= weight:
            notes.append(f"{selected} raises the loss by {increase:.1%}: it matters more than its weight suggests.")
    if unchecked:
        notes.append(
            f"Of the {group['group'][0]} selection, {', '.join(unchecked)} cannot be checked: constant over all "
            "windows shuffled."
        )
    return notes
