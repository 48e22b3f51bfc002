"""Variable selection for overlapping windows: what they share is computed once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fusecast.model.embedding import Codebook
from fusecast.model.variable_selection import VariableSelection


class SharedSelection:
    """What a :class:`VariableSelection` makes of the steps of series of one length, to be cut into windows.

    Where inputs depend on the step alone, so do the selected vectors. A relative position depends on the window as
    well; then the other variables' transformed embeddings are shared, and the joint network's first map, which is a
    sum over variables, comes in two parts: one a step, and one a position.

    Parameters
    ----------
    selection, codebook
        Of the network, in evaluation.
    reals, codes, present, context
        Of all steps of each series, as if they were one window: ``[G, R, ...]``, and ``[G, d]``. Steps are then known
        by their number in all series, end to end: N = G R.
    position
        Relative positions of the T steps of a window, ``[T]``, which take the place of the last real; or None.
    length
        Steps of a window, T.
    """

    def __init__(
        self,
        selection: VariableSelection,
        codebook: Codebook,
        reals: Tensor,
        codes: Tensor,
        *,
        present: Tensor | None,
        context: Tensor | None,
        position: Tensor | None,
        length: int,
    ) -> None:
        self.selection, self.length, self.context = selection, length, context
        self.by_position = position is not None
        if position is None:
            selected, _ = selection(codebook, reals, codes, present=present, context=context)
            self.steps = selected.flatten(0, 1)  # [N, d]
            return
        place = selection.num_reals - 1
        self.place = place
        self.present = None if present is None else present.flatten(0, 1)  # [N, V]
        others = torch.ones(*reals.shape[:2], reals.shape[2] + codes.shape[2], dtype=torch.bool, device=reals.device)
        others[..., place] = False
        mapped = selection.map(codebook, reals, codes, others if present is None else present & others)
        self.transformed = selection.variables.finish(mapped.own, mapped.embedded)  # [V, N, d]
        self.joint = mapped.joint  # [N, d + V]

        at = reals.new_zeros(1, length, selection.num_reals)
        at[0, :, place] = position
        only = torch.zeros(1, length, others.shape[-1], dtype=torch.bool, device=reals.device)
        only[..., place] = True
        no_step = codes.new_zeros(1, length, codes.shape[2])
        alone = selection.map(codebook, at, no_step, only)
        absent = selection.map(codebook, torch.zeros_like(at), no_step, torch.zeros_like(only))
        self.joint_of_position = (
            alone.joint - absent.joint
        )  # [T, d + V]: less what the categories of no step have in it
        self.of_position = selection.variables.finish(alone.own, alone.embedded)[place]  # [T, d]

    def pad(self, width: int) -> None:
        """Pad the selected vectors with zeros, and all that windows are made of."""
        more = (0, width - self.selection.d_model)
        if more[1] == 0:
            return
        if not self.by_position:
            self.steps = functional.pad(self.steps, more)
            return
        self.transformed = functional.pad(self.transformed, more)
        self.of_position = functional.pad(self.of_position, more)

    def windows(self, series: int, first: int, count: int, apart: int) -> Tensor:
        """Give the selected vectors [W, T, d] of windows of a series, the first of which begins at step `first`."""
        if not self.by_position:
            return self.cut(self.steps, first, count, apart)
        joint = self.cut(self.joint, first, count, apart) + self.joint_of_position
        present = None if self.present is None else self.cut(self.present, first, count, apart)
        context = None if self.context is None else self.context[series].expand(count, -1)
        weights = self.selection.weigh(joint, present, context)
        selected = weights[..., self.place, None] * self.of_position
        for variable, transformed in enumerate(self.transformed):
            if variable != self.place:
                selected.addcmul_(weights[..., variable, None], self.cut(transformed, first, count, apart))
        return selected

    def cut(self, rows: Tensor, first: int, count: int, apart: int) -> Tensor:
        """View rows ``[N, w]`` as overlapping windows ``[count, T, w]``."""
        width = rows.shape[1]
        return rows[first:].as_strided((count, self.length, width), (apart * rows.stride(0), rows.stride(0), 1))
