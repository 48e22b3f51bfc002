"""One forecast explained: its variables and the past steps with the most attention, in words and as tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from fusecast.data.arrays import FloatArray, IntArray
from fusecast.data.frequency import format_duration, format_lag
from fusecast.data.panel import Panel
from fusecast.display.card import build_card
from fusecast.display.plottable import Plottable
from fusecast.errors.base import join_words
from fusecast.evaluation.blend import Blend
from fusecast.explain.attention import masked_attention
from fusecast.explain.importance import present_steps, to_numpy
from fusecast.features.encoded_panel import Inputs
from fusecast.inference.forecasts import Forecasts
from fusecast.model.batch import Batch, Output

MAX_NAMED = 3  # variables of a group, and past steps, that the words name


@dataclass(frozen=True, kw_only=True, eq=False)
class ForecastExplanation(Plottable):
    """Why one forecast is what it is."""

    series: str  # its name
    words: str
    """A few sentences."""
    forecast: pl.DataFrame
    """One row a step ahead: the forecast table of ``predict``."""
    variables: pl.DataFrame
    """One row a group and variable: `weight` (mean over the steps), and for past and future the step of its greatest
    weight: `peak` (position), `peak_words`, `peak_weight`."""
    steps: pl.DataFrame
    """One row a position, the most attended first: `position`, `words`, `time`, `attention` (mean over the steps
    ahead), and the targets there where they are known."""

    def __repr__(self) -> str:
        return f"ForecastExplanation(series={self.series!r}, steps={self.forecast.height})"

    def _repr_html_(self) -> str:
        top = self.variables.group_by("group", maintain_order=True).head(MAX_NAMED)
        rows = top.select("group", "variable", pl.col("weight").map_elements("{:.0%}".format, pl.String)).rows()
        columns = ("group", "variable", "weight")
        return build_card(f"Forecast of {self.series}, explained", {}, columns=columns, rows=rows, note=self.words)

    def tables(self) -> dict[str, pl.DataFrame]:
        """Return the three tables by name."""
        return {"forecast": self.forecast, "variables": self.variables, "steps": self.steps}


def explain_forecast(
    batch: Batch, output: Output, forecasts: Forecasts, panel: Panel, inputs: Inputs, blend: Blend | None = None
) -> ForecastExplanation:
    """Explain the only window of a batch and its forecast; `blend` has the baselines that this is mixed with."""
    s = int(forecasts.series[0])
    variables = _variables(batch, output, inputs, panel.schema.frequency)
    steps = _steps(batch, output, forecasts, panel)
    return ForecastExplanation(
        series=panel.names[s],
        words=_describe(forecasts, panel, variables, steps, blend),
        forecast=forecasts.to_frame(panel),
        variables=variables,
        steps=steps,
    )


def _variables(batch: Batch, output: Output, inputs: Inputs, frequency: str) -> pl.DataFrame:
    past = to_numpy(output.past_weights)
    present = present_steps(batch, past)[0]
    future = to_numpy(output.future_weights)[0]
    groups: list[tuple[str, tuple[str, ...], FloatArray, IntArray | None]] = [
        ("static", inputs.static_names, to_numpy(output.static_weights)[:1], None),
        ("past", inputs.past_names, past[0][present], np.flatnonzero(present) - len(present)),
        ("future", inputs.future_names, future, np.arange(len(future))),
    ]
    rows = []
    for group, names, weights, positions in groups:
        if not len(weights) or not names:
            continue
        mean = weights.mean(axis=0)
        for v in np.argsort(-mean, kind="stable"):
            top = int(weights[:, v].argmax())
            peak = None if positions is None else int(positions[top])
            rows.append(
                {
                    "group": group,
                    "variable": names[v],
                    "weight": float(mean[v]),
                    "peak": peak,
                    "peak_words": None if peak is None else format_lag(peak, frequency),
                    "peak_weight": float(weights[top, v]),
                }
            )
    return pl.DataFrame(rows, schema_overrides={"peak": pl.Int64, "peak_words": pl.String})


def _steps(batch: Batch, output: Output, forecasts: Forecasts, panel: Panel) -> pl.DataFrame:
    s, cutoff, lookback = int(forecasts.series[0]), int(forecasts.cutoff[0]), output.past_weights.shape[1]
    attention = masked_attention(batch, output, lookback)[0].mean(axis=0)
    present = np.flatnonzero(np.isfinite(attention))
    position = present - lookback
    row = cutoff + position
    columns: dict[str, object] = {
        "position": position,
        "words": [format_lag(int(p), panel.schema.frequency) for p in position],
        "time": panel.times_at(np.full(len(row), s), row),
        "attention": attention[present],
    }
    known = (row >= 0) & (row < min(cutoff, int(panel.lengths[s])))
    for target in panel.schema.targets:
        values = np.full(len(row), np.nan)
        values[known] = panel.reals[target][panel.indptr[s] + row[known]]
        columns[target if target not in columns else f"target {target}"] = values
    return pl.DataFrame(columns, nan_to_null=True).sort("attention", descending=True, maintain_order=True)


def _describe(
    forecasts: Forecasts, panel: Panel, variables: pl.DataFrame, steps: pl.DataFrame, blend: Blend | None
) -> str:
    s, cutoff, horizon = int(forecasts.series[0]), int(forecasts.cutoff[0]), forecasts.horizon
    first, last = panel.times_at([s, s], [cutoff, cutoff + horizon - 1])
    ranges = []
    for target, median in zip(panel.schema.targets, forecasts.median()[0].T, strict=True):
        low, high = f"{median.min():,.4g}", f"{median.max():,.4g}"
        ranges.append(f"{target} between {low} and {high}" if low != high else f"{target} {low}")
    when = f"from {first} to {last}" if horizon > 1 else f"at {first}"
    length = format_duration(horizon, panel.schema.frequency)
    sentences = [f"Series {panel.names[s]!r}, {length} {when}: median {', '.join(ranges)}."]
    if blend is not None and (mixture := blend.describe({panel.names[s]})):
        sentences.append(mixture)
    for group in ("past", "future", "static"):
        top = variables.filter(pl.col("group") == group).head(MAX_NAMED).select("variable", "weight").rows()
        if top:
            names = join_words([f"{name!r} ({weight:.0%})" for name, weight in top])
            sentences.append(f"The {group} variables selected most are {names}.")
    past = _separate_steps(steps.filter(pl.col("position") < 0))
    if past:
        words = [f"{row['words']} ({row['time']}, {row['attention']:.1%} of the attention)" for row in past]
        sentences.append(f"The past steps with the most attention are {join_words(words)}.")
    return " ".join(sentences)


def _separate_steps(steps: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the most attended steps of which no two are neighbours."""
    min_distance = max(1, steps.height // 40)
    rows: list[dict[str, Any]] = []
    for row in steps.iter_rows(named=True):
        if all(abs(row["position"] - other["position"]) > min_distance for other in rows):
            rows.append(row)
    return rows[:MAX_NAMED]
