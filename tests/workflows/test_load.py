"""A saved run whose parts contradict each other is refused, also where every checksum is right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.helpers.tables import HORIZON, LOOKBACK, ROLES, TINY, shop_table

from fusecast import ArtifactError, Forecaster

Values = dict[str, Any]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    forecaster = Forecaster(HORIZON, LOOKBACK, **ROLES, **TINY).fit(shop_table())
    return forecaster.save(tmp_path_factory.mktemp("saved"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda extra: extra["run"].update(lookback=LOOKBACK + 1), "lookback of the run is"),
        (lambda extra: extra["run"].update(lookback=10**12), "lookback of the run is 1000000000000"),
        (lambda extra: extra["run"]["network"].update(quantiles=[0.2, 0.5, 0.9]), "quantiles of the run"),
        (lambda extra: extra["run"]["network"].update(head="normal"), "head of the run is normal"),
        (lambda extra: extra["run"]["features"].update(target_transform="log1p"), "the features of the run are not"),
        (lambda extra: extra["run"]["table"].update(time="when"), "the columns of the run are not"),
        (lambda extra: extra["run"].update(horizon="4"), "horizon must be a whole number of at least 1, not '4'"),
        (lambda extra: extra["run"].update(network=[]), "network must be a section of options"),
        (lambda extra: extra["run"].update(self=1), "self is not an option"),
        (lambda extra: extra.update(run=[]), "'run' must be a mapping"),
        (lambda extra: extra.update(split=None), "'split' must be a mapping"),
        (lambda extra: extra["split"].update(series="abc"), "'series' must be a list"),
        (lambda extra: extra["split"]["test"].pop(), "not as many times of test as series"),
        (lambda extra: extra["split"].update(validation=["x"]), "'validation' must hold a whole number"),
        (lambda extra: extra["split"].update(closest="1"), "'closest' must be a whole number"),
        (lambda extra: extra.update(calibration={"method": "cqr"}), "the calibration cannot be read"),
    ],
)
def test_a_run_that_contradicts_its_network_is_refused(
    saved: Path, tmp_path: Path, change: Callable[[Values], object], words: str
) -> None:
    for path in saved.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    del config["sha256"]["config.json"]
    change(config["extra"])
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match=words):
        Forecaster.load(tmp_path)
