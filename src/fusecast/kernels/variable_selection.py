"""Variable selection over rows (equations 6 to 8) as one autograd function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fusecast.kernels.bindings import Dropout, GrnParameters, SelectionArguments, pointer, pointers
from fusecast.kernels.grn import SavedRows
from fusecast.kernels.library import call


class Values(NamedTuple):
    """Values of the variables at N rows; they are not differentiated."""

    reals: Tensor  # float [N, Vr], 0 where missing
    codes: Tensor  # int64 [N, Vc]: rows of the tables
    present: Tensor | None  # bool [N, V]


class EmbeddingTables(NamedTuple):
    """Embeddings and their first linear maps: two rows for each real (slope, intercept), then one for each code."""

    embedded: Tensor  # [R, d]: the embeddings
    variable_input: Tensor  # [R, d]: after the first map of the variable's own network
    joint_input: Tensor  # [R, d + V]: after the first map of the joint network, and after its skip


def select_rows(
    values: Values,
    tables: EmbeddingTables,
    joint_bias: Tensor,  # [d + V]: of the joint network's first map and of its skip
    context: Tensor | None,  # [B, d], added to the joint network's first map; N / B consecutive rows share one
    variables: Sequence[Tensor],  # weight and bias of the hidden maps, gates and norms of all variables, stacked
    joint: Sequence[Tensor],  # the same of the joint network
    dropout: float,  # share to drop; 0 outside training
    eps: float,  # added to the variance in the norms
) -> tuple[Tensor, Tensor]:
    """Select among the variables of N rows: return the selected vectors ``[N, d]``, and the weights ``[N, V]``."""
    selected: Tensor
    weights: Tensor
    selected, weights = _Select.apply(
        *values, dropout, eps, not torch.is_grad_enabled(), *tables, joint_bias, context, *variables, *joint
    )
    return selected, weights


class _Select(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        reals: Tensor,
        codes: Tensor,
        present: Tensor | None,
        dropout: float,
        eps: float,
        may_fold: bool,
        *params: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        values = Values(reals.contiguous(), codes.contiguous(), None if present is None else present.contiguous())
        params = tuple(None if tensor is None else tensor.contiguous() for tensor in params)
        ctx.dropout, ctx.eps = Dropout.draw(dropout), eps
        embedded = params[0]
        assert embedded is not None
        d, rows, num_variables = embedded.shape[1], len(reals), reals.shape[1] + codes.shape[1]
        selected, weights = embedded.new_empty(rows, d), embedded.new_empty(rows, num_variables)
        ctx.save_for_backward(weights, *values, *params)
        ctx.saved_rows = None if may_fold else SavedRows.allocate(embedded, num_variables, rows, d, d)
        arguments = _arguments(values, params, weights, ctx, may_fold)
        arguments.selected = pointer(selected)
        call("variable_selection_forward", arguments)
        ctx.set_materialize_grads(False)
        return selected, weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dselected: Tensor | None, dweights: Tensor | None) -> tuple[Any, ...]:
        weights, reals, codes, present, *params = ctx.saved_tensors
        if dselected is None:
            dselected = weights.new_zeros(len(weights), params[0].shape[1])
        dselected = dselected.contiguous()
        dweights = None if dweights is None else dweights.contiguous()
        gradients = [None if tensor is None else torch.zeros_like(tensor) for tensor in params]
        arguments = _arguments(Values(reals, codes, present), params, weights, ctx)
        arguments.dselected, arguments.dweights = pointer(dselected), pointer(dweights)
        names = ("dembedded", "dvariable_input", "djoint_input", "djoint_bias", "dcontext")
        for name, gradient in zip(names, gradients[:5], strict=True):
            setattr(arguments, name, pointer(gradient))
        arguments.variables_gradients = GrnParameters.point_to(gradients[5:11])
        arguments.joint_gradients = GrnParameters.point_to(gradients[11:])
        call("variable_selection_backward", arguments)
        ctx.saved_rows = None  # overwritten: another backward pass recomputes them
        return *(None,) * 6, *gradients


def _arguments(
    values: Values, params: Sequence[Tensor | None], weights: Tensor, ctx: Any, may_fold: bool = False
) -> SelectionArguments:
    embedded, variable_input, joint_input, joint_bias, context = params[:5]
    assert embedded is not None
    rows = len(values.reals)
    arguments = SelectionArguments(
        rows=rows,
        d=embedded.shape[1],
        reals=values.reals.shape[1],
        categories=values.codes.shape[1],
        entries=len(embedded),
        repeat=1 if context is None or not len(context) else rows // len(context),
        threads=torch.get_num_threads(),
        may_fold=may_fold,
        eps=ctx.eps,
        variables=GrnParameters.point_to(params[5:11]),
        joint=GrnParameters.point_to(params[11:]),
        dropout=ctx.dropout,
        **pointers(values=values.reals, present=values.present, codes=values.codes, weights=weights),
        **pointers(embedded=embedded, variable_input=variable_input, joint_input=joint_input),
        **pointers(context=context, joint_bias=joint_bias),
    )
    if ctx.saved_rows is not None:
        ctx.saved_rows.attach(arguments)
    return arguments
