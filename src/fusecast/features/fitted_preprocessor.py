"""FittedPreprocessor: statistics of the training rows, with which panels are encoded and forecasts are decoded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fusecast.config import FeatureConfig
from fusecast.data.arrays import BoolArray, FloatArray
from fusecast.data.panel import Panel
from fusecast.data.schema import Kind, Role, Schema
from fusecast.errors import ArtifactError, FusecastError, SchemaError
from fusecast.features.calendar import CalendarFeature, select_calendar_features, to_local_times
from fusecast.features.encoded_panel import RELATIVE_POSITION, EncodedPanel, Inputs
from fusecast.features.scaling import Scales, invert_transform, transform_target
from fusecast.features.training_rows import TrainingRows
from fusecast.features.vocabulary import encode_categories

FORMAT, VERSION = "fusecast.preprocessor", 1


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedPreprocessor:
    """Encodes panels of one schema as the numbers of the network, and converts its outputs back to the data's units.

    Series are identified by their names as text: series 7 of one table and series "7" of another are the same.
    """

    schema: Schema
    config: FeatureConfig
    series: tuple[str, ...]  # series with training rows, in the order of their names
    scales: Mapping[str, Scales]  # targets, observed and known reals; aligned with `series`
    static_scales: Mapping[str, Scales]  # static reals; shared
    vocabularies: Mapping[str, tuple[str, ...]]  # categorical columns, and `series:<id>` where series are embedded

    def __repr__(self) -> str:
        return f"FittedPreprocessor({len(self.series)} series, {len(self.schema.columns)} columns)"

    @cached_property
    def calendar(self) -> tuple[CalendarFeature, ...]:
        """Return the calendar features that are inputs."""
        return select_calendar_features(self.config.calendar, self.schema.frequency)

    @cached_property
    def inputs(self) -> Inputs:
        """Return names, order and cardinalities of the inputs of the network."""
        schema, position = self.schema, (RELATIVE_POSITION,) if self.config.relative_position else ()

        def categories(role: Role) -> dict[str, int]:
            return {name: len(self.vocabularies[name]) + 1 for name in schema.names(role, Kind.CATEGORICAL)}

        name = series_variable(schema)
        series_category = {name: len(self.vocabularies[name]) + 1} if name in self.vocabularies else {}
        return Inputs(
            targets=schema.targets,
            observed_reals=schema.names(Role.OBSERVED, Kind.REAL),
            known_reals=schema.names(Role.KNOWN, Kind.REAL) + position,
            static_reals=schema.names(Role.STATIC, Kind.REAL),
            observed_categories=categories(Role.OBSERVED),
            known_categories=categories(Role.KNOWN) | {f.column: f.cardinality for f in self.calendar},
            static_categories=categories(Role.STATIC) | series_category,
        )

    def encode(self, panel: Panel, history_end: ArrayLike | None = None) -> EncodedPanel:
        """Scale and encode a panel of the fitted schema. The order of rows and series does not change.

        Categories without training rows get code 0. A series without training rows is scaled by the statistics
        pooled over all training series; or, given `history_end` [S], by its own rows before ``history_end[s]``.
        A forecast from cutoff c is then free of leaks when ``history_end[s] <= c``.

        Raises
        ------
        SchemaError
            When columns or frequency of the panel's schema are not those of the fitted one.
        DataError
            When a target is negative and its transform is `log1p`.
        """
        self._check_schema(panel.schema)
        position = {name: i for i, name in enumerate(self.series)}
        series = np.array([position.get(name, -1) for name in panel.names], dtype=np.int64)
        histories: TrainingRows | None = None  # of the series without training rows
        if history_end is not None and (series < 0).any():
            histories = TrainingRows(panel, np.where(series < 0, np.asarray(history_end, dtype=np.int64), 0))

        targets, lengths, num_rows = self.schema.targets, panel.lengths, panel.num_rows
        reals = np.empty((num_rows, len(self.scales)), dtype=np.float32)
        present = np.empty((num_rows, len(self.scales)), dtype=np.bool_)
        centers, scales = (np.empty((panel.num_series, len(targets))) for _ in range(2))
        for column, (name, statistics) in enumerate(self.scales.items()):
            values, is_target = panel.reals[name], column < len(targets)
            if is_target:
                values = transform_target(values, self.config.target_transform, name, panel)
            center, scale = statistics.at(series)
            if histories is not None and not statistics.shared:
                kind = self.config.target_scaling if is_target else self.config.covariate_scaling
                center, scale = histories.replace_statistics(
                    center, scale, values, kind, pooled_scale=statistics.pooled_scale
                )
            if is_target:
                centers[:, column], scales[:, column] = center, scale
            present[:, column] = ~np.isnan(values)
            reals[:, column] = _scale(values, np.repeat(center, lengths), np.repeat(scale, lengths))

        static_names = self.schema.names(Role.STATIC, Kind.REAL)
        static = np.empty((panel.num_series, len(static_names)), dtype=np.float32)
        static_present = np.empty((panel.num_series, len(static_names)), dtype=np.bool_)
        for column, name in enumerate(static_names):
            values, statistics = panel.static_reals[name], self.static_scales[name]
            static_present[:, column] = ~np.isnan(values)
            static[:, column] = _scale(values, statistics.pooled_center, statistics.pooled_scale)

        return EncodedPanel(
            inputs=self.inputs,
            indptr=panel.indptr,
            reals=reals,
            reals_present=_drop_full_mask(present),
            categories=self._encode_categories(panel),
            static_reals=static,
            static_reals_present=_drop_full_mask(static_present),
            static_categories=self._encode_static_categories(panel),
            center=centers,
            scale=scales,
            window_scaling=self.config.window_scaling,
        )

    def invert(self, values: FloatArray, center: FloatArray, scale: FloatArray) -> FloatArray:
        """Convert scaled values [..., Y] to the units of the data.

        `center` and `scale` are [Y], or [W, Y] for values [W, ..., Y]. With `log1p` the result is never negative,
        like the data, and quantiles keep their order.
        """
        values = np.asarray(values, dtype=np.float64)
        center, scale = (np.asarray(array, dtype=np.float64) for array in (center, scale))
        if center.ndim == 2:
            shape = (len(center), *(1,) * (values.ndim - 2), center.shape[1])
            center, scale = center.reshape(shape), scale.reshape(shape)
        return invert_transform(values * scale + center, self.config.target_transform)

    def to_json(self) -> str:
        """Return all statistics as JSON; the preprocessor that :meth:`from_json` returns computes exactly the same."""
        values = {
            "format": FORMAT,
            "version": VERSION,
            "schema": self.schema.to_dict(),
            "config": self.config.to_dict(),
            "series": list(self.series),
            "scales": {name: scales.to_dict() for name, scales in self.scales.items()},
            "static_scales": {name: scales.to_dict() for name, scales in self.static_scales.items()},
            "vocabularies": {name: list(levels) for name, levels in self.vocabularies.items()},
        }
        return json.dumps(values, ensure_ascii=False, allow_nan=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the preprocessor that :meth:`to_json` describes.

        Raises
        ------
        ArtifactError
            When the text is not a preprocessor, is damaged, or was written by a newer fusecast.
        """
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ArtifactError.not_a_preprocessor(f"it is not JSON ({error})") from None
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise ArtifactError.not_a_preprocessor(f"its format is not {FORMAT!r}")
        version = values.get("version")
        if not isinstance(version, int) or version > VERSION:
            raise ArtifactError.newer("the preprocessor", version, VERSION)
        try:
            fitted = cls(
                schema=Schema.from_dict(values["schema"]),
                config=FeatureConfig(**values["config"]),
                series=tuple(values["series"]),
                scales={name: Scales.from_dict(scales) for name, scales in values["scales"].items()},
                static_scales={name: Scales.from_dict(scales) for name, scales in values["static_scales"].items()},
                vocabularies={name: tuple(levels) for name, levels in values["vocabularies"].items()},
            )
            fitted._check_completeness()
        except (KeyError, TypeError, ValueError, AttributeError, FusecastError) as error:
            raise ArtifactError.not_a_preprocessor(f"it is damaged ({type(error).__name__}: {error})") from None
        return fitted

    def _check_completeness(self) -> None:
        columns, static_columns = scaled_columns(self.schema), self.schema.names(Role.STATIC, Kind.REAL)
        if tuple(self.scales) != columns or set(self.static_scales) != set(static_columns):
            raise ValueError("scales are not those of the schema's columns")
        if any(not scales.shared and len(scales.center) != len(self.series) for scales in self.scales.values()):
            raise ValueError("scales are not as many as series")
        self.inputs  # noqa: B018  needs every vocabulary

    def _check_schema(self, schema: Schema) -> None:
        if differences := [
            f"{name} is {theirs!r}, not {ours!r}"
            for name, ours, theirs in (
                ("frequency", self.schema.frequency, schema.frequency),
                ("id", self.schema.id, schema.id),
                *_column_pairs(self.schema, schema),
            )
            if ours != theirs
        ]:
            raise SchemaError.differs_from_fitted(differences)

    def _encode_categories(self, panel: Panel) -> NDArray[np.int32]:
        names = self.schema.names(Role.OBSERVED, Kind.CATEGORICAL) + self.schema.names(Role.KNOWN, Kind.CATEGORICAL)
        codes = np.empty((panel.num_rows, len(names) + len(self.calendar)), dtype=np.int32)
        for column, name in enumerate(names):
            codes[:, column] = encode_categories(panel.categories[name], panel.levels[name], self.vocabularies[name])
        if self.calendar:
            times = to_local_times(panel.times(), self.schema.time_zone)
            for column, feature in enumerate(self.calendar, start=len(names)):
                codes[:, column] = feature.codes(times)
        return codes

    def _encode_static_categories(self, panel: Panel) -> NDArray[np.int32]:
        columns = [
            encode_categories(panel.static_categories[name], panel.levels[name], self.vocabularies[name])
            for name in self.schema.names(Role.STATIC, Kind.CATEGORICAL)
        ]
        if (name := series_variable(self.schema)) in self.vocabularies:
            codes = np.arange(panel.num_series, dtype=np.int32)
            columns.append(encode_categories(codes, panel.names, self.vocabularies[name]))
        empty = np.empty((panel.num_series, 0), dtype=np.int32)
        return np.column_stack([empty, *columns]).astype(np.int32, copy=False)


