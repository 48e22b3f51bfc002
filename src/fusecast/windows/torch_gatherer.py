"""TorchGatherer: the definition of a batch, by torch and NumPy, one indexed copy a tensor."""

from __future__ import annotations

from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fusecast.model.batch import Batch
from fusecast.windows.panel_tensors import PanelTensors
from fusecast.windows.window_index import WindowIndex
from fusecast.windows.window_scaling import window_scales


class Runs(NamedTuple):
    """Where windows lie: for each a run of rows, int64 [B]; on the host."""

    series: NDArray[np.int64]
    first: NDArray[np.int64]  # row of the panel with which the window begins, be it the series' own or not
    begin: NDArray[np.int64]  # rows of the panel that are the series' own: from here
    end: NDArray[np.int64]  # to before here

    @classmethod
    def of(cls, number: NDArray[np.int64], index: WindowIndex, indptr: NDArray[np.int64]) -> Self:
        """Find the windows of these numbers."""
        series, cutoff = index.locate(number)
        begin, end = indptr[series], indptr[series + 1]
        return cls(series, begin + cutoff - index.lookback, begin, end)

    def all_inside(self, start: int, stop: int) -> bool:
        """Whether the steps [start, stop) of all windows are the series' own rows."""
        return not bool(((self.first + start < self.begin) | (self.first + stop > self.end)).any())

    def inside(self, length: int) -> Tensor | None:
        """Which of the rows [B, T] are the series' own; None for all."""
        if self.all_inside(0, length):
            return None
        rows = self.first[:, None] + np.arange(length)
        return torch.from_numpy((rows >= self.begin[:, None]) & (rows < self.end[:, None]))

    def cut(self, length: int, inside: Tensor | None, num_rows: int) -> Cut:
        """Make the cut that is faster on a CPU: by runs, but for such as reach over an end of the array itself."""
        if inside is not None and (self.first.min() < 0 or self.first.max() + length > num_rows):
            rows = (self.first[:, None] + np.arange(length)).clip(0, num_rows - 1)  # beyond an end, any row will do
            return Cut(torch.from_numpy(rows.ravel()), length, inside, by_row=True)
        return Cut(torch.from_numpy(self.first), length, inside, by_row=False)


class Cut:
    """Copies runs of rows out of arrays [N, V], and clears what is not the series' own.

    Parameters
    ----------
    first
        int64 [B]: the first row of each run; or each row of each, [B * T], by which it is cut then.
    length
        Rows of a run, T.
    inside
        bool [B, T]: what to leave; None for everything.
    """

    def __init__(self, first: Tensor, length: int, inside: Tensor | None, *, by_row: bool) -> None:
        self.first, self.length, self.by_row = first, length, by_row
        self.outside = None if inside is None else ~inside[:, :, None]

    def __call__(self, array: Tensor) -> Tensor:
        """Copy rows: ``[N, V] -> [B, T, V]``."""
        T, (N, V) = self.length, array.shape
        B = len(self.first) // T if self.by_row else len(self.first)
        if not V:
            return array.new_empty((B, T, 0))
        if self.by_row:
            cut = array.index_select(0, self.first)
        else:
            cut = array.as_strided((N - T + 1, T * V), (V, 1)).index_select(0, self.first)
        cut = cut.view(B, T, V)
        return cut if self.outside is None else cut.masked_fill_(self.outside, 0)


