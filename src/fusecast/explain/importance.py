"""Importance: how much of the selection each variable gets, over any number of windows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fusecast.batch import Batch, Output
from fusecast.explain.distribution import EXACT_VALUES, Distribution
from fusecast.features.inputs import Inputs


@dataclass(frozen=True, kw_only=True)
class Importance:
    """The selection weight of one variable: a share of 1 among the variables of its group.

    Percentiles are over samples, as in the tables of the paper's section 7.1: over windows for static variables,
    over all steps of all windows for past and future ones.
    """

    group: str  # static, past, future
    variable: str
    mean: float
    p10: float
    p50: float
    p90: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values: one row of a table."""
        return asdict(self)


class ImportanceTally:
    """Gathers selection weights batch by batch; memory does not grow with the windows.

    Steps that are masked (padding, or nothing in them) are not counted. Percentiles are exact for small amounts and
    within a histogram's bin beyond, see :class:`~fusecast.explain.distribution.Distribution`.
    """

    def __init__(self, inputs: Inputs, exact_values: int = EXACT_VALUES) -> None:
        self._names = {"static": inputs.static_names, "past": inputs.past_names, "future": inputs.future_names}
        self._weights = {group: Distribution(len(names), exact_values) for group, names in self._names.items()}

    def add(self, batch: Batch, output: Output) -> None:
        """Count in the windows of a batch."""
        past = to_numpy(output.past_weights)
        self._weights["static"].add(to_numpy(output.static_weights))
        self._weights["past"].add(past[steps_present(batch, past)])
        future = to_numpy(output.future_weights)
        self._weights["future"].add(future.reshape(future.shape[0] * future.shape[1], future.shape[2]))

    def table(self) -> list[Importance]:
        """One row a variable: static, past, future, each in order of falling mean. Empty without windows."""
        rows = []
        for group, names in self._names.items():
            weights = self._weights[group]
            if not names or not weights.count.any():
                continue
            mean = weights.mean()
            low, middle, high = weights.percentiles((10, 50, 90))
            rows += [
                Importance(
                    group=group,
                    variable=names[v],
                    mean=float(mean[v]),
                    p10=float(low[v]),
                    p50=float(middle[v]),
                    p90=float(high[v]),
                )
                for v in np.argsort(-mean, kind="stable")
            ]
        return rows


def to_numpy(values: Tensor) -> NDArray[np.float64]:
    """Bring the values of any precision and device to float64."""
    return values.detach().double().cpu().numpy()


def steps_present(batch: Batch, past: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Say which past steps hold something, [B, L]; `past` is anything [B, L, ...]."""
    if batch.past_mask.shape[-1] == 0:
        return np.ones(past.shape[:2], dtype=bool)
    present: NDArray[np.bool_] = batch.past_mask.cpu().numpy()
    return present
