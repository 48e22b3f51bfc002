"""Variable selection (equations 6 to 8): which variables matter at a step, and their weighted sum."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusecast.kernels.bindings import kernels_supported
from fusecast.kernels.variable_selection import Dictionary, Values, select_rows
from fusecast.model.embedding import Codebook
from fusecast.model.gating import GatedResidualNetwork, GroupedGatedResidualNetwork
from fusecast.model.masking import masked_softmax

FOLD_ROWS_UP_TO = 2048
"""Table rows up to which category tables are mapped whole; beyond, mapping what was looked up is cheaper."""


class VariableSelection(nn.Module):
    """Weigh the variables of a group, transform each, and add them up.

        weights  = softmax(GRN([e_1 ... e_V], context))      e = embeddings, `xi`; weights = `v` in the paper
        selected = sum_v weights_v * GRN_v(e_v)

    The embeddings are never multiplied by a matrix: both first linear maps (that of the joint GRN that gives the
    weights, with its skip, and those of the variables' own GRNs) act on the code book instead, once a forward.

    A missing variable has weight 0 and adds nothing, not even a bias, to the joint GRN; the softmax is over those
    present. Where none is, the weights and the selected vector are 0.
    """

    def __init__(
        self,
        num_reals: int,
        num_categories: int,
        d_model: int,
        *,
        has_context: bool,
        dropout: float,
        variable_skip: str = "identity",
        skip_norm: bool = False,
    ) -> None:
        super().__init__()
        num_variables = num_reals + num_categories
        self.num_reals = num_reals
        self.d_model = d_model
        self.variables = GroupedGatedResidualNetwork(
            num_variables, d_model, dropout=dropout, skip=variable_skip, num_reals=num_reals
        )
        self.joint = GatedResidualNetwork(
            num_variables * d_model,
            d_model,
            num_variables,
            has_context=has_context,
            dropout=dropout,
            linear_skip=True,
        )
        self.skip_norm = nn.LayerNorm(num_variables) if skip_norm else None

    def forward(
        self,
        codebook: Codebook,
        reals: Tensor,
        codes: Tensor,
        *,
        present: Tensor | None = None,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Select among the variables of each step.

        Parameters
        ----------
        codebook
            What the values stand for.
        reals, codes
            float ``[B, T, Vr]`` and int64 ``[B, T, Vc]``.
        present
            bool ``[B, T, V]``, reals first, or None when nothing is missing.
        context
            ``[B, d]``, or None when the selection has no context.

        Returns
        -------
        The selected vectors ``[B, T, d]`` and the weights ``[B, T, V]``.
        """
        if self._by_kernel(codebook, reals, context):
            return self._select_by_kernel(codebook, reals, codes, present, context)
        B, T = reals.shape[:2]
        embedded, own, joint = self.map(codebook, reals, codes, present)
        weights = self.weigh(joint.view(B, T, -1), present, context)
        transformed = self.variables.finish(own, embedded)
        selected = (transformed * weights.flatten(0, 1).unsqueeze(-1).transpose(0, 1)).sum(dim=0)
        return selected.view(B, T, self.d_model), weights

    def map(self, codebook: Codebook, reals: Tensor, codes: Tensor, present: Tensor | None) -> Mapped:
        """Embed the variables and apply what comes first to the embeddings; arguments as of `forward`."""
        first_maps = self._first_maps()
        kinds = []
        if self.num_reals:
            kinds.append(self._map_reals(codebook, first_maps[: self.num_reals], reals, present))
        if codes.shape[-1]:
            kinds.append(self._map_categories(codebook, first_maps[self.num_reals :], codes))
        return kinds[0] if len(kinds) == 1 else _join(*kinds)

    def weigh(self, joint: Tensor, present: Tensor | None, context: Tensor | None) -> Tensor:
        """Give the weights ``[B, T, V]`` that follow from ``joint [B, T, d + V]`` of what was mapped."""
        joint = joint + torch.cat((self.joint.from_input.bias, self._joint_skip.bias))
        from_input, skip = joint.split((self.d_model, joint.shape[-1] - self.d_model), dim=-1)
        if self.skip_norm is not None:
            skip = self.skip_norm(skip)
        if context is not None:
            context = context.unsqueeze(1)
        return masked_softmax(self.joint.finish(from_input, skip, context), present)

    def _by_kernel(self, codebook: Codebook, reals: Tensor, context: Tensor | None) -> bool:
        return (
            self.skip_norm is None
            and self.variables.skip_norm is None
            and sum(codebook.cardinalities) <= FOLD_ROWS_UP_TO
            and not reals.requires_grad
            and kernels_supported(reals, codebook.lines, context)
        )

    def _select_by_kernel(
        self, codebook: Codebook, reals: Tensor, codes: Tensor, present: Tensor | None, context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Do what `forward` does in one pass over the rows, by :mod:`fusecast.kernels`."""
        B, T = reals.shape[:2]
        if present is not None:
            reals, present = reals.masked_fill(~present[..., : self.num_reals], 0.0), present.flatten(0, 1)
        _refuse_foreign(codes, codebook)
        entries = (codes + codebook.offsets + 2 * self.num_reals).flatten(0, 1)
        joint, own = self.joint, self.variables
        from_context = None if joint.from_context is None else joint.from_context(context)
        selected, weights = select_rows(
            Values(reals.flatten(0, 1), entries, present),
            self._dictionary(codebook),
            torch.cat((joint.from_input.bias, self._joint_skip.bias)),
            from_context,
            (own.hidden.weight, own.hidden.bias, own.gate.weight, own.gate.bias, own.norm.weight, own.norm.bias),
            joint.parameters_behind_first_map(),
            joint.gate.dropout.p if self.training else 0.0,
            joint.norm.eps,
        )
        return selected.view(B, T, -1), weights.view(B, T, -1)

    def _dictionary(self, codebook: Codebook) -> Dictionary:
        """Apply the first maps to the whole code book: two entries for each real, then the rows of the tables."""
        d, Vr, maps, bias = self.d_model, self.num_reals, self._first_maps(), self.variables.from_input.bias
        mapped = [torch.bmm(codebook.lines, maps[:Vr].mT).flatten(0, 1)]
        biases = [torch.stack((torch.zeros_like(bias[:Vr]), bias[:Vr]), dim=1).flatten(0, 1)]  # the intercept's
        for variable, table in enumerate(codebook.table.split(codebook.cardinalities), start=Vr):
            mapped.append(functional.linear(table, maps[variable]))
            biases.append(bias[variable].expand(len(table), d))
        embedded = torch.cat((codebook.lines.flatten(0, 1), codebook.table))
        own, common, around = self._part(torch.cat(mapped), embedded)
        return Dictionary(embedded=around, own=own + torch.cat(biases), common=common)

    @property
    def _joint_skip(self) -> nn.Linear:
        skip = self.joint.skip
        assert isinstance(skip, nn.Linear)
        return skip

    def _first_maps(self) -> Tensor:
        """Stack what is applied to each variable's embedding: ``[V, d + d + V, d]``.

        Its own network's first linear, the joint one's, the joint one's skip; and ``[V, d, d]`` more at the end where
        the variables' skips are linear maps.
        """
        d = self.d_model
        joint, skip, own_skip = self.joint.from_input.weight, self._joint_skip.weight, self.variables.skip_weight
        maps = (
            self.variables.from_input.weight,
            joint.view(d, -1, d).transpose(0, 1),
            skip.view(skip.shape[0], -1, d).transpose(0, 1),
        )
        return torch.cat(maps if own_skip is None else (*maps, own_skip), dim=1)

    def _part(self, mapped: Tensor, embedded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Part what the first maps made: for the variables' networks, for the joint one, and what goes around."""
        d = self.d_model
        if self.variables.skip_weight is None:
            return mapped[..., :d], mapped[..., d:], embedded
        return mapped[..., :d], mapped[..., d:-d], mapped[..., -d:]

    def _map_reals(self, codebook: Codebook, first_maps: Tensor, reals: Tensor, present: Tensor | None) -> Mapped:
        """Embed ``reals [B, T, Vr]`` and apply their first maps."""
        Vr = self.num_reals
        if present is None:
            ones = torch.ones_like(reals)
        else:
            here = present[..., :Vr]
            reals, ones = reals.masked_fill(~here, 0.0), here.to(reals.dtype)
        values = torch.stack((reals, ones), dim=-1).flatten(0, 1)  # [N, Vr, 2]
        grouped = values.transpose(0, 1)  # [Vr, N, 2]
        mapped_lines = torch.bmm(codebook.lines, first_maps.mT)  # [Vr, 2, ...]
        own_lines, joint_lines, skip_lines = self._part(mapped_lines, codebook.lines)
        # The bias of a variable's own first linear joins its intercept.
        own_lines = own_lines + functional.pad(self.variables.from_input.bias[:Vr].unsqueeze(1), (0, 0, 1, 0))
        return Mapped(
            embedded=torch.bmm(grouped, skip_lines),
            own=torch.bmm(grouped, own_lines),
            joint=values.flatten(1) @ joint_lines.flatten(0, 1),
        )

    def _map_categories(self, codebook: Codebook, first_maps: Tensor, codes: Tensor) -> Mapped:
        """Embed ``codes [B, T, Vc]`` and apply their first maps."""
        d = self.d_model
        own_bias = self.variables.from_input.bias[self.num_reals :]
        bias = functional.pad(own_bias, (0, first_maps.shape[1] - d))  # none for the other maps
        rows = (codes + codebook.offsets).flatten(0, 1).T  # [Vc, N]
        embedded = functional.embedding(rows, codebook.table)
        if sum(codebook.cardinalities) <= FOLD_ROWS_UP_TO:
            tables = codebook.table.split(codebook.cardinalities)
            mapped_table = torch.cat(
                [functional.linear(t, w, b) for t, w, b in zip(tables, first_maps, bias, strict=True)]
            )
            mapped = functional.embedding(rows, mapped_table)
        else:
            mapped = torch.baddbmm(bias.unsqueeze(1), embedded, first_maps.mT)
        own, joint, around = self._part(mapped, embedded)
        return Mapped(embedded=around, own=own, joint=joint.sum(dim=0))


class Mapped(NamedTuple):
    """Embeddings of some variables, and what the first maps make of them; N = B * T."""

    embedded: Tensor  # [V, N, d], or its linear map where the variables' skips are such
    own: Tensor  # [V, N, d]: for the variables' own networks
    joint: Tensor  # [N, d + V]: for the joint network and its skip, summed over these variables


def _join(reals: Mapped, categories: Mapped) -> Mapped:
    return Mapped(
        embedded=torch.cat((reals.embedded, categories.embedded)),
        own=torch.cat((reals.own, categories.own)),
        joint=reals.joint + categories.joint,
    )


def _refuse_foreign(codes: Tensor, codebook: Codebook) -> None:
    """Raise IndexError where a code has no row in its table: the kernel would read whatever lies there."""
    if codes.numel() == 0:
        return
    low, high = codes.flatten(0, 1).aminmax(dim=0)
    for number, cardinality in enumerate(codebook.cardinalities):
        if int(low[number]) < 0 or int(high[number]) >= cardinality:
            raise IndexError(
                f"category {number} has codes 0 to {cardinality - 1}, not {int(low[number])} to {int(high[number])}"
            )
