"""Random outputs of a network, and panels and windows that they belong to."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import torch

from fusecast.data.panel import Panel
from fusecast.data.panel_builder import build_panel
from fusecast.data.schema import make_schema
from fusecast.explain.attention import AttentionStore
from fusecast.features.encoded_panel import Inputs
from fusecast.model.batch import Batch, Output
from fusecast.windows.window_index import WindowIndex

START = datetime(2024, 1, 1)

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


def windows(
    seed: int, count: int, *, lookback: int = 6, horizon: int = 3, masked: bool = True, first: int = 0
) -> tuple[Batch, Output]:
    """A batch and an output for it: random weights, some of the first past steps padding."""
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
        weight=empty,
        sample_weight=empty,
        window=torch.arange(first, first + count),
    )
    output = Output(
        quantiles=torch.zeros(count, horizon, 1, 3),
        static_weights=shares(g, count, 2),
        past_weights=shares(g, count, lookback, len(INPUTS.past_names)) * present[..., None],
        future_weights=shares(g, count, horizon, len(INPUTS.future_names)),
        attention=torch.softmax(scores, dim=-1),
        parameters=torch.zeros(count, horizon, 1, 0),
    )
    return batch, output


def hourly(*rows: int) -> Panel:
    """Series "a", "b", ... of so many hours."""
    names = [chr(ord("a") + s) for s in range(len(rows))]
    table = pl.concat(
        pl.DataFrame({"unique_id": [name] * n, "ds": [START + timedelta(hours=h) for h in range(n)], "y": [1.0] * n})
        for name, n in zip(names, rows, strict=True)
    )
    return build_panel(table, make_schema(table, id="unique_id", time="ds", targets=("y",), frequency="1h"))


def index_of(panel: Panel, *, lookback: int = 6, horizon: int = 3, stride: int = 1) -> WindowIndex:
    return WindowIndex.between(
        lengths=panel.lengths, begin=0, end=panel.lengths, lookback=lookback, horizon=horizon, stride=stride
    )


def stored(attention: np.ndarray, lookback: int, **options: Any) -> AttentionStore:
    """A store of attention [W, H, T]; NaN is masked."""
    store = AttentionStore(len(attention), lookback, attention.shape[1], **options)
    batch, output = windows(0, len(attention), lookback=lookback, horizon=attention.shape[1], masked=True)
    mask = torch.from_numpy(~np.isnan(attention[:, 0, :lookback]))
    values = torch.from_numpy(np.nan_to_num(attention))
    store.put(np.arange(len(attention)), batch._replace(past_mask=mask), output._replace(attention=values))
    return store


def permutation() -> pl.DataFrame:
    """The increase of the loss for each variable of :data:`INPUTS`, made up."""
    names = ["y", "temperature", "price", "relative_position", "size", "holiday", "shop"]
    return pl.DataFrame({"variable": names, "increase": np.linspace(0.5, 0.0, len(names)), "constant": False})
