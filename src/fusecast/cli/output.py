"""What the command line prints: results to stdout, for people, readable without colour."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import polars as pl

    from fusecast.data.inspection.table_report import Inspection
    from fusecast.evaluation.backtest.results import Backtest
    from fusecast.evaluation.evaluate import Evaluation
    from fusecast.explain.explanation import Explanation
    from fusecast.forecaster import Forecaster
    from fusecast.workflows.prepare import Prepared

CHANGES = ("before", "after", "difference")
WIDTH_OF_FILES = 140
"""Characters a line where the output is no terminal, so that tables in files and pipes are not folded."""

console = Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH_OF_FILES)


def table(title: str, columns: list[str], rows: list[list[str]], *, numbers_from: int = 1) -> None:
    """Print a table; columns from `numbers_from` on are aligned right."""
    drawn = Table(title=title, title_justify="left", title_style="bold", box=None, header_style="bold", pad_edge=False)
    for place, name in enumerate(columns):
        drawn.add_column(name, justify="right" if place >= numbers_from else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    console.print(drawn)
    console.print()


def inspection(found: Inspection, path: Path) -> None:
    """Say what a table seems to hold, and the command to run next."""
    rows = [["rows", f"{found.rows:,}"], ["series", f"{found.num_series:,}"]]
    if found.lengths is not None:
        shortest, median, longest = found.lengths
        rows.append(["steps a series", f"{shortest:,} to {longest:,}, median {median:,.0f}"])
    if found.span is not None:
        zone = f" ({found.time_zone})" if found.time_zone else ""
        rows.append(["time", f"{found.span[0]} to {found.span[1]}{zone}, one step is {found.frequency or 'unclear'}"])
    rows.append(["gaps", f"{found.gaps:,} steps without a row"])
    table(f"What {path.name} holds", ["", ""], rows, numbers_from=9)
    table(
        "Columns, and what is proposed",
        ["column", "type", "missing", "role", "kind", "because"],
        [[c.name, c.dtype, f"{c.missing:,}", c.role or "not used", c.kind or "", c.reason] for c in found.columns],
        numbers_from=9,
    )
    for warning in found.warnings:
        console.print(Text(f"Note: {warning}"))
    horizon, lookback = usual_sizes(found)
    words = ["fusecast", "fit", str(path), "--out", "run", "--horizon", str(horizon), "--lookback", str(lookback)]
    for name, value in found.arguments().items():
        words += [f"--{name}", value]
    console.print("\nNext, with a horizon and a lookback of your choice, and roles that you agree with:")
    console.print(Text("  " + shlex.join(words)), soft_wrap=True)


def usual_sizes(found: Inspection) -> tuple[int, int]:
    """Give a horizon and a lookback to start from: a season, and the longest, within half the shortest series."""
    from fusecast.data.frequency import seasons_for

    seasons = [season for season in seasons_for(found.frequency or "1i") if season > 1] or [30]
    half = max(2, (found.lengths[0] if found.lengths else 2 * seasons[-1]) // 2)
    horizon = min(seasons[0], max(1, half // 4))
    return horizon, max(1, min(max(seasons[-1], 2 * seasons[0]), half - horizon))


def plan(prepared: Prepared) -> None:
    """Say what is about to be trained on what."""
    panel, schema, config = prepared.panel, prepared.panel.schema, prepared.config
    lengths = panel.lengths
    inputs = prepared.fitted.inputs
    rows = [
        ["series", f"{panel.num_series:,} of {lengths.min():,} to {lengths.max():,} steps of {schema.frequency}"],
        ["forecast", f"{', '.join(schema.targets)}: {config.horizon} steps ahead from {config.lookback} steps back"],
        ["static", ", ".join(inputs.static_names) or "none"],
        ["known", ", ".join(inputs.future_names) or "none"],
        ["observed", ", ".join(name for name in inputs.past_names if name not in inputs.future_names)],
        [
            "windows",
            ", ".join(
                f"{len(prepared.windows(part)):,} to {verb}"
                for part, verb in (("train", "train"), ("validation", "validate"), ("test", "test"))
            ),
        ],
    ]
    table("What is learned", ["", ""], rows, numbers_from=9)


def fitted(forecaster: Forecaster, folder: Path) -> None:
    """Say what training came to."""
    result = forecaster.result
    assert result is not None
    parameters = sum(parameter.numel() for parameter in result.network.parameters())
    loss = "" if result.best_loss is None else f", best validation loss {result.best_loss:.4f}"
    console.print(
        f"Trained {parameters:,} parameters in {result.seconds:.0f} s over {len(result.history)} epochs{loss} "
        f"({result.stopped_why})."
    )
    console.print(f"The run is in {folder}. Next:\n  fusecast evaluate {folder}\n  fusecast predict {folder}\n")


def evaluation(judged: Evaluation, path: Path) -> None:
    """Print the scores of the model and the baselines, and where they are."""
    scores_table(judged)
    written("metrics", path)


def scores_table(judged: Evaluation) -> None:
    """Print the scores of the model and the baselines, one table a target."""
    for number, target in enumerate(judged.targets):
        rows = [row for row in judged.to_rows() if row["target"] == target]
        columns = [name for name in rows[0] if name not in ("predictor", "target", "baseline", "skill")]
        cells = [[row["predictor"], *(number_text(row[name]) for name in columns)] for row in rows]
        for name in judged.scores:
            if judged.baselines and name not in judged.baselines:
                skill = judged.skill(name, number)
                cells.append([f"{name} beats best by", *(share_text(skill.get(column)) for column in columns)])
        table(f"{target}: {judged.windows:,} forecasts of {judged.horizon} steps", ["", *columns], cells)
    if judged.note:
        console.print(Text(f"Note: {judged.note}\n"))


def backtest(result: Backtest) -> None:
    """Print what a backtest came to: scores, skill and tests against each baseline, and what flatters it."""
    from fusecast.evaluation.backtest.results import FEWEST_ORIGINS

    judged = result.evaluation
    scores_table(judged)
    first, last = result.span
    console.print(
        f"{result.windows:,} forecasts, an origin every {result.stride} steps; steps from {first} to {last}.\n"
    )
    if result.baselines:
        compared = result.comparisons().to_dicts()
        rows = [
            [
                *(row[key] for key in ("predictor", "baseline", "target")),
                *(share_text(row[f"{name} skill"]) for name in SKILLS),
                "" if row["DM statistic"] is None else number_text(row["DM statistic"]),
                _p_text(row["DM p"]),
            ]
            for row in compared
        ]
        columns = ["", "against", "target", *(f"{name.upper()} skill" for name in SKILLS), "DM", "p"]
        origins = max(row["origins"] for row in compared)
        tested = "" if origins >= FEWEST_ORIGINS else f" ({origins:,} origins are too few)"
        title = f"Skill (1 - score / baseline's) and Diebold-Mariano test of the pinball loss{tested}"
        table(title, columns, rows, numbers_from=3)
    names = [name for name in judged.scores if name not in judged.baselines]
    for number, target in enumerate(judged.targets):
        for name in names:
            shares = ", ".join(f"{q:g}: {c:.3f}" for q, c in judged.scores[name][number].calibration.items())
            console.print(Text(f"{name}, share of {target} at or below each quantile: {shares}"))
    if result.seen:
        console.print(
            f"\nNote: {result.seen:,} of the forecasts lie before the test span, in data that the model was trained on "
            "or chosen by; their scores flatter it. Use --refit-every, or start later."
        )
    if result.calibration_seen:
        console.print(
            f"\nNote: {result.calibration_seen:,} of the forecasts lie before the test span, in data that the "
            "calibration was learned from; the scores of TFT calibrated flatter it. Start later, or leave out "
            "--calibrated."
        )


SKILLS = ("wql", "mae", "rmse", "mase", "crps")


def _p_text(value: float | None) -> str:
    return "" if value is None else ("<0.001" if value < 0.001 else f"{value:.3f}")


def forecasts(frame: pl.DataFrame, path: Path) -> None:
    """Print the first rows of a forecast table and say where it is."""
    shown = frame.head(6)
    rows = [[number_text(cell) for cell in row] for row in shown.rows()]
    table(f"Forecasts ({frame.height:,} rows)", list(shown.columns), rows)
    written("forecasts", path)


def explanation(found: Explanation) -> None:
    """Print the findings in words and the variables that count most."""
    for sentence in found.sentences():
        console.print(Text(sentence))
    console.print()
    for group in ("past", "future", "static"):
        rows = [
            [row.variable, *(f"{share:.1%}" for share in (row.mean, row.p10, row.p50, row.p90))]
            for row in found.importances
            if row.group == group
        ]
        if rows:
            table(f"Selection of {group} variables", ["", "mean", "10%", "50%", "90%"], rows[:10])


def what_if(moved: pl.DataFrame, changes: list[str]) -> None:
    """Print how the middle of the forecasts moves when known values change: one table a target."""
    level = min(set(moved["quantile"].to_list()), key=lambda each: abs(each - 0.5))
    name = "Median" if level == 0.5 else f"{level:g} quantile"
    targets = moved["target"].unique(maintain_order=True).to_list()
    for target in targets:
        middle = moved.filter((moved["quantile"] == level) & (moved["target"] == target))
        means = middle.select("step", *CHANGES).group_by("step", maintain_order=True).mean().sort("step")
        rows = [[str(row["step"]), *(number_text(float(row[each])) for each in CHANGES)] for row in means.to_dicts()]
        what = f"{name} of {target}" if len(targets) > 1 else name
        over = ", mean over series" if middle.height > means.height else ""
        table(f"{what} with {', '.join(changes)}{over}", ["step", *CHANGES], rows[:24], numbers_from=0)


def paragraph(text: str) -> None:
    """Print sentences."""
    console.print(Text(text))
    console.print()


def written(what: str, path: Path) -> None:
    """Say where something was written."""
    console.print(f"Wrote {what}: {path}")


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Draw a progress bar on a terminal, nothing elsewhere; it is called with what is done and what there is."""
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def number_text(value: Any) -> str:
    """Format a number with four significant digits, nothing where there is none; other values as they are."""
    if not isinstance(value, float):
        return str(value)
    if value != value:
        return ""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def share_text(value: float | None) -> str:
    """Format a share as a percentage; nothing where there is none."""
    return "" if value is None or value != value else f"{value:+.0%}"
