"""A forecaster's parameters, as scikit-learn reads and sets them."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from sklearn.base import clone
from tests.helpers.tables import HORIZON, LOOKBACK, ROLES, TINY

from fusecast import ConfigError, Forecaster, TrainingError


def forecaster() -> Forecaster:
    return Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY)


def test_a_clone_has_the_parameters_and_not_the_model(fitted: Forecaster) -> None:
    for each in (forecaster(), fitted, Forecaster.from_config(fitted.config)):
        copy = clone(each)
        assert copy.get_params(deep=False).keys() == each.get_params(deep=False).keys()
        update = {"data": None, "query": None}
        assert copy.config == each._requested_config.model_copy(update=update)
        with pytest.raises(TrainingError):
            copy.save("nowhere")


def test_the_model_of_a_clone_is_that_of_the_original(table: pl.DataFrame, fitted: Forecaster) -> None:
    assert clone(fitted).fit(table).evaluate().to_dict() == fitted.evaluate().to_dict()


def test_parameters_are_those_of_the_constructor_and_the_options_of_sections() -> None:
    params = forecaster().get_params()
    assert params["horizon"] == HORIZON
    assert params["known"] == ["promotion"]
    assert params["network"] == TINY["network"]
    assert params["network__hidden_size"] == 8
    assert params["training__batch_size"] == 16
    assert "network__hidden_size" not in forecaster().get_params(deep=False)


def test_parameters_can_be_set() -> None:
    each = forecaster()
    assert each.set_params(horizon=6, network__hidden_size=4, training__seed=7) is each
    assert (each.config.horizon, each.config.network.hidden_size, each.config.network.num_heads) == (6, 4, 2)
    assert each.get_params()["network"] == {"hidden_size": 4, "num_heads": 2}
    assert each.get_params()["training__seed"] == 7
    each.set_params(network={"hidden_size": 16}, network__num_heads=4)
    assert each.get_params()["network"] == {"hidden_size": 16, "num_heads": 4}
    assert TINY["network"] == {"hidden_size": 8, "num_heads": 2}  # which was passed, and is not changed


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"horizn": 3}, "did you mean 'horizon'"),
        ({"network__hidden": 3}, "did you mean 'network__hidden_size'"),
        ({"horizon": 0}, "horizon must be"),
        ({"training__seed": 3, "network__hidden_size": -1}, "hidden_size must be at least 1"),
    ],
)
def test_a_wrong_parameter_is_refused_and_changes_nothing(params: dict[str, object], message: str) -> None:
    each = forecaster()
    before = each.get_params()
    with pytest.raises(ConfigError, match=message):
        each.set_params(**params)
    assert each.get_params() == before


def test_a_fitted_forecaster_whose_options_change_is_not_fitted(table: pl.DataFrame, tmp_path: Path) -> None:
    each = forecaster().fit(table, folder=tmp_path / "run")
    each.set_params(horizon=HORIZON, training__max_steps=4)  # as they are
    assert each.result is not None
    assert each.evaluate().windows
    each.set_params(training__max_steps=2)
    assert (each.result, each.folder) == (None, None)
    assert "not fitted" in repr(each)
    with pytest.raises((TrainingError, ConfigError)):
        each.evaluate()
    assert Forecaster.load(tmp_path / "run").config.training.max_steps == 4
    assert each.fit(table).result is not None
