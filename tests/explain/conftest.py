from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from fusecast.batch import Batch, Output
from fusecast.features.inputs import Inputs

INPUTS = Inputs(
    targets=("y",),
    observed_reals=("temperature",),
    known_reals=("price", "relative_position"),
    static_reals=("size",),
    known_categories={"holiday": 3},
    static_categories={"shop": 5},
)


def shares(generator: torch.Generator, *shape: int) -> torch.Tensor:
    return torch.softmax(3 * torch.randn(*shape, generator=generator), dim=-1)


def windows(seed: int, count: int, *, lookback: int = 6, horizon: int = 3, masked: bool = True) -> tuple[Batch, Output]:
    """What a network might be given and give: random weights, some of the first past steps padding."""
    g = torch.Generator().manual_seed(seed)
    steps = lookback + horizon
    padding = torch.randint(0, lookback, (count,), generator=g) if masked else torch.zeros(count, dtype=torch.int64)
    present = torch.arange(lookback) >= padding[:, None]
    mask = torch.cat([present, torch.ones(count, horizon, dtype=torch.bool)], dim=1)
    causal = torch.arange(steps) <= lookback + torch.arange(horizon)[:, None]
    allowed = mask[:, None] & causal
    scores = torch.randn(count, horizon, steps, generator=g).masked_fill(~allowed, -torch.inf)
    empty = torch.zeros(count, 0)
    batch = Batch(
        *[empty] * 9,
        past_mask=present if masked else torch.zeros(count, 0, dtype=torch.bool),
        target=empty,
        target_mask=empty,
        center=empty,
        scale=empty,
        window=torch.arange(count),
    )
    output = Output(
        quantiles=torch.zeros(count, horizon, 1, 3),
        static_weights=shares(g, count, 2),
        past_weights=shares(g, count, lookback, len(INPUTS.past_names)) * present[..., None],
        future_weights=shares(g, count, horizon, len(INPUTS.future_names)),
        attention=torch.softmax(scores, dim=-1),
    )
    return batch, output


@pytest.fixture
def inputs() -> Inputs:
    return INPUTS


@pytest.fixture
def windows_of() -> Callable[..., tuple[Batch, Output]]:
    return windows
