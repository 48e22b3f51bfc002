"""Baselines of a blend in torch, for tracing: as :mod:`fusecast.evaluation.baselines.simple` computes them in NumPy.

They read ``history [B, N, Y]``: the targets of any number of rows before the forecast, NaN where missing and before the
first row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from fusecast.evaluation.baselines.simple import Drift, SeasonalMean, SeasonalNaive

if TYPE_CHECKING:
    from fusecast.evaluation.blend import BlendPart


class BlendedBaseline(nn.Module):
    """A part of a blend: a baseline by formula with its spread, and its weight in each series."""

    weight: Tensor
    row: Tensor
    spread: Tensor
    typical: Tensor

    def __init__(self, part: BlendPart, series: Sequence[str], horizon: int) -> None:
        super().__init__()
        self.name, self.formula, self.horizon = part.formula.name, part.formula.formula, horizon
        rows = {name: row for row, name in enumerate(part.weight)}
        weights = [0.0, *(part.weight.get(name, 0.0) for name in series)]  # the first is that of unknown series
        spread = part.formula.spread
        steps = np.minimum(self.formula.spread_index(horizon), spread.shape[1] - 1)
        self.register_buffer("weight", torch.tensor(weights, dtype=torch.float64))
        self.register_buffer("row", torch.tensor([0, *(rows.get(name, 0) for name in series)]))
        self.register_buffer("spread", torch.from_numpy(spread[:, steps]))
        self.register_buffer("typical", torch.from_numpy(part.formula.typical))

    def forward(self, quantiles: Tensor, history: Tensor, series: Tensor) -> Tensor:
        """Return quantiles ``[B, H, Y, Q]`` with this baseline mixed in, of series ``[B]`` by number from 1 on."""
        history = torch.cat((torch.full_like(history[:, :1], torch.nan), history), dim=1)  # a row that is always there
        last = _latest(history, torch.ones(1, dtype=torch.bool))[:, 0]
        points = self._forecast_points(history)
        points = torch.where(points.isnan(), last[:, None], points)
        points = torch.where(points.isnan(), self.typical, points)
        mixed = points.unsqueeze(-1) + self.spread[self.row[series]]
        weight = self.weight[series][:, None, None, None]
        return torch.where(weight > 0, (1 - weight) * quantiles + weight * mixed, quantiles)

    def _forecast_points(self, history: Tensor) -> Tensor:
        """Return the forecasts ``[B, H, Y]``, NaN where there is none."""
        formula, rows, step = self.formula, history.shape[1], torch.arange(self.horizon)
        row = torch.arange(rows)[:, None]
        match formula:
            case SeasonalNaive(season=season):
                place = torch.arange(min(season, self.horizon))
                return _latest(history, (row - rows - place) % season == 0)[:, step % season]
            case SeasonalMean(season=season, seasons=seasons):
                total = count = torch.zeros_like(history[:, :1])
                for back in range(1, seasons + 1):
                    at = (rows + step % season - back * season).clamp(min=0)
                    values = history[:, at]
                    total, count = total + values.nan_to_num(0.0), count + (~values.isnan()).double()
                return torch.where(count > 0, total / count.clamp(min=1.0), torch.nan)
            case Drift():
                known = ~history.isnan()
                first_row = torch.where(known, row, rows - 1).amin(dim=1, keepdim=True)
                last_row = torch.where(known, row, 0).amax(dim=1, keepdim=True)
                first, last = history.gather(1, first_row), history.gather(1, last_row)
                span = (last_row - first_row).double()
                slope = torch.where(span > 0, (last - first) / span.clamp(min=1.0), 0.0)
                return last + slope * (rows + step[:, None] - last_row).double()
        raise NotImplementedError(formula.name)


def _latest(history: Tensor, chosen: Tensor) -> Tensor:
    """Return the latest known values ``[B, K, Y]`` of history ``[B, N, Y]`` in the rows chosen ``[N, K]``."""
    row = torch.arange(history.shape[1])[:, None, None]
    usable = ~history.isnan().unsqueeze(2) & chosen.unsqueeze(-1)  # [B, N, K, Y]
    at = torch.where(usable, row, 0).amax(dim=1)
    return history.gather(1, at)