class TorchGatherer:
    """Cuts windows out of one encoded panel; works everywhere, and says what :class:`NativeGatherer` has to give.

    A window is a run of rows, so flat arrays are read as overlapping rows of ``T * V`` numbers and a batch is one
    ``index_select`` of those. Rows of a run that are not the series' own are cleared: before its first row they are
    padding, after its last they are unknown. The arrays may be memory-mapped; only rows asked for are read.

    - A mask of the batch has width 0 when nothing in it is missing.
    - A past step is masked when it is padding, or nothing at all of its row is present.
    - The relative position of step t (0 is the first of the lookback) is ``(t - L) / max(L, H)``: the first step to
      forecast is 0, all steps lie in [-1, 1). It is the last known real, and always present.
    - With window scaling, targets (past and future) are scaled once more, and `center` and `scale` of the batch lead
      back to the panel's units in one step. They are float32, like everything real in a batch.
    """

    def __init__(self, panel: PanelTensors, index: WindowIndex) -> None:
        self.index = index
        self.panel = panel
        self.position = self.panel.positions(index.lookback, index.horizon)  # [1, T, 1]

    def __call__(self, windows: ArrayLike) -> Batch:
        """Give the batch of windows [B] numbered as in the index."""
        panel, located = self.panel, self.locate(np.asarray(windows, dtype=np.int64))
        L, Y, inside, cut = self.index.lookback, panel.num_targets, located.inside, located.cut
        reals, categories = cut(panel.reals), cut(panel.categories)
        present: Tensor | None = None  # [B, T, V]; None: all of it
        if panel.reals_present.shape[1]:
            present = cut(panel.reals_present)
        elif inside is not None:
            present = inside[:, :, None].expand_as(reals)

        chosen = located.series
        center, scale = panel.center.index_select(0, chosen), panel.scale.index_select(0, chosen)
        if panel.window_scaling != "none":
            of_targets = None if present is None else present[:, :, :Y]
            past_of_targets = None if of_targets is None else of_targets[:, :L]
            shift, factor = window_scales(reals[:, :L, :Y], past_of_targets, panel.window_scaling)
            rescaled = (reals[:, :, :Y] - shift[:, None]) / factor[:, None]
            reals[:, :, :Y] = rescaled if of_targets is None else rescaled.masked_fill(~of_targets, 0.0)
            center, scale = center + shift * scale, scale * factor
            weight = factor  # an error counts in units of its series, however quiet the lookback was
        else:
            weight = scale[:, :0]

        static_present = panel.static_reals_present.index_select(0, chosen)
        lack = self.look(located, present, categories[:, :L], static_present)
        if present is None:
            present = torch.empty((len(chosen), reals.shape[1], 0), dtype=torch.bool, device=panel.device)
        known_present = present[:, L:, panel.num_observed :]
        return Batch(
            static_real=panel.static_reals.index_select(0, chosen),
            static_cat=panel.static_categories.index_select(0, chosen).long(),
            past_real=self._with_position(reals[:, :L], slice(None, L)),
            past_cat=categories[:, :L].long(),
            future_real=self._with_position(reals[:, L:, panel.num_observed :], slice(L, None)),
            future_cat=categories[:, L:, panel.num_observed_categories :].long(),
            static_real_present=static_present if lack.static else static_present[:, :0],
            past_real_present=self._and_position(present[:, :L]) if lack.past else present[:, :L, :0],
            future_real_present=self._and_position(known_present) if lack.known else known_present[:, :, :0],
            past_mask=present[:, 0, :0] if lack.step is None else lack.step,
            target=reals[:, L:, :Y].contiguous(),
            target_mask=present[:, L:, :Y].contiguous() if lack.target else present[:, L:, :0],
            center=center,
            scale=scale,
            weight=weight,
            window=located.number,
        )

    def locate(self, number: NDArray[np.int64]) -> WindowLocation:
        """Find the rows of windows [B]."""
        runs, length = Runs.of(number, self.index, self.panel.indptr), self.index.lookback + self.index.horizon
        inside = runs.inside(length)
        cut = runs.cut(length, inside, len(self.panel.reals))
        return WindowLocation(torch.from_numpy(number), torch.from_numpy(runs.series), inside, cut)

    def look(
        self,
        located: WindowLocation,  # noqa: ARG002  those who know beforehand need not look
        present: Tensor | None,
        categories: Tensor,
        static_present: Tensor,
    ) -> MissingMasks:
        """See what a batch lacks.

        Parameters
        ----------
        located
            Where its windows lie.
        present
            ``[B, T, V]``: which reals there are; None for all.
        categories
            ``[B, L, V]``: those of the past.
        static_present
            ``[B, V]``, or ``[B, 0]`` for all.
        """
        L, static = self.index.lookback, not _all(static_present)
        if present is None:
            return MissingMasks(static=static)
        past, future = present[:, :L], present[:, L:]
        step = _something(past, categories)
        whole = _all(step)
        return MissingMasks(
            step=None if whole else step,
            past=not _all(past if whole else past | ~step[:, :, None]),  # what masked steps lack is never looked at
            known=not _all(future[:, :, self.panel.num_observed :]),
            target=not _all(future[:, :, : self.panel.num_targets]),
            static=static,
        )

    def _with_position(self, reals: Tensor, steps: slice) -> Tensor:
        if self.position is None:
            return reals.contiguous()
        V = reals.shape[2]
        joined = reals.new_empty((*reals.shape[:2], V + 1))  # two copies: a third of the time of torch.cat
        joined[:, :, :V] = reals
        joined[:, :, V:] = self.position[:, steps]
        return joined

    def _and_position(self, present: Tensor) -> Tensor:
        """The same mask, with the relative position beside the columns of the panel."""
        if self.position is None:
            return present.contiguous()
        return torch.cat((present, present.new_ones((*present.shape[:2], 1))), dim=2)


class MissingMasks(NamedTuple):
    """What is missing in a batch, and therefore which of its masks have any width."""

    step: Tensor | None = None  # bool [B, L]: past steps with anything in them; None: all
    past: bool = False  # a past real, at a step with anything in it
    known: bool = False  # a known real of the future
    target: bool = False
    static: bool = False


class WindowLocation(NamedTuple):
    """Where the windows of a batch lie."""

    number: Tensor  # int64 [B]
    series: Tensor  # int64 [B]
    inside: Tensor | None  # bool [B, T]: the row is the series' own; None: all are
    cut: Cut
    lacks: int = 0  # what is missing, where that is known beforehand: see :mod:`fusecast.windows.device_gatherer`


def _something(present: Tensor, categories: Tensor) -> Tensor:
    """Steps [B, L] at which any variable of the row is present.

    Column by column, from the last category back, since the calendar is there whatever else is missing: the first
    column mostly settles it, and reductions over a short last dimension are slow.
    """
    columns = [*categories.unbind(2)[::-1], *present.unbind(2)]
    step = columns[0] != 0
    for column in columns[1:]:
        if _all(step):
            break
        step = step | (column != 0)
    return step.contiguous()


def _all(mask: Tensor) -> bool:
    return bool(mask.numpy().all())  # ten times as fast as that of torch
