"""Variable selection (equations 6 to 8): weights of the variables at a step, and the weighted sum of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusecast.kernels.library import are_plain, kernels_supported
from fusecast.kernels.variable_selection import EmbeddingTables, Values, select_rows
from fusecast.model.attention import masked_softmax
from fusecast.model.config import ModelConfig
from fusecast.model.embedding import EmbeddingWeights
from fusecast.model.gating import GatedResidualNetwork, GroupedGatedResidualNetwork, active_dropout

MAX_FOLDED_ROWS = 2048
"""Table rows up to which whole category tables are mapped; beyond, mapping the looked-up rows is cheaper."""


class EmbeddedVariables(NamedTuple):
    """Embeddings of some variables after the first maps; N = B * T."""

    residual: Tensor  # [V, N, d]: the embedding, or its linear map where the variables' skips are such
    variable_input: Tensor  # [V, N, d]: for the variables' own networks
    joint_input: Tensor  # [N, d + V]: for the joint network and its skip, summed over these variables


class VariableSelection(nn.Module):
    """Weigh the variables of a group, transform each, and add them up (equations 6 to 8).

        weights  = softmax(GRN([e_1 ... e_V], context))      e = embeddings, `xi`; weights = `v` in the paper
        selected = sum_v weights_v * GRN_v(e_v)

    The embeddings are never multiplied by a matrix: the first linear maps, of the joint GRN (with its skip) and of the
    variables' GRNs, are applied to the embedding weights instead, once a forward pass. (With hooks, pruned weights or
    replaced layers, every layer is called as usual.)

    A missing variable has weight 0 and adds nothing, not even a bias, to the joint GRN; the softmax is over those
    present. Where none is, the weights and the selected vector are 0.
    """

    def __init__(self, config: ModelConfig, num_reals: int, num_categories: int, *, has_context: bool) -> None:
        super().__init__()
        V, d = num_reals + num_categories, config.hidden_size
        self.num_reals, self.d_model = num_reals, d
        self.variables = GroupedGatedResidualNetwork(config, num_reals, num_categories)
        self.joint = GatedResidualNetwork(
            V * d, d, V, has_context=has_context, dropout=config.dropout, linear_skip=True
        )
        self.skip_norm = nn.LayerNorm(V) if config.selection_skip_norm else None

    def forward(
        self,
        embedding: EmbeddingWeights,
        reals: Tensor,
        codes: Tensor,
        present: Tensor | None = None,
        context: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the selected vectors ``[B, T, d]`` and the weights ``[B, T, V]``.

        `reals` are float ``[B, T, Vr]``, `codes` int64 ``[B, T, Vc]``; `present` is bool ``[B, T, V]``, reals first, or
        None when nothing is missing; `context` is ``[B, d]``, or None when the selection has no context.
        """
        has_norms = self.skip_norm is not None or self.variables.skip_norm is not None
        is_constant = sum(embedding.cardinalities) <= MAX_FOLDED_ROWS and not reals.requires_grad
        layers, tables = (self.variables, self.joint), (embedding.lines, embedding.table)
        same_dropout = active_dropout(self.variables.dropout) == active_dropout(self.joint.gate.dropout)
        if is_constant and same_dropout and not has_norms and kernels_supported(layers, reals, *tables, context):
            return self._select_by_kernel(embedding, reals, codes, present, context)
        if not are_plain(layers):
            return self._select_by_layers(embedding, reals, codes, present, context)
        B, T = reals.shape[:2]
        residual, variable_input, joint_input = self.embed(embedding, reals, codes, present)
        weights = self.weigh(joint_input.view(B, T, -1), present, context)
        transformed = self.variables.finish(variable_input, residual)
        selected = (transformed * weights.flatten(0, 1).unsqueeze(-1).transpose(0, 1)).sum(dim=0)
        return selected.view(B, T, self.d_model), weights

    def embed(
        self, embedding: EmbeddingWeights, reals: Tensor, codes: Tensor, present: Tensor | None
    ) -> EmbeddedVariables:
        """Embed the variables, and apply the first maps to that; `reals`, `codes`, `present` as in `forward`."""
        first_maps = self._first_maps()
        kinds = []
        if self.num_reals:
            kinds.append(self._map_reals(embedding, first_maps[: self.num_reals], reals, present))
        if codes.shape[-1]:
            kinds.append(self._map_categories(embedding, first_maps[self.num_reals :], codes))
        if len(kinds) == 1:
            return kinds[0]
        first, second = kinds
        return EmbeddedVariables(
            residual=torch.cat((first.residual, second.residual)),
            variable_input=torch.cat((first.variable_input, second.variable_input)),
            joint_input=first.joint_input + second.joint_input,
        )

    def weigh(self, joint_input: Tensor, present: Tensor | None, context: Tensor | None) -> Tensor:
        """Compute the weights ``[B, T, V]`` from ``joint_input [B, T, d + V]`` of the embedded variables."""
        joint_input = joint_input + torch.cat((self.joint.from_input.bias, self._joint_skip.bias))
        from_input, skip = joint_input.split((self.d_model, joint_input.shape[-1] - self.d_model), dim=-1)
        if self.skip_norm is not None:
            skip = self.skip_norm(skip)
        if context is not None:
            context = context.unsqueeze(1)
        return masked_softmax(self.joint.finish(from_input, skip, context), present)

    def _select_by_kernel(
        self, embedding: EmbeddingWeights, reals: Tensor, codes: Tensor, present: Tensor | None, context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Compute `forward` in one pass over the rows, by :mod:`fusecast.kernels`."""
        B, T = reals.shape[:2]
        if present is not None:
            reals, present = reals.masked_fill(~present[..., : self.num_reals], 0.0), present.flatten(0, 1)
        _validate_codes(codes, embedding)
        table_rows = (codes + embedding.offsets + 2 * self.num_reals).flatten(0, 1)
        joint, variables = self.joint, self.variables
        from_context = None if joint.from_context is None else joint.from_context(context)
        selected, weights = select_rows(
            Values(reals.flatten(0, 1), table_rows, present),
            self._build_tables(embedding),
            torch.cat((joint.from_input.bias, self._joint_skip.bias)),
            from_context,
            variables.parameters_after_first_map(),
            joint.parameters_after_first_map(),
            active_dropout(joint.gate.dropout),
            joint.norm.eps,
        )
        return selected.view(B, T, -1), weights.view(B, T, -1)

    def _select_by_layers(
        self, embedding: EmbeddingWeights, reals: Tensor, codes: Tensor, present: Tensor | None, context: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Compute `forward` by calling every layer: hooks see what they would in any network, and all layers count."""
        embedded = embedding.embed(reals, codes, present)
        inputs = embedded.transpose(0, 1).reshape(*reals.shape[:2], -1)  # [B, T, V * d]
        context = None if context is None else context.unsqueeze(1)
        weights = masked_softmax(self.joint(inputs, context, self.skip_norm), present)
        selected = (self.variables(embedded) * weights.flatten(0, 1).unsqueeze(-1).transpose(0, 1)).sum(dim=0)
        return selected.view(*reals.shape[:2], self.d_model), weights

    def _build_tables(self, embedding: EmbeddingWeights) -> EmbeddingTables:
        """Apply the first maps to all embeddings: two rows for each real, then those of the categories' tables."""
        d, Vr, maps, bias = self.d_model, self.num_reals, self._first_maps(), self.variables.from_input.bias
        mapped = [torch.bmm(embedding.lines, maps[:Vr].transpose(-2, -1)).flatten(0, 1)]
        biases = [torch.stack((torch.zeros_like(bias[:Vr]), bias[:Vr]), dim=1).flatten(0, 1)]  # added to the intercepts
        for variable, table in enumerate(embedding.table.split(embedding.cardinalities), start=Vr):
            mapped.append(functional.linear(table, maps[variable]))
            biases.append(bias[variable].expand(len(table), d))
        embedded = torch.cat((embedding.lines.flatten(0, 1), embedding.table))
        variable_input, joint_input, residual = self._split(torch.cat(mapped), embedded)
        return EmbeddingTables(
            embedded=residual, variable_input=variable_input + torch.cat(biases), joint_input=joint_input
        )

    @property
    def _joint_skip(self) -> nn.Linear:
        skip = self.joint.skip
        assert isinstance(skip, nn.Linear)
        return skip

    def _first_maps(self) -> Tensor:
        """Stack the maps that are applied to each variable's embedding: ``[V, d + d + V, d]``.

        The first linear of its own network, that of the joint one, the skip of the joint one; and ``[V, d, d]`` more at
        the end where the variables' skips are linear maps.
        """
        d = self.d_model
        joint, joint_skip, skip = self.joint.from_input.weight, self._joint_skip.weight, self.variables.skip_weight
        maps = (
            self.variables.from_input.weight,
            joint.view(d, -1, d).transpose(0, 1),
            joint_skip.view(joint_skip.shape[0], -1, d).transpose(0, 1),
        )
        return torch.cat(maps if skip is None else (*maps, skip), dim=1)

    def _split(self, mapped: Tensor, embedded: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Split the results of the first maps: for the variables' networks, for the joint one, and the residual."""
        d = self.d_model
        if self.variables.skip_weight is None:
            return mapped[..., :d], mapped[..., d:], embedded
        return mapped[..., :d], mapped[..., d:-d], mapped[..., -d:]

    def _map_reals(
        self, embedding: EmbeddingWeights, first_maps: Tensor, reals: Tensor, present: Tensor | None
    ) -> EmbeddedVariables:
        """Embed ``reals [B, T, Vr]`` and apply their first maps."""
        Vr = self.num_reals
        ones = torch.ones_like(reals)
        if present is not None:
            reals, ones = (x.masked_fill(~present[..., :Vr], 0.0) for x in (reals, ones))
        values = torch.stack((reals, ones), dim=-1).flatten(0, 1)  # [N, Vr, 2]
        grouped = values.transpose(0, 1)  # [Vr, N, 2]
        mapped_lines = torch.bmm(embedding.lines, first_maps.transpose(-2, -1))  # [Vr, 2, ...]
        variable_lines, joint_lines, skip_lines = self._split(mapped_lines, embedding.lines)
        # The bias of a variable's own first linear is added to its intercept.
        variable_lines = variable_lines + functional.pad(self.variables.from_input.bias[:Vr].unsqueeze(1), (0, 0, 1, 0))
        return EmbeddedVariables(
            residual=torch.bmm(grouped, skip_lines),
            variable_input=torch.bmm(grouped, variable_lines),
            joint_input=values.flatten(1) @ joint_lines.flatten(0, 1),
        )

    def _map_categories(self, embedding: EmbeddingWeights, first_maps: Tensor, codes: Tensor) -> EmbeddedVariables:
        """Embed ``codes [B, T, Vc]`` and apply their first maps."""
        d = self.d_model
        variable_bias = self.variables.from_input.bias[self.num_reals :]
        bias = functional.pad(variable_bias, (0, first_maps.shape[1] - d))  # none for the other maps
        rows = (codes + embedding.offsets).flatten(0, 1).T  # [Vc, N]
        embedded = functional.embedding(rows, embedding.table)
        if sum(embedding.cardinalities) <= MAX_FOLDED_ROWS:
            tables = embedding.table.split(embedding.cardinalities)
            mapped_tables = [functional.linear(t, w, b) for t, w, b in zip(tables, first_maps, bias, strict=True)]
            mapped = functional.embedding(rows, torch.cat(mapped_tables))
        else:
            mapped = torch.baddbmm(bias.unsqueeze(1), embedded, first_maps.transpose(-2, -1))
        variable_input, joint_input, residual = self._split(mapped, embedded)
        return EmbeddedVariables(residual=residual, variable_input=variable_input, joint_input=joint_input.sum(dim=0))


def _validate_codes(codes: Tensor, embedding: EmbeddingWeights) -> None:
    """Raise IndexError where a code has no row in its table: the kernel would read other memory."""
    if codes.numel() == 0:
        return
    low, high = codes.flatten(0, 1).aminmax(dim=0)
    for variable, cardinality in enumerate(embedding.cardinalities):
        first, last = int(low[variable]), int(high[variable])
        if first < 0 or last >= cardinality:
            raise IndexError(f"category {variable} has codes 0 to {cardinality - 1}, not {first} to {last}")
