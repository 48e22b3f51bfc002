"""Fitting a prepared table: the calendar features of a run that goes on, and the choice among window scalings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.helpers.tables import HORIZON, LOOKBACK, ROLES, TINY, future_of, shop_table

from fusecast import ConfigError, Forecaster
from fusecast.features import preprocessor
from fusecast.features.calendar import infer_calendar_features
from fusecast.inference.ensemble_predictor import EnsemblePredictor
from fusecast.inference.model_bundle import Member
from fusecast.training.members import fit as members_fit
from fusecast.workflows.fit import find_best, keep_best_members, scaled_loss

EVERY_FEATURE = tuple(feature.name for feature in infer_calendar_features("1h"))


def train(folder: Path, steps: int, *, resume: bool = False) -> Forecaster:
    training = TINY["training"] | {"max_steps": steps, "max_epochs": 4}
    forecaster = Forecaster(HORIZON, LOOKBACK, **ROLES, network=TINY["network"], training=training)
    return forecaster.fit(shop_table(), folder=folder, resume=resume)


def test_a_run_that_began_with_every_calendar_feature_goes_on_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:  # the version that took every feature that varies
        earlier.setattr(preprocessor, "find_repeated_features", lambda frequency, span: EVERY_FEATURE)
        train(tmp_path / "old", 4)
    (tmp_path / "old" / "preprocessor.json").unlink()
    resumed = train(tmp_path / "old", 8, resume=True)
    assert resumed.result.history[-1]["step"] == 8
    assert tuple(feature.name for feature in resumed.predictor.preprocessor.calendar) == EVERY_FEATURE
    forecasts = resumed.predict(future_of(shop_table()))
    assert forecasts.equals(Forecaster.load(tmp_path / "old").predict(future_of(shop_table()), data=shop_table()))
    assert "calendar:month" in resumed.explain(max_windows=3).tables()["importances"]["variable"].to_list()


def test_a_run_goes_on_with_the_calendar_features_it_has_chosen(tmp_path: Path) -> None:
    train(tmp_path / "run", 4)
    resumed = train(tmp_path / "run", 8, resume=True)
    assert [feature.name for feature in resumed.predictor.preprocessor.calendar] == ["hour"]


MIXED = {"window_scaling": ["mean", "last"]}


@pytest.fixture
def in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train members one after another: processes take seconds to start, and train the same."""
    monkeypatch.setattr(members_fit, "available_cores", lambda: 1)


def fit_both(folder: Path | None = None) -> Forecaster:
    training = TINY["training"] | {"members": 2}
    forecaster = Forecaster(
        HORIZON, LOOKBACK, **ROLES, features=MIXED, network=TINY["network"], training=training, split={"test": 0}
    )
    return forecaster.fit(shop_table(), folder=folder)


def slow_loss(forecaster: Forecaster, members: tuple[Member, ...]) -> float:
    """Written from the definition, window by window."""
    prepared = forecaster.prepared
    panel, encoded = prepared.panel, prepared.encoded
    forecasts = EnsemblePredictor(members, prepared.preprocessor, device="cpu").predict(encoded, prepared.valid)
    losses = []
    for series, cutoff, quantiles in zip(forecasts.series, forecasts.cutoff, forecasts.quantiles, strict=True):
        for step in range(HORIZON):
            actual = panel.reals["y"][panel.indptr[series] + cutoff + step]
            for level, quantile in zip(forecasts.levels, quantiles[step, 0], strict=True):
                error = (actual - quantile) / encoded.scale[series, 0]
                losses.append(level * error if error > 0 else (level - 1) * error)
    return float(np.mean(losses))


def test_of_several_window_scalings_the_one_that_validates_best_is_kept(
    in_turn: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forecaster = fit_both(tmp_path / "run")
    result, bundle = forecaster.result, forecaster._bundle
    both = tuple(Member(each.network, each.window_scaling) for each in result.members)
    assert [member.window_scaling for member in both] == ["mean", "last"]
    expected = {
        "mean and last": slow_loss(forecaster, both),
        "mean": slow_loss(forecaster, both[:1]),
        "last": slow_loss(forecaster, both[1:]),
    }
    assert bundle.extra["window_scaling_losses"] == pytest.approx(expected, rel=1e-5)
    best, why = find_best(expected)
    assert [member.window_scaling for member in bundle.members] == best.split(" and ")
    assert f"window scaling {best}: {why}" in capsys.readouterr().err
    future = future_of(shop_table())
    loaded = Forecaster.load(tmp_path / "run")
    assert loaded.predict(future, data=shop_table()).equals(forecaster.predict(future))
    assert loaded.config.features.window_scaling == ("mean", "last")


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ((1.0, 1.1, 1.2), "season and mean"),
        ((1.0, 0.996, 1.2), "season and mean"),
        ((1.0, 0.994, 1.2), "season"),
        ((1.0, 0.98, 0.97), "mean"),
    ],
)
def test_one_window_scaling_has_to_be_better_than_both_by_half_a_percent(losses: tuple[float, ...], best: str) -> None:
    found, why = find_best(dict(zip(("season and mean", "season", "mean"), losses, strict=True)))
    assert found == best
    assert ("no kind alone forecasts the validation rows better by 0.5%" in why) == (losses[1] == 0.996)


@pytest.mark.parametrize("spoiled", [0, 1])
def test_a_member_that_forecasts_badly_is_left_out(in_turn: None, spoiled: int) -> None:
    forecaster = fit_both()
    both = tuple(Member(each.network, each.window_scaling) for each in forecaster.result.members)
    with torch.no_grad():
        both[spoiled].network.head.projection.bias.add_(50.0)
    kept = keep_best_members(replace(forecaster._bundle, members=both), forecaster.prepared)
    assert kept.members == (both[1 - spoiled],)


def test_missing_values_do_not_count_in_the_loss(in_turn: None) -> None:
    forecaster = fit_both()
    predictor, prepared = forecaster.predictor, forecaster.prepared
    present = np.ones_like(prepared.encoded.reals, dtype=bool)
    rows = prepared.encoded.indptr[1:] - 1  # the last of each series
    present[rows, 0] = False
    with_holes = replace(prepared.encoded, reals_present=present)
    forecasts = predictor.predict(prepared.encoded, prepared.valid)
    targets = prepared.preprocessor.targets
    before = scaled_loss(forecasts, with_holes, prepared.valid, targets)
    reals = prepared.encoded.reals.copy()
    reals[rows, 0] = 1e6
    assert (
        scaled_loss(forecasts, replace(with_holes, reals=reals), prepared.valid, prepared.preprocessor.targets)
        == before
    )


def test_each_window_scaling_needs_a_network() -> None:
    forecaster = Forecaster(HORIZON, LOOKBACK, **ROLES, features=MIXED, **TINY)
    with pytest.raises(ConfigError, match=r"has 2 kinds \(mean, last\), and training.members is 1"):
        forecaster.fit(shop_table())
