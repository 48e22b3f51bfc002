"""Folders are forecast partition by partition, as each is alone; calls continue where others ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.helpers.tables import HORIZON, LOOKBACK, TINY
from typer.testing import CliRunner

from fusecast import ArtifactError, ConfigError, DataError, DataNote, DataWarning, Forecaster, predict_folder
from fusecast.cli.app import app
from fusecast.errors import FusecastError


def of(frame: pl.DataFrame, *series: int) -> pl.DataFrame:
    return frame.filter(pl.col("unique_id").is_in([f"shop {s}" for s in series]))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def times_of(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}


def stop_after(done: int) -> Callable[[int, int], None]:
    def stop(partitions: int, total: int) -> None:
        if partitions == done:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize("options", [{}, {"raw": True, "quantiles": [0.05, 0.5]}], ids=["default", "raw"])
def test_a_partition_is_forecast_as_it_is_alone(
    options: dict[str, Any], run: Path, table: pl.DataFrame, plan: pl.DataFrame, tmp_path: Path
) -> None:
    layout = {
        "a.csv": (0, 1),
        "b/c.parquet": (2,),
        "city=x/1.parquet": (3,),
        "city=x/2.csv": (4,),
        "city=y/n=7/1.arrow": (5,),
    }
    for name, series in layout.items():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = of(table, *series)
        {".csv": rows.write_csv, ".parquet": rows.write_parquet, ".arrow": rows.write_ipc}[path.suffix](path)
    for name, series in {
        "a.parquet": (0, 1),
        "b/c.csv": (2,),
        "city=x/all.csv": (3, 4),
        "city=y/n=7/1.csv": (5,),
    }.items():
        path = tmp_path / "plans" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = of(plan, *series)
        rows.write_csv(path) if path.suffix == ".csv" else rows.write_parquet(path)
    (tmp_path / "data" / "_SUCCESS").touch()
    result = predict_folder(run, tmp_path / "data", tmp_path / "out", tmp_path / "plans", **options)
    assert (result.partitions, result.kept, result.rows) == (4, 0, 6 * HORIZON)
    forecaster = Forecaster.load(run)
    expected = {
        "a.parquet": (0, 1),
        "b/c.parquet": (2,),
        "city=x/forecasts.parquet": (3, 4),
        "city=y/n=7/forecasts.parquet": (5,),
    }
    assert contents(tmp_path / "out").keys() == expected.keys()
    for name, series in expected.items():
        alone = forecaster.predict(of(plan, *series), data=of(table, *series), **options)
        assert_frame_equal(pl.read_parquet(tmp_path / "out" / name, hive_partitioning=False), alone, check_exact=True)
    assert len(pl.read_parquet(tmp_path / "out", hive_partitioning=False)) == 6 * HORIZON  # the folder is a table


def test_columns_in_the_names_of_folders_are_columns_of_the_table(
    run: Path, table: pl.DataFrame, plan: pl.DataFrame, tmp_path: Path
) -> None:
    rows = table.with_columns(unique_id=pl.col("unique_id").str.slice(5).cast(pl.Int64))
    for (number, city), part in rows.partition_by("unique_id", "city", as_dict=True).items():
        folder = tmp_path / "data" / f"city={city}" / f"unique_id={number}"
        folder.mkdir(parents=True)
        part.drop("unique_id", "city").write_parquet(folder / "part-0.parquet")
    steps = of(plan, 0).drop("unique_id")  # the same for every series
    steps.write_csv(tmp_path / "plan.csv")
    predict_folder(run, tmp_path / "data", tmp_path / "out", tmp_path / "plan.csv")
    forecasts = pl.read_parquet(tmp_path / "out" / "**" / "*.parquet", hive_partitioning=False)
    one = rows.filter(pl.col("unique_id") == 5)
    alone = Forecaster.load(run).predict(steps, data=one)
    assert_frame_equal(forecasts.filter(pl.col("unique_id") == "5"), alone, check_exact=True)
    assert forecasts["unique_id"].unique().sort().to_list() == ["0", "1", "2", "3", "4", "5"]  # text, as in the fit


def test_an_interrupted_call_leaves_whole_files_and_the_next_forecasts_the_rest(
    run: Path, data: Path, tmp_path: Path
) -> None:
    predict_folder(run, data, tmp_path / "whole", data.parent / "plans")
    with pytest.raises(KeyboardInterrupt):
        predict_folder(run, data, tmp_path / "out", data.parent / "plans", on_progress=stop_after(2))
    whole, some = contents(tmp_path / "whole"), contents(tmp_path / "out")
    assert some == {name: whole[name] for name in sorted(whole)[:2]}
    (tmp_path / "out" / ".shop 2.parquet.0123abcd.fusecast").write_bytes(b"PAR1")  # of a process that was killed
    before = times_of(tmp_path / "out")
    seen: list[tuple[int, int]] = []
    result = predict_folder(
        run, data, tmp_path / "out", data.parent / "plans", on_progress=lambda *done: seen.append(done)
    )
    assert (result.partitions, result.kept, result.rows) == (6, 2, 4 * HORIZON)
    assert seen == [(3, 6), (4, 6), (5, 6), (6, 6)]
    assert contents(tmp_path / "out") == whole
    assert before.items() <= times_of(tmp_path / "out").items()


def test_a_changed_table_or_plan_is_forecast_again(
    run: Path, data: Path, table: pl.DataFrame, plan: pl.DataFrame, tmp_path: Path
) -> None:
    out, plans = tmp_path / "out", data.parent / "plans"
    predict_folder(run, data, out, plans)
    before = contents(out)
    of(table, 1).with_columns(pl.col("y") + 5).write_parquet(data / "shop 1.parquet")
    of(plan, 3).with_columns(promotion=0.0).write_parquet(plans / "shop 3.parquet")
    result = predict_folder(run, data, out, plans)
    assert (result.kept, result.rows) == (4, 2 * HORIZON)
    after = contents(out)
    assert {name for name in before if before[name] != after[name]} == {"shop 1.parquet", "shop 3.parquet"}


def test_a_series_in_two_partitions_is_refused_with_both_before_anything_is_written(
    run: Path, data: Path, table: pl.DataFrame, tmp_path: Path
) -> None:
    of(table, 0, 4).tail(3).write_csv(data / "late.csv")
    with pytest.raises(DataError, match=r"series 'shop 4' is in .*late\.csv and in .*shop 4\.parquet; all rows"):
        predict_folder(run, data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_partition_that_fails_does_not_keep_the_others_from_being_forecast(
    run: Path, data: Path, table: pl.DataFrame, tmp_path: Path
) -> None:
    out, plans = tmp_path / "out", data.parent / "plans"
    (data / "shop 1.parquet").write_bytes(b"PAR1 and nothing more")
    of(table, 3).with_columns(y=pl.lit("many")).write_parquet(data / "shop 3.parquet")
    words = r"2 of 6 partitions could not be forecast.*\n- shop 1: file .* cannot be read.*\n- shop 3: .*'y'"
    with pytest.raises(DataError, match=words):
        predict_folder(run, data, out, plans)
    assert sorted(contents(out)) == [f"shop {s}.parquet" for s in (0, 2, 4, 5)]
    for s in (1, 3):
        of(table, s).write_parquet(data / f"shop {s}.parquet")
    result = predict_folder(run, data, out, plans)
    assert (result.kept, result.rows) == (4, 2 * HORIZON)


def test_an_unexpected_error_of_a_partition_is_one_of_its_failures(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Forecaster, "predict", lambda *_, **__: 1 / 0)
    with pytest.raises(DataError, match=r"6 of 6 .*\n- shop 0: ZeroDivisionError: division by zero"):
        predict_folder(run, data, tmp_path / "out", data.parent / "plans")


def test_results_that_cannot_be_written_end_the_call(run: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "shop 0.parquet").mkdir(parents=True)
    done: list[int] = []
    with pytest.raises(ArtifactError, match=r"shop 0\.parquet"):
        predict_folder(run, data, tmp_path / "out", data.parent / "plans", on_progress=lambda n, _: done.append(n))
    assert done == []


def test_a_folder_of_other_results_is_refused(run: Path, data: Path, tmp_path: Path) -> None:
    out, plans = tmp_path / "out", data.parent / "plans"
    predict_folder(run, data, out, plans)
    before = contents(out)

    def refused(words: str, out: Path = out, run: Path = run, **options: Any) -> None:
        with pytest.raises(ArtifactError, match=words):
            predict_folder(run, data, out, plans, **options)

    refused("made with other options", raw=True)
    refused("made with other options", quantiles=[0.5])
    forecaster = Forecaster.load(run)
    forecaster.save(tmp_path / "same")
    assert predict_folder(tmp_path / "same", data, out, plans).kept == 6
    forecaster._bundle.extra["note"] = "other"
    forecaster.save(tmp_path / "other")
    refused("of another model", run=tmp_path / "other")
    (out / "mine.parquet").write_bytes((data / "shop 0.parquet").read_bytes())
    refused(r"mine\.parquet is no intact table of forecasts")
    (out / "mine.parquet").unlink()
    (out / "shop 0.parquet").write_bytes(before["shop 0.parquet"][:-9])
    refused(r"shop 0\.parquet is no intact table of forecasts")
    (out / "shop 0.parquet").write_bytes(before["shop 0.parquet"])
    (out / "shop 9.parquet").write_bytes(before["shop 0.parquet"])
    refused(r"shop 9\.parquet holds forecasts of a partition that the table does not have")
    refused("which these results are computed from", out=data)
    refused("which these results are computed from", out=plans / "new")
    (tmp_path / "file").touch()
    refused("is a file", out=tmp_path / "file")
    assert {name: content for name, content in contents(out).items() if name != "shop 9.parquet"} == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda plans: (plans / "shop 2.parquet").unlink(), r"without a plan: 'shop 2'"),
        (lambda plans: (plans / "shop 2.parquet").rename(plans / "shop 7.parquet"), r"plans of no partition: 'shop 7'"),
    ],
)
def test_plans_have_the_names_of_the_partitions(
    change: Callable[[Path], object], words: str, run: Path, data: Path, tmp_path: Path
) -> None:
    change(data.parent / "plans")
    with pytest.raises(DataError, match=words):
        predict_folder(run, data, tmp_path / "out", data.parent / "plans")
    assert not (tmp_path / "out").exists()


def test_one_plan_for_all_has_no_column_of_series(run: Path, data: Path, plan: pl.DataFrame, tmp_path: Path) -> None:
    plan.write_csv(tmp_path / "plan.csv")
    with pytest.raises(DataError, match="has the column 'unique_id', and one file is the plan of every series"):
        predict_folder(run, data, tmp_path / "out", tmp_path / "plan.csv")


def test_what_is_remarkable_about_a_partition_is_said_with_its_name(
    run: Path, table: pl.DataFrame, plan: pl.DataFrame, tmp_path: Path
) -> None:
    rows = pl.concat([of(table, 0), of(plan, 0)], how="diagonal").with_columns(
        pl.col("city").forward_fill(), unique_id=pl.lit("new")
    )
    (tmp_path / "data").mkdir()
    rows.write_parquet(tmp_path / "data" / "a.parquet")
    (tmp_path / "data" / "notes.txt").touch()
    with pytest.warns(DataWarning) as caught:
        predict_folder(run, tmp_path / "data", tmp_path / "out")
    notes = [str(each.message) for each in caught if isinstance(each.message, DataNote)]
    assert any("1 file in" in note and "notes.txt" in note for note in notes)
    assert any(note.startswith("a: 'y' is empty at the end of 1 series") for note in notes)
    assert any("new to the model: 1 series ('new')" in note for note in notes)
    assert len(pl.read_parquet(tmp_path / "out" / "a.parquet")) == HORIZON


def test_a_model_of_one_series_forecasts_one_partition(table: pl.DataFrame, tmp_path: Path) -> None:
    Forecaster(HORIZON, LOOKBACK, **TINY).fit(of(table, 0).drop("unique_id")).save(tmp_path / "run")
    (tmp_path / "data").mkdir()
    of(table, 1).drop("unique_id").write_parquet(tmp_path / "data" / "a.parquet")
    assert predict_folder(tmp_path / "run", tmp_path / "data", tmp_path / "out").rows == HORIZON
    of(table, 2).drop("unique_id").write_parquet(tmp_path / "data" / "b.parquet")
    with pytest.raises(DataError, match="trained on one series"):
        predict_folder(tmp_path / "run", tmp_path / "data", tmp_path / "out")


def test_an_unknown_engine_is_refused(run: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="engine cannot be 'dask'"):
        predict_folder(run, data, tmp_path / "out", engine="dask")  # type: ignore[arg-type]


def test_the_command_forecasts_a_folder(run: Path, data: Path, tmp_path: Path) -> None:
    words = ["predict", str(run), "--data", str(data), "--out", str(tmp_path / "out")]
    ran = CliRunner().invoke(app, [*words, "--future", str(data.parent / "plans")])
    assert ran.exit_code == 0, ran.output
    assert "6 of 6 partitions" in ran.stderr
    assert "Forecast 6 partitions; 24 rows are new." in ran.stdout
    ran = CliRunner().invoke(app, [*words, "--future", str(data.parent / "plans"), "--engine", "local"])
    assert "Forecast 6 partitions, 6 of them by an earlier call; 0 rows are new." in ran.stdout
    ran = CliRunner().invoke(app, ["predict", str(run), "--engine", "ray"])
    assert isinstance(ran.exception, FusecastError)
    assert "no folder was given" in str(ran.exception)


def test_ctrl_c_ends_the_command_with_how_to_go_on(
    run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fusecast.cli.output.show_partitions", _Stopping)
    words = ["predict", str(run), "--data", str(data), "--future", str(data.parent / "plans")]
    ran = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out")])
    assert ran.exit_code == 130
    assert "Interrupted: the same command forecasts what is not in" in ran.stderr
    assert sorted(contents(tmp_path / "out")) == ["shop 0.parquet"]


class _Stopping:
    def __enter__(self) -> Callable[[int, int], None]:
        return stop_after(1)

    def __exit__(self, *_: object) -> None: ...
