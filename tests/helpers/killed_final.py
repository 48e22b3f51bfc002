"""Runs with final networks that kill themselves in each phase: a script for the tests of resumption.

python -m tests.helpers.killed_final FOLDER

Writes FOLDER/1, of one network, and FOLDER/2, of two.

Each run is a process of its own, which resumes where the one before was killed; this one has loaded all libraries and
never trains, so forking it is safe.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import torch
from tests.helpers.tables import HORIZON, LOOKBACK, ROLES, shop_table

from fusecast import forecaster
from fusecast.inference import model_bundle
from fusecast.training.final import FollowPlan, LearningRates
from fusecast.training.members import fit as members_fit
from fusecast.workflows import fit as workflow

OPTIONS: dict[str, Any] = {
    "network": {"hidden_size": 8, "num_heads": 2, "dropout": 0.1},
    "training": {
        "batch_size": 16,
        "windows_per_epoch": 32,
        "max_epochs": 5,
        "learning_rate": 0.4,
        "lr_scheduler_patience": 0,
        "members": 1,
        "average_weights": False,
        "accelerator": "cpu",
        "logger": "none",
        "progress": False,
        "final": "refit",
    },
}


def table(steps: int = 120) -> pl.DataFrame:
    """Return the sales of three shops, the first steps of which are those of a longer table."""
    return shop_table(steps=200).filter(pl.int_range(pl.len()).over("unique_id") < steps)


def fit(
    folder: Path | None,
    data: pl.DataFrame | None = None,
    *,
    resume: bool = False,
    dropout: float = 0.1,
    split: dict[str, Any] | None = None,
    validation: Any = None,
    **training: Any,
) -> forecaster.Forecaster:
    """Fit a small network, and its final one."""
    options = {"network": OPTIONS["network"] | {"dropout": dropout}, "training": OPTIONS["training"] | training}
    split = split or ({} if validation is None else {"validation": validation})
    features = {"window_scaling": "mean"}
    made = forecaster.Forecaster(HORIZON, LOOKBACK, **ROLES, **options, features=features, split=split)
    return made.fit(table() if data is None else data, folder=folder, resume=resume)


def die(*_: Any, **__: Any) -> None:
    """End this process as nothing can prevent."""
    os.kill(os.getpid(), signal.SIGKILL)


def in_step(kind: type, step: int, seed: int = 42) -> Callable[[], None]:
    """Return what arranges for death in a step of the judged or the final training of the member with a seed."""

    def arrange() -> None:
        plain = kind.on_train_batch_start

        def start(self: Any, trainer: Any, module: Any, *rest: Any) -> None:
            plain(self, trainer, module, *rest)
            if trainer.global_step == step and module.seed == seed:
                die()

        kind.on_train_batch_start = start

    return arrange


def between() -> None:
    """Arrange for death when the judged networks are done."""
    workflow.plan_final = die


def at_save() -> None:
    """Arrange for death when the final networks are done, and nothing is saved."""
    model_bundle.save_bundle = die


def run_and_be_killed(folder: Path, members: int, arrange: Callable[[], None]) -> None:
    """Train in a process of its own, which is to be killed."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        members_fit.available_cores = lambda: 1
        arrange()
        fit(folder, members=members, checkpoint_steps=3, resume=folder.exists())
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
        sys.exit(f"a run that was to be killed ended with status {status}")


if __name__ == "__main__":
    for count, moments in (
        (1, (in_step(LearningRates, 5), between, in_step(FollowPlan, 5))),
        (2, (in_step(FollowPlan, 1, seed=43), at_save)),  # in the second member, when the first is done
    ):
        for moment in moments:
            run_and_be_killed(Path(sys.argv[1]) / str(count), count, moment)
