"""Preprocessor: fits scales and vocabularies to training rows; FittedPreprocessor: encodes panels with them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fusecast.config import EARLIER_DEFAULTS, CalendarFeatureName, FeatureConfig
from fusecast.data.arrays import BoolArray, FloatArray, IntArray
from fusecast.data.frequency import Frequency, seasons_for
from fusecast.data.panel import Panel
from fusecast.data.schema import Kind, Role, Schema
from fusecast.errors import ArtifactError, ConfigError, DataError, FusecastError, SchemaError
from fusecast.features.calendar import (
    CalendarFeature,
    find_repeated_features,
    select_calendar_features,
    to_local_times,
    training_span,
)
from fusecast.features.encoded_panel import RELATIVE_POSITION, EncodedPanel, Inputs, RowArrays, encode_by_blocks
from fusecast.features.magnitudes import check_scaled, check_scaled_statics
from fusecast.features.new_series import compute_usual, find_new_series, find_similar_series
from fusecast.features.public_holidays import (
    CARDINALITY,
    PREFIX,
    YEARS_AHEAD,
    HolidayCalendar,
    find_days,
    find_holidays,
    is_longer_than_a_day,
)
from fusecast.features.saved_values import read_names, read_schema, read_statics, read_targets, read_usual
from fusecast.features.scaling import Scales, TrainingRows, fit_covariate, fit_static, fit_target
from fusecast.features.targets import FittedTargets
from fusecast.features.vocabulary import encode_categories, encode_statics, fit_vocabulary
from fusecast.features.weights import encode_weights, fit_weight_unit
from fusecast.io.documents import parse_json, take

FORMAT, VERSION = "fusecast.preprocessor", 1


class Preprocessor:
    """The options of the features, not fitted yet; :meth:`fit` returns a :class:`FittedPreprocessor`."""

    def __init__(self, config: FeatureConfig | None = None) -> None:
        self.config = config or FeatureConfig()

    def fit(self, panel: Panel, train_end: ArrayLike) -> FittedPreprocessor:
        """Fit statistics and vocabularies to the first ``train_end[s]`` rows of each series.

        Later rows, and series without training rows, change nothing in the result; neither does the order of series.
        Raise a ConfigError when a named calendar feature does not vary at the frequency or a country is unknown, a
        SchemaError when a column
        has the name of a feature, a DataError when a target has no training value, or a negative one for `log1p`.
        """
        schema, config = panel.schema, self.config
        _check_names(schema, config)
        end = np.asarray(train_end, dtype=np.int64)
        training = TrainingRows(panel, end)
        targets = FittedTargets.fit(panel, training, config)

        scales, without_values, usual = {}, [], {}
        for column in scaled_columns(schema):
            if column in schema.targets:
                values, counts = targets.training_values(panel, column, training)
                if not len(values):
                    raise DataError.target_without_values(column)
                scales[column] = fit_target(values, counts, config.target_scaling)
                if not scales[column].shared:
                    usual[column] = compute_usual(values, counts, scales[column])
            else:
                values, counts = training.values(panel.reals[column])
                if not len(values):
                    without_values.append(column)
                scales[column] = fit_covariate(values, counts, config.covariate_scaling)

        vocabularies = {
            name: fit_vocabulary(training.distinct(panel.categories[name]), panel.levels[name])
            for role in (Role.OBSERVED, Role.KNOWN)
            for name in schema.names(role, Kind.CATEGORICAL)
        }
        for name in schema.names(Role.STATIC, Kind.CATEGORICAL):
            vocabularies[name] = fit_vocabulary(panel.static_categories[name][training.series], panel.levels[name])
        embeds_series = config.series_embedding
        if embeds_series or (embeds_series is None and len(training.names) > 1):
            vocabularies[series_variable(schema)] = training.names

        statics = {name: panel.static_reals[name][training.series] for name in schema.names(Role.STATIC, Kind.REAL)}
        without_values += [name for name, values in statics.items() if np.isnan(values).all()]
        return FittedPreprocessor(
            schema=schema,
            config=config,
            series=training.names,
            targets=targets,
            scales=scales,
            static_scales={name: fit_static(values, config.covariate_scaling) for name, values in statics.items()},
            vocabularies=vocabularies,
            without_values=tuple(without_values),
            repeated_features=find_repeated_features(schema.frequency, training_span(panel, end)),
            holidays=_fit_holidays(config, panel, training),
            statics=encode_statics(panel, vocabularies, training.series),
            usual=usual,
            weight_unit=fit_weight_unit(panel, training.mask),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class FittedPreprocessor:
    """Encodes panels of one schema as the numbers of the network, and converts its outputs back to the data's units.

    Series are identified by their names as text: series 7 of one table and series "7" of another are the same.
    """

    schema: Schema
    config: FeatureConfig
    series: tuple[str, ...]  # series with training rows, in the order of their names
    targets: FittedTargets  # their transform, and the lower bounds of their forecasts
    scales: Mapping[str, Scales]  # targets, observed and known reals; aligned with `series`
    static_scales: Mapping[str, Scales]  # static reals; shared
    vocabularies: Mapping[str, tuple[str, ...]]  # categorical columns, and `series:<id>` where series are embedded
    without_values: tuple[str, ...] = ()  # reals without a training value, whose later values are masked
    repeated_features: tuple[CalendarFeatureName, ...] | None = None
    """Calendar features whose cycle fits twice into the rows of a series; None, of earlier versions, for all."""
    holidays: tuple[HolidayCalendar, ...] = ()  # of the countries of the configuration
    statics: Mapping[str, FloatArray] = field(default_factory=dict)
    """Statics of each series: values, and codes into the vocabularies; none in preprocessors of earlier versions."""
    usual: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Usual mean and deviation of each target, in units of its series; none in preprocessors of earlier versions."""
    weight_unit: float = 1.0  # mean sample weight of the training rows

    def __repr__(self) -> str:
        return f"FittedPreprocessor({len(self.series)} series, {len(self.schema.columns)} columns)"

    @cached_property
    def calendar(self) -> tuple[CalendarFeature, ...]:
        """The calendar features that are inputs."""
        names = self.config.calendar
        if names == "auto" and self.repeated_features is not None:
            names = self.repeated_features
        return select_calendar_features(names, self.schema.frequency)

    @property
    def counted_holidays(self) -> tuple[HolidayCalendar, ...]:
        """The holidays that are counted in each step, as reals; those of steps of at most a day are categories."""
        return self.holidays if self.holidays and is_longer_than_a_day(self.schema.frequency) else ()

    @cached_property
    def inputs(self) -> Inputs:
        """Names, order and cardinalities of the inputs of the network."""
        schema, position = self.schema, (RELATIVE_POSITION,) if self.config.relative_position else ()
        columns = tuple(holidays.column for holidays in self.holidays)
        counted, flags = (columns, ()) if self.counted_holidays else ((), columns)
        derived = {f.column: f.cardinality for f in self.calendar} | dict.fromkeys(flags, CARDINALITY)

        def categories(role: Role) -> dict[str, int]:
            return {name: len(self.vocabularies[name]) + 1 for name in schema.names(role, Kind.CATEGORICAL)}

        name = series_variable(schema)
        series_category = {name: len(self.vocabularies[name]) + 1} if name in self.vocabularies else {}
        return Inputs(
            targets=schema.targets,
            observed_reals=schema.names(Role.OBSERVED, Kind.REAL),
            known_reals=schema.names(Role.KNOWN, Kind.REAL) + counted + position,
            static_reals=schema.names(Role.STATIC, Kind.REAL),
            observed_categories=categories(Role.OBSERVED),
            known_categories=categories(Role.KNOWN) | derived,
            static_categories=categories(Role.STATIC) | series_category,
        )

    def encode(self, panel: Panel) -> EncodedPanel:
        """Scale and encode a panel of the fitted schema. The order of rows and series does not change.

        Categories without training rows get code 0, and reals without a training value are missing. A series without
        training rows is scaled by the statistics pooled over all training series here, and by its own rows before the
        cutoff when its windows are gathered, see :class:`~fusecast.features.new_series.NewSeries`. Raise a SchemaError
        when columns or frequency of the schema are not the fitted ones, a DataError when `log1p` is applied to a
        negative target.
        """
        self._check_schema(panel.schema)
        series = self.locate_series(panel)
        targets = self.schema.targets
        rows = encode_by_blocks(panel, lambda block, part: self._encode_block(block, series[part]))
        centers, scales = (np.empty((panel.num_series, len(targets))) for _ in range(2))
        for column, name in enumerate(targets):
            centers[:, column], scales[:, column] = self.scales[name].at(series)

        static_names = self.schema.names(Role.STATIC, Kind.REAL)
        shape = (panel.num_series, len(static_names))
        static, static_present = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.bool_)
        for column, name in enumerate(static_names):
            values, statistics = panel.static_reals[name], self.static_scales[name]
            if name in self.without_values:
                values = np.full_like(values, np.nan)
            static_present[:, column] = ~np.isnan(values)
            with np.errstate(over="ignore"):  # refused next
                static[:, column] = _scale(values, statistics.pooled_center, statistics.pooled_scale)
            check_scaled_statics(panel, name, values, static[:, column])

        return EncodedPanel(
            inputs=self.inputs,
            indptr=panel.indptr,
            reals=rows.reals,
            reals_present=rows.present,
            categories=rows.categories,
            static_reals=static,
            static_reals_present=_drop_full_mask(static_present),
            static_categories=self._encode_static_categories(panel),
            center=centers,
            scale=scales,
            weights=encode_weights(panel, self.weight_unit),
            window_scaling=self.config.window_scalings[0],
            season=seasons_for(self.schema.frequency)[0],
            new_series=find_new_series(
                panel, series, self.scales, self.config, self.targets, self.usual, self.find_similar_series
            ),
        )

    def _encode_block(self, panel: Panel, series: IntArray) -> RowArrays:
        """Return what varies over time of a panel, whose series have these positions among the fitted ones, [S]."""
        targets, lengths = self.schema.targets, panel.lengths
        shape = (panel.num_rows, len(self.scales) + len(self.counted_holidays))
        reals, present = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.bool_)
        for column, (name, statistics) in enumerate(self.scales.items()):
            values = self.targets.transform_rows(panel, name) if name in targets else panel.reals[name]
            center, scale = statistics.at(series)
            if name in self.without_values:
                values = np.full_like(values, np.nan)
            present[:, column] = ~np.isnan(values)
            with np.errstate(over="ignore"):  # refused next
                reals[:, column] = _scale(values, np.repeat(center, lengths), np.repeat(scale, lengths))
            check_scaled(panel, name, values, reals[:, column])
        holiday_counts = self._count_holidays(panel)
        for column, counts in enumerate(holiday_counts if self.counted_holidays else (), start=len(self.scales)):
            reals[:, column], present[:, column] = np.nan_to_num(counts), ~np.isnan(counts)
        categories = self._encode_categories(panel, [] if self.counted_holidays else holiday_counts)
        return RowArrays(reals, _drop_full_mask(present), categories)

    def locate_series(self, panel: Panel) -> IntArray:
        """Return the position of each series of a panel among those of the training, [S]; -1 for a new one."""
        position = {name: i for i, name in enumerate(self.series)}
        return np.array([position.get(name, -1) for name in panel.names], dtype=np.int64)

    def find_similar_series(self, panel: Panel, series: IntArray) -> list[IntArray]:
        """Return which series of the training each of some series of a panel resembles by its statics.

        A category counts by the share of the variance of levels (of the first target, on the log scale) it explains.
        """
        statics = encode_statics(panel, self.vocabularies, series) if self.statics else {}
        categorical = self.schema.names(Role.STATIC, Kind.CATEGORICAL)
        first = next(iter(self.scales.values()))
        return find_similar_series(self.statics, statics, categorical, first, len(series))

    def invert(self, values: FloatArray, center: FloatArray, scale: FloatArray) -> FloatArray:
        """Convert scaled values [W, ..., Y] to the units of the data, with center and scale [W, Y].

        None is below the lower bound of its target, and quantiles keep their order.
        """
        shape = (len(center), *(1,) * (values.ndim - 2), center.shape[1])
        return self.targets.invert(values * scale.reshape(shape) + center.reshape(shape))

    def to_json(self) -> str:
        """Return all statistics as JSON; the preprocessor that :meth:`from_json` returns computes exactly the same."""
        values = {
            "format": FORMAT,
            "version": VERSION,
            "schema": self.schema.to_dict(),
            "config": self.config.to_dict(),
            "series": list(self.series),
            "targets": self.targets.to_dict(),
            "scales": {name: scales.to_dict() for name, scales in self.scales.items()},
            "static_scales": {name: scales.to_dict() for name, scales in self.static_scales.items()},
            "vocabularies": {name: list(levels) for name, levels in self.vocabularies.items()},
            "without_values": list(self.without_values),
            "repeated_features": None if self.repeated_features is None else list(self.repeated_features),
            "holidays": [holidays.to_dict() for holidays in self.holidays],
            "statics": {
                name: [None if np.isnan(value) else value for value in values.tolist()]
                for name, values in self.statics.items()
            },
            "usual": {name: list(pair) for name, pair in self.usual.items()},
            **({} if self.schema.weight is None else {"weight_unit": self.weight_unit}),
        }
        return json.dumps(values, ensure_ascii=False, allow_nan=False, indent=1)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the preprocessor that :meth:`to_json` describes.

        Raise an ArtifactError when the text is not a preprocessor, is damaged, or was written by a newer fusecast.
        """
        try:
            values = parse_json(text)
        except ValueError as error:
            raise ArtifactError.unreadable("the preprocessor", str(error)) from None
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise ArtifactError.unreadable("the preprocessor", f"its format is not {FORMAT!r}")
        version = values.get("version")
        if isinstance(version, bool) or not isinstance(version, int) or version > VERSION:
            raise ArtifactError.newer("the preprocessor", version, VERSION)
        try:
            scales, static_scales = (take(values, name, dict, items=dict) for name in ("scales", "static_scales"))
            vocabularies, repeated = take(values, "vocabularies", dict), values.get("repeated_features")
            holidays = take(values, "holidays", list, items=dict) if "holidays" in values else []
            schema = read_schema(take(values, "schema", dict))
            config = FeatureConfig(**EARLIER_DEFAULTS["features"] | take(values, "config", dict))
            fitted = cls(
                schema=schema,
                config=config,
                targets=read_targets(values, config, len(schema.targets)),
                series=read_names(values, "series"),
                scales={name: Scales.from_dict(each) for name, each in scales.items()},
                static_scales={name: Scales.from_dict(each) for name, each in static_scales.items()},
                vocabularies={name: read_names(vocabularies, name) for name in vocabularies},
                without_values=read_names(values, "without_values") if "without_values" in values else (),
                repeated_features=None if repeated is None else read_names(values, "repeated_features"),  # type: ignore[arg-type]
                holidays=tuple(map(HolidayCalendar.from_dict, holidays)),
                statics=read_statics(values),
                usual=read_usual(values),
                weight_unit=take(values, "weight_unit", float) if schema.weight is not None else 1.0,
            )
            if not 0 < fitted.weight_unit < math.inf:
                raise ValueError("the mean weight is no positive number")
            if tuple(each.country for each in fitted.holidays) != fitted.config.country:
                raise ValueError("holidays are not those of the countries")
            columns, static_columns = scaled_columns(fitted.schema), fitted.schema.names(Role.STATIC, Kind.REAL)
            if tuple(fitted.scales) != columns or set(fitted.static_scales) != set(static_columns):
                raise ValueError("scales are not those of the schema's columns")
            if any(not scales.shared and len(scales.center) != len(fitted.series) for scales in fitted.scales.values()):
                raise ValueError("scales are not as many as series")
            if fitted.statics and set(fitted.statics) != set(fitted.schema.names(Role.STATIC)):
                raise ValueError("statics are not those of the schema")
            if any(len(statics) != len(fitted.series) for statics in fitted.statics.values()):
                raise ValueError("statics are not as many as series")
            categorical = {column.name for column in fitted.schema.columns if column.kind is Kind.CATEGORICAL}
            if set(fitted.vocabularies) - {series_variable(fitted.schema)} != categorical:
                raise ValueError("vocabularies are not those of the schema's columns")
            fitted.inputs  # noqa: B018  its calendar features must vary
        except (KeyError, TypeError, ValueError, FusecastError) as error:
            reason = f"it is damaged ({error})"
            raise ArtifactError.unreadable("the preprocessor", reason) from None
        return fitted

    def _check_schema(self, schema: Schema) -> None:
        ours, theirs = _describe(self.schema), _describe(schema)
        differences = [
            f"{name} is {theirs.get(name)!r}, not {ours.get(name)!r}"
            for name in {**ours, **theirs}
            if ours.get(name) != theirs.get(name)
        ]
        if differences:
            raise SchemaError.differs_from_fitted(differences)

    def _count_holidays(self, panel: Panel) -> list[FloatArray]:
        """Return the holidays of each country in the step of each row, [N]."""
        if not self.holidays:
            return []
        first, end = find_days(panel, self.schema.time_zone)
        return [holidays.count(first, end) for holidays in self.holidays]

    def _encode_categories(self, panel: Panel, holiday_flags: Sequence[FloatArray]) -> NDArray[np.int32]:
        names = self.schema.names(Role.OBSERVED, Kind.CATEGORICAL) + self.schema.names(Role.KNOWN, Kind.CATEGORICAL)
        width = len(names) + len(self.calendar)
        codes = np.empty((panel.num_rows, width + len(holiday_flags)), dtype=np.int32)
        for column, name in enumerate(names):
            codes[:, column] = encode_categories(panel.categories[name], panel.levels[name], self.vocabularies[name])
        if self.calendar:
            times = to_local_times(panel.times(), self.schema.time_zone)
            for column, feature in enumerate(self.calendar, start=len(names)):
                codes[:, column] = feature.codes(times)
        for column, flags in enumerate(holiday_flags, start=width):
            codes[:, column] = np.nan_to_num(flags + 1)
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


def _fit_holidays(config: FeatureConfig, panel: Panel, training: TrainingRows) -> tuple[HolidayCalendar, ...]:
    """Return the holidays of the countries, from the first training row to some years after the last one."""
    if not config.country:
        return ()
    if Frequency.parse(panel.schema.frequency).is_integer:
        raise ConfigError.country_without_dates(config.country, panel.schema.frequency)
    ends = np.append(
        panel.start[training.series], panel.time_grid.advance(panel.start[training.series], training.sizes)
    )
    years = panel.time_grid.times(ends).dt.year().to_list() or [date.today().year]
    return tuple(find_holidays(country, min(years), max(years) + YEARS_AHEAD) for country in config.country)


def series_variable(schema: Schema) -> str:
    """Return the name of the static category that identifies the series."""
    return f"series:{','.join(schema.id_names) or 'id'}"


def scaled_columns(schema: Schema) -> tuple[str, ...]:
    """Return the real columns with a value a row, in the order of an encoded panel: targets, observed, known."""
    return (*schema.targets, *schema.names(Role.OBSERVED, Kind.REAL), *schema.names(Role.KNOWN, Kind.REAL))


def _scale(values: FloatArray, center: FloatArray | float, scale: FloatArray | float) -> FloatArray:
    return np.asarray(np.nan_to_num((values - center) / scale, copy=False, nan=0.0))


def _drop_full_mask(present: BoolArray) -> BoolArray:
    """Return the mask, or one of width 0 where nothing is missing."""
    return present[:, :0] if present.all() else present


def _describe(schema: Schema) -> dict[str, str | tuple[str, ...] | None]:
    """Return what two schemas must have in common, by name, whatever the order of their columns."""
    columns = {f"column {column.name!r}": f"{column.role} {column.kind}" for column in schema.columns}
    return {"frequency": schema.frequency, "id": schema.id, **columns}


def _check_names(schema: Schema, config: FeatureConfig) -> None:
    """Refuse a column with the name of a variable that is derived from the table."""
    derived = {
        feature.column: "a calendar feature" for feature in select_calendar_features(config.calendar, schema.frequency)
    }
    derived |= {PREFIX + country: "the holidays of a country" for country in config.country}
    if config.relative_position:
        derived[RELATIVE_POSITION] = "the relative position"
    if config.series_embedding is not False:
        derived[series_variable(schema)] = "the name of the series as an input"
    for column in schema.columns:
        if column.name in derived:
            raise SchemaError.reserved_name(column.name, derived[column.name])
