"""Loggers of a run's curves: TensorBoard, CSV, MLflow or Weights & Biases, chosen by one option."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger

from fusecast.errors import ConfigError

PROJECT = "fusecast"


def make_logger(name: str, folder: Path) -> Logger | None:
    """Return the logger of a run; None for ``none``.

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
        return _make_mlflow_logger(folder)
    if name == "wandb":
        _require("wandb", "Weights & Biases")
        from pytorch_lightning.loggers import WandbLogger

        folder.mkdir(parents=True, exist_ok=True)
        return WandbLogger(project=PROJECT, save_dir=folder)
    return None


def _make_mlflow_logger(folder: Path) -> Logger:
    _require("mlflow", "MLflow")
    from pytorch_lightning.loggers import MLFlowLogger

    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri:
        return MLFlowLogger(experiment_name=PROJECT, tracking_uri=uri)
    folder.mkdir(parents=True, exist_ok=True)
    absolute = folder.absolute()
    return MLFlowLogger(
        experiment_name=PROJECT,
        tracking_uri=f"sqlite:///{absolute / 'mlflow.db'}",
        artifact_location=(absolute / "mlruns").as_uri(),
    )


def _require(module: str, library: str) -> None:
    if find_spec(module) is None:
        raise ConfigError.missing_extra(f"logger {module!r}", library, module)
