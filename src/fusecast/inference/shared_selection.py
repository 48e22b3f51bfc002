"""SharedSelection: variable selection for overlapping windows, computed once a time step."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fusecast.model.embedding import EmbeddingWeights
from fusecast.model.variable_selection import VariableSelection


class SharedSelection:
    """The vectors that a :class:`VariableSelection` selects at the steps of series of one length, viewed as windows.

    Where inputs depend on the step alone, so do the selected vectors. A relative position depends on the window as
    well; then the transformed embeddings of the other variables are shared, and the first map of the joint network,
    which is a sum over variables, has two terms: one a step, and one a position.

    Parameters
    ----------
    selection, embedding
        Of the network, in evaluation mode.
    reals, codes, present, context
        Of all steps of each series, as if they were one window: ``[G, R, ...]``, and ``[G, d]``. Steps are then
        numbered over all series, end to end: N = G R.
    position
        Relative positions of the T steps of a window, ``[T]``, which replace the last real; or None.
    length
        Steps of a window, T.
    """

    def __init__(
        self,
        selection: VariableSelection,
        embedding: EmbeddingWeights,
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
            selected, _ = selection(embedding, reals, codes, present=present, context=context)
            self.steps = selected.flatten(0, 1)  # [N, d]
            return
        self.position_index = last = selection.num_reals - 1
        self.present = None if present is None else present.flatten(0, 1)  # [N, V]
        others = torch.ones(*reals.shape[:2], reals.shape[2] + codes.shape[2], dtype=torch.bool, device=reals.device)
        others[..., last] = False
        mapped = selection.embed(embedding, reals, codes, others if present is None else present & others)
        self.transformed = selection.variables.finish(mapped.variable_input, mapped.residual)  # [V, N, d]
        self.joint = mapped.joint_input  # [N, d + V]

        positions = reals.new_zeros(1, length, selection.num_reals)
        positions[0, :, last] = position
        only_position = torch.zeros(1, length, others.shape[-1], dtype=torch.bool, device=reals.device)
        only_position[..., last] = True
        no_codes = codes.new_zeros(1, length, codes.shape[2])
        alone = selection.embed(embedding, positions, no_codes, only_position)
        absent = selection.embed(embedding, torch.zeros_like(positions), no_codes, torch.zeros_like(only_position))
        # [T, d + V]: without the term of absent categories
        self.joint_of_position = alone.joint_input - absent.joint_input
        self.of_position = selection.variables.finish(alone.variable_input, alone.residual)[last]  # [T, d]

    def pad(self, width: int) -> None:
        """Pad the selected vectors to a width with zeros, and all tensors that they are computed from."""
        more = (0, width - self.selection.d_model)
        if more[1] == 0:
            return
        if not self.by_position:
            self.steps = functional.pad(self.steps, more)
            return
        self.transformed = functional.pad(self.transformed, more)
        self.of_position = functional.pad(self.of_position, more)

    def windows(self, series: int, first: int, count: int, stride: int) -> Tensor:
        """Return the selected vectors [W, T, d] of windows of a series, the first of which begins at step `first`."""
        if not self.by_position:
            return self.view_windows(self.steps, first, count, stride)
        joint = self.view_windows(self.joint, first, count, stride) + self.joint_of_position
        present = None if self.present is None else self.view_windows(self.present, first, count, stride)
        context = None if self.context is None else self.context[series].expand(count, -1)
        weights = self.selection.weigh(joint, present, context)
        selected = weights[..., self.position_index, None] * self.of_position
        for variable, transformed in enumerate(self.transformed):
            if variable != self.position_index:
                vectors = self.view_windows(transformed, first, count, stride)
                selected.addcmul_(weights[..., variable, None], vectors)
        return selected

    def view_windows(self, rows: Tensor, first: int, count: int, stride: int) -> Tensor:
        """View rows ``[N, w]`` as overlapping windows ``[count, T, w]``."""
        width = rows.shape[1]
        return rows[first:].as_strided((count, self.length, width), (stride * rows.stride(0), rows.stride(0), 1))
