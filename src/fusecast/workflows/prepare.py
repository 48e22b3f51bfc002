"""Prepare a table: read, check and split it, and fit the preprocessor on its training rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from fusecast.data.future import Plan, split_future_rows
from fusecast.data.ids.columns import id_names
from fusecast.data.ids.matching import unify_ids, unify_panel, warn_of_ids_alike
from fusecast.data.inspection import CalendarFact, find_calendar_fact
from fusecast.data.panel_builder import build_panel
from fusecast.data.quality import describe_rows
from fusecast.data.schema import Role, Schema, make_schema
from fusecast.data.splits import Split, check_row_spacing, restore_rows, restore_split, split_panel
from fusecast.errors import ConfigError, DataError, DataNote, DataWarning
from fusecast.errors.base import format_count, some_of, warn
from fusecast.features.levels import check_booleans, check_levels, unify_levels
from fusecast.features.magnitudes import check_magnitudes
from fusecast.features.preprocessor import Preprocessor
from fusecast.features.targets import check_targets, warn_below_bound
from fusecast.inference.forecasts import check_key_columns
from fusecast.io.panel_cache import open_streamed
from fusecast.io.parquet import ParquetTable, is_parquet
from fusecast.io.streaming import read_first_rows
from fusecast.io.tables import read_table
from fusecast.model.config import ModelConfig
from fusecast.runtime.cpu import available_memory, require_memory
from fusecast.windows.window_index import WindowIndex
from fusecast.workflows.choose import Choice, choose_options, describe_lower_bounds

if TYPE_CHECKING:
    from fusecast.config import FutureRows, RunConfig, TableConfig
    from fusecast.data.panel import Panel
    from fusecast.features.encoded_panel import EncodedPanel
    from fusecast.features.preprocessor import FittedPreprocessor
    from fusecast.inference.model_bundle import Bundle
    from fusecast.io.tables import TableLike

SHARE_OF_MEMORY = 0.5
"""Share of the memory that programs can still take beyond which a Parquet table is read in pieces."""
FLOAT_BYTES = 4
VECTORS_PER_STEP = 4
"""Vectors of the hidden size that are in memory for each step of a window at least."""
SplitName = Literal["train", "validation", "test", "all"]
"""A split of the table by its targets, or all of its rows."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A checked panel, its splits, and the preprocessor fitted on the training rows."""

    config: RunConfig
    panel: Panel
    splits: Split
    preprocessor: FittedPreprocessor
    plan: Plan | None = None  # the steps to forecast, where the table has rows of them
    choices: tuple[Choice, ...] = ()  # what was chosen from the table, with the reasons
    seconds: float = 0.0  # that reading and checking the table took

    def __repr__(self) -> str:
        return (
            f"Prepared({self.panel.num_series} series, {self.panel.num_rows} rows, "
            f"lookback={self.lookback}, horizon={self.config.horizon})"
        )

    @property
    def lookback(self) -> int:
        """Return the steps of history that the network reads."""
        assert self.config.lookback is not None  # chosen by now
        return self.config.lookback

    @cached_property
    def encoded(self) -> EncodedPanel:
        """Return the panel as the numbers that the network reads."""
        return self.preprocessor.encode(self.panel)

    @property
    def model_config(self) -> ModelConfig:
        """Return the configuration of the network for these inputs."""
        sizes = self.preprocessor.inputs.sizes()
        return self.config.network.build_model_config(horizon=self.config.horizon, lookback=self.lookback, **sizes)

    @cached_property
    def train(self) -> WindowIndex:
        """Return the windows whose targets are training rows, those with less history than the lookback too."""
        return WindowIndex.for_training(
            lengths=self.panel.lengths,
            end=self.splits.train_end,
            lookback=self.lookback,
            horizon=self.config.horizon,
        )

    @cached_property
    def valid(self) -> WindowIndex:
        """Return the windows whose targets are validation rows; their lookback reaches into the training rows."""
        return self.windows("validation")

    def windows(self, name: SplitName, stride: int = 1, *, align: Literal["begin", "end"] = "begin") -> WindowIndex:
        """Return the windows whose targets lie in one split, `stride` steps apart from the first or the last."""
        nothing, splits, lengths = np.zeros_like(self.splits.train_end), self.splits, self.panel.lengths
        begin, end = {
            "train": (nothing, splits.train_end),
            "validation": (splits.train_end, splits.valid_end),
            "test": (splits.valid_end, lengths),
            "all": (nothing, lengths),
        }[name]
        return WindowIndex.between(
            lengths=lengths,
            begin=begin,
            end=end,
            lookback=self.lookback,
            horizon=self.config.horizon,
            stride=stride,
            align=align,
        )


def check_memory(config: RunConfig) -> None:
    """Raise a ConfigError where the network, or what it reads of one window, cannot fit into memory."""
    lookback = config.lookback or 1  # chosen later
    network = config.network.build_model_config(horizon=config.horizon, lookback=lookback)
    steps = lookback + config.horizon
    require_memory("the network", FLOAT_BYTES * network.least_weights)
    require_memory(f"a window of {steps:,} steps", FLOAT_BYTES * VECTORS_PER_STEP * steps * network.hidden_size)


