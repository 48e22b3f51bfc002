"""FeatureConfig: how the columns of a table are to become numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from fusecast.errors import ConfigError
from fusecast.features.calendar import CALENDAR_NAMES
from fusecast.features.scaling import SCALINGS

TRANSFORMS = ("none", "log1p")
WINDOW_SCALINGS = ("none", "mean", "last")


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """Choices of the feature layer; the defaults suit most tables."""

    calendar: tuple[str, ...] | Literal["auto"] = "auto"
    """Calendar features by name (`minute`, `hour`, `day_of_week`, `day_of_month`, `month`), `auto` for those that the
    frequency makes vary, an empty tuple for none."""
    target_scaling: str = "standard"
    """Per series: `standard` (mean, deviation), `robust` (median, quartiles), `mean_abs` (0, mean of |y|), `none`."""
    covariate_scaling: str = "standard"
    """The same for observed and known reals; see :func:`fusecast.features.scaling.fit_covariate`."""
    target_transform: str = "none"
    """Before scaling: `none`, or `log1p` for targets that are never negative and span orders of magnitude."""
    window_scaling: str = "mean"
    """Centre and scale the targets of each window once more by its own lookback, because the level of most series
    moves: `mean` around the mean; `last` around the last value known, for series that drift like random walks;
    `none` leaves them, which lets backtests share the work of overlapping windows."""
    series_embedding: bool | None = None
    """Give the network the series' own name as a static category; None: when there is more than one series."""
    relative_position: bool = True
    """Give the network each step's place in its window as a known real."""

    def __post_init__(self) -> None:
        if isinstance(self.calendar, str) and self.calendar != "auto":
            raise ConfigError.not_one_of("calendar", self.calendar, ("auto", "a list of names"))
        if self.calendar != "auto":
            object.__setattr__(self, "calendar", tuple(self.calendar))
            for name in self.calendar:
                if name not in CALENDAR_NAMES:
                    raise ConfigError.not_one_of("a calendar feature", name, CALENDAR_NAMES)
        for field, allowed in (
            ("target_scaling", SCALINGS),
            ("covariate_scaling", SCALINGS),
            ("target_transform", TRANSFORMS),
            ("window_scaling", WINDOW_SCALINGS),
        ):
            if getattr(self, field) not in allowed:
                raise ConfigError.not_one_of(field, getattr(self, field), allowed)

    def to_dict(self) -> dict[str, Any]:
        """Plain values only; ``FeatureConfig(**config.to_dict())`` gives the same config."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
