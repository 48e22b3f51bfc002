"""Tables of the results on fev-bench beside the published ones, and the mean skill as fev computes it."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

SMALLEST, LARGEST = 0.01, 100.0  # fev clips a score relative to the seasonal naive to these
MODELS = {  # whose mean skill is printed
    "chronos-2": "Chronos-2",
    "tirex-2": "TiRex-2",
    "tabpfn-ts-3": "TabPFN-TS-3",
    "tft": "TFT of AutoGluon",
    "patchtst": "PatchTST",
    "deepar": "DeepAR",
    "seasonal_naive": "seasonal naive",
}
Row = Mapping[str, Any]
Published = Mapping[str, Any]


def mean_skill(relative: Iterable[float]) -> float:
    """Return 1 minus the geometric mean of scores divided by the seasonal naive's, clipped as fev clips them."""
    return 1 - math.exp(statistics.mean(math.log(min(max(value, SMALLEST), LARGEST)) for value in relative))


def relative_scores(rows: Sequence[Row], published: Published) -> dict[str, float]:
    """SQL relative to the seasonal naive by task, means over seeds; 1 where a task was refused or failed."""
    naive = {task: published[task]["models"]["seasonal_naive"]["SQL"] for task in published}
    relative: dict[str, list[float]] = {}
    for row in rows:
        value = row["scores"]["SQL"] / naive[row["task"]] if row["state"] == "scored" else 1.0
        relative.setdefault(row["task"], []).append(value)
    return {task: statistics.mean(values) for task, values in relative.items()}


