"""The Temporal Fusion Transformer: a table of time series in, calibrated and explained forecasts out.

Public names are loaded when they are first used, so that importing the package is cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from fusecast._version import __version__

if TYPE_CHECKING:
    from fusecast.calibration.conformal import Conformal
    from fusecast.config import (
        FeatureConfig,
        NetworkConfig,
        RunConfig,
        SplitConfig,
        TableConfig,
        TrainingConfig,
    )
    from fusecast.data.samples import load_sample
    from fusecast.errors import (
        ArtifactError,
        ConfigError,
        DatabaseError,
        DataError,
        DataNote,
        DataWarning,
        FusecastError,
        FusecastWarning,
        InvalidOptionsError,
        NothingToExplainError,
        SchemaError,
        TrainingError,
        TrainingInterrupted,
        UnsafeArtifactError,
    )
    from fusecast.evaluation.backtest.results import Backtest
    from fusecast.evaluation.evaluate import Evaluation
    from fusecast.explain.single_forecast import ForecastExplanation
    from fusecast.forecaster import Forecaster
    from fusecast.io.databases.address import Query
    from fusecast.io.databases.writing import append_forecasts
    from fusecast.reporting.explanation_report import ExplanationReport
    from fusecast.scale.folder import FolderForecasts, predict_folder
    from fusecast.training.fit import FitResult

__all__ = [
    "ArtifactError",
    "Backtest",
    "ConfigError",
    "Conformal",
    "DataError",
    "DataNote",
    "DataWarning",
    "DatabaseError",
    "Evaluation",
    "ExplanationReport",
    "FeatureConfig",
    "FitResult",
    "FolderForecasts",
    "ForecastExplanation",
    "Forecaster",
    "FusecastError",
    "FusecastWarning",
    "InvalidOptionsError",
    "NetworkConfig",
    "NothingToExplainError",
    "Query",
    "RunConfig",
    "SchemaError",
    "SplitConfig",
    "TableConfig",
    "TrainingConfig",
    "TrainingError",
    "TrainingInterrupted",
    "UnsafeArtifactError",
    "__version__",
    "append_forecasts",
    "load_sample",
    "predict_folder",
]

_MODULES = {
    "calibration.conformal": ("Conformal",),
    "config": ("FeatureConfig", "NetworkConfig", "RunConfig", "SplitConfig", "TableConfig", "TrainingConfig"),
    "data.samples": ("load_sample",),
    "errors": (
        *("ArtifactError", "ConfigError", "DataError", "DataNote", "DataWarning", "DatabaseError"),
        *(
            "FusecastError",
            "FusecastWarning",
            "InvalidOptionsError",
            "NothingToExplainError",
            "SchemaError",
            "TrainingError",
        ),
        *("TrainingInterrupted", "UnsafeArtifactError"),
    ),
    "evaluation.backtest.results": ("Backtest",),
    "evaluation.evaluate": ("Evaluation",),
    "explain.single_forecast": ("ForecastExplanation",),
    "forecaster": ("Forecaster",),
    "io.databases.address": ("Query",),
    "io.databases.writing": ("append_forecasts",),
    "reporting.explanation_report": ("ExplanationReport",),
    "scale.folder": ("FolderForecasts", "predict_folder"),
    "training.fit": ("FitResult",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
