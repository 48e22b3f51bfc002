"""The network, in torch alone. Names are imported on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fusecast.model.batch import example_batch
    from fusecast.model.config import ModelConfig
    from fusecast.model.losses import quantile_loss
    from fusecast.model.tft import TemporalFusionTransformer

__all__ = ["ModelConfig", "TemporalFusionTransformer", "example_batch", "quantile_loss"]

_MODULES = dict(zip(__all__, ("config", "tft", "batch", "losses"), strict=True))


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
