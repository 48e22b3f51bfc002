"""Blends of the network with baselines: weights that suit the validation rows, and forecasts mixed by them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.helpers.evaluation_fixtures import make_panel
from tests.helpers.tables import TINY

from fusecast import ArtifactError, Forecaster
from fusecast.data.future import extend_panel
from fusecast.evaluation.baselines.registry import DEFAULT_BASELINES, build_baselines
from fusecast.evaluation.blend import GRID, PSEUDO_HORIZONS, Blend, count_horizons, learn_blend
from fusecast.inference.ensemble_predictor import EnsemblePredictor
from fusecast.inference.forecasts import Forecasts
from fusecast.windows.window_index import WindowIndex

LEVELS = (0.1, 0.5, 0.9)


def noisy_forecasts(actual: np.ndarray, noise: np.ndarray, seed: int, windows: int = 12) -> Forecasts:
    """Return forecasts of series, whose errors have the deviation `noise` [S], of windows of two steps."""
    rng, series = np.random.default_rng(seed), np.repeat(np.arange(len(actual)), windows)
    cutoff = np.tile(2 + 2 * np.arange(windows), len(actual))
    values = actual[series[:, None], cutoff[:, None] + np.arange(2)]
    middle = values + noise[series][:, None] * rng.normal(size=values.shape)
    spread = 1.28 * noise[series][:, None, None] * np.array([-1, 0, 1])
    quantiles = (middle[..., None] + spread)[:, :, None]
    return Forecasts(series=series, cutoff=cutoff, quantiles=quantiles, levels=LEVELS)


def blend_of(model_noise: list[float], baseline_noise: list[float], windows: int = 12) -> Blend:
    actual = np.random.default_rng(0).normal(size=(len(model_noise), 40)) + 10
    model, exact, poor = (
        noisy_forecasts(actual, np.array(noise), seed, windows)
        for seed, noise in enumerate((model_noise, baseline_noise, [9.0] * len(model_noise)), start=1)
    )
    panel = make_panel(*actual)
    return learn_blend(panel, model, {"poor": poor, "exact": exact}, np.ones((len(actual), 1)))


def test_where_the_baseline_is_the_truth_it_has_all_the_weight() -> None:
    blend = blend_of([1.0] * 6, [0.0] * 6)
    assert blend.series == tuple(f"s{i}" for i in range(6))
    assert blend.baseline == ("exact",) * 6
    assert min(blend.weight) >= 0.9


def test_where_the_network_is_clearly_better_it_has_all_the_weight() -> None:
    assert max(blend_of([0.1] * 6, [5.0] * 6).weight) <= 0.1


def test_with_many_windows_each_series_has_its_own_weight_and_with_one_nearly_the_common_one() -> None:
    noise = [1.0, 0.1, 1.0, 0.1], [0.1, 1.0, 0.1, 1.0]
    weights = np.array(blend_of(*noise).weight)
    assert weights[[0, 2]].min() > 0.7
    assert weights[[1, 3]].max() < 0.3
    with_one = blend_of([0.6] * 12, [1.2] * 12, windows=1)  # chance alone would give some all the weight
    assert max(with_one.weight) < 0.7


def test_the_weight_is_that_of_least_shrunken_loss_by_hand() -> None:
    actual = np.random.default_rng(3).normal(size=(3, 40)) + 10
    model, other = (noisy_forecasts(actual, np.array([1.0, 0.5, 2.0]) * k, k, 2) for k in (1, 2))
    blend = learn_blend(make_panel(*actual), model, {"other": other}, np.ones((3, 1)))
    losses = np.zeros((len(GRID), 3))
    for k, weight in enumerate(GRID):
        mixed = (1 - weight) * model.quantiles + weight * other.quantiles
        for w in range(6):
            values = actual[model.series[w], model.cutoff[w] : model.cutoff[w] + 2]
            for q, level in enumerate(LEVELS):
                above = values - mixed[w, :, 0, q]
                losses[k, model.series[w]] += np.maximum(level * above, (level - 1) * above).sum()
    ratio = np.log(losses / losses[0])
    best = np.argmin(2 * ratio + PSEUDO_HORIZONS * ratio.mean(axis=1, keepdims=True), axis=0)
    assert blend.weight == tuple(GRID[k] for k in best)


def test_series_without_a_window_have_the_common_choice_where_their_error_scale_is_known() -> None:
    actual = np.random.default_rng(7).normal(size=(6, 40)) + 10
    model, exact = (noisy_forecasts(actual, np.full(6, noise), k, 2) for k, noise in enumerate((1.0, 0.0)))
    some = np.isin(model.series, [0, 2, 3])  # as a table has more series than windows that are compared
    model, exact = (
        replace(each, series=each.series[some], cutoff=each.cutoff[some], quantiles=each.quantiles[some])
        for each in (model, exact)
    )
    scale = np.ones((6, 1))
    scale[5] = np.nan  # no two values a season apart
    blend = learn_blend(make_panel(*actual), model, {"exact": exact}, scale)
    assert blend.series == ("s0", "s2", "s3", "s1", "s4")
    assert blend.weight == (1.0,) * 5
    assert blend.baseline == ("exact",) * 5


def test_windows_that_overlap_are_one_observation() -> None:
    series = np.array([4, 4, 4, 4, 7, 7, 9])
    cutoff = np.array([10, 11, 12, 20, 5, 7, 30])  # 10 to 12 lie in two horizons, counted back from 20
    assert count_horizons(series, cutoff, 3).tolist() == [3, 1, 1]
    rng = np.random.default_rng(5)
    series, cutoff = rng.integers(0, 4, 60), rng.integers(0, 50, 60)
    expected = [len({(cutoff[series == s].max() - c) // 7 for c in cutoff[series == s]}) for s in np.unique(series)]
    assert count_horizons(series, cutoff, 7).tolist() == expected


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the run of a hardly trained model of series that repeat exactly."""
    steps, path = np.arange(80), tmp_path_factory.mktemp("blend") / "run"
    table = pl.concat(
        pl.DataFrame(
            {
                "unique_id": name,
                "ds": [datetime(2024, 1, 1) + timedelta(days=int(i)) for i in steps],
                "y": level * (2 + np.sin(2 * np.pi * steps / 7)),
            }
        )
        for name, level in (("a", 1.0), ("b", 5.0))
    )
    table.write_parquet(path.parent / "table.parquet")
    Forecaster(7, 14, blend="validation", **TINY).fit(path.parent / "table.parquet", folder=path)
    return path


