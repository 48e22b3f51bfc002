"""Agreement: do the selection weights and the permutation check tell the same story?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from fusecast.explain.importance import Importance
from fusecast.explain.permutation import spearman

LEAST_VARIABLES = 3
MUCH = 1.5
"""Times its even share of a group's selection from which a variable counts as chosen."""
LITTLE = 0.5
MATTERS = 0.02
"""Relative rise of the loss from which a variable counts as needed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Agreement:
    """Both importances of every variable side by side, and what to make of it."""

    table: pl.DataFrame
    """One row a group and variable: `weight`, `increase`, `weight_rank`, `increase_rank`, `constant`."""
    correlation: dict[str, float]
    """Rank correlation within each group of at least three variables that can be shuffled."""
    notes: tuple[str, ...]
    """Sentences about the groups and about each variable on which the two disagree."""


def compare(importances: Sequence[Importance], permutation: pl.DataFrame) -> Agreement:
    """Lay selection weights beside what shuffling costs.

    A known variable stands in the past and in the future group with the same increase: it is shuffled in both.
    """
    increase = dict(zip(permutation["variable"], permutation["increase"], strict=True))
    constant = dict(zip(permutation["variable"], permutation["constant"], strict=True))
    rows = pl.DataFrame(
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
    for group in rows["group"].unique(maintain_order=True):
        own = rows.filter((pl.col("group") == group) & ~pl.col("constant"))
        if own.height >= LEAST_VARIABLES:
            correlation[group] = spearman(own["weight"].to_numpy(), own["increase"].to_numpy())
            if np.isfinite(correlation[group]):
                notes.append(_of_group(group, correlation[group]))
        notes += _of_variables(rows.filter(pl.col("group") == group), rows)
    return Agreement(table=rows, correlation=correlation, notes=tuple(notes))


def _of_group(group: str, correlation: float) -> str:
    said = (
        "agree"
        if correlation >= 0.7
        else "agree in part"
        if correlation >= 0.3
        else "hardly agree"
        if correlation > -0.3
        else "contradict each other"
    )
    return f"For {group} variables, selection weights and shuffling {said} (rank correlation {correlation:.2f})."


def _of_variables(own: pl.DataFrame, everything: pl.DataFrame) -> list[str]:
    notes: list[str] = []
    same: list[str] = []
    even = 1 / own.height
    for row in own.iter_rows(named=True):
        name, weight, rise = row["variable"], row["weight"], row["increase"]
        elsewhere = everything.filter((pl.col("variable") == name) & (pl.col("group") != row["group"]))
        used_elsewhere = elsewhere.height > 0 and float(elsewhere["weight"].to_numpy().max()) > weight
        if row["constant"]:
            same += [f"{name!r} ({weight:.0%})"] if weight >= MUCH * even else []
        elif weight >= MUCH * even and rise < MATTERS:
            notes.append(
                f"{name!r} gets {weight:.0%} of the {row['group']} selection, yet shuffling it changes the loss by "
                f"{rise:+.1%} only: others may say the same, or the network attends to it without needing it."
            )
        elif weight <= LITTLE * even and rise >= 5 * MATTERS and not used_elsewhere:
            notes.append(
                f"{name!r} gets {weight:.0%} of the {row['group']} selection, yet shuffling it raises the loss by "
                f"{rise:.1%}: it matters more than its weight says."
            )
    if same:
        group = own["group"][0]
        notes.append(
            f"Of the {group} selection, {', '.join(same)} cannot be checked: the same in every window shuffled."
        )
    return notes
