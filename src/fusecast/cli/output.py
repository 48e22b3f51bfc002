"""Print results to stdout, for people, readable without colour."""

from __future__ import annotations

import shlex
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from fusecast.errors import DataNote, FusecastWarning

if TYPE_CHECKING:
    import polars as pl

    from fusecast.calibration.conformal import Conformal
    from fusecast.data.inspection import Inspection
    from fusecast.evaluation.backtest.results import Backtest
    from fusecast.evaluation.evaluate import Evaluation
    from fusecast.explain.explanation import Explanation
    from fusecast.forecaster import Forecaster
    from fusecast.workflows.prepare import Prepared

SKILLS = ("wql", "mae", "rmse", "mase", "crps")
"""Scores whose skill a backtest prints."""
PIPE_WIDTH = 140
"""Characters a line where the output is not a terminal, so that tables in files and pipes are not folded."""
MAX_COLUMNS = 200
"""Columns of a table that are described one by one."""

console = Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def print_line(text: str) -> None:
    """Print a line."""
    console.print(Text(text))


@contextmanager
def print_warnings() -> Iterator[None]:
    """Print each warning of the package once, as a note; what a table holds is no result, and so printed to stderr."""
    printed: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", FusecastWarning)
        show = warnings.showwarning

        def print_note(message: Warning | str, category: type[Warning], *where: Any) -> None:
            from fusecast.runtime.distributed import is_first_process

            if not issubclass(category, FusecastWarning):
                show(message, category, *where)
            elif (text := str(message)) not in printed and is_first_process():
                printed.add(text)
                notes = console if category is not DataNote else Console(stderr=True, soft_wrap=True)
                notes.print(Text(f"Note: {text}\n"))

        warnings.showwarning = print_note  # type: ignore[assignment]  # which takes the same arguments
        yield


def print_path(content: str, path: str | Path) -> None:
    """Print where something was written."""
    print_line(f"Wrote {content}: {path}")