def test_forecasts_are_the_mixture_by_hand_of_what_was_saved(folder: Path) -> None:
    forecaster = Forecaster.load(folder)
    bundle, prepared = forecaster._require_bundle(), forecaster.prepared
    blend = Blend.from_dict(bundle.extra["blend"])
    assert blend.series == ("a", "b")
    assert min(blend.weight) >= 0.9
    extended = extend_panel(prepared.panel, 7)
    index = WindowIndex.at_end(lengths=prepared.panel.lengths, lookback=14, horizon=7)
    network = EnsemblePredictor.from_bundle(bundle, "cpu").predict(extended, index).quantiles
    fitted = build_baselines(DEFAULT_BASELINES, prepared.panel, prepared.splits.train_end, 7, LEVELS)
    baselines = {each.name: each.predict(extended, index).quantiles for each in fitted}
    table = forecaster.predict(device="cpu")
    for s, (name, baseline, weight) in enumerate(zip(blend.series, blend.baseline, blend.weight, strict=True)):
        expected = (1 - weight) * network[s, :, 0] + weight * baselines[baseline][s, :, 0]
        got = table.filter(pl.col("unique_id") == name).select("q0.1", "q0.5", "q0.9").to_numpy()
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_scores_backtests_and_calibration_are_those_of_the_blend(folder: Path) -> None:
    forecaster = Forecaster.load(folder)
    evaluation = forecaster.evaluate()
    network = evaluate_without(folder)
    assert evaluation.scores["TFT"][0].wql < 0.3 * network
    assert forecaster.backtest(stride=7, baselines=["last"]).evaluation.scores["TFT"][0].wql < 0.3 * network
    frame = forecaster.predict(quantiles=[0.25, 0.5])
    assert frame.columns[-2:] == ["q0.25", "q0.5"]
    only = forecaster.prepared.panel.select([1])  # series are found by their names
    alone = forecaster.predict(data=only.to_frame()).select("y_hat").to_numpy()
    np.testing.assert_allclose(
        alone, forecaster.predict().filter(pl.col("unique_id") == "b").select("y_hat"), rtol=1e-5
    )


def evaluate_without(folder: Path) -> float:
    """Return the WQL of the networks alone."""
    from fusecast.workflows.evaluate import evaluate_run

    forecaster = Forecaster.load(folder)
    bundle = forecaster._require_bundle()
    alone = replace(bundle, extra={name: value for name, value in bundle.extra.items() if name != "blend"})
    networks = EnsemblePredictor.from_bundle(alone, "cpu")
    return evaluate_run(forecaster.prepared, alone, networks, raw=True).scores["TFT"][0].wql


