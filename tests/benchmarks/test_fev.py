"""The tasks of fev-bench: windows without a leak, fev's scores, results that are kept, and the tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from benchmarks.fev_table import markdown, mean_skill
from benchmarks.fev_tasks import (
    ID,
    TARGET,
    TIME,
    FevTask,
    naive_forecasts,
    published_scores,
    quantile_columns,
    task_names,
)

from benchmarks import fev
from fusecast import Forecaster

Find = Callable[[str], Path]
TINY = {
    "network": {"hidden_size": 4},
    "training": {"max_steps": 2, "validation_windows": 8, "members": 1, "final": "none"},
}
ARGUMENTS = ["--set", "network.hidden_size=4", "--set", "training={max_steps: 2, members: 1, final: none}"]


@pytest.fixture
def scorer() -> None:
    """Skip the test where the package that scores is not installed."""
    if missing := fev.check_fev():
        pytest.skip(missing)


def read(name: str, find: Find) -> FevTask:
    return FevTask.read(name, find(f"fev/{name}").parent)


@pytest.mark.parametrize("name", ["ETT_1W", "hospital", "rohlik_orders_1D", "rohlik_orders_1W", "uci_air_quality_1D"])
def test_a_window_holds_what_is_known_at_its_cutoff(name: str, dataset: Find) -> None:
    task = read(name, dataset)
    known, forecasts = task.roles["known"], 0
    stated = pl.Series(task.facts["cutoffs_last_past_timestamp"]).str.to_datetime().to_list()
    for number, cutoff in enumerate(stated):
        window = task.window(number)
        assert window.past[TIME].max() <= cutoff < window.actual[TIME].min()
        assert (window.future is None) == (not known)
        if window.future is not None:
            assert window.future.columns == [ID, TIME, *known]
            assert window.future.select(ID, TIME).equals(window.actual.select(ID, TIME))
        assert set(window.actual.group_by(ID).len()["len"]) == {task.horizon}
        whole = pl.concat([window.past.select(ID, TIME, TARGET), window.actual]).sort(ID, TIME)
        head = task.frame.select(ID, TIME, TARGET).group_by(ID, maintain_order=True)
        rows = {name: len(part) for (name,), part in whole.group_by(ID)}
        assert whole.equals(pl.concat([part.head(rows[name]) for (name,), part in head]))  # no row is passed over
        forecasts += len(rows)
    assert forecasts == task.facts["published_num_forecasts"]


def test_a_cutoff_that_the_task_does_not_state_is_an_error(dataset: Find) -> None:
    task = read("ETT_1W", dataset)
    task.facts["initial_cutoff"] = "-64"
    with pytest.raises(ValueError, match="ETT_1W: window 0 does not begin after 2017-03-26"):
        task.window(0)


def test_several_targets_are_as_many_series(dataset: Find) -> None:
    task = read("uci_air_quality_1D", dataset)
    names = {f"station/{target}" for target in ("co_gt", "c6h6_gt", "nox_gt", "no2_gt")}
    assert set(task.frame[ID]) == names
    raw = pl.read_parquet(task.table).sort(TIME)
    for column, name in ((TARGET, "nox_gt"), ("temperature", "temperature")):
        assert task.frame.filter(pl.col(ID) == "station/nox_gt")[column].equals(raw[name])


def test_forecasts_do_not_depend_on_rows_after_the_cutoff(dataset: Find) -> None:
    task, spoiled = read("rohlik_orders_1W", dataset), read("rohlik_orders_1W", dataset)
    cutoff = task.window(0).past[TIME].max()
    after, far = pl.col(TIME) > cutoff, pl.col(TIME) > task.window(0).actual[TIME].max()
    changed = [pl.when(after).then(1e9).otherwise(TARGET).alias(TARGET)]
    changed += [pl.when(after).then(77).otherwise(name).alias(name) for name in task.roles["observed"]]
    changed += [pl.when(far).then(77).otherwise(name).alias(name) for name in task.roles["known"]]
    spoiled.__dict__["frame"] = task.frame.with_columns(changed)
    first, second = (next(fev.our_forecasts(one, TINY, refit_every=0)) for one in (task, spoiled))
    assert first[0].actual[TARGET].max() < 1e9 == second[0].actual[TARGET].max()
    assert first[1].equals(second[1])


def test_a_task_is_fitted_forecast_and_kept(
    dataset: Find, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = dataset("fev/ETT_1W").parent
    asked: list[pl.DataFrame] = []

    def answer(_: FevTask, forecasts: pl.DataFrame) -> dict[str, Any]:
        asked.append(forecasts)
        return {"SQL": 2.0, "MASE": 3.0, "WAPE": 0.4, "WQL": 0.5, "num_forecasts": 70, "fev_version": "0.10.0"}

    monkeypatch.setattr(fev, "ask_fev", answer)
    monkeypatch.setattr(fev, "check_fev", lambda: None)
    arguments = ["--tasks", "ETT_1W", "--source", str(source), "--out", str(tmp_path)]
    assert fev.main([*arguments, *ARGUMENTS, "--refit-every", "3"]) == 0
    printed = capsys.readouterr().out
    assert "| ETT_1W | 1 | 2.0000 | 3.0000 | 0.4000 | 0.5000 |" in printed
    assert "Mean skill over 1 tasks: **0.203**" in printed  # 1 - 2 / 2.5093
    once, again = asked
    assert len(once) == len(again) == 5 * 14 * 13
    assert once.filter(window=2).equals(again.filter(window=2))
    assert not once.filter(window=3).equals(again.filter(window=3))  # the fit of window 3 knows more
    rows = fev.kept_rows(tmp_path)
    assert [(row["refit_every"], row["fits"], row["state"]) for row in rows] == [(0, 1, "scored"), (3, 2, "scored")]
    inside = once.filter(pl.col(TARGET).is_between("q0.1", "q0.9"))
    assert rows[0]["coverage"]["0.8"] == pytest.approx(len(inside) / len(once))

    assert fev.main([*arguments, *ARGUMENTS, "--refit-every", "3"]) == 0
    assert capsys.readouterr().out == printed
    assert len(asked) == 2  # all was kept


def test_results_are_kept_by_task_seed_label_options_and_code(
    dataset: Find, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = dataset("fev/ETT_1W").parent
    done: list[tuple[str, int]] = []

    def result(task: FevTask, overrides: dict[str, Any], **_: object) -> dict[str, Any]:
        done.append((task.name, overrides["training"]["seed"]))
        return {"state": "failed" if task.name == "hospital" else "refused", "message": "because"}

    monkeypatch.setattr(fev, "run_task", result)
    monkeypatch.setattr(fev, "check_fev", lambda: None)
    arguments = ["--tasks", "hospital,ETT_1W", "--source", str(source), "--out", str(tmp_path)]
    assert fev.main([*arguments, "--seeds", "0,1"]) == 1  # one failed, which did not stop the other
    assert done == [("hospital", 0), ("ETT_1W", 0), ("hospital", 1), ("ETT_1W", 1)]
    kept = tmp_path / "defaults.jsonl"
    kept.write_text(kept.read_text(encoding="utf-8")[:-5], encoding="utf-8")  # killed while it wrote the last row
    done.clear()
    fev.main([*arguments, "--seeds", "0,1"])
    assert done == [("hospital", 0), ("hospital", 1), ("ETT_1W", 1)]
    done.clear()
    for more in (["--label", "other"], ["--minutes", "2"], ["--set", "training.batch_size=32"]):
        fev.main([*arguments, "--tasks", "ETT_1W", *more])
    monkeypatch.setattr(fev, "code_version", lambda: "another")
    fev.main([*arguments, "--tasks", "ETT_1W"])
    assert done == [("ETT_1W", 0)] * 4
    done.clear()
    assert fev.main([*arguments, "--report"]) == 0
    assert done == []


def test_a_refusal_is_told_from_a_failure(dataset: Find, monkeypatch: pytest.MonkeyPatch) -> None:
    task = read("ETT_1W", dataset)
    refused = fev.run_task(task, {"split": {"validation": 50}})
    assert refused["state"] == "refused"
    assert "is long enough for validation 50" in refused["message"]

    def break_down(*_: object, **__: object) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(fev, "our_forecasts", break_down)
    assert fev.run_task(task, {}) == {"state": "failed", "message": "RuntimeError: the disk is full"}


def test_an_interrupted_training_is_no_result(dataset: Find, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: Forecaster, _: pl.DataFrame) -> None:
        self.result = SimpleNamespace(interrupted=True)  # with the best weights so far, as after Ctrl+C

    monkeypatch.setattr(Forecaster, "fit", interrupt)
    monkeypatch.setattr(fev, "check_fev", lambda: None)
    with pytest.raises(KeyboardInterrupt):
        fev.main(["--tasks", "ETT_1W", "--source", str(dataset("fev/ETT_1W").parent), "--out", str(tmp_path)])
    assert fev.kept_rows(tmp_path) == []


def test_other_quantiles_in_training_are_scored_at_the_levels_of_the_task(dataset: Find) -> None:
    task = read("ETT_1W", dataset)
    overrides = {**TINY, "network": {"hidden_size": 4, "quantiles": [0.05, 0.5, 0.95]}}
    _, forecasts, _ = next(fev.our_forecasts(task, overrides, refit_every=0))
    assert [name for name in forecasts.columns if name.startswith("q")] == quantile_columns(task.levels)


def test_mean_skills_are_the_published_ones(dataset: Find) -> None:
    published = published_scores(dataset("fev/ETT_1W").parent)
    anchors = {"chronos-2": 0.422, "tirex-2": 0.406, "tabpfn-ts-3": 0.400, "tft": 0.309, "patchtst": 0.272}
    for model, skill in anchors.items():
        relative = [
            task["models"][model]["SQL"] / task["models"]["seasonal_naive"]["SQL"] for task in published.values()
        ]
        assert mean_skill(relative) == pytest.approx(skill, abs=5e-4)
    assert mean_skill([1e-9, 1e9]) == pytest.approx(0)  # fev clips both to a factor of 100


def test_a_refused_task_counts_as_the_baseline_and_is_no_victory(dataset: Find) -> None:
    published = published_scores(dataset("fev/ETT_1W").parent)
    common = {"label": "defaults", "seed": 0, "refit_every": 0, "options": {}, "code": "abc", "commit": "def"}
    scored = {"state": "scored", "scores": dict.fromkeys(fev.SCORES, 0.5), "coverage": {"0.6": 0.5, "0.8": 0.75}}
    rows = [
        {**common, "task": "epf_be", **scored, "fit_s": 90.0},
        {**common, "task": "ETT_1W", "state": "refused", "message": "two\nlines"},  # the TFT is behind the naive here
    ]
    text = markdown(rows, published)
    assert "| ETT_1W | 1 | refused | - |" in text
    assert (
        "| epf_be | 1 | 0.5000 | 0.5000 | 0.5000 | 0.5000 | 50% | 75% | 90 | 1.1503 | 0.6260 | PatchTST 0.5501 |"
        in text
    )
    assert f"Mean skill over 2 tasks: **{1 - (0.5 / 1.15028) ** 0.5:.3f}**" in text
    assert "First among the models fitted to the task on 1; a lower SQL than AutoGluon's TFT on 1." in text
    assert "- ETT_1W, refused: two lines" in text

    other = [{**row, "label": "other"} for row in rows[:1]]
    assert "mean skill, 1 common tasks" in markdown([*rows, *other], published)


@pytest.mark.usefixtures("scorer")
def test_the_seasonal_naive_has_the_published_scores(
    dataset: Find, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--tasks", "ETT_1W", "--naive", "--source", str(dataset("fev/ETT_1W").parent), "--out", str(tmp_path)]
    assert fev.main(arguments) == 0
    assert "The scores are the published ones" in capsys.readouterr().out


@pytest.mark.usefixtures("scorer")
def test_forecasts_of_other_steps_are_not_scored(dataset: Find) -> None:
    task = read("ETT_1W", dataset)
    made = []
    for number in range(task.num_windows):
        window = task.window(number)
        forecasts = naive_forecasts(task, window).join(window.actual, on=[ID, TIME])
        made.append(forecasts.with_columns(pl.col(TIME).dt.offset_by("1w"), window=pl.lit(number)))
    assert "are not the series and steps" in fev.ask_fev(task, pl.concat(made))["error"]


def test_other_scores_than_the_published_ones_are_named(dataset: Find) -> None:
    task = read("ETT_1W", dataset)
    scores = {name: value["published"] for name, value in task.facts["check"].items()}
    assert fev.differences_from_published({"task": "ETT_1W", "scores": scores}, task.folder) == []
    (said,) = fev.differences_from_published({"task": "ETT_1W", "scores": scores | {"WQL": 0.4624}}, task.folder)
    assert said == "ETT_1W: WQL 0.4624, published 0.4614"
    assert len(fev.differences_from_published({"task": "ETT_1W"}, task.folder)) == len(fev.SCORES)


def test_tasks_with_few_rows_are_first(dataset: Find) -> None:
    folder = dataset("fev/ETT_1W").parent
    names = task_names(folder)
    rows = [json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))["rows"] for name in names]
    assert len(names) == 14
    assert rows == sorted(rows)
