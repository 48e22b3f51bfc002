"""What the server answers: forecasts, what-if forecasts, explanations and inspections, by the steps of `workflows`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import polars as pl

from fusecast.data.ids.search import ID_NAMES
from fusecast.data.inspection import inspect_table
from fusecast.errors.base import collect_warnings
from fusecast.serving import answers
from fusecast.serving.bodies import Call, ForecastRequest, to_frame
from fusecast.serving.columns import keep_series, recent_rows, rename_columns
from fusecast.serving.errors import RequestError
from fusecast.serving.models import ServedModel
from fusecast.serving.settings import Settings
from fusecast.workflows.choose import propose_horizon
from fusecast.workflows.explain import explain_latest_forecast
from fusecast.workflows.predict import predict
from fusecast.workflows.prepare import prepare_for_model
from fusecast.workflows.what_if import forecast_changed

if TYPE_CHECKING:
    from fusecast.workflows.prepare import Prepared

MAX_EXPLAINED = 20
"""Series that are explained in an answer at most."""
PREVIEW_ROWS = 20
MAX_LEVELS = 100


class Forecasting:
    """One request to a model, its table prepared."""

    def __init__(self, model: ServedModel, call: Call, settings: Settings) -> None:
        keys, names = model.bundle.preprocessor.schema.id_names, call.options.columns
        keys_there = tuple(name for name in (*names, *keys) if names.get(name, name) in keys)
        history = rename_columns(to_frame(call.history, "history", keys_there, settings), names)
        assert history is not None
        self.plan = rename_columns(to_frame(call.plan, "plan", keys_there, settings), names)
        if isinstance(call.options, ForecastRequest):
            history, self.plan = (keep_series(each, keys, call.series) for each in (history, self.plan))
            assert history is not None
        self.model, self.call, self.options = model, call, call.options
        series = history.select(name for name in keys if name in history.columns).n_unique() if keys else 1
        forecasts = series * model.bundle.config.horizon
        if forecasts > settings.max_rows:
            raise RequestError.too_large("the table of forecasts", settings.max_rows, "rows")
        self.prepared: Prepared = prepare_for_model(history, model.config, model.bundle)
        self.rows = len(history)
        self.how = {"raw": call.options.raw, "partial": call.options.partial}

    def forecast(self) -> pl.DataFrame:
        """Return the table of ``Forecaster.predict``."""
        self.extended, forecasts = predict(
            self.prepared,
            self.model.bundle,
            self.model.predictor(),
            self.plan,
            quantiles=self.options.quantiles,
            **self.how,
        )
        return forecasts.to_frame(self.extended)

    def what_if(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the forecasts with known columns as they are, and changed."""
        panel, *forecasts = forecast_changed(
            self.prepared,
            self.model.bundle,
            self.model.predictor(),
            self.call.changes,
            self.plan,
            series=self.call.series,
            **self.how,
        )
        if self.options.quantiles is not None:
            forecasts = [each.at_levels(self.options.quantiles) for each in forecasts]
        before, after = (each.to_frame(panel) for each in forecasts)
        return before, after

    def recent_rows(self) -> dict[str, list[dict[str, Any]] | None]:
        """Return the last rows before the forecasts, and the plan of the steps after them, where they are asked for."""
        count = self.options.history_rows
        tables = recent_rows(self.extended, self.model.bundle.config.horizon, count) if count else (None, None)
        rows = [None if table is None else answers.to_rows(table) for table in tables]
        return dict(zip(("history", "plan"), rows, strict=True))

    def explain(self) -> dict[str, Any] | None:
        """Return importances and attention, averaged over the series, and those of each; None where not asked for."""
        if not self.options.explanation:
            return None
        explained = {}
        for name in self.prepared.panel.names[:MAX_EXPLAINED]:
            explanation = explain_latest_forecast(
                self.prepared, self.model.bundle, self.model.predictor(), name, self.plan, **self.how
            )
            explained[name] = (explanation.variables, explanation.steps)
        variables = pl.concat(each[0] for each in explained.values())
        steps = pl.concat(each[1] for each in explained.values())
        return {**describe(variables, steps), "series": {name: describe(*each) for name, each in explained.items()}}


def describe(variables: pl.DataFrame, steps: pl.DataFrame) -> dict[str, Any]:
    """Return the mean importance of each variable, and the mean attention at each lag."""
    weights = variables.group_by("group", "variable", maintain_order=True).agg(pl.col("weight").mean())
    importance = {
        group: weights.filter(pl.col("group") == group).drop("group").sort("weight", descending=True).to_dicts()
        for group in ("static", "past", "future")
    }
    lags = steps.group_by(pl.col("position").alias("lag")).agg(pl.col("attention").mean().alias("weight")).sort("lag")
    return {"importance": importance, "attention": lags.to_dicts()}


def answer_forecast(model: ServedModel, call: Call, media: str, settings: Settings) -> tuple[bytes, int]:
    """Return the answer to a forecast in a media type, and the rows of its table."""
    with collect_warnings() as notes:
        work = Forecasting(model, call, settings)
        frame = work.forecast()
        if media != answers.JSON:
            return answers.write_frame(frame, media), work.rows
        values = {
            "model": model.name,
            "model_id": model.model_id,
            "columns": frame.columns,
            "forecasts": answers.to_rows(frame),
            **work.recent_rows(),
            "explanation": work.explain(),
        }
    return answers.write_json({**values, "notes": list(dict.fromkeys(map(str, notes)))}), work.rows


def answer_what_if(model: ServedModel, call: Call, settings: Settings) -> tuple[bytes, int]:
    """Return the answer to a what-if, and the rows of its table."""
    with collect_warnings() as notes:
        work = Forecasting(model, call, settings)
        before, after = work.what_if()
    values = {
        "model": model.name,
        "model_id": model.model_id,
        "columns": before.columns,
        "forecasts": answers.to_rows(before),
        "changed": answers.to_rows(after),
        "notes": list(dict.fromkeys(map(str, notes))),
    }
    return answers.write_json(values), work.rows


def answer_inspect(table: Any, settings: Settings) -> tuple[bytes, int]:
    """Return how a table is understood, and its rows."""
    with collect_warnings() as notes:
        frame = to_frame(table, "table", ID_NAMES, settings)
        assert frame is not None
        inspection = inspect_table(frame)
    levels = {}
    for column in inspection.columns:
        if column.kind == "categorical":
            texts = frame[column.name].drop_nulls().cast(pl.String).unique().sort()
            levels[column.name] = texts.head(MAX_LEVELS).to_list()
    answer: Mapping[str, Any] = {
        **asdict(inspection),
        "warnings": [*inspection.warnings, *map(str, notes)],
        "arguments": inspection.arguments(),
        "horizon": propose_horizon(inspection),
        "levels": levels,
        "preview": answers.to_rows(frame.head(PREVIEW_ROWS)),
    }
    return answers.write_json(answer), len(frame)
