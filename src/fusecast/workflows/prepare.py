"""From a table and a configuration to everything that training needs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from fusecast.config import RunConfig, TableConfig
from fusecast.data.panel import Panel
from fusecast.data.panel_builder import validate
from fusecast.data.schema import Schema, make_schema
from fusecast.data.splits import Split, check_spacing, restore_split, split
from fusecast.errors import DataError
from fusecast.features.encoded_panel import EncodedPanel
from fusecast.features.fitted_preprocessor import FittedPreprocessor
from fusecast.features.preprocessor import Preprocessor
from fusecast.features.target_checks import check_support
from fusecast.inference.forecasts import check_keys
from fusecast.io.tables import keys_of, read_table
from fusecast.model.config import ModelConfig
from fusecast.windows.window_index import WindowIndex


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """A checked panel, its three parts, and what was fitted on the first of them."""

    config: RunConfig
    panel: Panel
    parts: Split
    fitted: FittedPreprocessor

    @cached_property
    def encoded(self) -> EncodedPanel:
        """The panel as the network's numbers."""
        return self.fitted.encode(self.panel)

    @property
    def model_config(self) -> ModelConfig:
        """The shape of the network that these inputs need."""
        return ModelConfig(
            horizon=self.config.horizon,
            lookback=self.config.lookback,
            **self.config.network.model_dump(),
            **self.fitted.inputs.sizes(),
        )

    @cached_property
    def train(self) -> WindowIndex:
        """Windows whose targets lie in the training span."""
        return self.windows("train")

    @cached_property
    def valid(self) -> WindowIndex:
        """Windows whose targets lie in the validation span; they look back into the training span."""
        return self.windows("validation")

    def windows(self, part: str, stride: int = 1, *, align: Literal["begin", "end"] = "begin") -> WindowIndex:
        """Windows whose targets lie in one part of the split: train, validation or test; or in all of the table.

        The stride counts from each series' first window, or back from its last.
        """
        begin, end = {
            "train": (self.parts.train_end * 0, self.parts.train_end),
            "validation": (self.parts.train_end, self.parts.valid_end),
            "test": (self.parts.valid_end, self.panel.lengths),
            "all": (self.parts.train_end * 0, self.panel.lengths),
        }[part]
        return WindowIndex.between(
            lengths=self.panel.lengths,
            begin=begin,
            end=end,
            lookback=self.config.lookback,
            horizon=self.config.horizon,
            stride=stride,
            align=align,
        )


def schema_of(frame: Any, table: TableConfig) -> Schema:
    """Declare a frame's columns as the configuration says; without the default id column, it is one series."""
    known_id = table.id if table.id != TableConfig().id or table.id in frame.columns else None
    return make_schema(
        frame,
        id=known_id,
        time=table.time,
        targets=table.target,
        static=table.static,
        known=table.known,
        observed=table.observed,
        categorical=table.categorical,
        frequency=table.frequency,
        time_zone=table.time_zone,
    )


def prepare(source: Any, config: RunConfig) -> Prepared:
    """Read, check and split a table, and fit the preprocessor on its training span.

    Parameters
    ----------
    source
        A path, or a pandas, polars or Arrow table.

    Raises
    ------
    SchemaError, DataError, ConfigError
        In words, before any training.
    """
    frame = read_table(source, keys=keys_of(config.table.id))
    schema = schema_of(frame, config.table)
    check_keys(schema)
    panel = validate(frame, schema)
    check_support(panel, config.network.head, config.features.target_transform)
    parts = split(panel, config.split, config.horizon)
    fitted = Preprocessor(config.features).fit(panel, parts.train_end)
    resolved = config.model_copy(
        update={"table": config.table.model_copy(update={"id": schema.id, "frequency": schema.frequency})}
    )
    prepared = Prepared(config=resolved, panel=panel, parts=parts, fitted=fitted)
    if len(prepared.train) == 0:
        raise DataError.nothing_to_train_on(config.horizon, int(panel.lengths.max(initial=0)))
    return prepared


def prepare_for_model(source: Any, config: RunConfig, fitted: FittedPreprocessor, marks: dict[str, Any]) -> Prepared:
    """Read and check a table for a model fitted before: nothing is fitted, and the split is the model's own."""
    panel = validate(read_table(source, keys=keys_of(fitted.schema.id)), fitted.schema)
    if fitted.schema.time_zone is None and panel.schema.time_zone is not None:
        raise DataError.zone_of_its_own(fitted.schema.time, panel.schema.time_zone)
    check_spacing(panel, marks)
    return Prepared(config=config, panel=panel, parts=restore_split(panel, marks), fitted=fitted)
