"""Preprocessor: fits scales and vocabularies to the training rows of a panel."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fusecast.config import FeatureConfig
from fusecast.data.panel import Panel
from fusecast.data.schema import Kind, Role, Schema
from fusecast.errors import DataError, SchemaError
from fusecast.features.calendar import select_calendar_features
from fusecast.features.encoded_panel import RELATIVE_POSITION
from fusecast.features.fitted_preprocessor import FittedPreprocessor, scaled_columns, series_variable
from fusecast.features.scaling import fit_covariate, fit_static, fit_target, transform_target
from fusecast.features.training_rows import TrainingRows
from fusecast.features.vocabulary import fit_vocabulary


class Preprocessor:
    """The choices of the feature layer, not fitted yet; :meth:`fit` returns a :class:`FittedPreprocessor`."""

    def __init__(self, config: FeatureConfig | None = None) -> None:
        self.config = config or FeatureConfig()

    def fit(self, panel: Panel, train_end: ArrayLike) -> FittedPreprocessor:
        """Fit statistics and vocabularies to the first ``train_end[s]`` rows of each series.

        Later rows, and series without training rows, change nothing in the result; neither does the order of series.

        Raises
        ------
        ConfigError
            When a requested calendar feature does not vary at the frequency.
        SchemaError
            When a column has the name of a feature.
        DataError
            When a target has no training value, or a negative one for `log1p`.
        """
        schema, config = panel.schema, self.config
        _check_names(schema, config)
        training = TrainingRows(panel, np.asarray(train_end, dtype=np.int64))

        scales = {}
        for column in scaled_columns(schema):
            if column in schema.targets:
                target = transform_target(panel.reals[column], config.target_transform, column, panel, training.mask)
                values, counts = training.values(target)
                if not len(values):
                    raise DataError.target_without_values(column)
                scales[column] = fit_target(values, counts, config.target_scaling)
            else:
                scales[column] = fit_covariate(*training.values(panel.reals[column]), config.covariate_scaling)

        vocabularies = {
            name: fit_vocabulary(panel.categories[name][training.rows], panel.levels[name])
            for role in (Role.OBSERVED, Role.KNOWN)
            for name in schema.names(role, Kind.CATEGORICAL)
        }
        for name in schema.names(Role.STATIC, Kind.CATEGORICAL):
            vocabularies[name] = fit_vocabulary(panel.static_categories[name][training.series], panel.levels[name])
        embed_series = config.series_embedding
        if embed_series or (embed_series is None and len(training.names) > 1):
            vocabularies[series_variable(schema)] = training.names

        return FittedPreprocessor(
            schema=schema,
            config=config,
            series=training.names,
            scales=scales,
            static_scales={
                name: fit_static(panel.static_reals[name][training.series], config.covariate_scaling)
                for name in schema.names(Role.STATIC, Kind.REAL)
            },
            vocabularies=vocabularies,
        )


def _check_names(schema: Schema, config: FeatureConfig) -> None:
    """Refuse a column with the name of a variable that is derived from the table."""
    derived = {
        feature.column: "a calendar feature" for feature in select_calendar_features(config.calendar, schema.frequency)
    }
    if config.relative_position:
        derived[RELATIVE_POSITION] = "the relative position"
    if config.series_embedding is not False:
        derived[series_variable(schema)] = "the name of the series as an input"
    for column in schema.columns:
        if column.name in derived:
            raise SchemaError.reserved_name(column.name, derived[column.name])
