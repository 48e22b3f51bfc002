"""Explanation: importances and attention over every window asked for, in one call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from fusecast.batch import Batch, Output
from fusecast.explain.attention import AttentionProfile, AttentionTally
from fusecast.explain.importance import Importance, ImportanceTally
from fusecast.features.inputs import Inputs


@dataclass(frozen=True, kw_only=True, eq=False)
class Explanation:
    """Why a model forecasts what it forecasts, over many windows."""

    windows: int
    importances: list[Importance]
    attention: AttentionProfile  # averaged over the steps ahead
    attention_by_step: list[AttentionProfile]  # one a step ahead, H of them


def explain(outputs: Iterable[tuple[Any, Batch, Output]], inputs: Inputs, lookback: int, horizon: int) -> Explanation:
    """Gather what the network looked at, batch by batch; memory does not grow with the windows.

    Parameters
    ----------
    outputs
        (numbers of the windows, batch, output), as ``NetworkPredictor.outputs`` gives them.
    inputs
        Names of the variables.
    """
    importance, attention, windows = ImportanceTally(inputs), AttentionTally(lookback, horizon), 0
    for numbers, batch, output in outputs:
        importance.add(batch, output)
        attention.add(batch, output)
        windows += len(numbers)
    return Explanation(
        windows=windows,
        importances=importance.table(),
        attention=attention.profile(),
        attention_by_step=attention.profiles_by_step(),
    )