def test_explanations_name_the_baselines_and_their_weights(folder: Path, tmp_path: Path) -> None:
    forecaster = Forecaster.load(folder)
    blend = Blend.from_dict(forecaster._require_bundle().extra["blend"])
    explanation = forecaster.explain(device="cpu")
    assert explanation.sentences()[1] == blend.describe({"a", "b"})
    assert explanation.tables()["blend"].rows() == list(zip(*blend.to_dict().values(), strict=True))
    for name, baseline, weight in zip(blend.series, blend.baseline, blend.weight, strict=True):
        mixture = f"The forecasts are mixed with {baseline} (weight {weight:.0%})"
        sentence = f"{mixture}: only the networks' part is explained."
        assert sentence in forecaster.explain(series=name, device="cpu").sentences()
        assert sentence in forecaster.explain_forecast(name, device="cpu").words
    page = forecaster.report(tmp_path / "report.html", device="cpu").read_text(encoding="utf-8")
    assert "The forecasts of 2 of 2 series are mixed with " in page


def test_a_blend_is_described_for_the_series_that_it_mixes() -> None:
    blend = Blend(series=("a", "b", "c", "d"), baseline=("drift", "drift", "last", "last"), weight=(0.5, 0.2, 1.0, 0.0))
    assert blend.describe({"a", "b", "c", "d"}) == (
        "The forecasts of 3 of 4 series are mixed with drift (2 series, weight 20% to 50%) and last (1 series, weight "
        "100%): only the networks' part is explained."
    )
    assert blend.describe({"d"}) == blend.describe({"another"}) == ""


def test_a_damaged_blend_is_refused() -> None:
    values = {"series": ["a"], "baseline": ["drift"], "weight": [0.5]}
    assert Blend.from_dict(values).to_dict() == values
    for name, wrong in (("weight", [2.0]), ("series", []), ("baseline", [1])):
        with pytest.raises(ValueError):  # noqa: PT011
            Blend.from_dict({**values, name: wrong})


def test_rows_since_the_training_are_enough_for_the_same_forecasts(folder: Path, tmp_path: Path) -> None:
    """The spreads of baselines are saved: they do not depend on which rows of the training come with a request."""
    forecaster = Forecaster.load(folder)
    newest = pl.read_parquet(folder.parent / "table.parquet").group_by("unique_id", maintain_order=True).tail(16)
    expected = forecaster.predict(device="cpu")
    assert_frame_equal(forecaster.predict(data=newest, device="cpu"), expected, rel_tol=1e-6)
    exported = Forecaster.load(forecaster.export(tmp_path / "bundle", scores=False))
    assert_frame_equal(exported.predict(data=newest, device="cpu"), expected, rel_tol=1e-6)
    assert Forecaster.load(forecaster.save(tmp_path / "again")).predict(data=newest, device="cpu").equals(
        exported.predict(data=newest, device="cpu")
    )  # fmt: skip


def test_a_bundle_without_spreads_takes_them_from_the_training_rows_of_its_table(folder: Path) -> None:
    forecaster = Forecaster.load(folder)
    bundle = forecaster._require_bundle()
    assert set(bundle.arrays) == {"spread of seasonal naive 7", "typical"}
    expected = forecaster.predict(device="cpu")
    object.__setattr__(bundle, "arrays", {})  # as in bundles of earlier versions
    assert forecaster.predict(device="cpu").equals(expected)
    newest = pl.read_parquet(folder.parent / "table.parquet").group_by("unique_id", maintain_order=True).tail(16)
    assert not np.allclose(forecaster.predict(data=newest, device="cpu")["q0.9"], expected["q0.9"], rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spread of seasonal naive 7": np.zeros((2, 0, 1, 3))}, "the spread of 'seasonal naive 7' is that of other"),
        ({"spread of seasonal naive 7": np.zeros((3, 1, 1, 3))}, "the spread of 'seasonal naive 7' is that of other"),
        ({"spread of seasonal naive 7": np.zeros((2, 1, 1, 2))}, "the spread of 'seasonal naive 7' is that of other"),
        ({"spread of seasonal naive 7": None}, "there is no spread of 'seasonal naive 7'"),
        ({"typical": np.zeros(2)}, "there are medians of other targets"),
    ],
)
def test_spreads_that_are_not_those_of_the_blend_are_refused(
    folder: Path, tmp_path: Path, change: dict[str, np.ndarray | None], message: str
) -> None:
    forecaster = Forecaster.load(folder)
    bundle = forecaster._require_bundle()
    arrays = {name: array for name, array in (dict(bundle.arrays) | change).items() if array is not None}
    object.__setattr__(bundle, "arrays", arrays)
    forecaster.save(tmp_path / "run")
    with pytest.raises(ArtifactError, match=f"its blend is damaged .{message}"):
        Forecaster.load(tmp_path / "run")