def declare_schema(frame: pl.DataFrame, table: TableConfig) -> Schema:
    """Return the schema that a configuration declares; a frame without the default id column is one series."""
    has_id = table.id != type(table)().id or table.id in frame.columns
    return make_schema(
        frame,
        id=table.id if has_id else None,
        time=table.time,
        targets=table.target,
        static=table.static,
        known=table.known,
        observed=table.observed,
        categorical=table.categorical,
        weight=table.weight,
        frequency=table.frequency,
        time_zone=table.time_zone,
    )


def read_panel(
    source: TableLike,
    keys: tuple[str, ...],
    declare: Callable[[pl.DataFrame], Schema],
    *,
    allow_empty: bool = False,
    future_rows: FutureRows = "none",
    vocabularies: Mapping[str, Sequence[str]] | None = None,
    unify: Callable[[pl.DataFrame], pl.DataFrame] | None = None,
    streaming: bool | None = None,
) -> tuple[Panel, Plan | None, int]:
    """Read and check a table; with `allow_empty`, series may be without any value of the targets.

    `unify` changes the ids to those of the training, see :func:`fusecast.data.ids.matching.unify_ids`.

    Other spellings of a level are that level, see :func:`fusecast.features.levels.unify_levels`. Return the panel, the
    rows of steps to forecast that were in the table too, and the number of steps without a row. A Parquet file or
    folder is read in pieces, into files that the arrays are mapped from, with `streaming`, or (None) where it needs
    more than :data:`SHARE_OF_MEMORY`; a line says so.
    """
    frame = None
    if isinstance(source, str | Path) and is_streamed(Path(source), streaming):
        schema = declare(read_first_rows(source))
        check_key_columns(schema)
        panel, words = open_streamed(source, schema, allow_empty=allow_empty)
        warn(DataNote.of_facts([words]))
        if unify is not None:
            panel = unify_panel(panel, unify, schema.id_types)
        gaps = panel.num_rows - ParquetTable.at(source).rows
    else:
        frame = read_table(source, keys=keys)
        if unify is not None:
            frame = unify(frame)
        schema = declare(frame)
        check_key_columns(schema)
        panel = build_panel(frame, schema, allow_empty=allow_empty)
        gaps = panel.num_rows - len(frame)
    warn_of_ids_alike(panel)
    panel, plan = split_future_rows(panel, frame, future_rows)
    return unify_levels(panel, vocabularies), plan, gaps


def is_streamed(path: Path, streaming: bool | None) -> bool:
    """Whether a table is read in pieces: as `streaming` says, None by its size."""
    if streaming is not None or not is_parquet(path):
        return bool(streaming) and is_parquet(path)
    available = available_memory()
    return available is not None and ParquetTable.at(path).memory > SHARE_OF_MEMORY * available


def prepare(source: TableLike, config: RunConfig) -> Prepared:
    """Read, check and split a table, and fit the preprocessor on its training rows.

    Raises SchemaError, DataError or ConfigError, naming column, series and row.
    """
    began = time.monotonic()
    check_memory(config)
    if config.table.streaming and not (isinstance(source, str | Path) and is_parquet(Path(source))):
        raise ConfigError.cannot_stream(source if isinstance(source, str | Path) else f"a {type(source).__name__}")
    columns: list[str] = []

    def declare(frame: pl.DataFrame) -> Schema:
        columns[:] = frame.columns
        return declare_schema(frame, config.table)

    panel, plan, gaps = read_panel(
        source,
        id_names(config.table.id),
        declare,
        future_rows=config.table.future_rows,
        streaming=config.table.streaming,
    )
    schema = panel.schema
    unused = [name for name in columns if name not in (*schema.all_names, schema.weight)]
    declared = len(schema.columns) > len(schema.targets)
    note_facts(panel, plan, gaps, config.horizon, unused=() if declared else unused, cropped=True)
    panel = panel.crop(panel.leading_lengths)
    check_targets(panel, config.network.head, config.features.transform)
    check_magnitudes(panel, config.features.transform)
    splits = split_panel(panel, config.horizon, validation=config.split.validation, test=config.split.test)
    config, choices = choose_options(config, panel, splits)
    check_memory(config)
    fitted = Preprocessor(config.features).fit(panel, splits.train_end)
    if config.features.lower_bound == "auto":
        choices = (*choices, *describe_lower_bounds(schema.targets, fitted.targets.lowest))
    warn_below_bound(panel, fitted.targets.lowest)
    if fitted.without_values:
        warn(DataWarning.without_training_values(fitted.without_values))
    for name, fact in _find_calendar_columns(panel):
        warn(DataWarning.function_of_calendar(name, fact.words, fact.feature))
    table = config.table.model_copy(update={"id": schema.id, "frequency": schema.frequency})
    prepared = Prepared(
        config=config.model_copy(update={"table": table}),
        panel=panel,
        splits=splits,
        preprocessor=fitted,
        plan=plan,
        choices=choices,
        seconds=time.monotonic() - began,
    )
    if len(prepared.train) == 0:
        raise DataError.nothing_to_train_on(config.horizon, int(panel.lengths.max(initial=0)))
    return prepared


