"""fev: scores forecasts by the benchmark's own package, in an environment of its own; never imports fusecast.

``python -m benchmarks.peers.fev QUESTION ANSWER``. The question is ``{"facts": path of TASK.json, "table": path,
"forecasts": path}``; the answer is what ``Task.evaluation_summary`` says, or ``{"error": "..."}``. Forecasts are a
Parquet file with the columns `window`, `series`, `target`, `ds`, `y_hat` and one a quantile, such as `q0.1`.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import Any

METRICS = ("MASE", {"name": "WAPE", "epsilon": 1.0}, {"name": "WQL", "epsilon": 1.0})  # beside SQL, as published


def score(facts: dict[str, Any], table: str, forecasts: str) -> dict[str, Any]:
    """Score forecasts; ValueError where their series or times are not those of fev's windows."""
    import pandas as pd

    import fev

    columns, initial = facts["columns"], facts["initial_cutoff"]
    targets = columns["targets"]
    task = fev.Task(
        dataset_path=table,
        id_column=columns["id"],
        timestamp_column=columns["time"],
        target=targets if len(targets) > 1 else targets[0],
        horizon=facts["horizon"],
        num_windows=facts["num_windows"],
        initial_cutoff=int(initial) if initial.lstrip("-").isdigit() else initial,
        window_step_size=facts["window_step"],
        min_context_length=facts["min_context_length"],
        seasonality=facts["seasonality"],
        eval_metric="SQL",
        extra_metrics=list(METRICS),
        quantile_levels=facts["quantile_levels"],
        known_dynamic_columns=columns["known_future"],
        past_dynamic_columns=columns["past_only"],
        static_columns=columns["static"],
    )
    found = pd.read_parquet(forecasts).sort_values(["window", "target", "series", "ds"])
    groups = dict(iter(found.groupby(["window", "target"])))
    names = {"y_hat": "predictions"} | {f"q{level:g}": str(level) for level in task.quantile_levels}
    made = []
    for number, window in enumerate(task.iter_windows()):
        truth = window.get_ground_truth()
        predictions = {}
        for target in targets:
            own = groups[number, target]
            _check(number, target, own, truth[columns["id"]], truth[columns["time"]])
            values = {name: own[column].to_numpy().reshape(-1, task.horizon) for column, name in names.items()}
            predictions[target] = [{name: values[name][s] for name in values} for s in range(len(truth))]
        made.append(predictions)
    summary = task.evaluation_summary(made, model_name="fusecast", trained_on_this_dataset=True)
    kept = ("SQL", "MASE", "WAPE", "WQL", "num_forecasts", "fev_version")
    return {name: summary[name] for name in kept}


def _check(number: int, target: str, own: Any, series: Any, times: Any) -> None:
    import numpy as np

    horizon = len(times[0])
    same = (
        own["series"].tolist() == np.repeat(np.asarray(series), horizon).tolist()
        and (own["ds"].to_numpy("datetime64[us]") == np.concatenate(list(times)).astype("datetime64[us]")).all()
    )
    if not same:
        raise ValueError(f"window {number}, {target}: these are not the series and steps that fev asks for")


def main() -> None:
    """Answer the question in the file named first in the file named second."""
    question_path, answer_path = map(Path, sys.argv[1:3])
    question = json.loads(question_path.read_text(encoding="utf-8"))
    facts = json.loads(Path(question["facts"]).read_text(encoding="utf-8"))
    try:
        answer = score(facts, question["table"], question["forecasts"])
    except Exception as error:  # noqa: BLE001  whatever goes wrong is the answer
        answer = {"error": f"{type(error).__name__}: {str(error)[:500]}"}
        traceback.print_exc()
    answer_path.write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
