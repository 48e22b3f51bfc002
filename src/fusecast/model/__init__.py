"""The network, in torch alone. Names are loaded when they are first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fusecast.model.batch import example_batch
    from fusecast.model.config import ModelConfig
    from fusecast.model.losses import quantile_loss
    from fusecast.model.tft import TemporalFusionTransformer

__all__ = ["ModelConfig", "TemporalFusionTransformer", "example_batch", "quantile_loss"]

_HOME = {
    "ModelConfig": "config",
    "TemporalFusionTransformer": "tft",
    "example_batch": "example",
    "quantile_loss": "losses",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
