"""What an exported graph says of itself, in its metadata: columns, order, units, vocabularies, sizes and levels."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fusecast._version import __version__

if TYPE_CHECKING:
    from fusecast.calibration.conformal import Conformal
    from fusecast.export.onnx.graph import OnnxForecast
    from fusecast.inference.model_bundle import Bundle

KEY = "fusecast"
"""Key of the description, as JSON, among the metadata of the file."""
FORMAT = 1
UNITS = {
    "series": "position in `series` from 1 on, 0 for a series that is not among them",
    "time": "seconds since 1970-01-01 of the local time of each step, lookback first; NaN before the first row",
    "history": "units of the table: targets of any number of rows before the forecast, oldest first, NaN where missing",
    "real": "units of the table, NaN where missing, and before the first row",
    "category": "position in `vocabularies` from 1 on, 0 where missing, unknown, and before the first row",
}


def describe_graph(bundle: Bundle, conformal: Conformal | None, graph: OnnxForecast, *, raw: bool) -> dict[str, Any]:
    """Return everything that a consumer of the file has to know, as plain values."""
    networks = bundle.for_future
    fitted, config, inputs = networks.preprocessor, networks.config, networks.preprocessor.inputs
    schema, batch, T = fitted.schema, "batch", networks.config.lookback + networks.config.horizon
    columns = {
        name: list(fitted.vocabularies[name]) for name in (*graph.inputs.past_category, *graph.inputs.static_category)
    }
    shapes: dict[str, tuple[list[Any], list[str]]] = {
        "forecast": ([batch, config.horizon, config.num_targets, len(config.quantiles)], []),
        "static_weights": ([batch, config.num_static], list(inputs.static_names)),
        "past_weights": ([batch, config.lookback, config.num_past], list(inputs.past_names)),
        "future_weights": ([batch, config.horizon, config.num_future], list(inputs.future_names)),
        "attention": ([batch, config.horizon, T], []),
    }
    outputs = [
        {"name": name, "shape": shapes[name][0], **({"columns": shapes[name][1]} if shapes[name][1] else {})}
        for name in graph.output_names
    ]
    calibration = "none" if conformal is None else conformal.method
    blend = [each.name for each in graph.baselines]
    return {
        "format": FORMAT,
        "fusecast": __version__,
        "model_id": bundle.run_id,
        "inputs": graph.inputs.describe(config.lookback, config.horizon),
        "outputs": outputs,
        "units": UNITS,
        "targets": list(schema.targets),
        "id": list(schema.id_names),
        "time": schema.time,
        "frequency": schema.frequency,
        "time_zone": schema.time_zone,
        "lookback": config.lookback,
        "horizon": config.horizon,
        "levels": list(config.quantiles),
        "series": list(fitted.series) if graph.inputs.has_series else [],
        "unknown_series": "forecast" if graph.encoder.scales_all_series else "NaN",
        "vocabularies": columns,
        "members": len(networks.members),
        "blend": blend,
        "calibration": f"{calibration}, as of the export" if calibration == "adaptive" else calibration,
        "raw": raw,
    }


def to_metadata(description: dict[str, Any]) -> dict[str, str]:
    """Return the metadata of the file."""
    return {KEY: json.dumps(description, ensure_ascii=False, allow_nan=False)}
