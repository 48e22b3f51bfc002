"""The Temporal Fusion Transformer: a table of time series in, calibrated and explained forecasts out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusecast._version import __version__

if TYPE_CHECKING:
    from fusecast.forecaster import Forecaster

__all__ = ["Forecaster", "__version__"]


def __getattr__(name: str) -> Any:
    """Load public names when they are first asked for, so that importing the package stays cheap."""
    if name == "Forecaster":
        from fusecast.forecaster import Forecaster

        return Forecaster
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