def print_next(*commands: str, text: str = "Next:") -> None:
    """Print the commands to run next."""
    for line in (text, *(f"  fusecast {command}" for command in commands)):
        print_line(line)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers_from: int = 99) -> None:
    """Print a table; columns from `numbers_from` on are aligned right."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, header_style="bold", pad_edge=False)
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i >= numbers_from else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)
    console.print()


def print_facts(title: str, facts: Mapping[str, str]) -> None:
    """Print names and values, a line each."""
    print_table(title, ["", ""], facts.items())


def print_inspection(inspection: Inspection, place: str, query: str | None = None) -> None:
    """Print a description of a table, the roles proposed for its columns, and the command to run next."""
    from fusecast.workflows.choose import propose_horizon

    facts = {"rows": f"{inspection.rows:,}", "series": f"{inspection.num_series:,}"}
    if inspection.lengths is not None:
        shortest, median, longest = inspection.lengths
        facts["steps a series"] = f"{shortest:,} to {longest:,}, median {median:,.0f}"
    if inspection.span is not None:
        zone = f" ({inspection.time_zone})" if inspection.time_zone else ""
        step = inspection.frequency or "unclear"
        facts["time"] = f"{inspection.span[0]} to {inspection.span[1]}{zone}, one step is {step}"
    facts["gaps"] = f"{inspection.gaps:,} steps without a row"
    print_facts(f"What {PurePath(place).name} holds", facts)
    print_table(
        "Columns, and what is proposed",
        ["column", "type", "missing", "role", "kind", "because"],
        [
            [c.name, c.dtype, f"{c.missing:,}", c.role or "not used", c.kind or "", c.reason]
            for c in inspection.columns[:MAX_COLUMNS]
        ],
    )
    if len(inspection.columns) > MAX_COLUMNS:
        print_line(f"and {len(inspection.columns) - MAX_COLUMNS:,} more columns\n")
    for warning in inspection.warnings:
        print_line(f"Note: {warning}")
    words = ["fit", place, *(() if query is None else ("--query", query))]
    words += ["--out", "run", "--horizon", str(propose_horizon(inspection))]
    needed = {"time": inspection.time, "target": inspection.targets}
    missing = {name: "COLUMN" for name, value in needed.items() if not value}
    for name, value in (inspection.arguments() | missing).items():
        words += [f"--{name}", value]
    text = "\nNext, with a horizon of your choice, and roles that you agree with:"
    print_next(shlex.join(words), text=text)


def print_plan(prepared: Prepared) -> None:
    """Print the series, inputs and windows that the training to come uses."""
    from fusecast.features.calendar import describe_calendar, training_span

    panel, schema, config, inputs = prepared.panel, prepared.panel.schema, prepared.config, prepared.preprocessor.inputs
    lengths = panel.lengths
    windows = {"train": len(prepared.train), "validate": len(prepared.valid), "test": len(prepared.windows("test"))}
    facts = {
        "series": f"{panel.num_series:,} of {lengths.min():,} to {lengths.max():,} steps of {schema.frequency}",
        "forecast": f"{', '.join(schema.targets)}: {config.horizon} steps ahead from {prepared.lookback} steps back",
        "static": ", ".join(inputs.static_names) or "none",
        "known": ", ".join(inputs.future_names) or "none",
        "observed": ", ".join(name for name in inputs.past_names if name not in inputs.future_names),
        "windows": ", ".join(f"{count:,} to {use}" for use, count in windows.items()),
    }
    if prepared.choices:
        facts["chosen"] = "; ".join(f"{each.option} {each.value} ({each.reason})" for each in prepared.choices)
    if config.features.calendar == "auto" and prepared.preprocessor.repeated_features is not None:
        span = training_span(panel, prepared.splits.train_end)
        facts["calendar"] = describe_calendar(prepared.preprocessor.calendar, schema.frequency, span)
    print_facts("What is learned", facts)


def print_training(forecaster: Forecaster, folder: Path) -> None:
    """Print the outcome of training, and the commands to run next."""
    result = forecaster.result
    assert result is not None
    parameters = sum(parameter.numel() for parameter in result.network.parameters())
    loss = "" if result.best_loss is None else f", best validation loss {result.best_loss:.4f}"
    seconds, epochs = f"{result.seconds:.0f} s", len(result.history)
    members = f"{len(result.members)} networks of " if result.members else ""
    if members and result.best_loss is not None:
        loss, epochs = (
            f", mean best validation loss {result.best_loss:.4f}",
            max(len(m.history) for m in result.members),
        )
    text = f"{parameters:,} parameters in {seconds} over {epochs} epochs{loss} ({result.stopped_why})."
    print_line(f"Trained {members}{text}")
    print_networks(forecaster)
    print_next(f"evaluate {folder}", f"predict {folder}\n", text=f"The run is in {folder}. Next:")


def print_networks(forecaster: Forecaster) -> None:
    """Print which networks are scored, and which forecast the future, where these are others."""
    if forecaster.networks:
        print_line(f"{forecaster.networks[0].upper()}{forecaster.networks[1:]}.")


def print_calibration(calibration: Conformal, run: Path) -> None:
    """Print what a calibration was learned from, and the commands to run next."""
    from fusecast.calibration.conformal import describe_basis

    on = f" on {calibration.windows:,} windows of the validation span"
    print_line(f"Calibrated by {calibration.method}{on if calibration.windows else ': ' + describe_basis(0)}.")
    print_next(f"evaluate {run}", f"predict {run}")
    print_path("calibration", run / "config.json")


def print_note_on_raw(forecaster: Forecaster, raw: bool) -> None:
    """Print that quantiles are not calibrated, where nobody asked for that."""
    if not raw and forecaster.calibration is None:
        print_line("Note: the quantiles are raw, as this run has no calibration; `fusecast calibrate` learns one.\n")


def print_scores(evaluation: Evaluation) -> None:
    """Print the scores of the model and the baselines, one table a target."""
    for i, target in enumerate(evaluation.targets):
        rows = [row for row in evaluation.to_rows() if row["target"] == target]
        columns = [name for name in rows[0] if name not in ("predictor", "target", "baseline", "skill")]
        cells = [[row["predictor"], *(format_number(row[name]) for name in columns)] for row in rows]
        for name in evaluation.scores:
            if evaluation.baselines and name not in evaluation.baselines:
                skill = evaluation.skill(name, i)
                cells.append([f"{name} beats best by", *(format_share(skill.get(column)) for column in columns)])
        title = f"{target}: {evaluation.windows:,} forecasts of {evaluation.horizon} steps"
        print_table(title, ["", *columns], cells, numbers_from=1)
    if evaluation.comparison is not None:
        print_line(f"{evaluation.comparison.sentence}\n")
    if evaluation.note:
        print_line(f"Note: {evaluation.note}\n")


def print_backtest(backtest: Backtest) -> None:
    """Print the scores of a backtest, and skills and tests against each baseline."""
    from fusecast.evaluation.backtest.results import MIN_ORIGINS

    evaluation = backtest.evaluation
    print_scores(evaluation)
    first, last = backtest.span
    origins = f"an origin every {backtest.stride} steps; steps from {first} to {last}"
    print_line(f"{backtest.windows:,} forecasts, {origins}.\n")
    if backtest.baselines:
        comparisons = backtest.comparisons().to_dicts()
        rows = [
            [
                *(row[key] for key in ("predictor", "baseline", "target")),
                *(format_share(row[f"{name} skill"]) for name in SKILLS),
                "" if row["DM statistic"] is None else format_number(row["DM statistic"]),
                _format_p_value(row["DM p"]),
            ]
            for row in comparisons
        ]
        columns = ["", "against", "target", *(f"{name.upper()} skill" for name in SKILLS), "DM", "p"]
        most = max(row["origins"] for row in comparisons)
        untested = "" if most >= MIN_ORIGINS else f" ({most:,} origins are too few)"
        title = f"Skill (1 - score / baseline's) and Diebold-Mariano test of the pinball loss{untested}"
        print_table(title, columns, rows, numbers_from=3)
    for i, target in enumerate(evaluation.targets):
        for name in evaluation.scores:
            if name not in evaluation.baselines:
                calibration = evaluation.scores[name][i].calibration
                shares = ", ".join(f"{level:g}: {share:.3f}" for level, share in calibration.items())
                print_line(f"{name}, share of {target} at or below each quantile: {shares}")
    if backtest.windows_seen_in_training:
        print_line(
            f"\nNote: {backtest.windows_seen_in_training:,} of the forecasts lie before the test span, in data that "
            "the model was trained on or chosen by; their scores are optimistic. Use --refit-every, or start later."
        )


def _format_p_value(value: float | None) -> str:
    if value is None:
        return ""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def print_forecasts(forecasts: pl.DataFrame, place: str | Path) -> None:
    """Print the first rows of a forecast table, and where it was written."""
    rows = [[format_number(cell) for cell in row] for row in forecasts.head(6).rows()]
    print_table(f"Forecasts ({forecasts.height:,} rows)", forecasts.columns, rows, numbers_from=1)
    print_path("forecasts", place)


def print_explanation(explanation: Explanation) -> None:
    """Print the findings in sentences, and the variables of the highest selection weights."""
    for sentence in explanation.sentences():
        print_line(sentence)
    print_line("")
    for group in ("past", "future", "static"):
        rows = [
            [row.variable, *(f"{share:.1%}" for share in (row.mean, row.p10, row.p50, row.p90))]
            for row in explanation.importances
            if row.group == group
        ]
        if rows:
            columns = ["", "mean", "10%", "50%", "90%"]
            print_table(f"Selection of {group} variables", columns, rows[:10], numbers_from=1)


def print_what_if(comparison: pl.DataFrame, changes: list[str]) -> None:
    """Print how the median of the forecasts moves when known values change: one table a target."""
    import polars as pl

    columns = ("before", "after", "difference")
    level = min(comparison["quantile"].to_list(), key=lambda q: abs(q - 0.5))
    name = "Median" if level == 0.5 else f"{level:g} quantile"
    by_target = comparison.filter(pl.col("quantile") == level).partition_by("target", as_dict=True)
    for (target,), median in by_target.items():
        means = median.group_by("step", maintain_order=True).agg(pl.col(columns).mean()).sort("step")
        rows = [[str(step), *map(format_number, values)] for step, *values in means.rows()]
        title = f"{name} of {target}" if len(by_target) > 1 else name
        over = ", mean over series" if median.height > means.height else ""
        print_table(f"{title} with {', '.join(changes)}{over}", ["step", *columns], rows[:24], numbers_from=0)


@contextmanager
def show_progress(task: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on a terminal, nothing elsewhere; it is called with what is done and the total."""
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task_id = bar.add_task(task)
        yield lambda done, total: bar.update(task_id, completed=done, total=total)


@contextmanager
def show_partitions() -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on a terminal, and elsewhere a line to stderr when a further tenth of partitions is done."""
    tenths = 0

    def report(done: int, total: int) -> None:
        nonlocal tenths
        update(done, total)
        if not sys.stderr.isatty() and 10 * done // total > tenths:
            tenths = 10 * done // total
            Console(stderr=True, soft_wrap=True).print(Text(f"{done:,} of {total:,} partitions"))

    with show_progress("forecasting partitions") as update:
        yield report


def format_number(value: Any) -> str:
    """Format a number with four significant digits, nothing where there is none; other values as they are."""
    if not isinstance(value, float):
        return str(value)
    if value != value:
        return ""
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def format_share(value: float | None) -> str:
    """Format a share as a percentage; nothing where there is none."""
    return "" if value is None or value != value else f"{value:+.0%}"
