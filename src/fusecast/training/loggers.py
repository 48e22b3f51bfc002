"""Loggers of a run's curves: TensorBoard, CSV, MLflow or Weights & Biases, chosen by one option."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

from fusecast.errors import ConfigError

PROJECT = "fusecast"
LIBRARIES = {"mlflow": "MLflow", "wandb": "Weights & Biases"}


def make_logger(name: str, folder: Path) -> Logger | None:
    """Return the logger (``tensorboard``, ``csv``, ``mlflow``, ``wandb``) that writes into a folder; None for ``none``.

    MLflow writes ``mlflow.db`` and ``mlruns`` there, unless ``MLFLOW_TRACKING_URI`` is set; W&B sends to its server
    unless ``WANDB_MODE=offline``. A ConfigError with the line that installs it is raised where the library is missing.
    """
    if name == "tensorboard":
        return TensorBoardLogger(folder.parent, name=folder.name, version="", default_hp_metric=False)
    if name == "csv":
        return CSVLogger(folder.parent, name=folder.name, version="")
    if name in LIBRARIES and find_spec(name) is None:
        raise ConfigError.missing_extra(f"logger {name!r}", LIBRARIES[name], name)
    if name == "mlflow":
        from pytorch_lightning.loggers import MLFlowLogger

        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if uri:
            return MLFlowLogger(experiment_name=PROJECT, tracking_uri=uri)
        folder.mkdir(parents=True, exist_ok=True)
        database, artifacts = folder.absolute() / "mlflow.db", (folder.absolute() / "mlruns").as_uri()
        return MLFlowLogger(experiment_name=PROJECT, tracking_uri=f"sqlite:///{database}", artifact_location=artifacts)
    if name == "wandb":
        from pytorch_lightning.loggers import WandbLogger

        folder.mkdir(parents=True, exist_ok=True)
        return WandbLogger(project=PROJECT, save_dir=folder)
    return None
