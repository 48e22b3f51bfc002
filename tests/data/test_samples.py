from __future__ import annotations

import pytest

from fusecast.data.samples import load_sample, sample_path
from fusecast.errors import ConfigError
from fusecast.io.tables import read_table


def test_the_bundled_bike_data_are_those_of_the_sources(dataset):
    assert load_sample("bike_sharing").equals(read_table(dataset("bike_sharing")))
    assert (sample_path("bike_sharing").parent / "SOURCES.md").is_file()


def test_a_sample_that_there_is_not_is_named():
    with pytest.raises(ConfigError, match="sample cannot be 'bikes'"):
        sample_path("bikes")