def markdown(rows: Sequence[Row], published: Published) -> str:
    """Write one table of tasks for each label, options and code, then one of all of them where there are several."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(json.dumps([row["label"], row["options"], row["code"]], sort_keys=True), []).append(row)
    parts = [_group(group, published) for group in groups.values()]
    if len(groups) > 1:
        parts.append(_comparison(list(groups.values()), published))
    return "\n".join(parts)


def _title(group: Sequence[Row]) -> str:
    first = group[0]
    options = ", ".join(f"{name}={value}" for name, value in _flat(first["options"])) or "no options"
    return f"{first['label']} ({options}; commit {first['commit']}, code {first['code']})"


def _flat(options: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for name, value in options.items():
        found += _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else [(prefix + name, value)]
    return found


def _order(published: Published) -> Callable[[Row], int]:
    names = list(published)
    return lambda row: names.index(row["task"])


def _group(group: Sequence[Row], published: Published) -> str:
    once = sorted((row for row in group if not row["refit_every"]), key=_order(published))
    again = [row for row in group if row["refit_every"]]
    every = sorted({row["refit_every"] for row in again})
    head = ["task", "seeds", "SQL", "MASE", "WAPE", "WQL", "in 60%", "in 80%", "training, s"]
    head += [f"SQL, refitted every {k}" for k in every]
    head += ["seasonal naive", "TFT", "best fitted", "Chronos-2", "best"]
    lines = [f"## {_title(group)}", "", "| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for task in dict.fromkeys(row["task"] for row in once):
        own = [row for row in once if row["task"] == task]
        cells = [task, str(len(own)), *_measured(own)]
        refitted = [[row for row in again if row["task"] == task and row["refit_every"] == k] for k in every]
        cells += [*(_spread(_sql(rows)) for rows in refitted), *_references(published[task])]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *_summary(once, published)]
    for k in every:
        own = [row for row in again if row["refit_every"] == k]
        relative = relative_scores(own, published)
        lines.append(
            f"- Mean skill over the {len(relative)} tasks with more than {k} windows, refitted every {k}: "
            f"{_skill(mean_skill(relative.values()))}."
        )
    return "\n".join([*lines, *_refusals(group), ""])


def _measured(rows: Sequence[Row]) -> list[str]:
    scored = [row for row in rows if row["state"] == "scored"]
    if not scored:
        return [rows[0]["state"], *["-"] * 6]
    cells = [_spread([row["scores"][name] for row in scored]) for name in ("SQL", "MASE", "WAPE", "WQL")]
    cells += [f"{statistics.mean(row['coverage'][share] for row in scored):.0%}" for share in ("0.6", "0.8")]
    return [*cells, f"{statistics.mean(row['fit_s'] for row in scored):,.0f}"]


def _sql(rows: Iterable[Row]) -> list[float]:
    return [row["scores"]["SQL"] for row in rows if row["state"] == "scored"]


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "-"
    mean = statistics.mean(values)
    return f"{mean:.4f}" if len(values) == 1 else f"{mean:.4f} ±{statistics.stdev(values):.4f}"


def _references(task: Mapping[str, Any]) -> list[str]:
    models, fitted, best = task["models"], task["best_fitted_to_the_task"], task["best"]
    cells = [f"{models[name]['SQL']:.4f}" for name in ("seasonal_naive", "tft")]
    cells += [f"{fitted['model']} {fitted['SQL']:.4f}", f"{models['chronos-2']['SQL']:.4f}"]
    return [*cells, f"{best['model']} {best['SQL']:.4f}"]


def _summary(rows: Sequence[Row], published: Published) -> list[str]:
    relative = relative_scores(rows, published)
    if not relative:
        return []
    tasks = [published[task] for task in relative]
    fitted = [_relative(task["best_fitted_to_the_task"]["SQL"], task) for task in tasks]
    tft = [_relative(task["models"]["tft"]["SQL"], task) for task in tasks]
    skills = {"best fitted model of each task": mean_skill(fitted)}
    for name, title in MODELS.items():
        skills[title] = mean_skill(_relative(task["models"][name]["SQL"], task) for task in tasks)
    ranked = sorted(skills.items(), key=lambda pair: -pair[1])
    # A task without a score counts as the seasonal naive, and is no victory even where that is ahead.
    unscored = {row["task"] for row in rows if row["state"] != "scored"}
    ours = [math.inf if name in unscored else value for name, value in relative.items()]
    others = ", ".join(f"{name} {_skill(skill)}" for name, skill in ranked)
    first, ahead = _count_lower(ours, fitted), _count_lower(ours, tft)
    return [
        f"- Mean skill over {len(tasks)} tasks: **{_skill(mean_skill(relative.values()))}**. Published: {others}.",
        f"- First among the models fitted to the task on {first}; a lower SQL than AutoGluon's TFT on {ahead}.",
    ]


def _skill(value: float) -> str:
    return f"{round(value, 3) + 0.0:.3f}"  # no -0.000


def _count_lower(ours: Sequence[float], theirs: Sequence[float]) -> int:
    return sum(own < other for own, other in zip(ours, theirs, strict=True))


def _relative(score: float, task: Mapping[str, Any]) -> float:
    return float(score / task["models"]["seasonal_naive"]["SQL"])


def _refusals(rows: Sequence[Row]) -> list[str]:
    found = [row for row in rows if row["state"] != "scored"]
    return list(dict.fromkeys(f"- {row['task']}, {row['state']}: {' '.join(row['message'].split())}" for row in found))


def _comparison(groups: Sequence[Sequence[Row]], published: Published) -> str:
    """Write SQL by task, a line each for label, options and code; skills are over the tasks that all of them have."""
    plain = [[row for row in group if not row["refit_every"]] for group in groups]
    common = set.intersection(*({row["task"] for row in group} for group in plain))
    tasks = [task for task in published if any(row["task"] == task for group in plain for row in group)]
    head = ["run", f"mean skill, {len(common)} common tasks", *tasks]
    lines = ["## All runs", "", "| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    for group in plain:
        relative = relative_scores([row for row in group if row["task"] in common], published)
        cells = [_title(group), _skill(mean_skill(relative.values())) if relative else "-"]
        cells += [_spread(_sql(row for row in group if row["task"] == task)) for task in tasks]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])
