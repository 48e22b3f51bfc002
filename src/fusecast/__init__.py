"""The Temporal Fusion Transformer: a table of time series in, calibrated and explained forecasts out."""

from __future__ import annotations

from fusecast._version import __version__

__all__ = ["__version__"]
