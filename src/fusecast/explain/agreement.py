"""Agreement of the two importances of a variable: its selection weight and its permutation importance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from fusecast.data.arrays import FloatArray
from fusecast.explain.importance import Importance

MIN_VARIABLES = 3
"""Variables that a group needs for a rank correlation."""
HIGH_WEIGHT, LOW_WEIGHT = 1.5, 0.5
"""Times its even share of a group's selection from which, and up to which, the weight of a variable is notable."""
LOW_INCREASE, HIGH_INCREASE = 0.02, 0.1
"""Relative increase of the loss below which a variable is not needed, and from which it clearly is."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Agreement:
    """Both importances of every variable side by side, and the conclusions."""

    table: pl.DataFrame
    """One row a group and variable: `weight`, `increase`, `weight_rank`, `increase_rank`, `constant`."""
    correlation: dict[str, float]
    """Rank correlation within each group of at least three variables that can be shuffled."""
    notes: tuple[str, ...]
    """Sentences about the groups and about each variable on which the two disagree."""

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
