"""Preprocessor: fits what the network's numbers depend on, from training rows alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fusecast.data.panel import Panel
from fusecast.data.schema import Kind, Role, Schema
from fusecast.errors import DataError, SchemaError
from fusecast.features.calendar import calendar_features
from fusecast.features.config import FeatureConfig
from fusecast.features.encoded_panel import RELATIVE_POSITION
from fusecast.features.fitted_preprocessor import FittedPreprocessor, scaled_columns, series_variable
from fusecast.features.scaling import fit_covariate, fit_static, fit_target, transform
from fusecast.features.training_rows import TrainingRows
from fusecast.features.vocabulary import fit_vocabulary

__all__ = ["FeatureConfig", "FittedPreprocessor", "Preprocessor"]


class Preprocessor:
    """Unfitted: choices only. :meth:`fit` gives a :class:`FittedPreprocessor`."""

    def __init__(self, config: FeatureConfig | None = None) -> None:
        self.config = config or FeatureConfig()

    def fit(self, panel: Panel, train_end: ArrayLike) -> FittedPreprocessor:
        """Measure statistics and collect vocabularies from the first ``train_end[s]`` rows of each series.

        Later rows, and series without training rows, change nothing in the result; neither does the order of series.

        Raises
        ------
        ConfigError
            When a calendar feature is asked for that the frequency does not have.
        SchemaError
            When a column has the name of a feature.
        DataError
            When a target has no training value, or a negative one for `log1p`.
        """
        schema, config = panel.schema, self.config
        _check_names(schema, config)
        training = TrainingRows(panel, np.asarray(train_end, dtype=np.int64))
        names = tuple(training.names[number] for number in training.series.tolist())

        scales = {}
        for column in scaled_columns(schema):
            if column in schema.targets:
                seen = transform(panel.reals[column], config.target_transform, column, panel, training.mask)
                values, counts = training.values(seen)
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
        if config.series_embedding if config.series_embedding is not None else len(names) > 1:
            vocabularies[series_variable(schema)] = names

        return FittedPreprocessor(
            schema=schema,
            config=config,
            series=names,
            scales=scales,
            static_scales={
                name: fit_static(panel.static_reals[name][training.series], config.covariate_scaling)
                for name in schema.names(Role.STATIC, Kind.REAL)
            },
            vocabularies=vocabularies,
        )


def _check_names(schema: Schema, config: FeatureConfig) -> None:
    made = {feature.column: "a calendar feature" for feature in calendar_features(config.calendar, schema.frequency)}
    if config.relative_position:
        made[RELATIVE_POSITION] = "the relative position"
    if config.series_embedding is not False:
        made[series_variable(schema)] = "the name of the series as an input"
    for column in schema.columns:
        if column.name in made:
            raise SchemaError.reserved_name(column.name, made[column.name])
