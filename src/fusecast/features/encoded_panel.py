"""EncodedPanel: a panel as the numbers that the network reads; Inputs: the names and order of its variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fusecast.data.arrays import empty, is_mapped, release

if TYPE_CHECKING:
    from fusecast.config import WindowScaling
    from fusecast.data.panel import Panel
    from fusecast.features.new_series import NewSeries

RELATIVE_POSITION = "relative_position"


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Names (and cardinalities) of the variables of each group, in the order of :mod:`fusecast.model.batch`.

    The relative position of a step in its window is the last of the known reals; it is computed while windows are
    gathered and is not a column of an encoded panel.
    """

    targets: tuple[str, ...]
    observed_reals: tuple[str, ...] = ()  # without the targets
    known_reals: tuple[str, ...] = ()
    static_reals: tuple[str, ...] = ()
    observed_categories: Mapping[str, int] = field(default_factory=dict)  # name -> cardinality, including code 0
    known_categories: Mapping[str, int] = field(default_factory=dict)
    static_categories: Mapping[str, int] = field(default_factory=dict)

    @property
    def past_names(self) -> tuple[str, ...]:
        """Names of the past variables in the order of their selection weights."""
        observed, known = self.observed_categories, self.known_categories
        return (*self.targets, *self.observed_reals, *self.known_reals, *observed, *known)

    @property
    def future_names(self) -> tuple[str, ...]:
        """Names of the future variables in the order of their selection weights."""
        return (*self.known_reals, *self.known_categories)

    @property
    def static_names(self) -> tuple[str, ...]:
        """Names of the static variables in the order of their selection weights."""
        return (*self.static_reals, *self.static_categories)

    def sizes(self) -> dict[str, Any]:
        """Return the keyword arguments of ``ModelConfig`` that follow from the inputs."""
        return {
            "num_targets": len(self.targets),
            "static_reals": len(self.static_reals),
            "static_categories": tuple(self.static_categories.values()),
            "observed_reals": len(self.targets) + len(self.observed_reals),
            "observed_categories": tuple(self.observed_categories.values()),
            "known_reals": len(self.known_reals),
            "known_categories": tuple(self.known_categories.values()),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedPanel:
    """Scaled reals and category codes of every row; rows and series are those of the panel it was made from."""

    inputs: Inputs
    indptr: NDArray[np.int64]  # [S + 1]
    reals: NDArray[np.float32]  # [N, V] targets, observed, known (without relative position); 0 where missing
    reals_present: NDArray[np.bool_]  # [N, V], or [N, 0] when no value is missing anywhere
    categories: NDArray[np.int32]  # [N, V] observed, known; 0 = unknown or missing
    static_reals: NDArray[np.float32]  # [S, V]
    static_reals_present: NDArray[np.bool_]  # [S, V], or [S, 0]
    static_categories: NDArray[np.int32]  # [S, V]
    center: NDArray[np.float64]  # [S, Y]: value = scaled * scale + center
    scale: NDArray[np.float64]  # [S, Y]
    weights: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), dtype=np.float32))
    """How much each row counts in the loss [N, 1], about 1 on average; width 0 where all count alike."""
    window_scaling: WindowScaling = "none"  # how each window's targets are scaled once more by its own lookback
    season: int = 1  # steps of the shortest season
    new_series: NewSeries | None = None
    """Series without training rows, whose windows are scaled by their own rows: see `windows/new_series.py`. In the
    arrays here they have the scales of all series together; None where there are no such series."""

    @property
    def has_position(self) -> bool:
        """Whether the last known real is the relative position, which is no column."""
        inputs, columns = self.inputs, int(self.reals.shape[1])
        return len(inputs.targets) + len(inputs.observed_reals) + len(inputs.known_reals) > columns

    def __repr__(self) -> str:
        columns = self.reals.shape[1] + self.categories.shape[1]
        return f"EncodedPanel({len(self.indptr) - 1} series, {len(self.reals)} rows, {columns} columns)"


class RowArrays(NamedTuple):
    """The arrays of an encoded panel with a value a row; see there."""

    reals: NDArray[np.float32]
    present: NDArray[np.bool_]
    categories: NDArray[np.int32]


def encode_by_blocks(panel: Panel, encode: Callable[[Panel, slice], RowArrays]) -> RowArrays:
    """Return what `encode` makes of each block of a panel, end to end, in mapped files where the panel is one."""
    arrays: RowArrays | None = None
    like = panel.reals[panel.schema.targets[0]]
    for part, block in panel.blocks():
        encoded = encode(block, part)
        if block is panel and not is_mapped(like):
            return encoded
        rows = slice(*panel.indptr[[part.start, part.stop]].tolist())
        if arrays is None:
            arrays = RowArrays(*(empty((panel.num_rows, each.shape[1]), each.dtype, like) for each in encoded))
        if encoded.present.shape[1] > arrays.present.shape[1]:  # the first block in which a value is missing
            present = empty(arrays.reals.shape, np.bool_, like)
            present[: rows.start] = True
            arrays = arrays._replace(present=present)
        for whole, values in zip(arrays, encoded, strict=True):
            whole[rows] = values if values.shape[1] == whole.shape[1] else True
        release(*arrays)
    return encode(panel, slice(0, panel.num_series)) if arrays is None else arrays
