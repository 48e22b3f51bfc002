"""Targets that are never negative are never forecast below zero, whatever is asked of a model; others are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.helpers.tables import HORIZON, LOOKBACK, ROLES, TINY, future_of, shop_table

from fusecast import Forecaster
from fusecast.errors import DataWarning
from fusecast.training.members import fit as members_fit

TARGETS = ["sales", "change"]
LEVELS = [0.001, 0.02, 0.5, 0.97]
VARIANTS: dict[str, dict[str, Any]] = {
    "shared windows and a blend": {"features": {"window_scaling": "none"}, "blend": "validation"},
    "members, calibrated, final networks": {
        "features": {"window_scaling": ["season", "mean"], "target_transform": "asinh"},
        "training": {"members": 2, "final": "refit"},
        "calibration": "cqr",
    },
    "a normal distribution, trained on": {
        "network": {"head": "normal"},
        "training": {"final": "finetune"},
        "calibration": "adaptive",
    },
}


@pytest.fixture(scope="module", autouse=True)
def in_turn() -> Iterator[None]:
    """Train members one after another: processes take seconds to start, and train the same."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(members_fit, "available_cores", lambda: 1)
        yield


def table(seed: int = 0) -> pl.DataFrame:
    """Return sales that are often zero, of sizes far apart, and their changes, which are negative half of the time."""
    rng = np.random.default_rng(seed)
    rows = shop_table(seed=seed)
    sales = rng.poisson(0.7, len(rows)) * np.exp(rng.normal(0, 1.5, len(rows)))
    return rows.drop("y").with_columns(sales=sales, change=np.diff(sales, prepend=0.0))


def make(features: dict[str, Any] | None = None, **sections: Any) -> Forecaster:
    options = {**TINY, "features": features or {}}
    for name, section in sections.items():
        options[name] = {**options.get(name, {}), **section} if isinstance(section, dict) else section
    return Forecaster(HORIZON, LOOKBACK, **ROLES, target=TARGETS, **options)


@pytest.fixture(scope="module", params=VARIANTS)
def fitted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Forecaster:
    return make(**VARIANTS[request.param]).fit(table(), folder=tmp_path_factory.mktemp("run"))


def lowest(frame: pl.DataFrame) -> tuple[float, float]:
    """Return the smallest forecast of sales, and of changes."""
    sales, change = (
        frame.select(pl.min_horizontal(pl.selectors.starts_with(f"{name}:")).min()).item() for name in TARGETS
    )
    return sales, change


def test_no_verb_forecasts_below_zero(fitted: Forecaster) -> None:
    future = future_of(table())
    assert fitted.folder is not None
    for model in (fitted, Forecaster.load(fitted.folder)):
        for raw in (False, True):
            given = {"data": table(), "raw": raw}
            for forecasts in (
                model.predict(future, **given),
                model.predict(future, quantiles=LEVELS, **given),
                model.backtest(baselines=[], stride=3, **given).table.filter(
                    pl.col("predictor").str.starts_with("TFT")
                ),
            ):
                sales, change = lowest(forecasts.drop("sales:actual", "change:actual", strict=False))
                assert sales >= 0 > change
            paths = model.sample(20, future, **given)
            assert paths["sales"].min() >= 0 > paths["change"].min()
            changed = model.what_if({"promotion": 0.0}, future, **given)
            of_sales = changed.filter(pl.col("target") == "sales")
            assert of_sales.select(pl.min_horizontal("before", "after").min()).item() >= 0
            assert changed["before"].min() < 0
            assert lowest(model.explain_forecast("shop 0", future, **given).forecast)[0] >= 0


@pytest.mark.parametrize("seed", range(3))
def test_without_the_bound_the_same_networks_forecast_below_zero(seed: int) -> None:
    rows = table(seed)
    bounded, free = (make({"lower_bound": bound, "window_scaling": "season"}).fit(rows) for bound in ("auto", "none"))
    future = future_of(rows)
    below, above = lowest(free.predict(future)), lowest(bounded.predict(future))
    assert below[0] < 0 <= above[0]
    assert below[1] == above[1]
    names = [name for name in free.predict(future).columns if name.startswith("sales:")]
    clipped = free.predict(future).with_columns(pl.col(names).clip(lower_bound=0.0))
    assert clipped.equals(bounded.predict(future))


def test_what_was_found_is_said_target_by_target() -> None:
    choices = {each.option: (each.value, each.reason) for each in make().prepare(table()).choices}
    assert choices["lower bound of sales"] == ("0", "no value of the training rows is negative")
    assert choices["lower bound of change"] == ("none", "some value of the training rows is negative")
    given = make({"lower_bound": "none"}).prepare(table())
    assert not [each for each in given.choices if "bound" in each.option]


def test_later_values_below_the_bound_are_counted_and_change_no_forecast() -> None:
    model = make({"window_scaling": "season"}).fit(table())
    later = table().with_columns(
        sales=pl.when(pl.int_range(pl.len()).over("unique_id") == 115).then(-4.0).otherwise("sales")
    )
    with pytest.warns(DataWarning, match=r"^3 of 54 values of 'sales' lie below 0, the lower bound of its forecasts"):
        model.evaluate(data=later)
    with pytest.warns(DataWarning, match="^3 of 54 values of 'sales' lie below 0"):
        model.backtest(data=later)
    with pytest.warns(DataWarning, match="^3 of 360 values of 'sales' lie below 0"):
        assert lowest(model.predict(future_of(later), data=later))[0] >= 0


@pytest.mark.parametrize("final", ["refit", "finetune"])
def test_networks_of_all_rows_have_the_bound_of_all_rows(final: str) -> None:
    rows = table().with_columns(
        sales=pl.when(pl.int_range(pl.len()).over("unique_id") == 115).then(-4.0).otherwise("sales")
    )
    with pytest.warns(DataWarning, match="^3 of 360 values of 'sales' lie below 0"):
        model = make({"window_scaling": "season"}, training={"final": final}).fit(rows)
    assert model.predictor.lowest.tolist() == [0.0, -np.inf]  # the scored networks
    assert model._bundle is not None
    assert model._bundle.for_future.preprocessor.targets.lowest.tolist() == [-np.inf, -np.inf]
    assert lowest(model.predict(future_of(rows)))[0] < 0


def test_a_bound_of_the_user_holds_for_every_target_and_values_below_it_are_counted() -> None:
    with pytest.warns(DataWarning, match="values of 'change' lie below -0.5"):
        model = make({"lower_bound": -0.5, "window_scaling": "season"}).fit(table())
    with pytest.warns(DataWarning, match="values of 'change' lie below -0.5"):
        forecasts = model.predict(future_of(table()), quantiles=LEVELS)
    assert lowest(forecasts) == (-0.5, -0.5)


def test_counts_keep_to_a_bound_that_is_no_whole_number() -> None:
    rows = shop_table().with_columns(pl.col("y").round(0))
    options = {**TINY, "network": {**TINY["network"], "head": "negative_binomial"}}
    model = Forecaster(HORIZON, LOOKBACK, **ROLES, features={"lower_bound": 49.5}, **options)
    with pytest.warns(DataWarning, match="lie below 49.5"):
        model.fit(rows)
    with pytest.warns(DataWarning, match="lie below 50"):
        forecasts = model.predict(future_of(rows)).select(pl.selectors.starts_with("q")).to_numpy()
    assert forecasts.min() == 50
    assert (forecasts == np.rint(forecasts)).all()
