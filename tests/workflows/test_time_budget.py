"""`time_budget`: the time of a fit is divided among its parts, whatever the machine."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.helpers.tables import HORIZON, LOOKBACK, ROLES, TINY, shop_table

from fusecast import ConfigError, Forecaster, RunConfig
from fusecast.training.members import ensemble as ensemble_module
from fusecast.training.members.ensemble import Ensemble
from fusecast.workflows import fit as fit_module
from fusecast.workflows.fit import TimeBudget, affordable_windows

NOW = 1_000_000.0


@pytest.fixture
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (fit_module, ensemble_module):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: NOW, monotonic=time.monotonic))


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90.0), ("10m", 600.0), ("1.5h", 5400.0), ("0.5m", 30.0), (None, None)]
)
def test_a_time_is_a_number_and_a_unit(text: str | None, seconds: float | None) -> None:
    assert RunConfig(horizon=1, time_budget=text).budget_seconds == seconds


@pytest.mark.parametrize("text", ["10", "10 m", "m", "0s", "0.0h", "-5m", "10min", ""])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"time_budget must be a time such as '90s', '10m' or '1\.5h'"):
        RunConfig(horizon=1, time_budget=text)


@pytest.mark.parametrize(("final", "share"), [("refit", 0.5), ("finetune", 0.8), ("none", 1.0)])
def test_the_time_that_is_left_after_the_table_was_read_is_divided(
    stopped_clock: None, final: str, share: float
) -> None:
    training = {**TINY["training"], "final": final}
    forecaster = Forecaster(HORIZON, LOOKBACK, **ROLES, **{**TINY, "training": training}, time_budget="100s")
    prepared = replace(forecaster.prepare(shop_table()), seconds=8.0)
    budget = TimeBudget.begin(prepared)
    assert budget.end == NOW + 84.0  # eight seconds are for what lies around it
    assert budget.calibration == pytest.approx(8.4 / 4)
    assert budget.end_of_training == pytest.approx(NOW + share * 75.6)


def test_without_a_limit_nothing_is_divided() -> None:
    prepared = Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY).prepare(shop_table())
    assert TimeBudget.begin(prepared) == TimeBudget(None, None, None)


@pytest.mark.parametrize(
    ("members", "turns", "number", "minutes"),
    [(2, 1, 0, 6.0), (2, 1, 1, 6.0), (2, 2, 0, 3.0), (2, 2, 1, 6.0), (4, 2, 1, 3.0), (4, 2, 2, 6.0)],
)
def test_members_share_the_time_until_the_deadline_with_those_that_wait_for_them(
    stopped_clock: None, members: int, turns: int, number: int, minutes: float
) -> None:
    training = SimpleNamespace(members=members, max_minutes=None)
    group = Ensemble(
        model_config=None, training_config=training, encoded=None, train=None, valid=None, folder=Path(), resume=False,
        turns=turns, deadline=NOW + 360.0,
    )  # fmt: skip
    assert group.minutes_of(number) == pytest.approx(minutes)
    limited = replace(group, training_config=SimpleNamespace(members=members, max_minutes=1.0))
    assert limited.minutes_of(number) == 1.0 / turns
    assert 0 < replace(group, deadline=NOW - 5.0).minutes_of(number) < 1e-5


def test_a_fit_ends_when_its_time_is_over(capsys: pytest.CaptureFixture[str]) -> None:
    training = {**TINY["training"], "max_epochs": 10**6, "max_steps": None, "early_stopping_patience": None}
    training |= {"final": "refit", "progress": True}
    options = {**TINY, "training": training, "calibration": "auto"}
    forecaster = Forecaster(HORIZON, LOOKBACK, **ROLES, **options, time_budget="6s").fit(shop_table())
    assert forecaster.result is not None
    assert forecaster.result.stopped_why.endswith("minutes are over")
    assert forecaster.result.seconds < 6.0
    assert "training the networks anew with all rows" in capsys.readouterr().err


def test_as_many_windows_are_forecast_as_the_time_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    forecaster = Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY).fit(shop_table(series=8))
    prepared, bundle = forecaster.prepared, forecaster._bundle
    assert bundle is not None
    index = prepared.windows("validation")
    few = len(index.thin(fit_module.FEW_WINDOWS))
    clock = iter([0.0, 2.0] * 2)
    # Of this module alone: other threads of the process read the clock as well.
    monkeypatch.setattr(fit_module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    assert affordable_windows(prepared, bundle, index, 20.0) == 10 * few
    assert affordable_windows(prepared, bundle, index, 0.1) == few
