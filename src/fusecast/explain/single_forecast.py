"""One forecast explained: these variables, these past steps, in words and as tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fusecast.data.duration_text import format_duration, format_lag
from fusecast.data.panel import Panel
from fusecast.explain.attention import attention_of
from fusecast.explain.importance import steps_present, to_numpy
from fusecast.features.encoded_panel import Inputs
from fusecast.inference.forecasts import Forecasts
from fusecast.model.batch import Batch, Output

NAMED = 3


@dataclass(frozen=True, kw_only=True, eq=False)
class ForecastExplanation:
    """Why one forecast is what it is."""

    series: str
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

    def tables(self) -> dict[str, pl.DataFrame]:
        """The three tables by name."""
        return {"forecast": self.forecast, "variables": self.variables, "steps": self.steps}


def explain_forecast(
    batch: Batch, output: Output, forecasts: Forecasts, panel: Panel, inputs: Inputs
) -> ForecastExplanation:
    """Explain the only window of a batch and its forecast."""
    s, cutoff = int(forecasts.series[0]), int(forecasts.cutoff[0])
    L, H = output.past_weights.shape[1], output.future_weights.shape[1]
    variables = _variables(batch, output, inputs, panel.schema.frequency)
    attention = attention_of(batch, output, L)[0].mean(axis=0)
    seen = np.flatnonzero(np.isfinite(attention))
    position = seen - L
    row = cutoff + position
    columns: dict[str, object] = {
        "position": position,
        "words": [format_lag(int(p), panel.schema.frequency) for p in position],
        "time": panel.times_of(np.full(len(row), s), row),
        "attention": attention[seen],
    }
    inside = (row >= 0) & (row < min(cutoff, int(panel.lengths[s])))
    for target in panel.schema.targets:
        value = np.full(len(row), np.nan)
        value[inside] = panel.reals[target][panel.indptr[s] + row[inside]]
        columns[target if target not in columns else f"target {target}"] = value
    steps = pl.DataFrame(columns, nan_to_null=True).sort("attention", descending=True, maintain_order=True)
    name = str(panel.ids[s].item())
    table = forecasts.to_frame(panel)
    return ForecastExplanation(
        series=name,
        words=_words(name, panel, s, cutoff, H, forecasts.median()[0], variables, steps),
        forecast=table,
        variables=variables,
        steps=steps,
    )


def _variables(batch: Batch, output: Output, inputs: Inputs, frequency: str) -> pl.DataFrame:
    rows = []
    past = to_numpy(output.past_weights)
    present = steps_present(batch, past)[0]
    parts: list[tuple[str, tuple[str, ...], NDArray[np.float64], NDArray[np.int64] | None]] = [
        ("static", inputs.static_names, to_numpy(output.static_weights)[:1], None),
        ("past", inputs.past_names, past[0][present], np.flatnonzero(present) - len(present)),
        ("future", inputs.future_names, to_numpy(output.future_weights)[0], np.arange(output.future_weights.shape[1])),
    ]
    for group, names, weights, positions in parts:
        if not len(weights):
            continue
        mean = weights.mean(axis=0)
        for v in np.argsort(-mean, kind="stable") if names else ():
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


def _words(
    name: str,
    panel: Panel,
    s: int,
    cutoff: int,
    horizon: int,
    median: NDArray[np.float64],
    variables: pl.DataFrame,
    steps: pl.DataFrame,
) -> str:
    frequency = panel.schema.frequency
    first, last = panel.times_of([s, s], [cutoff, cutoff + horizon - 1])
    middle = ", ".join(
        f"{target} between {low} and {high}" if low != high else f"{target} {low}"
        for target, low, high in (
            (target, f"{own.min():,.4g}", f"{own.max():,.4g}")
            for target, own in zip(panel.schema.targets, median.T, strict=True)
        )
    )
    when = f"from {first} to {last}" if horizon > 1 else f"at {first}"
    said = [f"Series {name!r}, {format_duration(horizon, frequency)} {when}: median {middle}."]
    for group, lead in (
        ("past", "Of what has been, it goes by"),
        ("future", "Of what is known to come, it goes by"),
        ("static", "Of what is fixed, it goes by"),
    ):
        own = variables.filter(pl.col("group") == group).head(NAMED)
        if own.height:
            said.append(f"{lead} {_joined([f'{v!r} ({w:.0%})' for v, w in own.select('variable', 'weight').rows()])}.")
    past = _apart(steps.filter(pl.col("position") < 0))  # neighbours of a chosen step are told by it
    if past:
        said.append(
            "It looks back most to "
            + _joined([f"{row['words']} ({row['time']}, {row['attention']:.1%} of the attention)" for row in past])
            + "."
        )
    return " ".join(said)


def _apart(steps: pl.DataFrame) -> list[dict[str, object]]:
    """Give the most attended steps that are not neighbours of one another."""
    near = max(1, steps.height // 40)
    chosen: list[dict[str, object]] = []
    taken: list[int] = []
    for row in steps.iter_rows(named=True):
        if all(abs(row["position"] - other) > near for other in taken):
            chosen.append(row)
            taken.append(row["position"])
        if len(chosen) == NAMED:
            break
    return chosen


def _joined(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
