"""The model card of a bundle: what it forecasts, from what, how well, and where not to use it; as JSON and as text."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np

from fusecast._version import __version__
from fusecast.calibration.conformal import describe_basis
from fusecast.data.schema import Kind, Role
from fusecast.data.splits import format_time_range
from fusecast.evaluation.blend import stored_blend
from fusecast.workflows.calibrate import stored_calibration
from fusecast.workflows.predict import describe_networks

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fusecast.evaluation.evaluate import Evaluation
    from fusecast.inference.model_bundle import Bundle
    from fusecast.workflows.prepare import Prepared

CARD, CARD_VALUES = "MODEL_CARD.md", "model_card.json"
PACKAGES = ("torch", "numpy", "polars", "safetensors")
"""Packages whose versions are in the card, where they are installed."""
INTENDED_USE = (
    "Forecasts of the targets of the series above, and of series like them, for the steps after their latest rows, at "
    "the same frequency and with the same columns."
)
LIMITS = (
    "Known columns have to be known for every step to forecast; what they will be is not forecast.",
    "Intervals hold as often as stated over many forecasts, while the series behave as in the rows of the calibration.",
    "Importances and attention show what the network read, not what causes the target.",
    "New categories, levels far outside those of the past, and events are forecast from what resembles them, or not.",
    "The bundle holds none of the rows, but names of series, categories, and statistics of columns and series.",
)


def make_card(
    bundle: Bundle,
    prepared: Prepared | None,
    evaluation: Evaluation | None,
    *,
    created: str,
) -> dict[str, Any]:
    """Return the facts of a bundle as plain values; those of the table and the scores where they are given."""
    network, schema, inputs = bundle.config, bundle.preprocessor.schema, bundle.preprocessor.inputs
    conformal, blend = stored_calibration(bundle), stored_blend(bundle)
    names = (*inputs.future_names, *inputs.static_names)
    columns = {
        f"{role}_{kind}": list(schema.names(role, kind))
        for role in (Role.STATIC, Role.KNOWN, Role.OBSERVED)
        for kind in Kind
    }
    return {
        "format": 1,
        "model": "Temporal Fusion Transformer",
        "model_id": bundle.run_id,
        "created": created,
        "fusecast": __version__,
        "trained_with": bundle.version,
        "versions": {"python": platform.python_version(), **_find_versions()},
        "schema": {
            "id": list(schema.id_names),
            "time": schema.time,
            "frequency": schema.frequency,
            "time_zone": schema.time_zone,
            "targets": list(schema.targets),
            **columns,
        },
        "derived_inputs": [name for name in names if name not in schema.all_names],
        "lookback": network.lookback,
        "horizon": network.horizon,
        "quantiles": list(network.quantiles),
        "head": network.head,
        "hidden_size": network.hidden_size,
        "members": len(bundle.members),
        "weights": sum(tensor.numel() for tensor in bundle.members[0].network.state_dict().values()),
        "networks": describe_networks(bundle) or "the same networks are scored and forecast",
        "calibration": None if conformal is None else {"method": conformal.method, "windows": conformal.windows},
        "blend": None if blend is None else blend.summary,
        "data": None if prepared is None else describe_data(prepared),
        "splits": None if prepared is None else describe_splits(prepared),
        **describe_scores(evaluation),
        "intended_use": INTENDED_USE,
        "limits": list(LIMITS),
        "licence": {
            "package": "Apache-2.0",
            "weights": "not stated, the owner of the data chooses it",
        },
    }


def to_json(card: dict[str, Any]) -> str:
    """Return a card as JSON."""
    return json.dumps(card, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def describe_data(prepared: Prepared) -> dict[str, Any]:
    """Return what the table holds that the splits and the scores are of."""
    panel = prepared.panel
    shares = {name: float(np.isnan(panel.reals[name]).mean()) for name in panel.schema.targets}
    return {
        "series": panel.num_series,
        "rows": panel.num_rows,
        "span": format_time_range(panel),
        "missing": {name: round(share, 4) for name, share in shares.items()},
    }


def describe_splits(prepared: Prepared) -> dict[str, Any]:
    """Return the rows of each split over all series, and the times of its first and last one."""
    panel, splits = prepared.panel, prepared.splits
    ends = {"train": (np.zeros_like(splits.train_end), splits.train_end)}
    ends |= {"validation": (splits.train_end, splits.valid_end), "test": (splits.valid_end, panel.lengths)}
    described: dict[str, Any] = {}
    for name, (begin, end) in ends.items():
        there = np.flatnonzero(end > begin)
        times = [panel.times_at(there, rows[there]) for rows in (begin, end - 1)]
        first, last = (times[0].min(), times[1].max()) if len(there) else (None, None)
        described[name] = {
            "rows": int((end - begin).sum()),
            "first": None if first is None else str(first),
            "last": None if last is None else str(last),
        }
    return described


def describe_scores(evaluation: Evaluation | None) -> dict[str, Any]:
    """Return the scores of the model and of baselines on the test rows, and the coverage of its intervals."""
    if evaluation is None:
        return {"scores": None, "coverage": None}
    rows = []
    for row in evaluation.to_rows():
        plain = {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in row.items()}
        rows.append({name: value for name, value in plain.items() if not name.endswith(("coverage", "width"))})
    model = next(name for name in evaluation.scores if name not in evaluation.baselines)
    coverage = {
        target: {f"{100 * share:g}": value for share, value in scores.coverage.items() if not np.isnan(value)}
        for target, scores in zip(evaluation.targets, evaluation.scores[model], strict=True)
    }
    scores = {"windows": evaluation.windows, "rows": rows, "note": evaluation.note or None}
    return {"scores": scores, "coverage": coverage}


def render_card(card: dict[str, Any]) -> str:
    """Return a card as Markdown."""
    schema, calibration = card["schema"], card["calibration"]
    facts = {
        "id": card["model_id"],
        "exported": f"{card['created']} by fusecast {card['fusecast']}, trained with {card['trained_with']}",
        "forecasts": f"{card['horizon']:,} steps of {schema['frequency']}, from {card['lookback']:,} steps before them",
        "quantiles": ", ".join(f"{level:g}" for level in card["quantiles"]),
        "networks": f"{card['members']:,} of {card['weights']:,} weights, head {card['head']}; {card['networks']}",
        "calibration": "none"
        if calibration is None
        else f"{calibration['method']}, {describe_basis(calibration['windows'])}",
        "blend": card["blend"] or "none",
        "versions": ", ".join(f"{name} {number}" for name, number in card["versions"].items()),
    }
    lines = [f"# Model card: {', '.join(schema['targets'])}", "", card["model"], ""]
    lines += _table(["fact", "value"], facts.items())
    lines += ["", "## Inputs", ""]
    columns = {name: ", ".join(_list(value)) or "none" for name, value in schema.items()}
    columns["derived from these"] = ", ".join(card["derived_inputs"]) or "none"
    lines += _table(["role", "columns"], columns.items())
    lines += ["", "## Data", ""]
    if card["data"] is None:
        lines += ["The table was not there when the bundle was exported."]
    else:
        data = card["data"]
        missing = ", ".join(f"{share:.1%} of {name}" for name, share in data["missing"].items())
        lines += [f"{data['series']:,} series, {data['rows']:,} rows, {data['span']}; missing: {missing}.", ""]
        splits = ([n, f"{s['rows']:,}", s["first"] or "", s["last"] or ""] for n, s in card["splits"].items())
        lines += _table(["split", "rows", "first", "last"], splits)
    lines += ["", "## Scores", ""]
    lines += _render_scores(card)
    lines += ["", "## Intended use", "", card["intended_use"], "", "## Limits", ""]
    lines += [f"- {limit}" for limit in card["limits"]]
    licence = card["licence"]
    lines += ["", "## Licence", "", f"Of the package: {licence['package']}. Of the weights: {licence['weights']}."]
    return "\n".join(lines) + "\n"


def _render_scores(card: dict[str, Any]) -> list[str]:
    scores = card["scores"]
    if scores is None:
        return ["They were not computed at the export: there was no table to compute them on."]
    names = [name for name in scores["rows"][0] if name != "baseline"]
    rows = ([_format(row[name]) for name in names] for row in scores["rows"])
    lines = [f"On {scores['windows']:,} windows of the test rows, which the scored networks have not learned from.", ""]
    lines += _table(names, rows)
    for target, shares in card["coverage"].items():
        words = ", ".join(f"{value:.1%} of the values inside the {share}% interval" for share, value in shares.items())
        lines += ["", f"Coverage of {target}: {words or 'no interval among the quantiles'}."]
    return lines + (["", scores["note"]] if scores["note"] else [])


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    cells = ([text.replace("|", "\\|").replace("\n", " ") for text in row] for row in rows)
    return [" | ".join(["", *row, ""]).strip() for row in (list(names), ["---"] * len(names), *cells)]


def _list(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else [] if value is None else [str(value)]


def _format(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _find_versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
