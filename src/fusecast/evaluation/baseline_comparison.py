"""Compare a model with simple baselines series by series on validation rows, and say where a baseline is ahead."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fusecast.data.arrays import FloatArray
from fusecast.data.panel import Panel
from fusecast.errors.base import list_examples
from fusecast.evaluation.actuals import gather_actuals
from fusecast.inference.forecasts import Forecasts

LEAST_LEAD = 0.05
"""Lead of a baseline, as a part of the model's loss, below which it is not reported, however many windows there are."""
LEAD_OF_ONE_WINDOW = 0.5
"""Lead that a single window has to show; n windows have to show it divided by the root of n."""
STANDARD_ERRORS = 2.0
"""Standard errors of the difference that a lead has to reach, from :data:`WINDOWS_FOR_ERROR` windows on."""
WINDOWS_FOR_ERROR = 4
RULE = (
    f"a lead counts if it is at least {LEAST_LEAD:.0%} of the model's loss, and at least {LEAD_OF_ONE_WINDOW:.0%} "
    f"divided by the root of the number of windows, or from {WINDOWS_FOR_ERROR} windows on {STANDARD_ERRORS:g} "
    "standard errors"
)


@dataclass(frozen=True, kw_only=True)
class SeriesComparison:
    """The losses of the model and of the baseline that is best on one series."""

    series: str
    model_loss: float
    baseline: str
    baseline_loss: float
    windows: int

    @property
    def lead(self) -> float:
        """How much lower the loss of the baseline is, as a part of the model's."""
        return 1 - self.baseline_loss / self.model_loss


@dataclass(frozen=True, kw_only=True)
class BaselineComparison:
    """The series on which a baseline is ahead of a model, the largest lead first."""

    num_series: int  # compared
    windows: int
    behind: tuple[SeriesComparison, ...] = field(default=(), repr=False)

    @property
    def sentence(self) -> str:
        """What was found, in words."""
        if not self.behind:
            return f"On none of {self.num_series:,} series was a baseline clearly better on the validation rows."
        names = dict.fromkeys(each.baseline for each in self.behind)
        groups = {name: [each.series for each in self.behind if each.baseline == name] for name in names}
        parts = [f"{name}: {list_examples(series, len(series))}" for name, series in groups.items()]
        return (
            f"On {len(self.behind):,} of {self.num_series:,} series a baseline was better on the validation rows: "
            f"{'; '.join(parts)}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for ``metrics.json``."""
        return {
            "series": self.num_series,
            "windows": self.windows,
            "rule": RULE,
            "baseline_ahead": [vars(each) | {"lead": each.lead} for each in self.behind],
        }


def compute_window_losses(forecasts: Forecasts, actual: FloatArray, error_scale: FloatArray) -> FloatArray:
    """Return the scaled quantile loss of each window, [W]: twice the pinball loss, averaged over steps and levels.

    Each target is divided by the error scale of its series, [S, Y], where there is one. NaN without an actual.
    """
    above = (actual[..., None] - forecasts.quantiles) / usable_scale(error_scale)[forecasts.series][:, None, :, None]
    level = np.asarray(forecasts.levels)
    loss = 2 * np.maximum(level * above, (level - 1) * above).mean(axis=-1).reshape(len(above), -1)
    present = ~np.isnan(actual).reshape(len(above), -1)
    total, count = np.where(present, loss, 0.0).sum(axis=1), present.sum(axis=1)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def usable_scale(error_scale: FloatArray) -> FloatArray:
    """Return scales, 1 where there is none or it is 0: within one series, only the ratio of losses counts."""
    return np.asarray(np.where(error_scale > 0, error_scale, 1.0))


def compare_with_baselines(
    panel: Panel, model: Forecasts, baselines: Mapping[str, Forecasts], error_scale: FloatArray
) -> BaselineComparison:
    """Compare forecasts of the same windows, which should not overlap, series by series; see :data:`RULE`."""
    actual = gather_actuals(panel, model.series, model.cutoff, model.horizon)
    losses = {name: compute_window_losses(each, actual, error_scale) for name, each in baselines.items()}
    model_losses = compute_window_losses(model, actual, error_scale)
    scored = np.flatnonzero(~np.isnan(model_losses))
    scored = scored[np.argsort(model.series[scored], kind="stable")]
    behind, (compared, first) = [], np.unique(model.series[scored], return_index=True)
    windows_of_series = np.split(scored, first[1:])
    for s, windows in zip(compared.tolist(), windows_of_series, strict=False) if losses else ():
        of_model, count = model_losses[windows], len(windows)
        name = min(losses, key=lambda name: float(losses[name][windows].mean()))
        of_baseline = losses[name][windows]
        if is_clear_lead(of_model, of_baseline):
            behind.append(
                SeriesComparison(
                    series=panel.names[s],
                    model_loss=float(of_model.mean()),
                    baseline=name,
                    baseline_loss=float(of_baseline.mean()),
                    windows=count,
                )
            )
    behind.sort(key=lambda each: -each.lead)
    return BaselineComparison(num_series=len(compared), windows=len(scored), behind=tuple(behind))


def is_clear_lead(model: FloatArray, baseline: FloatArray) -> bool:
    """Return whether the losses of a baseline in some windows are lower than the model's beyond chance."""
    count, lead = len(model), float((model - baseline).mean())
    needed = LEAST_LEAD * float(model.mean())
    if count < WINDOWS_FOR_ERROR:
        needed = max(needed, LEAD_OF_ONE_WINDOW / math.sqrt(count) * float(model.mean()))
    else:
        error = float((model - baseline).std(ddof=1)) / math.sqrt(count)
        needed = max(needed, STANDARD_ERRORS * error)
    return lead > 0 and lead >= needed
