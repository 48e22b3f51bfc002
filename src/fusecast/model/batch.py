"""The two types that pass through the network, and the names of their dimensions.

These letters denote dimensions everywhere in the library:

=====  ======================================================================
B      windows in a batch
P      parameters of a forecast distribution
L      lookback: steps before the cutoff, the past
H      horizon: steps after the cutoff, the future
T      L + H
d      hidden size
V      variables of a group, reals first, categories after them
Y      targets
Q      quantile levels
S      series of a panel
N      rows of a panel, all series end to end
=====  ======================================================================

Order of the variables of a group, in tensors, selection weights and names alike:

- static: static reals, static categories
- past:   observed reals (the targets first), known reals, observed categories, known categories
- future: known reals, known categories

An absent group is a tensor of width 0, never None. A *mask* of width 0 means that nothing is missing: the network
then takes the path without masks, and no value has to be read to decide so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from fusecast.model.config import ModelConfig


class Batch(NamedTuple):
    """Everything the network may use for B forecasts, and the targets of the loss."""

    static_real: Tensor  # float [B, Vr]
    static_cat: Tensor  # int64 [B, Vc], 0 = unknown or missing
    past_real: Tensor  # float [B, L, Vr], 0 where missing
    past_cat: Tensor  # int64 [B, L, Vc], 0 = unknown or missing
    future_real: Tensor  # float [B, H, Vr], 0 where missing
    future_cat: Tensor  # int64 [B, H, Vc], 0 = unknown or missing

    static_real_present: Tensor  # bool [B, Vr] or [B, 0]
    past_real_present: Tensor  # bool [B, L, Vr] or [B, L, 0]
    future_real_present: Tensor  # bool [B, H, Vr] or [B, H, 0]
    past_mask: Tensor  # bool [B, L], False = padding or a step with nothing in it; or [B, 0]

    target: Tensor  # float [B, H, Y], scaled, 0 where missing
    target_mask: Tensor  # bool [B, H, Y], True = counts in the loss; or [B, H, 0]
    center: Tensor  # float [B, Y]: value = scaled * scale + center, in the units of the data (or their logs)
    scale: Tensor  # float [B, Y]
    weight: Tensor  # float [B, Y]: factor of errors in the loss; or [B, 0] when all count alike
    sample_weight: Tensor  # float [B, H]: how much each step counts in the loss; or [B, 0] when all count alike
    window: Tensor  # int64 [B]: index of the window in its WindowIndex


class Output(NamedTuple):
    """A forecast and everything needed to explain it. Nothing is stored on the network."""

    quantiles: Tensor  # float [B, H, Y, Q], scaled
    static_weights: Tensor  # float [B, V_static], each row sums to 1
    past_weights: Tensor  # float [B, L, V_past]; rows of masked steps are 0
    future_weights: Tensor  # float [B, H, V_future]
    attention: Tensor  # float [B, H, T], heads averaged, each row sums to 1; masked and later steps are 0
    parameters: Tensor  # float [B, H, Y, P] of the forecast distributions; [B, H, Y, 0] for a quantile head


def find_present(batch: Batch, group: Literal["static", "past", "future"]) -> Tensor | None:
    """Return which variables of a group are present: bool ``[..., V]``, reals first; None when nothing is missing.

    A category is always present (missing is a code of its own), unless its whole step is masked.
    """
    fields: tuple[Tensor, ...] = tuple(getattr(batch, f"{group}_{field}") for field in ("real", "cat", "real_present"))
    reals, codes, reals_present = fields
    mask = batch.past_mask if group == "past" and batch.past_mask.shape[-1] else None
    if not reals_present.shape[-1]:
        if mask is None:
            return None
        reals_present = torch.ones_like(reals, dtype=torch.bool)
    present = torch.cat((reals_present, torch.ones_like(codes, dtype=torch.bool)), dim=-1)
    return present if mask is None else present & mask.unsqueeze(-1)


def example_batch(
    config: ModelConfig,
    batch_size: int = 2,
    *,
    missing: float = 0.0,
    dtype: torch.dtype = torch.float32,
    generator: torch.Generator | None = None,
) -> Batch:
    """Draw a batch of `batch_size` windows, B, for a network of this config, with H and L as configured.

    With `missing` above 0 no mask has width 0, and that share of values, past steps and targets is masked; the past of
    the first window is also padded on the left. With 0 all masks have width 0.
    """
    B, L, H, Y = batch_size, config.lookback, config.horizon, config.num_targets

    def codes(cardinalities: Sequence[int], *shape: int) -> Tensor:
        columns = [torch.randint(card, shape, generator=generator) for card in cardinalities]
        return torch.stack(columns, dim=-1) if columns else torch.zeros(*shape, 0, dtype=torch.int64)

    def mask(*shape: int) -> Tensor:
        if missing == 0:
            return torch.zeros(*shape[:-1], 0, dtype=torch.bool)
        return torch.rand(shape, generator=generator) >= missing

    shapes = {
        "static_real": (B, config.static_reals),
        "past_real": (B, L, config.past_reals),
        "future_real": (B, H, config.known_reals),
        "target": (B, H, Y),
    }
    values = {name: torch.randn(shape, dtype=dtype, generator=generator) for name, shape in shapes.items()}
    past_mask = mask(B, L)
    present = {name: mask(*shape) for name, shape in shapes.items()}
    if missing > 0:
        past_mask[0, : L // 3] = False
        present["past_real"] &= past_mask.unsqueeze(-1)
        values = {name: value.masked_fill(~present[name], 0.0) for name, value in values.items()}
    return Batch(
        **values,
        static_cat=codes(config.static_categories, B),
        past_cat=codes(config.past_categories, B, L),
        future_cat=codes(config.known_categories, B, H),
        static_real_present=present["static_real"],
        past_real_present=present["past_real"],
        future_real_present=present["future_real"],
        past_mask=past_mask,
        target_mask=present["target"],
        center=torch.zeros(B, Y, dtype=dtype),
        scale=torch.ones(B, Y, dtype=dtype),
        weight=torch.ones(B, 0, dtype=dtype),
        sample_weight=torch.ones(B, 0, dtype=dtype),
        window=torch.arange(B),
    )
