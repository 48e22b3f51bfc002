"""Variable selection over rows as one autograd function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fusecast.kernels.bindings import Dropout, Parameters, Selection, call, pointer
from fusecast.kernels.grn import hand_over, room_to_keep


class Values(NamedTuple):
    """Values of the variables at N rows; nothing here is differentiated."""

    reals: Tensor  # float [N, Vr], 0 where missing
    entries: Tensor  # int64 [N, Vc]: entries of the dictionary
    present: Tensor | None  # bool [N, V]


class Dictionary(NamedTuple):
    """What the variables' values stand for: two entries for each real (slope, intercept), then one for each code."""

    embedded: Tensor  # [R, d]: the embedding
    own: Tensor  # [R, d]: what the first map of the variable's own network makes of it
    common: Tensor  # [R, d + V]: what the first map of the joint network, and its skip, make of it


def select_rows(
    values: Values,
    dictionary: Dictionary,
    start: Tensor,
    context: Tensor | None,
    variables: Sequence[Tensor],
    joint: Sequence[Tensor],
    dropout: float,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """Select among the variables of N rows: the selected vectors ``[N, d]``, and the weights ``[N, V]``.

    Parameters
    ----------
    start
        ``[d + V]``: biases of the joint network's first map and of its skip.
    context
        ``[B, d]``, or None: added to the joint network's first map; N / B rows in a row share one of it.
    variables, joint
        Weight and bias of the hidden map, of the gate and of the norm: of all variables, stacked; of the joint network.
    dropout
        Share to drop; 0 outside training.
    eps
        Added to the variance in the norms.
    """
    selected: Tensor
    weights: Tensor
    selected, weights = _Select.apply(
        *values, dropout, eps, not torch.is_grad_enabled(), *dictionary, start, context, *variables, *joint
    )
    return selected, weights


class _Select(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        reals: Tensor,
        entries: Tensor,
        present: Tensor | None,
        dropout: float,
        eps: float,
        may_fold: bool,
        *params: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        values = Values(reals.contiguous(), entries.contiguous(), None if present is None else present.contiguous())
        params = tuple(None if tensor is None else tensor.contiguous() for tensor in params)
        ctx.dropout, ctx.eps = Dropout.draw(dropout), eps
        embedded = params[0]
        assert embedded is not None
        selected = embedded.new_empty(len(reals), embedded.shape[1])
        weights = embedded.new_empty(len(reals), reals.shape[1] + entries.shape[1])
        ctx.save_for_backward(weights, *values, *params)
        d = embedded.shape[1]
        ctx.kept = None if may_fold else room_to_keep(embedded, weights.shape[1], len(reals), d, d)
        arguments = _arguments(values, params, weights, ctx.dropout, eps, may_fold)
        hand_over(ctx.kept, arguments)
        arguments.selected = pointer(selected)
        call("selection_forward", arguments)
        ctx.set_materialize_grads(False)
        return selected, weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dselected: Tensor | None, dweights: Tensor | None) -> tuple[Any, ...]:
        weights, reals, entries, present, *params = ctx.saved_tensors
        if dselected is None:
            dselected = weights.new_zeros(len(weights), params[0].shape[1])
        dselected = dselected.contiguous()
        dweights = None if dweights is None else dweights.contiguous()
        gradients = [None if tensor is None else torch.zeros_like(tensor) for tensor in params]
        arguments = _arguments(Values(reals, entries, present), params, weights, ctx.dropout, ctx.eps)
        kept, ctx.kept = ctx.kept, None  # used once: another backward pass computes it anew
        hand_over(kept, arguments)
        arguments.dselected, arguments.dweights = pointer(dselected), pointer(dweights)
        names = ("dembedded", "down", "dcommon", "dstart", "dcontext")
        for name, gradient in zip(names, gradients[:5], strict=True):
            setattr(arguments, name, pointer(gradient))
        arguments.variables_gradients = Parameters.of(gradients[5:11])
        arguments.joint_gradients = Parameters.of(gradients[11:])
        call("selection_backward", arguments)
        return *(None,) * 6, *gradients


def _arguments(
    values: Values,
    params: Sequence[Tensor | None],
    weights: Tensor,
    dropout: Dropout,
    eps: float,
    may_fold: bool = False,
) -> Selection:
    embedded, own, common, start, context = params[:5]
    assert embedded is not None
    rows = len(values.reals)
    return Selection(
        rows=rows,
        d=embedded.shape[1],
        reals=values.reals.shape[1],
        categories=values.entries.shape[1],
        entries=len(embedded),
        repeat=1 if context is None or not len(context) else rows // len(context),
        threads=torch.get_num_threads(),
        may_fold=may_fold,
        eps=eps,
        variables=Parameters.of(params[5:11]),
        joint=Parameters.of(params[11:]),
        dropout=dropout,
        values=pointer(values.reals),
        present=pointer(values.present),
        codes=pointer(values.entries),
        embedded=pointer(embedded),
        own=pointer(own),
        common=pointer(common),
        context=pointer(context),
        start=pointer(start),
        weights=pointer(weights),
    )
