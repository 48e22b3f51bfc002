"""Refitting on the way: every model knows what came before its first origin, and nothing else."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.helpers.tables import HORIZON, LOOKBACK, ROLES, TINY, shop_table

from fusecast import Forecaster
from fusecast.errors.training import TrainingInterrupted
from fusecast.workflows.backtest import backtest
from fusecast.workflows.refit import LoadInitialWeights

START = datetime(2024, 1, 5)
SPLIT = {"validation": 3, "test": "2024-01-05"}


def fitted(table: pl.DataFrame, blend: str = "none") -> Forecaster:
    return Forecaster(HORIZON, LOOKBACK, **ROLES, split=SPLIT, blend=blend, **TINY).fit(table)


def tampered(after: datetime) -> pl.DataFrame:
    later = pl.col("ds") >= after
    return shop_table().with_columns(
        pl.when(later).then(1e4).otherwise(pl.col("y")).alias("y"),
        pl.when(later).then(pl.lit("hail")).otherwise(pl.col("weather")).alias("weather"),
        pl.when(later).then(-1e4).otherwise(pl.col("visitors")).alias("visitors"),
    )


@pytest.fixture(scope="module")
def untouched() -> Forecaster:
    return fitted(shop_table())


def forecasts_before(table: pl.DataFrame, moment: datetime) -> pl.DataFrame:
    """Forecasts from origins whose last known row lies before a moment; what really happened left out."""
    keys = ["predictor", "unique_id", "cutoff", "step"]
    return table.filter(pl.col("cutoff") < moment).drop("actual").sort(keys)


@pytest.mark.parametrize("warm", [True, False])
def test_no_forecast_of_a_refitted_backtest_depends_on_what_came_after_its_origin(untouched, warm: bool) -> None:
    options = {"stride": 4, "refit_every": 4, "warm_start": warm, "baselines": ["seasonal", "drift"]}
    moment = START + timedelta(hours=12)
    plain = untouched.backtest(**options).table
    other = fitted(tampered(moment)).backtest(**options).table
    assert forecasts_before(plain, moment).equals(forecasts_before(other, moment))
    late = plain.filter(pl.col("cutoff") >= moment)
    assert not late.drop("actual").equals(other.filter(pl.col("cutoff") >= moment).drop("actual"))


@pytest.mark.parametrize("blend", ["none", "validation"])
def test_a_run_that_has_seen_the_span_lends_it_neither_model_nor_weights(untouched, blend: str) -> None:
    """From an origin inside the training span, block 0 is trained from the beginning, on what was known then.

    So it has weights and spreads of baselines of its own, too.
    """
    if blend != "none":
        untouched = fitted(shop_table(), blend)
    start = datetime(2024, 1, 3)
    options = {"start": "2024-01-03", "end": "2024-01-03 16:00", "stride": 4, "refit_every": 2, "baselines": []}
    plain = untouched.backtest(**options)
    other = fitted(tampered(start), blend).backtest(**options)
    first = start + timedelta(hours=4)
    a, b = (forecasts_before(found.table, start) for found in (plain, other))
    assert a.height == 3 * HORIZON
    assert a.equals(b)
    assert plain.windows_seen_in_training == 0
    careless = untouched.backtest(**(options | {"refit_every": None}))
    assert not forecasts_before(careless.table, first).equals(forecasts_before(plain.table, first))


def test_a_series_that_begins_after_the_span_lends_nothing_to_its_models() -> None:
    def late(level: float) -> pl.DataFrame:
        begun = datetime(2024, 1, 3, 17)
        later = shop_table(series=1, seed=7).head(48).with_columns(
            unique_id=pl.lit("late"), ds=pl.datetime_range(begun, begun + timedelta(hours=47), "1h", eager=True)
        )  # fmt: skip
        return pl.concat([shop_table(), later.with_columns(pl.col("y") * level, pl.col("visitors") * level)])

    options = {"start": "2024-01-03", "end": "2024-01-03 16:00", "stride": 4, "refit_every": 2, "baselines": []}
    one, other = (fitted(late(level)).backtest(**options).table for level in (1.0, -50.0))
    assert one.height == 3 * 4 * HORIZON
    assert one.equals(other)


def test_the_first_block_has_the_model_of_the_run_and_later_ones_have_learned_more(untouched) -> None:
    frozen = untouched.backtest(stride=4, baselines=[]).table
    refitted = untouched.backtest(stride=4, refit_every=3, baselines=[]).table
    first = START + timedelta(hours=10)
    assert forecasts_before(frozen, first).equals(forecasts_before(refitted, first))
    late = pl.col("cutoff") >= first
    assert not np.allclose(frozen.filter(late)["y_hat"], refitted.filter(late)["y_hat"])


def test_a_warm_start_begins_from_the_weights_before(untouched) -> None:
    options = {"stride": 4, "refit_every": 3, "baselines": []}
    warm, fresh = (untouched.backtest(**options, warm_start=warm).table for warm in (True, False))
    last = pl.col("cutoff") >= START + timedelta(hours=11)
    assert not np.allclose(warm.filter(last)["y_hat"], fresh.filter(last)["y_hat"])


def test_a_refitted_backtest_goes_on_after_a_kill_and_trains_no_model_twice(untouched, tmp_path) -> None:
    def run(name: str, stop_after: int | None = None) -> None:
        def look(done: int, total: int) -> None:
            if stop_after is not None and done >= stop_after:
                raise InterruptedError

        backtest(
            untouched.prepared, untouched._bundle, stride=4, refit_every=2, baselines=[],
            out=tmp_path / name, chunk_windows=4, on_progress=look,
        )  # fmt: skip

    run("whole.parquet")
    with pytest.raises(InterruptedError):
        run("broken.parquet", stop_after=10)
    model = tmp_path / "broken.parquet.parts" / "refit-0001" / "model.safetensors"
    made = model.stat().st_mtime_ns
    with pytest.raises(InterruptedError):
        run("broken.parquet", stop_after=14)
    assert model.stat().st_mtime_ns == made
    run("broken.parquet")
    assert (tmp_path / "broken.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()


def test_ctrl_c_within_a_refit_stops_the_backtest_and_a_later_call_trains_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = TINY["training"] | {"max_epochs": 2, "max_steps": None, "windows_per_epoch": 32}
    forecaster = Forecaster(HORIZON, LOOKBACK, **ROLES, split=SPLIT, network=TINY["network"], training=training)
    forecaster.fit(shop_table())
    options: dict[str, Any] = {"stride": 4, "refit_every": 3, "baselines": []}
    forecaster.backtest(**options, out=tmp_path / "whole.parquet")
    epochs: list[int] = []

    class CtrlCInSecondEpoch(LoadInitialWeights):
        def on_train_epoch_start(self, trainer: Any, *_: Any) -> None:
            epochs.append(trainer.current_epoch)
            if trainer.current_epoch == 1:
                raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("fusecast.workflows.refit.LoadInitialWeights", CtrlCInSecondEpoch)
        with pytest.raises(TrainingInterrupted, match="while refit 1 was trained\nHint: the same backtest"):
            forecaster.backtest(**options, out=tmp_path / "broken.parquet")
    parts = tmp_path / "broken.parquet.parts"
    assert epochs == [0, 1], "the test needs an interruption after the first validated epoch"
    assert list(parts.glob("part-*"))
    assert not list(parts.glob("refit-*"))
    forecaster.backtest(**options, out=tmp_path / "broken.parquet")
    assert (tmp_path / "broken.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
