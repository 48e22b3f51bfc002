"""The data sets that travel with the package; SOURCES.md beside this file says where they are from."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from fusecast.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl

SAMPLES = ("bike_sharing",)


def sample_path(name: str) -> Path:
    """Path of a bundled Parquet file.

    Raises
    ------
    ConfigError
        When there is no such data set.
    """
    if name not in SAMPLES:
        raise ConfigError.not_one_of("sample", name, SAMPLES)
    return Path(str(files(__name__) / f"{name}.parquet"))


def sample_future_path(name: str) -> Path:
    """Path of the known columns of the day after a bundled data set ends."""
    return sample_path(name).with_name(f"{name}_future.csv")


def load_sample(name: str) -> pl.DataFrame:
    """Read a bundled data set."""
    import polars as pl

    return pl.read_parquet(sample_path(name))
