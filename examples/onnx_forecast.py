"""Forecast with a file of `fusecast export RUN --onnx model.onnx`, and neither fusecast nor torch:

    python examples/onnx_forecast.py model.onnx history.csv [plan.csv] > forecasts.csv

A row of `history.csv` is a step of a series, without gaps; `plan.csv` has the known columns of the steps to forecast.
"""

import csv
import json
import sys
from datetime import UTC, datetime

import numpy as np
import onnxruntime


def read(path):
    with open(path, newline="", encoding="utf-8") as file:  # noqa: PTH123
        return list(csv.DictReader(file))


def seconds(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def main(model, history, plan=None):
    session = onnxruntime.InferenceSession(model)
    about = json.loads(session.get_modelmeta().custom_metadata_map["fusecast"])
    L, H, id_column, time = about["lookback"], about["horizon"], ",".join(about["id"]), about["time"]
    past, future = {}, {}
    for rows, groups in ((read(history), past), (read(plan) if plan else [], future)):
        for row in rows:
            groups.setdefault(row.get(id_column, ""), []).append(row)
    names = list(past)
    steps = {}  # of each series, lookback first; None where there is no row
    for name, rows in past.items():
        before = rows[-L:]
        steps[name] = [None] * (L - len(before)) + before + (future.get(name) or [None] * H)

    def value(row, column, kind):
        text = (row or {}).get(column) or ""
        if kind == "float64":
            return float(text) if text else np.nan
        levels = about["vocabularies"][column]
        return levels.index(text) + 1 if text in levels else 0

    feeds = {}
    for each in about["inputs"]:
        name, kind = each["name"], each["type"]
        if name == "series":
            known = {series: code for code, series in enumerate(about["series"], start=1)}
            array = [known.get(series, 0) for series in names]
        elif name == "time":
            step = seconds(past[names[0]][-1][time]) - seconds(past[names[0]][-2][time])
            last = {series: seconds(past[series][-1][time]) for series in names}
            array = [
                [last[s] + step * (t - L + 1) if t >= L or steps[s][t] else np.nan for t in range(L + H)] for s in names
            ]
        else:
            part = {"past": slice(0, L), "future": slice(L, L + H), "static": slice(L - 1, L)}[name.partition("_")[0]]
            array = [[[value(row, c, kind) for c in each["columns"]] for row in steps[s][part]] for s in names]
            array = [rows[0] for rows in array] if name.startswith("static") else array
        feeds[name] = np.array(array, dtype=kind)

    forecasts = session.run(["forecast"], feeds)[0]  # [series, steps, targets, levels]
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow([id_column or "series", "step", "target", *(f"q{level:g}" for level in about["levels"])])
    for s, h, y in np.ndindex(*forecasts.shape[:3]):
        out.writerow([names[s], h + 1, about["targets"][y], *(repr(float(q)) for q in forecasts[s, h, y])])


if __name__ == "__main__":
    main(*sys.argv[1:])
