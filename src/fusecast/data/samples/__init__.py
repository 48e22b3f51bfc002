"""The data sets in the package; SOURCES.md beside this file names their sources and licences."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from fusecast.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl

SAMPLES = ("bike_sharing",)


def load_sample(name: str, *, future: bool = False) -> pl.DataFrame:
    """Load a data set of the package.

    ``bike_sharing``: hourly bicycle rentals in Washington, D.C., over two years, with the columns `unique_id`, `ds`,
    `y`, weather (observed) and calendar columns (known).

    Parameters
    ----------
    name
        ``"bike_sharing"``.
    future
        Whether to load the known columns of the day after the data set ends, which ``predict`` takes as `future`,
        instead of the data set.

    Raises
    ------
    ConfigError
        When there is no such data set.

    Examples
    --------
    >>> load_sample("bike_sharing").columns[:3]
    ['unique_id', 'ds', 'y']
    """
    import polars as pl

    if future:
        return pl.read_csv(sample_future_path(name), try_parse_dates=True)
    return pl.read_parquet(sample_path(name))


def sample_path(name: str) -> Path:
    """Return the path of a data set of the package, a Parquet file; raise a ConfigError if there is none."""
    if name not in SAMPLES:
        raise ConfigError.not_one_of("sample", name, SAMPLES)
    return Path(str(files(__name__) / f"{name}.parquet"))


def sample_future_path(name: str) -> Path:
    """Return the path of the known columns of the day after a data set ends, a CSV file."""
    return sample_path(name).with_name(f"{name}_future.csv")
