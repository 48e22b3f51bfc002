"""Rolling origins: judged as a plain loop would, written piece by piece, gone on with after a kill."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from sklearn.metrics import mean_absolute_error, mean_pinball_loss
from tests.helpers.tables import HORIZON, LOOKBACK, ROLES, TINY, shop_table

from fusecast import Forecaster
from fusecast.errors import ArtifactError, ConfigError, DataError, FusecastError
from fusecast.workflows.backtest import backtest

SPLIT = {"validation": 3, "test": "2024-01-05"}


@pytest.fixture(scope="module")
def forecaster() -> Forecaster:
    return Forecaster(HORIZON, LOOKBACK, **ROLES, split=SPLIT, **TINY).fit(shop_table())


@pytest.fixture(scope="module")
def result(forecaster: Forecaster) -> Any:
    return forecaster.backtest(stride=2)


def test_the_long_table_holds_every_origin_step_and_predictor_once(result) -> None:
    table = result.table
    assert table.columns == [
        "predictor", "unique_id", "ds", "cutoff", "step", "actual", "y_hat", "q0.1", "q0.5", "q0.9",
    ]  # fmt: skip
    # 24 hours of test, 4 steps from every second hour: 11 origins, 3 shops
    assert result.windows == 33
    assert table.height == 33 * HORIZON * len(result.grouped_scores)
    assert table.select("predictor", "unique_id", "cutoff", "step").is_unique().all()
    assert table["cutoff"].min() == datetime(2024, 1, 4, 23)
    assert table["ds"].max() == datetime(2024, 1, 5, 23) == result.span[1]


def test_actuals_are_those_of_the_table(result) -> None:
    joined = result.table.join(shop_table(), on=["unique_id", "ds"], how="left", validate="m:1")
    assert joined["y"].null_count() == 0
    np.testing.assert_array_equal(joined["actual"], joined["y"])


def test_forecasts_are_those_that_the_predictor_makes_origin_by_origin(forecaster, result) -> None:
    panel = forecaster.prepared.panel
    mine = result.table.filter(pl.col("predictor") == "TFT")
    for row in (0, 17, 32):
        known = shop_table().filter(pl.col("ds") <= mine["cutoff"][row * HORIZON])
        alone = Forecaster.from_config(forecaster.config)
        alone._bundle = forecaster._bundle
        future = shop_table().filter(pl.col("ds") > mine["cutoff"][row * HORIZON])
        frame = alone.predict(future, data=known)
        expected = frame.filter(pl.col("unique_id") == mine["unique_id"][row * HORIZON])
        np.testing.assert_allclose(mine["q0.9"][row * HORIZON :][:HORIZON], expected["q0.9"], rtol=1e-5)
    assert panel.num_series == 3


@pytest.mark.parametrize(
    ("by", "key"),
    [
        ("all", pl.lit("all")),
        ("series", pl.col("unique_id")),
        ("step", pl.col("step").cast(pl.String)),
        ("hour", pl.col("ds").dt.hour().cast(pl.String)),
        ("weekday", pl.col("ds").dt.strftime("%A")),
        ("month", pl.col("ds").dt.month().cast(pl.String)),
        ("origin", ((pl.col("cutoff") - datetime(2024, 1, 4, 23)).dt.total_hours() // 2).cast(pl.String)),
    ],
)
def test_scores_of_every_grouping_are_those_of_its_rows_alone(result, by: str, key: pl.Expr) -> None:
    metrics = result.metrics(by)
    groups = result.table.group_by("predictor", key.alias("group"))
    assert metrics.height == groups.len().height
    for (predictor, group), rows in groups:
        (own,) = metrics.filter(predictor=predictor, group=group).to_dicts()
        y, f = rows["actual"].to_numpy(), rows["y_hat"].to_numpy()
        assert own["count"] == len(y)
        assert own["mae"] == pytest.approx(mean_absolute_error(y, f))
        assert own["bias"] == pytest.approx(np.mean(f - y))
        for level in (0.1, 0.5, 0.9):
            loss = mean_pinball_loss(y, rows[f"q{level:g}"].to_numpy(), alpha=level)
            assert own[f"pinball {level:g}"] == pytest.approx(loss)
            assert own[f"quantile_risk {level:g}"] == pytest.approx(2 * loss / np.abs(y).mean())
            assert own[f"calibration {level:g}"] == pytest.approx(np.mean(y <= rows[f"q{level:g}"].to_numpy()))
        inside = (rows["q0.1"] <= rows["actual"]) & (rows["actual"] <= rows["q0.9"])
        assert own["coverage 0.8"] == pytest.approx(inside.mean())
        assert own["width 0.8"] == pytest.approx((rows["q0.9"] - rows["q0.1"]).mean())


def test_overall_scores_equal_those_of_evaluate_on_the_same_windows(forecaster) -> None:
    judged = forecaster.evaluate()
    rolled = forecaster.backtest(stride=HORIZON, baselines=["last", "seasonal"]).evaluation
    for name, scores in judged.scores.items():
        assert rolled.scores[name][0].wql == pytest.approx(scores[0].wql)
        assert rolled.scores[name][0].mase == pytest.approx(scores[0].mase)


def test_a_span_of_dates_bounds_the_steps_that_are_forecast(forecaster) -> None:
    found = forecaster.backtest(start="2024-01-05T06:00", end="2024-01-05 12:00", baselines=[])
    assert found.span == (datetime(2024, 1, 5, 6), datetime(2024, 1, 5, 11))
    assert found.windows == 3 * 3
    assert found.windows_seen_in_training == 0


def test_origins_in_data_that_the_model_has_seen_are_counted(forecaster) -> None:
    found = forecaster.backtest(start="2024-01-04T20:00", baselines=[], stride=3)
    assert found.windows_seen_in_training == 3 * 2  # at 20 and 23 hours
    assert found.baselines == ()
    assert found.to_dict()["comparisons"] == []


def test_a_file_is_written_in_parts_and_holds_the_table_made_in_memory(forecaster, result, tmp_path) -> None:
    out = tmp_path / "found.parquet"
    done = []
    written = backtest(
        forecaster.prepared, forecaster._bundle, stride=2, out=out, chunk_windows=6,
        on_progress=lambda *seen: done.append(seen),
    )  # fmt: skip
    assert written.table is None
    assert done[-1] == (33, 33)
    assert len(done) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["found.parquet"]
    keys = ["predictor", "unique_id", "cutoff", "step"]
    # the last bits depend on how many are forecast together, on some processors
    assert_frame_equal(pl.read_parquet(out).sort(keys), result.table.sort(keys), rel_tol=1e-6)
    np.testing.assert_allclose(written.metrics("all")["wql"], result.metrics("all")["wql"], rtol=1e-6)
    table, summary = written.write(out)
    assert pl.read_parquet(table)["by"].unique().sort().to_list() == sorted(written.groupings)
    assert '"comparisons"' in summary.read_text()


def test_a_backtest_that_was_killed_goes_on_and_ends_as_if_undisturbed(forecaster, tmp_path) -> None:
    def run(name: str, stop_after: int | None = None, count: list[int] | None = None):
        def look(done: int, total: int) -> None:
            if count is not None:
                count.append(done)
            if stop_after is not None and done >= stop_after:
                raise InterruptedError

        out = tmp_path / name
        return backtest(
            forecaster.prepared, forecaster._bundle, stride=2, out=out, chunk_windows=6, on_progress=look
        )  # fmt: skip

    whole = run("whole.parquet")
    with pytest.raises(InterruptedError):
        run("broken.parquet", stop_after=15)
    parts = sorted((tmp_path / "broken.parquet.parts").glob("part-*"))
    assert len(parts) == 3
    assert not (tmp_path / "broken.parquet").exists()
    before = [path.stat().st_mtime_ns for path in parts]
    with pytest.raises(InterruptedError):
        run("broken.parquet", stop_after=20)
    assert [path.stat().st_mtime_ns for path in parts] == before  # not made again
    resumed = run("broken.parquet")
    assert (tmp_path / "broken.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    for by in whole.groupings:
        assert resumed.metrics(by).equals(whole.metrics(by), null_equal=True)


def test_parts_of_another_backtest_are_refused_and_left_alone(forecaster, tmp_path) -> None:
    out = tmp_path / "found.parquet"

    def stop(done: int, total: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        backtest(forecaster.prepared, forecaster._bundle, out=out, chunk_windows=6, on_progress=stop)
    with pytest.raises(ArtifactError, match="another backtest"):
        forecaster.backtest(out=out, stride=3)
    assert list((tmp_path / "found.parquet.parts").glob("part-000000-*.parquet"))


@pytest.mark.parametrize("mistake", [{"baselines": ["best"]}, {"start": "2024-01-07"}])
def test_a_mistake_does_not_stand_in_the_way_of_the_command_that_mends_it(forecaster, tmp_path, mistake) -> None:
    out = tmp_path / "found.parquet"
    with pytest.raises(FusecastError):
        forecaster.backtest(out=out, stride=20, **mistake)
    assert list(tmp_path.iterdir()) == []
    forecaster.backtest(out=out, stride=20, baselines=["last"])
    assert out.exists()


def test_a_note_without_parts_keeps_nobody_from_anything(forecaster, tmp_path) -> None:
    out = tmp_path / "found.parquet"
    parts = tmp_path / "found.parquet.parts"
    parts.mkdir()
    (parts / "manifest.json").write_text("{}")
    (parts / ".part-000000.parquet.1234").write_text("cut off")
    forecaster.backtest(out=out, stride=20, baselines=["last"])
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("name", ["found.csv", "found.json", "found"])
def test_a_file_that_would_not_be_parquet_by_its_name_is_refused(forecaster, tmp_path, name: str) -> None:
    with pytest.raises(ArtifactError, match=r"use one of \.parquet"):
        forecaster.backtest(out=tmp_path / name, stride=20, baselines=[])


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"stride": 0}, ConfigError, "stride"),
        ({"start": "2024-01-07"}, DataError, "from 2024-01-07 to the end.* the table spans 2024-01-01.* to 2024-01-05"),
        ({"start": "soon"}, ConfigError, "'soon'"),
        ({"refit_every": 0}, ConfigError, "refit_every"),
        ({"baselines": ["best"]}, ConfigError, "baseline cannot be 'best'"),
    ],
)
def test_what_cannot_be_is_said_in_words(forecaster, options, error, words) -> None:
    with pytest.raises(error, match=words):
        forecaster.backtest(**options)
