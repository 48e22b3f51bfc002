"""Forecast with a file of `fusecast export RUN --onnx model.onnx`, and neither fusecast nor torch:

    python examples/onnx_forecast.py model.onnx history.csv [plan.csv] > forecasts.csv

A row of `history.csv` is a step of a series, in order, without gaps. `plan.csv` has the times and known columns of the
steps to forecast; a model without calendar features and known columns needs none.
"""

import csv
import json
import sys
from datetime import UTC, datetime

import numpy as np
import onnxruntime


def read(path):  # the rows of each series
    series = {}
    with open(path, newline="", encoding="utf-8") as file:  # noqa: PTH123
        for row in csv.DictReader(file):
            series.setdefault(tuple(row.get(name, "") for name in ids), []).append(row)
    return series


def value(row, column, kind):
    text, levels = (row or {}).get(column) or "", about["vocabularies"].get(column)
    if kind == "int32":
        return levels.index(text) + 1 if text in levels else 0
    if column == about["time"] and text:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    return float(text or "nan")


model, history, *plan = sys.argv[1:]
session = onnxruntime.InferenceSession(model)
about = json.loads(session.get_modelmeta().custom_metadata_map["fusecast"])
L, H, ids, inputs = about["lookback"], about["horizon"], about["id"], about["inputs"]
past, future = read(history), read(plan[0]) if plan else {}
N = max(L, *map(len, past.values()))
windows = [[None] * (N - len(rows)) + rows + future.get(key, [])[:H] for key, rows in past.items()]
if any(each["name"].startswith(("time", "future")) for each in inputs) and min(map(len, windows)) < N + H:
    sys.exit(f"the plan needs the {H} steps after the last one of each series")
parts = {"history": (0, N), "time": (N - L, N + H), "past": (N - L, N), "future": (N, N + H), "static": (N - 1, N)}
feeds = {}
for each in inputs:
    if each["name"] == "series":  # those of several ids are written as lines of CSV
        known = [tuple(next(csv.reader([name]))) if len(ids) > 1 else (name,) for name in about["series"]]
        values = [known.index(key) + 1 if key in known else 0 for key in past]
    else:
        part, columns = parts[each["name"].partition("_")[0]], each.get("columns", [about["time"]])
        values = [[value(row, c, each["type"]) for row in rows[slice(*part)] for c in columns] for rows in windows]
    sizes = [{"batch": len(past), "rows": N}.get(size, size) for size in each["shape"]]
    feeds[each["name"]] = np.array(values, dtype=each["type"]).reshape(sizes)

forecasts = session.run(["forecast"], feeds)[0]  # [series, steps, targets, levels]
out, keys = csv.writer(sys.stdout, lineterminator="\n"), list(past)
out.writerow([*ids, "step", "target", *(f"q{level:g}" for level in about["levels"])])
for s, h, y in np.ndindex(*forecasts.shape[:3]):
    out.writerow([*keys[s], h + 1, about["targets"][y], *map(float, forecasts[s, h, y])])
