"""NativeGatherer: the fields of several batches, filled by one call of a kernel in C."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusecast.kernels.bindings import Windows, call, pointer
from fusecast.kernels.library import library
from fusecast.model.batch import Batch
from fusecast.windows.torch_gatherer import TorchGatherer
from fusecast.windows.window_scaling import FLOOR

_SCALINGS = {"none": 0, "mean": 1, "last": 2}
_LACKS = {"past_real_present": 1, "past_mask": 2, "future_real_present": 4, "target_mask": 8, "static_real_present": 16}
"""Masks, each with the bit that says that a batch needs it."""


class NativeGatherer:
    """Gives the batches of a :class:`TorchGatherer`, in one pass over the rows.

    They are the same bit for bit, save what is scaled by the window: sums over a lookback are in float64 here.
    """

    def __init__(self, plain: TorchGatherer) -> None:
        self.plain = plain
        index, panel = plain.index, plain.panel
        indptr = np.ascontiguousarray(panel.indptr, dtype=np.int64)
        last = index.first_cutoff + (index.counts - 1) * index.stride
        beyond = (index.first_cutoff < index.lookback) | (last + index.horizon > np.diff(indptr))
        masked = panel.reals_present.shape[1] or panel.static_reals_present.shape[1]
        self.may_lack = bool(masked) or bool((beyond & (index.counts > 0)).any())
        cutoff = np.ascontiguousarray(index.first_cutoff)
        self.of_series = tuple(torch.from_numpy(array) for array in (indptr, index.offsets, cutoff))
        self.shapes, self.kinds = _fields(plain, may_lack=self.may_lack)
        self.held = {name: shape for name, shape in self.shapes.items() if prod(shape) and name != "window"}
        self.bytes_a_window = sum(prod(shape) * self.kinds[name].itemsize for name, shape in self.shapes.items())
        self._arguments = bytes(_arguments(plain, *self.of_series))
        self._blanks: dict[int, dict[str, Tensor]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return NativeGatherer, (self.plain,)  # addresses mean nothing to another process

    def usable(self) -> bool:
        """Whether there is a kernel for these arrays."""
        panel = self.plain.panel
        expected = {
            torch.float32: (panel.reals, panel.static_reals),
            torch.bool: (panel.reals_present, panel.static_reals_present),
            torch.int32: (panel.categories, panel.static_categories),
        }
        return library() is not None and all(t.dtype == kind for kind, tensors in expected.items() for t in tensors)

    def __call__(self, number: NDArray[np.int64], size: int) -> list[Batch]:
        """Give the batches of windows [W], `size` at a time; the last may be smaller. W is not 0.

        Raises
        ------
        IndexError
            When there is no window of such a number.
        """
        count, whole = len(number), (len(number) - 1) // size
        with torch.inference_mode(False):  # a batch may be trained on, wherever its neighbours were asked for
            made = {n: torch.empty((count, *shape), dtype=self.kinds[n]) for n, shape in self.held.items()}
            made["window"] = torch.from_numpy(number.copy())
            lacks = self._fill(made, size)
            blank, rest = self._blank(size), self._blank(count - whole * size)
            columns: list[Sequence[Tensor]] = []
            for name in Batch._fields:
                bit = _LACKS.get(name)
                needed = None if bit is None else [bool(of & bit) for of in lacks]
                if name not in made or (needed is not None and not any(needed)):
                    columns.append([blank[name]] * whole + [rest[name]])
                    continue
                # no views of a common tensor to autograd: each batch may be changed without the others
                parts: Sequence[Tensor] = torch.unsafe_split(made[name], size)
                if needed is not None and not all(needed):
                    blanks = [blank[name]] * whole + [rest[name]]
                    parts = [part if need else none for part, none, need in zip(parts, blanks, needed, strict=True)]
                columns.append(parts)
        return [Batch._make(fields) for fields in zip(*columns, strict=True)]

    def _fill(self, made: dict[str, Tensor], size: int) -> list[int]:
        """Fill the fields; say of each batch what it lacks, where any may lack something."""
        number = made["window"]
        count, batches = len(number), -(-len(number) // size)
        lack = torch.empty(count + batches, dtype=torch.uint8) if self.may_lack else None
        arguments = Windows.from_buffer_copy(self._arguments)
        arguments.windows, arguments.batch = count, size
        arguments.number, arguments.lack = pointer(number), pointer(lack)
        for name in self.held:
            setattr(arguments, f"to_{name}", made[name].data_ptr())
        call("windows_fill", arguments)
        if arguments.wrong:
            self.plain.index.locate(number.numpy())  # says which numbers there are
        return [] if lack is None else lack[count:].tolist()

    def _blank(self, size: int) -> dict[str, Tensor]:
        """Every field at width 0; such tensors hold nothing, so that batches share them."""
        if size not in self._blanks:
            self._blanks[size] = {
                name: torch.empty((size, *shape[:-1], 0), dtype=self.kinds[name]) for name, shape in self.shapes.items()
            }
        return self._blanks[size]


def _arguments(plain: TorchGatherer, indptr: Tensor, offsets: Tensor, cutoff: Tensor) -> Windows:
    """Say all that is the same for all batches; the tensors have to outlive it."""
    index, panel = plain.index, plain.panel
    return Windows(
        series=len(cutoff),
        stride=index.stride,
        lookback=index.lookback,
        horizon=index.horizon,
        reals=panel.reals.shape[1],
        targets=panel.num_targets,
        observed=panel.num_observed,
        categories=panel.categories.shape[1],
        observed_categories=panel.num_observed_categories,
        static_reals=panel.static_reals.shape[1],
        static_categories=panel.static_categories.shape[1],
        scaling=_SCALINGS[panel.window_scaling],
        floor=FLOOR,
        indptr=pointer(indptr),
        offsets=pointer(offsets),
        cutoff=pointer(cutoff),
        real=pointer(panel.reals),
        present=pointer(panel.reals_present) if panel.reals_present.shape[1] else None,
        category=pointer(panel.categories),
        static_real=pointer(panel.static_reals),
        static_present=pointer(panel.static_reals_present) if panel.static_reals_present.shape[1] else None,
        static_category=pointer(panel.static_categories),
        center=pointer(panel.center),
        scale=pointer(panel.scale),
        position=pointer(plain.position),
    )


def _fields(plain: TorchGatherer, *, may_lack: bool) -> tuple[dict[str, tuple[int, ...]], dict[str, torch.dtype]]:
    """Give the shape of one window and the type of each field; masks with full width where any are needed."""
    panel, L, H = plain.panel, plain.index.lookback, plain.index.horizon
    Y = panel.num_targets
    past = panel.reals.shape[1] + (plain.position is not None)
    future = past - panel.num_observed
    weighted = Y if panel.window_scaling != "none" else 0
    categories = panel.categories.shape[1]
    shapes: dict[str, tuple[int, ...]] = {
        "static_real": (panel.static_reals.shape[1],),
        "static_cat": (panel.static_categories.shape[1],),
        "past_real": (L, past),
        "past_cat": (L, categories),
        "future_real": (H, future),
        "future_cat": (H, categories - panel.num_observed_categories),
        "static_real_present": (panel.static_reals_present.shape[1],),
        "past_real_present": (L, past * may_lack),
        "future_real_present": (H, future * may_lack),
        "past_mask": (L * may_lack,),
        "target": (H, Y),
        "target_mask": (H, Y * may_lack),
        "center": (Y,),
        "scale": (Y,),
        "weight": (weighted,),
        "window": (),
    }
    kinds = dict.fromkeys(shapes, torch.float32) | dict.fromkeys(_LACKS, torch.bool)
    return shapes, kinds | dict.fromkeys(("static_cat", "past_cat", "future_cat", "window"), torch.int64)
