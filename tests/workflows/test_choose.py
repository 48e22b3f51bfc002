"""Options that are left open are chosen from the table, written into the run, and printed with their reason."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.helpers.tables import HORIZON, LOOKBACK, ROLES, TINY, shop_table

from fusecast import Forecaster, RunConfig
from fusecast.data import arrays
from fusecast.features import targets
from fusecast.workflows import choose
from fusecast.workflows.choose import choose_lookback, choose_window_scaling


@pytest.mark.parametrize(
    ("frequency", "horizon", "rows", "steps", "reason"),
    [
        ("1h", 24, 50_000, 168, "one season of 168 h"),
        ("1h", 168, 50_000, 336, "2 seasons of 168 h"),
        ("1h", 24, 100, 48, "2 seasons of 24 h"),  # a week does not fit twice
        ("1h", 24, 60, 30, "half of the 60 rows"),
        ("1h", 1_000, 50_000, 1_008, "6 seasons"),  # no longer than the horizon asks for
        ("1d", 28, 1_000, 56, "8 seasons of 1 week"),
        ("1w", 13, 300, 52, "one season of 52 weeks"),
        ("1w", 13, 60, 30, "where no season"),
        ("1mo", 12, 72, 24, "2 seasons of 1 year"),
        ("1y", 5, 100, 30, "where no season"),
        ("1m", 60, 40_000, 1_440, "one season of 24 h"),  # a week would be 10,080 steps
        ("10s", 60, 40_000, 120, "where no season of up to 2,016 steps fits twice"),
        ("1i", 5, 1, 1, "half of the 1 rows"),
    ],
)
def test_the_lookback_follows_from_season_horizon_and_rows(
    frequency: str, horizon: int, rows: int, steps: int, reason: str
) -> None:
    choice = choose_lookback(frequency, horizon, rows)
    assert choice.value == steps
    assert reason in choice.reason


def test_a_horizon_alone_is_enough(tmp_path: Path) -> None:
    forecaster = Forecaster(HORIZON, **ROLES, **TINY).fit(shop_table(), folder=tmp_path)
    choice, *others = forecaster.prepared.choices
    assert [choice.option, *(each.option for each in others)] == ["lookback", "window scaling", "lower bound"]
    assert forecaster.config.lookback == choice.value == forecaster.predictor.config.lookback
    assert RunConfig.read(tmp_path / "run.yaml").lookback == choice.value  # a resumed run chooses nothing
    assert Forecaster.load(tmp_path).config == forecaster.config


def test_many_windows_are_trained_on_in_more_and_smaller_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    given = Forecaster(HORIZON, LOOKBACK, **ROLES, training={"batch_size": 16}).prepare(shop_table())
    assert given.config.training.rate == 1e-3
    monkeypatch.setattr(choose, "MANY_WINDOWS", len(given.train) - 1)
    many = Forecaster(HORIZON, LOOKBACK, **ROLES).prepare(shop_table())
    assert (many.config.training.batch_size, many.config.training.learning_rate) == (32, 2e-3)
    chosen = {each.option: each for each in many.choices}
    assert chosen["batch size"].value == 32
    assert chosen["learning rate"].reason == f"there are {len(given.train):,} windows to train on"
    given = Forecaster(HORIZON, LOOKBACK, **ROLES, training={"batch_size": 16}).prepare(shop_table())
    assert (given.config.training.batch_size, given.config.training.learning_rate) == (16, 2e-3)
    monkeypatch.setattr(choose, "MANY_WINDOWS", len(given.train))
    few = Forecaster(HORIZON, LOOKBACK, **ROLES).prepare(shop_table())
    assert (few.config.training.batch, few.config.training.rate) == (64, 1e-3)


def test_baselines_are_mixed_in_where_validation_rows_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    few = Forecaster(HORIZON, LOOKBACK, **ROLES).prepare(shop_table())
    assert few.config.blend == "none"
    horizons = len(few.windows("validation", HORIZON))
    monkeypatch.setattr(choose, "HORIZONS_TO_CHOOSE_BY", horizons)
    many = Forecaster(HORIZON, LOOKBACK, **ROLES).prepare(shop_table())
    assert many.config.blend == "validation"
    (choice,) = [each for each in many.choices if each.option == "blend"]
    assert f"hold {horizons} horizons" in choice.reason
    for options in ({"blend": "none"}, {"network": {"head": "normal"}}):
        assert Forecaster(HORIZON, LOOKBACK, **ROLES, **options).prepare(shop_table()).config.blend == "none"
    monkeypatch.setattr(choose, "HORIZONS_TO_CHOOSE_BY", horizons + 1)
    assert Forecaster(HORIZON, LOOKBACK, **ROLES).prepare(shop_table()).config.blend == "none"


def test_a_lookback_that_is_given_stays() -> None:
    forecaster = Forecaster(HORIZON, 5, **ROLES, **TINY)
    assert [choice.option for choice in forecaster.prepare(shop_table()).choices] == ["window scaling", "lower bound"]
    assert forecaster.config.lookback == 5


@pytest.mark.parametrize(
    ("members", "horizons", "kinds", "reason"),
    [
        (1, 1_000, "season", "a single network"),
        (2, 99, "season", "hold 99 horizons, too few to choose by"),
        (2, 1, "season", "hold 1 horizon,"),
        (2, 100, ("season", "mean"), "the validation rows decide"),
    ],
)
def test_the_window_scaling_follows_from_the_validation_rows(
    members: int, horizons: int, kinds: str | tuple[str, ...], reason: str
) -> None:
    choice = choose_window_scaling(members, horizons)
    assert choice.value == kinds
    assert reason in choice.reason


@pytest.mark.parametrize(("series", "kinds"), [(24, ("season",)), (25, ("season", "mean"))])
def test_horizons_of_validation_are_counted_over_all_series(series: int, kinds: tuple[str, ...]) -> None:
    training = {**TINY["training"], "members": 2}
    forecaster = Forecaster(HORIZON, **ROLES, **{**TINY, "training": training})
    prepared = forecaster.prepare(shop_table(series=series))  # 18 validation rows each: four horizons
    assert prepared.config.features.window_scalings == kinds
    assert forecaster.config.features.window_scaling == (kinds[0] if len(kinds) == 1 else kinds)


def counts(values: Sequence[float], name: str = "y") -> pl.DataFrame:
    """Return a table of 200 days whose target repeats some values."""
    days = pl.date_range(pl.date(2024, 1, 1), pl.date(2024, 7, 18), eager=True)
    return pl.DataFrame({"ds": days, name: np.resize(np.asarray(values, dtype=np.float64), 200)})


@pytest.mark.parametrize(
    ("values", "options", "head"),
    [
        ([0, 0, 3, 1, 12], {}, "negative_binomial"),
        ([9, 10, 11], {}, "negative_binomial"),
        ([10, 11, 12, 13], {}, "quantile"),  # large counts are nearly continuous
        ([0, 0, 3, 1, 12.5], {}, "quantile"),
        ([0, 0, 3, -1, 12], {}, "quantile"),
        ([0, 0, 12_000] + [0, 3, 1, 12] * 50, {}, "quantile"),
        ([2, 3, 2, 4, 3, 1, 900] + [2, 3, 2, 4, 3, 1] * 33, {}, "quantile"),  # an extreme spike
        ([0, 1], {}, "quantile"),  # a state that is on or off
        ([0, 0, 3, 1, 12], {"network": {"head": "quantile"}}, "quantile"),
        ([0, 0, 3, 1, 12], {"features": {"target_transform": "log1p"}}, "quantile"),
    ],
)
def test_small_counts_have_a_distribution_of_counts(values: list[float], options: dict[str, Any], head: str) -> None:
    prepared = Forecaster(HORIZON, LOOKBACK, **options).prepare(counts(values))
    assert prepared.config.network.head == prepared.model_config.head == head
    assert [each.value for each in prepared.choices if each.option == "head"] == [head] * (head != "quantile")


def test_one_target_that_is_no_small_count_gives_all_of_them_quantiles() -> None:
    table = counts([0, 0, 3, 1, 12]).with_columns(counts([100, 200], "other")["other"])
    prepared = Forecaster(HORIZON, LOOKBACK, target=["y", "other"]).prepare(table)
    assert prepared.config.network.head == "quantile"


def test_counts_outside_the_training_rows_do_not_choose_and_break_nothing() -> None:
    table = counts([0, 0, 3, 1, 12])
    last = table.with_columns(pl.when(pl.int_range(pl.len()) == 199).then(0.5).otherwise("y").alias("y"))
    assert Forecaster(HORIZON, LOOKBACK).prepare(last).config.network.head == "quantile"


def test_the_forecasts_of_small_counts_are_whole_numbers(tmp_path: Path) -> None:
    table = counts([0, 0, 3, 1, 12])
    forecaster = Forecaster(HORIZON, LOOKBACK, **TINY).fit(table, folder=tmp_path)
    forecasts = Forecaster.load(tmp_path).predict(data=table).select(pl.selectors.float()).to_numpy()
    assert forecaster.config.network.head == "negative_binomial"
    assert (forecasts == np.rint(forecasts)).all()
    assert (forecasts >= 0).all()


def test_the_target_is_transformed_where_a_typical_series_has_extreme_spikes() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(50, 10, size=(3, 300))
    frame = pl.DataFrame(
        {"shop": np.repeat(["a", "b", "c"], 300), "hour": np.tile(np.arange(300), 3), "sold": values.ravel()}
    )

    def prepared(spikes: Sequence[int], **options: Any):
        at = (pl.col("hour") == 20) & pl.col("shop").is_in([("a", "b", "c")[s] for s in spikes])
        table = frame.with_columns(sold=pl.when(at).then(-2_000.0).otherwise("sold"))
        return Forecaster(4, 24, id="shop", time="hour", target="sold", **options).prepare(table)

    for spikes, value in (((), "none"), ((1,), "none"), ((0, 2), "asinh")):
        assert prepared(spikes).config.features.target_transform == value
    chosen = {each.option: each for each in prepared((0, 1, 2)).choices}["target transform"]
    training = values[:, : prepared((0, 1, 2)).splits.train_end[0]].copy()
    training[:, 20] = -2_000
    low, median, high = np.quantile(training, [0.25, 0.5, 0.75], axis=1)
    deviation = np.median((median + 2_000) / ((high - low) / 1.3489795003921634))
    assert chosen.reason == f"values of sold lie up to {deviation:,.0f} robust standard deviations from the median"
    for options in ({"features": {"target_transform": "none"}}, {"network": {"head": "student_t"}}):
        assert prepared((0, 1, 2), **options).config.features.target_transform == "none"


def test_spikes_after_the_training_rows_and_constant_series_choose_no_transform() -> None:
    rng = np.random.default_rng(1)
    sold = np.concatenate([rng.normal(50, 10, 300), np.r_[np.full(299, 7.0), 9_000.0]])
    sold[295] = 9_000
    frame = pl.DataFrame({"shop": np.repeat(["a", "b"], 300), "hour": np.tile(np.arange(300), 2), "sold": sold})
    prepared = Forecaster(4, 24, id="shop", time="hour", target="sold").prepare(frame)
    assert prepared.config.features.target_transform == "none"
    assert targets.measure_spikes(prepared.panel, "sold", np.array([0, 299])) == 0.0


def test_spikes_are_found_in_blocks_and_beside_missing_values(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    sold = rng.normal(50, 10, 400)
    sold[50:150], sold[333] = np.nan, 2_000
    frame = pl.DataFrame({"hour": np.arange(400), "sold": sold}).fill_nan(None)
    panel = Forecaster(4, 24, time="hour", target="sold").prepare(frame).panel
    low, median, high = np.nanquantile(sold[:350], [0.25, 0.5, 0.75])
    expected = (2_000 - median) / ((high - low) / 1.3489795003921634)
    assert targets.measure_spikes(panel, "sold", np.array([350])) == pytest.approx(expected)
    monkeypatch.setattr(arrays, "BLOCK_ROWS", 30)  # some blocks have no value
    assert targets.measure_spikes(panel, "sold", np.array([350])) == pytest.approx(expected)
    monkeypatch.setattr(targets, "MAX_SAMPLE", 50)
    assert targets.measure_spikes(panel, "sold", np.array([350])) == pytest.approx(expected, rel=0.3)
