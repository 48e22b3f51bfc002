"""Where a run's curves go: TensorBoard, CSV, MLflow or Weights & Biases, by one option."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

from fusecast.errors import ConfigError

PROJECT = "fusecast"


def make_logger(name: str, folder: Path) -> Logger | None:
    """Make the logger of a run; None for ``none``.

    Parameters
    ----------
    name
        ``tensorboard``, ``csv``, ``mlflow``, ``wandb`` or ``none``.
    folder
        Where it writes. MLflow writes ``mlflow.db`` and ``mlruns`` there, unless ``MLFLOW_TRACKING_URI`` is set; W&B
        sends to its server unless ``WANDB_MODE=offline``.

    Raises
    ------
    ConfigError
        If the library is not installed, with the line that installs it.
    """
    if name == "tensorboard":
        return TensorBoardLogger(folder.parent, name=folder.name, version="", default_hp_metric=False)
    if name == "csv":
        return CSVLogger(folder.parent, name=folder.name, version="")
    if name == "mlflow":
        _require("mlflow", "MLflow")
        from pytorch_lightning.loggers import MLFlowLogger

        place = os.environ.get("MLFLOW_TRACKING_URI")
        if place:
            return MLFlowLogger(experiment_name=PROJECT, tracking_uri=place)
        folder.mkdir(parents=True, exist_ok=True)
        here = folder.absolute()
        return MLFlowLogger(
            experiment_name=PROJECT,
            tracking_uri=f"sqlite:///{here / 'mlflow.db'}",
            artifact_location=(here / "mlruns").as_uri(),
        )
    if name == "wandb":
        _require("wandb", "Weights & Biases")
        from pytorch_lightning.loggers import WandbLogger

        folder.mkdir(parents=True, exist_ok=True)
        return WandbLogger(project=PROJECT, save_dir=folder)
    return None


def _require(module: str, what: str) -> None:
    if find_spec(module) is None:
        raise ConfigError.extra_missing(f"logger {module!r}", what, module)
