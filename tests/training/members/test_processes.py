from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from tests.helpers.encoded_panels import assert_same_encoding
from tests.helpers.training_fixtures import World

from fusecast.config import TrainingConfig
from fusecast.training.final import StepPlan
from fusecast.training.members.ensemble import Ensemble
from fusecast.training.members.processes import read_job, write_job


def test_the_process_of_a_member_gets_the_ensemble_as_it_is(world: World, tmp_path: Path) -> None:
    weights = np.arange(len(world.encoded.reals), dtype=np.float32)[:, None]
    ensemble = Ensemble(
        model_config=world.model,
        training_config=TrainingConfig(members=3, seed=5),
        encoded=replace(world.encoded, window_scaling="season", season=24, weights=weights),
        train=world.train,
        valid=world.valid,
        folder=tmp_path.absolute() / "run",
        resume=True,
        scalings=("season", "mean", "last"),
        plans=(StepPlan(steps=3, rates=((0, 0.1), (2, 0.05)), seed=7),),
        turns=2,
        deadline=12.5,
    )
    (tmp_path / "job").mkdir()
    write_job(ensemble, tmp_path / "job")
    got, _ = read_job(tmp_path / "job")
    assert_same_encoding(got.encoded, ensemble.encoded)
    for name in ("train", "valid"):
        for field in fields(getattr(got, name)):
            np.testing.assert_array_equal(
                getattr(getattr(got, name), field.name), getattr(getattr(ensemble, name), field.name)
            )
    compared = [field.name for field in fields(Ensemble) if field.name not in {"encoded", "train", "valid"}]
    different = [name for name in compared if getattr(got, name) != getattr(ensemble, name)]
    assert different == []