def series_variable(schema: Schema) -> str:
    """Return the name of the static category that identifies the series."""
    return f"series:{schema.id or 'id'}"


def scaled_columns(schema: Schema) -> tuple[str, ...]:
    """Return the real columns with a value a row, in the order of an encoded panel: targets, observed, known."""
    return (*schema.targets, *schema.names(Role.OBSERVED, Kind.REAL), *schema.names(Role.KNOWN, Kind.REAL))


def _scale(values: FloatArray, center: FloatArray | float, scale: FloatArray | float) -> FloatArray:
    scaled: FloatArray = np.nan_to_num((values - center) / scale, copy=False, nan=0.0)
    return scaled


def _drop_full_mask(present: BoolArray) -> BoolArray:
    """Return the mask, or one of width 0 where nothing is missing."""
    return present[:, :0] if present.all() else present


def _column_pairs(ours: Schema, theirs: Schema) -> list[tuple[str, str | None, str | None]]:
    """Return each column's role and kind in both schemas, whatever the order of their columns."""
    our_columns, their_columns = ({c.name: f"{c.role} {c.kind}" for c in s.columns} for s in (ours, theirs))
    names = {**our_columns, **their_columns}
    return [(f"column {name!r}", our_columns.get(name), their_columns.get(name)) for name in names]