def _find_calendar_columns(panel: Panel) -> Iterator[tuple[str, CalendarFact]]:
    """Yield the observed columns that are functions of the calendar, and of what."""
    for name in panel.schema.names(Role.OBSERVED):
        rows = _find_values_of_times(panel, name)
        fact = None if rows is None else find_calendar_fact(rows["time"], rows["value"])
        if fact is not None:
            yield name, fact


def _find_values_of_times(panel: Panel, name: str) -> pl.DataFrame | None:
    """Return the value of a column at each time; None where it has two at a time, or is missing everywhere."""
    found: pl.DataFrame | None = None
    for _, block in panel.blocks():
        values = pl.Series("value", block.reals[name] if name in block.reals else block.categories[name])
        present = values.is_not_nan() if name in block.reals else values >= 0
        rows = pl.DataFrame([block.times().alias("time"), values]).filter(present)
        found = (rows if found is None else pl.concat([found, rows])).unique()
        if found["time"].is_duplicated().any():
            return None
    return found if found is not None and len(found) else None


def prepare_for_model(source: TableLike, config: RunConfig, bundle: Bundle) -> Prepared:
    """Read and check a table for a trained model: nothing is fitted, and the splits begin where those of the fit did.

    Series may be without history, see :mod:`fusecast.features.new_series`. Raises DataError when the table breaks the
    schema, has a time zone that the model does not know, or another spacing
    of rows.
    """
    check_memory(config)
    fitted, split_record = bundle.preprocessor, bundle.extra["split"]

    def declare(frame: pl.DataFrame) -> Schema:
        check_booleans(frame, fitted)
        return fitted.schema

    panel, plan, gaps = read_panel(
        source,
        fitted.schema.id_names,
        declare,
        unify=lambda frame: unify_ids(frame, fitted.schema.id_names, fitted.schema.id_types, fitted.series),
        allow_empty=True,
        future_rows=config.table.future_rows,
        streaming=config.table.streaming,
        vocabularies=fitted.vocabularies,
    )
    check_levels(panel, [fitted, bundle.for_future.preprocessor])
    check_magnitudes(panel, fitted.config.transform)
    if fitted.schema.time_zone is None and panel.schema.time_zone is not None:
        raise DataError.unexpected_time_zone(fitted.schema.time, panel.schema.time_zone)
    check_row_spacing(panel, split_record)
    note_facts(panel, plan, gaps, config.horizon, [fitted, bundle.for_future.preprocessor])
    panel = crop_as_in_fit(panel, split_record)
    splits = restore_split(panel, split_record)
    return Prepared(config=config, panel=panel, splits=splits, preprocessor=fitted, plan=plan)


def crop_as_in_fit(panel: Panel, split_record: dict[str, Any]) -> Panel:
    """Return a panel without the leading rows of series that the fit has left out, as they had no value of a target.

    Rows that have one now stay. Nothing is left out for a model of an earlier version.
    """
    if "begin" not in split_record:
        return panel
    return panel.crop(np.minimum(restore_rows(panel, split_record, "begin"), panel.leading_lengths))


def note_facts(
    panel: Panel,
    plan: Plan | None,
    gaps: int,
    horizon: int,
    fitted: Sequence[FittedPreprocessor] = (),
    unused: Collection[str] = (),
    cropped: bool = False,
) -> None:
    """Print in a line what is remarkable about a table, and new to networks that were `fitted` to another.

    `unused` are the columns without a role, where no column but the targets was given one; `cropped`: leading rows
    without a value of a target are left out.
    """
    facts = [] if plan is None else plan.describe(panel, horizon)
    facts += describe_rows(panel, gaps)
    leading = panel.leading_lengths if cropped else np.zeros(0, dtype=np.int64)
    if leading.any():
        rows, share = int(leading.sum()), leading.sum() / panel.num_rows
        facts.append(
            f"left out, as no target has a value up to there: the first {format_count(rows, 'row')} ({share:.1%}) of "
            f"{int((leading > 0).sum()):,} series"
        )
    if fitted and (new := find_new_values(panel, fitted)):
        facts.append(f"new to the model: {'; '.join(new)}")
    if unused:
        count = format_count(len(unused), "column")
        facts.append(f"{count} without a role, not used (`inspect` proposes roles): {some_of(unused)}")
    if facts:
        warn(DataNote.of_facts(facts))


def find_new_values(panel: Panel, fitted: Sequence[FittedPreprocessor]) -> list[str]:
    """Return the series and the categories of a panel that no network has learned from, as phrases."""
    known = {name for preprocessor in fitted for name in preprocessor.series}
    new = {"series": [name for name in panel.names if name not in known]}
    for name, levels in panel.levels.items():
        known = {level for preprocessor in fitted for level in preprocessor.vocabularies[name]}
        new[f"categories of {name}"] = [level for level in levels if level not in known]
    return [f"{len(values):,} {what} ({some_of(values)})" for what, values in new.items() if values]
