"""Fitting a prepared table: the calendar features of a run that goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.helpers.tables import HORIZON, LOOKBACK, ROLES, TINY, future_of, shop_table

from fusecast import Forecaster
from fusecast.features import preprocessor
from fusecast.features.calendar import infer_calendar_features

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
