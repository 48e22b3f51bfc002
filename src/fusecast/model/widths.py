"""Whether a batch has the variables that a network was made for. Shapes alone are looked at, never values."""

from __future__ import annotations

from fusecast.batch import Batch
from fusecast.errors import ConfigError
from fusecast.model.config import ModelConfig


def check_widths(config: ModelConfig, batch: Batch) -> None:
    """Raise ConfigError where a group has not as many variables as configured, or a mask not as many as its group."""
    groups = {
        "static_real": config.static_reals,
        "static_cat": len(config.static_categories),
        "past_real": config.observed_reals + config.known_reals,
        "past_cat": len(config.observed_categories) + len(config.known_categories),
        "future_real": config.known_reals,
        "future_cat": len(config.known_categories),
    }
    masks = {
        "static_real_present": config.static_reals,
        "past_real_present": groups["past_real"],
        "future_real_present": config.known_reals,
        "past_mask": batch.past_real.shape[1],
    }
    for name, width in groups.items():
        found = getattr(batch, name).shape[-1]
        if found != width:
            raise ConfigError.batch_does_not_fit(name, found, str(width))
    for name, width in masks.items():
        found = getattr(batch, name).shape[-1]
        if found not in (0, width):
            raise ConfigError.batch_does_not_fit(name, found, f"{width}, or 0 for nothing missing,")
