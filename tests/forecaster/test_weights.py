"""Sample weights: how much rows count in the losses of training and validation, from the table to saved runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from tests.helpers.small_table import assert_same_panel
from tests.helpers.tables import HORIZON, LOOKBACK, TINY, future_of, shop_table
from typer.testing import CliRunner

from fusecast import DataError, Forecaster, SchemaError
from fusecast.cli.app import app
from fusecast.data.panel_builder import build_panel
from fusecast.data.schema import make_schema
from fusecast.inference.ensemble_predictor import EnsemblePredictor
from fusecast.io.streaming import stream_parquet
from fusecast.windows.torch_gatherer import PanelTensors, TorchGatherer
from fusecast.workflows.fit import scaled_loss

ROLES: dict[str, Any] = {"static": ["city"], "known": ["promotion"]}


def weighted_table(weights: Any = None, *, holes: bool = True) -> pl.DataFrame:
    """Return a table with a column `w`, by default of random weights, a third of them 0, and with missing targets."""
    rng = np.random.default_rng(0)
    table = shop_table()
    drawn = rng.gamma(1.0, 3.0, len(table)) * (rng.random(len(table)) > 1 / 3)
    table = table.with_columns(w=pl.Series(drawn) if weights is None else pl.lit(weights))
    row = pl.int_range(pl.len())
    return table.with_columns(y=pl.when(row % 7 == 2).then(None).otherwise("y")) if holes else table


def fit(table: pl.DataFrame, **options: Any) -> Forecaster:
    return Forecaster(HORIZON, LOOKBACK, **{**ROLES, **TINY, **options}).fit(table)


def state(forecaster: Forecaster) -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = forecaster.predictor.members[0].network.state_dict()
    return tensors


@pytest.fixture(scope="module")
def weighted() -> Forecaster:
    return fit(weighted_table(holes=False), weight="w")


def test_weights_of_one_are_as_no_weights_bit_for_bit() -> None:
    table = weighted_table(1.0)
    with_ones, without = fit(table, weight="w"), fit(table)
    assert all(torch.equal(tensor, state(without)[name]) for name, tensor in state(with_ones).items())
    assert with_ones.result is not None
    assert without.result is not None
    one, other = (
        [{key: value for key, value in row.items() if key not in ("seconds", "windows_per_second")} for row in rows]
        for rows in (with_ones.result.history, without.result.history)
    )
    assert one == other
    assert with_ones.predict(future_of(table)).equals(without.predict(future_of(table)))


def test_the_validation_loss_is_the_mean_over_all_steps_by_their_weights(weighted: Forecaster) -> None:
    prepared, network = weighted.prepared, weighted.predictor.members[0].network
    panel, levels = prepared.panel, prepared.config.network.quantiles
    plain = TorchGatherer(PanelTensors(prepared.encoded), prepared.valid)
    total = weights = 0.0
    for window in range(len(prepared.valid)):
        batch = plain([window])
        series, cutoff = (int(each[0]) for each in prepared.valid.locate([window]))
        with torch.no_grad():
            quantiles = network(batch).quantiles[0, :, 0].tolist()
        for step in range(HORIZON):
            row = int(panel.indptr[series]) + cutoff + step
            weight = float(panel.reals["w"][row])  # as in the table, in any unit
            errors = [float(batch.weight[0, 0]) * (float(batch.target[0, step, 0]) - q) for q in quantiles[step]]
            total += weight * sum(max(q * e, (q - 1) * e) for q, e in zip(levels, errors, strict=True))
            weights += weight
    assert weighted.result is not None
    assert weighted.result.best_loss == pytest.approx(total / weights, rel=1e-4)
    assert weighted.result.history[-1]["val_loss"] == pytest.approx(total / weights, rel=1e-4)


def test_window_scalings_are_compared_by_the_weighted_loss(weighted: Forecaster) -> None:
    prepared, bundle, index = weighted.prepared, weighted._require_bundle(), weighted.prepared.valid
    encoded, fitted = prepared.encoded, bundle.preprocessor
    forecasts = EnsemblePredictor(bundle.members, fitted, device="cpu").predict(encoded, index)
    total = weights = 0.0
    for window, (s, cutoff) in enumerate(zip(forecasts.series, forecasts.cutoff, strict=True)):
        for step in range(HORIZON):
            row = int(encoded.indptr[s] + cutoff + step)
            actual, weight = prepared.panel.reals["y"][row], float(prepared.panel.reals["w"][row])
            errors = (actual - forecasts.quantiles[window, step, 0]) / encoded.scale[s, 0]
            losses = [max(q * e, (q - 1) * e) for q, e in zip(forecasts.levels, errors, strict=True)]
            total, weights = total + weight * sum(losses) / len(losses), weights + weight
    assert scaled_loss(forecasts, encoded, index, fitted.targets) == pytest.approx(total / weights, rel=1e-4)


def test_nothing_is_learned_from_a_series_of_weight_zero() -> None:
    table = weighted_table(2.0, holes=False)
    last = pl.col("unique_id") == "shop 2"
    table = table.with_columns(w=pl.when(last).then(0.0).otherwise("w"))
    noise = pl.Series(np.random.default_rng(1).normal(size=len(table)))
    other = table.with_columns(y=pl.when(last).then(noise).otherwise("y"))
    one, two = fit(table, weight="w"), fit(other, weight="w")
    assert all(torch.equal(tensor, state(two)[name]) for name, tensor in state(one).items())
    assert not all(torch.equal(tensor, state(one)[name]) for name, tensor in state(fit(table)).items())
    assert one.result is not None
    assert two.result is not None
    assert one.result.best_loss == two.result.best_loss


def test_the_column_may_be_a_static_input_too() -> None:
    table = weighted_table(1.0).with_columns(w=pl.col("unique_id").str.tail(1).cast(pl.Float64) + 1)
    static = fit(table, static=["city", "w"], weight="w").prepared
    apart = fit(table, weight="w").prepared
    np.testing.assert_array_equal(static.encoded.weights, apart.encoded.weights)
    assert static.encoded.inputs.static_reals == ("w",)
    assert "w" not in (*apart.encoded.inputs.past_names, *apart.encoded.inputs.static_names)


def cells(value: float | None, rows: int = 1) -> pl.Expr:
    return pl.when(pl.int_range(pl.len()).is_between(133, 132 + rows)).then(value).otherwise("w").alias("w")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (cells(-1.0, 2), "holds the weight -1 in row 13 of series 'shop 1', at 2024-01-01 13:00:00, the first of 2"),
        (cells(None), "holds no weight in row 13 of series 'shop 1'"),
        (cells(float("nan")), "holds no weight in row 13 of series 'shop 1'"),
        (cells(float("inf")), "infinite value"),
        (pl.lit("much").alias("w"), "is real but holds text"),
        (pl.lit(0).alias("w"), "is 0 in the 252 rows of the training split"),
        (pl.when(pl.col("ds").dt.ordinal_day() < 4).then(1).otherwise(0).alias("w"), "rows of the validation split"),
    ],
)
def test_weights_that_cannot_be_are_refused_before_training(change: pl.Expr, words: str) -> None:
    with pytest.raises(DataError, match=words):
        fit(weighted_table(1.0, holes=False).with_columns(change), weight="w")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weight": "v"}, "'v' is not in the table"),
        ({"weight": "ds"}, "more than one role: time, weight"),
        ({"weight": "city"}, "'city' is categorical"),
    ],
)
def test_a_column_that_cannot_hold_weights_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        fit(weighted_table(), **options)


def test_a_row_without_a_target_needs_no_weight() -> None:
    table = weighted_table()
    without = table.with_columns(w=pl.when(pl.col("y").is_null()).then(None).otherwise("w"))
    assert fit(without, weight="w").prepared.preprocessor.weight_unit > 1


def test_a_saved_model_keeps_the_weights_and_forecasts_without_them(weighted: Forecaster, tmp_path: Path) -> None:
    table = weighted_table(holes=False)
    loaded = Forecaster.load(weighted.save(tmp_path / "run"))
    assert loaded.config.table.weight == "w"
    expected = loaded.predict(future_of(table), data=table)
    without = table.drop("w")
    assert loaded.predict(future_of(table), data=without).equals(expected)
    assert loaded.predict(future_of(table), data=table.with_columns(w=pl.lit("?"))).equals(expected)
    assert loaded.evaluate(data=without).to_rows() == loaded.evaluate(data=table).to_rows()
    with pytest.raises(DataError, match="trained with the weights in column 'w', which the table does not have"):
        loaded.backtest(data=without, start="2024-01-05", stride=8, refit_every=1)


def test_final_networks_have_the_weights_of_all_rows() -> None:
    table = weighted_table()
    training = {**TINY["training"], "max_steps": 1, "final": "refit"}
    final = fit(table, weight="w", training=training)._require_bundle().for_future
    with_target = table.filter(pl.col("y").is_not_null())
    assert final.preprocessor.weight_unit == pytest.approx(with_target["w"].mean())


def test_the_command_line_trains_with_weights_and_resumes_with_them(tmp_path: Path) -> None:
    weighted_table().write_csv(tmp_path / "table.csv")
    options = ["--horizon", "4", "--lookback", "12", "--hidden-size", "8", "--num-heads", "2", "--members", "1"]
    options += ["--max-epochs", "1", "--batch-size", "16", "--final", "none", "--set", "training.logger=none"]
    options += ["--calibration", "none", "--blend", "none"]
    fitted = ["fit", str(tmp_path / "table.csv"), "--weight", "w", *options, "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, [*fitted, "--max-steps", "4"])
    assert result.exit_code == 0, result.output
    assert Forecaster.load(tmp_path / "run").config.table.weight == "w"
    result = CliRunner().invoke(app, ["fit", "--resume", "--out", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output


def test_a_streamed_panel_has_the_weights(tmp_path: Path) -> None:
    table = weighted_table().sort("unique_id", "ds")
    table.write_parquet(tmp_path / "table.parquet")
    schema = make_schema(table, static=["city"], known=["promotion"], weight="w", frequency="1h")
    streamed = stream_parquet(tmp_path / "table.parquet", schema, tmp_path / "panel", batch_rows=50)
    assert streamed.weights is not None
    assert_same_panel(streamed, build_panel(table, schema))
