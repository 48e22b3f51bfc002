"""Every head from a table to forecasts: fitted, saved, loaded, at any level, sampled, judged; and tables it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal
from tests.helpers.encoded_panels import gather
from tests.helpers.tables import HORIZON, LOOKBACK, ROLES, TINY, future_of, shop_table

from fusecast import Forecaster
from fusecast.errors import ConfigError, DataError, TrainingError
from fusecast.inference.overlapping_windows import OverlappingWindows

HEADS = ("normal", "student_t", "negative_binomial", "tweedie")
COUNTED = ("negative_binomial", "tweedie")


def counts() -> pl.DataFrame:
    """Whole numbers with gaps, one series much shorter than the lookback wants, and many zeros in another."""
    table = shop_table(steps=100).with_columns(pl.col("y").round(0))
    y = pl.col("y")
    quiet = pl.when(pl.col("unique_id") == "shop 0").then((y - 55).clip(lower_bound=0)).otherwise(y)
    gaps = pl.when(pl.int_range(pl.len()) % 11 == 5).then(None).otherwise(quiet)
    return table.with_columns(gaps.alias("y"))


def forecaster(head: str, **network: Any) -> Forecaster:
    features = {"window_scaling": "none", "lower_bound": "none"}
    options = {**TINY, "network": {**TINY["network"], "head": head, **network}, "features": features}
    return Forecaster(HORIZON, LOOKBACK, **ROLES, **options)


@pytest.fixture(scope="module", params=HEADS)
def fitted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Forecaster:
    return forecaster(request.param).fit(counts(), folder=tmp_path_factory.mktemp(request.param))


def head_of(fitted: Forecaster) -> str:
    return fitted.config.network.head


def test_a_loaded_model_forecasts_the_same(fitted: Forecaster) -> None:
    assert fitted.folder is not None
    again = Forecaster.load(fitted.folder)
    assert again.config.network.head == head_of(fitted)
    assert_frame_equal(again.predict(future_of(counts()), data=counts()), fitted.predict(future_of(counts())))


def test_any_level_comes_from_the_distribution_itself(fitted: Forecaster) -> None:
    usual = fitted.predict(future_of(counts()))
    levels = [0.001, 0.1, 0.3, 0.5, 0.9, 0.999]
    wide = fitted.predict(future_of(counts()), quantiles=levels)
    assert_frame_equal(wide.select(usual.columns), usual, rel_tol=1e-6, abs_tol=1e-6)
    values = wide.select(f"q{level:g}" for level in levels).to_numpy()
    assert (np.diff(values) >= 0).all()
    if head_of(fitted) in COUNTED:
        assert (values >= 0).all()
    if head_of(fitted) == "negative_binomial":
        np.testing.assert_array_equal(values, np.rint(values))
    if head_of(fitted) == "normal":  # symmetric: interpolation with exponential tails would not be
        np.testing.assert_allclose(values[:, -1] - values[:, 3], values[:, 3] - values[:, 0], rtol=1e-4)
        ratio = (values[:, -1] - values[:, 3]) / (values[:, 4] - values[:, 3])
        np.testing.assert_allclose(ratio, 3.090232 / 1.281552, rtol=1e-4)


def test_overlapping_windows_have_the_forecasts_of_single_windows(
    fitted: Forecaster, monkeypatch: pytest.MonkeyPatch
) -> None:
    index, encoded = fitted.prepared.windows("all"), fitted.prepared.encoded
    levels = (0.05, 0.5, 0.95)
    assert OverlappingWindows(fitted.predictor.members[0].network, encoded, index).find_runs()
    together = [fitted.predictor.predict(encoded, index, asked).quantiles for asked in (None, levels)]
    monkeypatch.setattr(OverlappingWindows, "find_runs", lambda _: [])
    alone = [fitted.predictor.predict(encoded, index, asked).quantiles for asked in (None, levels)]
    for one, other in zip(together, alone, strict=True):
        assert np.isfinite(one).all()
        if head_of(fitted) == "negative_binomial":  # a level that lies on a step may fall to either side of it
            assert (one != other).mean() < 1e-3
        else:
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-3)


def test_paths_are_drawn_from_the_distribution(fitted: Forecaster) -> None:
    paths = fitted.sample(400, future_of(counts()), method="independent")
    levels = [0.1, 0.5, 0.9]
    expected = fitted.predict(future_of(counts()), quantiles=levels)
    found = paths.group_by("unique_id", "step", maintain_order=True).agg(
        *[pl.col("y").quantile(level, "linear").alias(f"q{level:g}") for level in levels]
    )
    spread = (expected["q0.9"] - expected["q0.1"]).to_numpy()[:, None] + 1
    names = [f"q{level:g}" for level in levels]
    assert (np.abs(found.select(names).to_numpy() - expected.select(names).to_numpy()) < 0.25 * spread).all()
    if head_of(fitted) == "negative_binomial":
        assert (paths["y"] == paths["y"].round(0)).all()
    if head_of(fitted) in COUNTED:
        assert (paths["y"] >= 0).all()
    assert fitted.sample(3, future_of(counts())).height == 3 * 3 * HORIZON  # learns the copula from the validation span


def test_calibrated_paths_of_counts_have_the_mean_of_their_quantiles() -> None:
    """Lines between few levels are no quantile function of counts: rounding up would add half a unit to each step."""
    random = np.random.default_rng(0)
    table = pl.DataFrame({"ds": np.arange(400), "y": random.poisson(3, 400)})
    options = {**TINY, "network": {**TINY["network"], "head": "negative_binomial"}, "calibration": "adaptive"}
    fitted = Forecaster(HORIZON, LOOKBACK, id=None, **options).fit(table)
    paths = fitted.sample(4_000, method="independent")["y"].to_numpy()
    assert (paths == np.rint(paths)).all()
    assert not np.signbit(paths).any()
    levels = (np.arange(1_000) + 0.5) / 1_000
    quantiles = fitted.predict(quantiles=levels.tolist()).select(pl.col("^q.*$")).to_numpy()
    assert paths.mean() == pytest.approx(quantiles.mean(), abs=0.1)


def test_everything_downstream_takes_its_quantiles(fitted: Forecaster) -> None:
    evaluation = fitted.evaluate()
    assert np.isfinite(evaluation.scores["TFT"][0].wql)
    backtest = fitted.backtest(baselines=["last"])
    assert "TFT" in backtest.grouped_scores
    explanation = fitted.explain(permutation=20, max_windows=40)
    assert explanation.permutation is not None


def test_training_goes_by_the_likelihood_and_judges_the_median(fitted: Forecaster) -> None:
    from fusecast.training.lightning_module import median_error

    prepared, network = fitted.prepared, fitted.predictor.members[0].network
    batch = gather(prepared.encoded, prepared.valid, np.arange(len(prepared.valid)))
    with torch.no_grad():
        output = network(batch)
        score = network.head.log_prob(output.parameters, batch.target, batch.center, batch.scale)
    assert batch.target_mask.shape[-1]
    assert not batch.target_mask.all()
    row = fitted.result.history[-1]  # one epoch; the best weights are the last
    expected = -float(score[batch.target_mask].double().mean())
    assert row["val_loss"] == pytest.approx(expected, rel=1e-2)  # a mean of means of batches
    assert row["val_mae"] == pytest.approx(float(median_error(output.quantiles, batch, (0.1, 0.5, 0.9))), rel=1e-2)


def test_two_targets_share_a_head() -> None:
    table = counts().with_columns(visitors=pl.col("visitors").round(0))
    two = Forecaster(
        HORIZON,
        LOOKBACK,
        target=["y", "visitors"],
        known=["promotion"],
        **{**TINY, "network": {**TINY["network"], "head": "negative_binomial"}},
    ).fit(table)
    forecasts = two.predict(future_of(table), quantiles=[0.2, 0.8])
    assert {"y:q0.2", "visitors:q0.8"} <= set(forecasts.columns)
    assert forecasts["visitors:q0.8"].is_finite().all()


# --- tables and options that make no sense ---------------------------------------------------------------------------


def with_value(value: float, row: int = 107) -> pl.DataFrame:
    return counts().with_columns(pl.when(pl.int_range(pl.len()) == row).then(value).otherwise(pl.col("y")).alias("y"))


@pytest.mark.parametrize("head", COUNTED)
def test_negative_targets_are_refused_with_their_place(head: str) -> None:
    message = (
        rf"target 'y' has negative values, which network.head='{head}' cannot forecast, in 1 series: 'shop 1'; "
        r"the first is -3 in row 7 of 'shop 1'\nHint: use network.head='quantile', 'normal' or 'student_t', or correct"
    )
    with pytest.raises(DataError, match=message):
        forecaster(head).prepare(with_value(-3.0))


def test_fractions_are_no_counts() -> None:
    message = (
        r"'y' has values that are no whole numbers.*'negative_binomial'.*the first is 2.5 in row 7 of 'shop 1'\n"
        r"Hint: use network.head='tweedie'"
    )
    with pytest.raises(DataError, match=message):
        forecaster("negative_binomial").prepare(with_value(2.5))
    forecaster("tweedie").prepare(with_value(2.5))


@pytest.mark.parametrize("head", COUNTED)
def test_logarithms_and_distributions_of_the_values_themselves_do_not_go_together(head: str) -> None:
    run = Forecaster(HORIZON, LOOKBACK, **ROLES, network={"head": head}, features={"target_transform": "log1p"})
    with pytest.raises(ConfigError, match=r"target_transform='log1p' would change them\nHint: use target_transform"):
        run.prepare(counts())


def test_an_unknown_head_is_refused_before_the_table_is_read() -> None:
    message = r"network.head cannot be 'gaussian'\nHint: it is not supported; use 'normal'"
    with pytest.raises(ConfigError, match=message):
        forecaster("gaussian")


def test_a_head_of_quantiles_interpolates_as_before() -> None:
    usual = forecaster("quantile").fit(counts())
    assert not usual.predictor.supports_any_level
    wide = usual.predict(future_of(counts()), quantiles=[0.1, 0.3, 0.5, 0.9])
    middle = (wide["q0.1"] + wide["q0.5"]) / 2
    np.testing.assert_allclose(wide["q0.3"].to_numpy(), middle.to_numpy(), rtol=1e-9)


def test_a_model_saved_before_there_were_heads_loads(tmp_path: Path) -> None:
    import json

    folder = tmp_path / "old"
    saved = forecaster("quantile").fit(counts(), folder=folder)
    config = json.loads((folder / "config.json").read_text())
    for name in ("head", "tweedie_power"):
        del config["model"][name]
        del config["extra"]["run"]["network"][name]
    del config["sha256"]["config.json"]  # which that version did not write
    (folder / "config.json").write_text(json.dumps(config))
    old = Forecaster.load(folder)
    assert_frame_equal(old.predict(future_of(counts()), data=counts()), saved.predict(future_of(counts())))


def test_a_checkpoint_written_before_there_were_heads_is_resumed(tmp_path: Path) -> None:
    run = forecaster("quantile").fit(counts(), folder=tmp_path)
    for path in (tmp_path / "checkpoints").glob("*.ckpt"):
        content = torch.load(path, weights_only=True)
        for name in ("head", "tweedie_power"):
            del content["hyper_parameters"]["model"][name]
        torch.save(content, path)
    again = forecaster("quantile").fit(counts(), folder=tmp_path, resume=True)
    assert_frame_equal(again.predict(future_of(counts())), run.predict(future_of(counts())))
    with pytest.raises(TrainingError, match="head was quantile and is normal"):
        forecaster("normal").fit(counts(), folder=tmp_path, resume=True)
