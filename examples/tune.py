"""Tune a network with Optuna: processes on any machines that share a storage share the trials.

python examples/tune.py sales.parquet --horizon 24 --storage sqlite:///trials.db --trials 20
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fusecast import Forecaster


def make_objective(data: Path, horizon: int, max_steps: int, **options: Any) -> Callable[[Any], float]:
    """Return a function that trains a network with the options of a trial, and returns its validation loss."""

    def objective(trial: Any) -> float:
        hidden_size = trial.suggest_categorical("hidden_size", [16, 32, 64, 128])
        network = {"hidden_size": hidden_size, "dropout": trial.suggest_float("dropout", 0.0, 0.3)}
        training = {
            "learning_rate": trial.suggest_float("learning_rate", 3e-4, 1e-2, log=True),
            "max_steps": max_steps,
            "members": 1,
            "final": "none",
            "progress": False,
        }
        forecaster = Forecaster(
            horizon, network=network, training=training, calibration="none", blend="none", **options
        ).fit(data)
        assert forecaster.result is not None
        return forecaster.result.best_loss

    return objective


def main(arguments: Sequence[str] | None = None) -> None:
    """Run trials, and print the best of all processes so far."""
    import optuna

    parser = argparse.ArgumentParser(description="Tune a network with Optuna.")
    parser.add_argument("data", type=Path)
    parser.add_argument("--horizon", type=int, required=True)
    parser.add_argument(
        "--storage", required=True, help="sqlite:///trials.db, or postgresql://... for several machines"
    )
    parser.add_argument("--trials", type=int, default=20, help="trials of this process")
    parser.add_argument("--max-steps", type=int, default=1_000, help="training steps of a trial")
    options = parser.parse_args(arguments)
    study = optuna.create_study(study_name=options.data.stem, storage=options.storage, load_if_exists=True)
    study.optimize(make_objective(options.data, options.horizon, options.max_steps), n_trials=options.trials)
    print(study.best_value, study.best_params)


if __name__ == "__main__":
    main()
