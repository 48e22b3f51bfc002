"""Known columns with holes over the horizon: they are masked as training masks the same holes of the past, and said."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from tests.helpers.tables import HORIZON, LOOKBACK, ROLES, TINY, future_of, shop_table
from typer.testing import CliRunner

from fusecast import DataError, DataWarning, Forecaster
from fusecast.cli.app import app
from fusecast.data.future import extend_panel
from fusecast.model.batch import Batch
from fusecast.windows.torch_gatherer import PanelTensors, TorchGatherer
from fusecast.windows.window_index import WindowIndex

KNOWN: dict[str, Any] = {**ROLES, "known": ["promotion", "level"]}


def with_holes(table: pl.DataFrame, every: int = 5) -> pl.DataFrame:
    """Empty every fifth cell of both known columns; of "shop 2" every level, and of "shop 1" the last promotions."""
    row = pl.int_range(pl.len())
    last = pl.int_range(pl.len()).over("unique_id") >= pl.len().over("unique_id") - 2
    return table.with_columns(
        promotion=pl.when((row % every == 3) | (last & (pl.col("unique_id") == "shop 1")))
        .then(None)
        .otherwise("promotion"),
        level=pl.when((row % every == 1) | (pl.col("unique_id") == "shop 2")).then(None).otherwise("level"),
    )


@pytest.fixture(scope="module", params=["mean", "none"])
def forecaster(request: pytest.FixtureRequest) -> Forecaster:
    table = with_holes(shop_table().with_columns(level=pl.Series(["low", "high"] * 180)))
    features = {"window_scaling": request.param}
    return Forecaster(HORIZON, LOOKBACK, **KNOWN, features=features, **TINY).fit(table)


@pytest.fixture(scope="module")
def plan(forecaster: Forecaster) -> pl.DataFrame:
    return future_of(forecaster._source).with_columns(level=pl.lit("low"))


def forecast_by_hand(forecaster: Forecaster, batch: Batch) -> np.ndarray:
    """Run the network on a batch in float64, without kernels, and return the quantiles in the units of the data."""
    network = copy.deepcopy(forecaster._bundle.members[0].network).double().eval()
    double = Batch(*(tensor.double() if tensor.is_floating_point() else tensor for tensor in batch))
    with torch.no_grad():
        quantiles = network(double).quantiles.numpy()
    center, scale = (unit.double().numpy()[:, None, :, None] for unit in (batch.center, batch.scale))
    return np.sort(quantiles * scale + center, axis=-1)


def test_forecasts_with_holes_are_those_of_batches_masked_by_hand(forecaster: Forecaster, plan: pl.DataFrame) -> None:
    panel, preprocessor = forecaster.prepared.panel, forecaster.prepared.preprocessor
    index = WindowIndex.at_end(lengths=panel.lengths, lookback=LOOKBACK, horizon=HORIZON)
    whole = TorchGatherer(PanelTensors(preprocessor.encode(extend_panel(panel, HORIZON, plan))), index)(range(3))
    holed = with_holes(plan)
    no_promotion, no_level = (torch.tensor(holed[name].is_null().to_list()).view(3, HORIZON) for name in KNOWN["known"])
    assert no_promotion.sum(dim=1).tolist() == [1, 2, 1]
    assert no_level.all(dim=1).tolist() == [False, False, True]
    real, category = (
        names.index(name)
        for names, name in (
            (preprocessor.inputs.known_reals, "promotion"),
            (tuple(preprocessor.inputs.known_categories), "level"),
        )
    )
    present = torch.ones(whole.future_real.shape, dtype=torch.bool)
    present[..., real] = ~no_promotion
    reals, codes = whole.future_real.clone(), whole.future_cat.clone()
    reals[..., real][no_promotion] = 0.0
    codes[..., category][no_level] = 0
    masked = whole._replace(future_real=reals, future_cat=codes, future_real_present=present)
    expected = forecast_by_hand(forecaster, masked)
    assert np.abs(expected - forecast_by_hand(forecaster, whole)).max() > 0.01
    with pytest.warns(DataWarning, match=r"'promotion' 4 values of 3 series, 'level' 6 values of 3 series \(1 without"):
        forecasts = forecaster.predict(holed)
    levels = forecaster.config.network.quantiles
    np.testing.assert_allclose(
        forecasts.select(f"q{level}" for level in levels), expected.reshape(3 * HORIZON, len(levels)), rtol=1e-4
    )


def test_windows_that_overlap_see_the_same_holes(forecaster: Forecaster) -> None:
    prepared, predictor = forecaster.prepared, forecaster.predictor
    index = prepared.windows("test")
    batch = TorchGatherer(PanelTensors(prepared.encoded), index)(np.arange(len(index)))
    assert not batch.future_real_present.all()
    expected = forecast_by_hand(forecaster, batch)
    np.testing.assert_allclose(predictor.predict(prepared.encoded, index).quantiles, expected, rtol=1e-4)
    evaluation = forecaster.evaluate(stride=1)
    assert evaluation.windows == len(index)


@pytest.mark.filterwarnings("ignore::fusecast.DataWarning")
def test_every_verb_reads_holes_alike(forecaster: Forecaster, plan: pl.DataFrame) -> None:
    holed = with_holes(plan)
    median = forecaster.predict(holed)["y_hat"].to_numpy()
    keep = {"promotion": lambda values: values, "level": lambda values: values}
    changed = forecaster.what_if(keep, holed).filter(quantile=0.5)
    np.testing.assert_allclose(changed["before"], median, rtol=1e-5)
    assert changed["difference"].abs().max() == 0
    for name in ("shop 0", "shop 1", "shop 2"):
        explained = forecaster.explain_forecast(name, holed).forecast.filter(pl.col("unique_id") == name)
        np.testing.assert_allclose(
            explained["y_hat"], median[forecaster.predict(holed)["unique_id"] == name], rtol=1e-4
        )
    paths = forecaster.sample(2000, holed).group_by("unique_id", "step", maintain_order=True).agg(pl.col("y").median())
    np.testing.assert_allclose(paths["y"], median, rtol=0.1)


def test_a_plan_without_any_value_of_a_column_is_masked_where_the_past_has_holes(
    forecaster: Forecaster, plan: pl.DataFrame
) -> None:
    empty = plan.with_columns(promotion=pl.lit(None, pl.Float64))
    with pytest.warns(DataWarning, match=r"'promotion' 12 values of 3 series \(3 without any\)$"):
        forecasts = forecaster.predict(empty)
    assert forecasts["y_hat"].is_finite().all()


def test_a_plan_without_any_value_of_a_complete_column_is_refused_by_every_verb_unless_it_is_partial(
    tmp_path: Path,
) -> None:
    table = shop_table()
    forecaster = Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY).fit(table)
    forecaster.save(tmp_path / "run")
    table.write_parquet(tmp_path / "table.parquet")
    step = pl.int_range(pl.len()).over("unique_id")
    empty = future_of(table).with_columns(promotion=pl.lit(None, pl.Float64))
    for lacking, problem in ((empty, "has no value at all"), (future_of(table).filter(step < 2), "lacks values")):
        for verb in (
            partial(forecaster.predict, lacking),
            partial(forecaster.sample, 3, lacking),
            partial(forecaster.what_if, {"promotion": 1.0}, lacking),
            partial(forecaster.explain_forecast, "shop 1", lacking),
            partial(forecaster.report, tmp_path / "page.html", future=lacking),
        ):
            with pytest.raises(DataError, match=f"'promotion' {problem} in the 4 steps"):
                verb()
            with pytest.warns(DataWarning, match="which are masked.*rows before have every value of 'promotion'"):
                verb(partial=True)
        with pytest.warns(DataWarning):
            expected = forecaster.predict(lacking, partial=True)["y_hat"]
        lacking.write_csv(tmp_path / "plan.csv")
        words = ["--data", str(tmp_path / "table.parquet"), "--future", str(tmp_path / "plan.csv"), "--partial"]
        ran = CliRunner().invoke(app, ["predict", str(tmp_path / "run"), "--out", str(tmp_path / "out.csv"), *words])
        assert ran.exit_code == 0, ran.output
        np.testing.assert_allclose(pl.read_csv(tmp_path / "out.csv")["y_hat"], expected, rtol=1e-6)


def test_a_column_without_training_values_is_said_by_the_fit() -> None:
    table = shop_table(2).with_columns(
        promotion=pl.when(pl.int_range(120).over("unique_id") < 110).then(None).otherwise(pl.lit(1e9))
    )
    with pytest.warns(DataWarning, match="no training row has a value of 'promotion': the model does not use later"):
        forecaster = Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY).fit(table)
    forecasts = forecaster.predict(future_of(table).with_columns(promotion=pl.lit(1e9)))
    assert forecasts["y_hat"].is_between(0, 200).all()


def test_the_command_line_says_holes_once(forecaster: Forecaster, plan: pl.DataFrame, tmp_path) -> None:
    forecaster._source.write_parquet(tmp_path / "table.parquet")
    with_holes(plan).write_csv(tmp_path / "plan.csv")
    forecaster.save(tmp_path / "run")
    words = ["--data", str(tmp_path / "table.parquet"), "--future", str(tmp_path / "plan.csv")]
    ran = CliRunner().invoke(app, ["predict", str(tmp_path / "run"), "--out", str(tmp_path / "out.csv"), *words])
    assert ran.exit_code == 0, ran.output
    assert ran.output.count("Note: known columns lack values in the 4 steps to forecast") == 1
    with pytest.warns(DataWarning):
        expected = forecaster.predict(with_holes(plan))["y_hat"]
    np.testing.assert_allclose(pl.read_csv(tmp_path / "out.csv")["y_hat"], expected, rtol=1e-6)
