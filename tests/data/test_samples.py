from __future__ import annotations

import pytest

from fusecast.data.samples import load_sample, sample_future_path, sample_path
from fusecast.errors import ConfigError
from fusecast.io.tables import read_table


def test_the_bike_data_of_the_package_equal_those_of_their_source(dataset):
    assert load_sample("bike_sharing").equals(read_table(dataset("bike_sharing")))
    assert (sample_path("bike_sharing").parent / "SOURCES.md").is_file()


def test_the_future_of_a_sample_is_the_day_after_its_last_row():
    table, future = load_sample("bike_sharing"), load_sample("bike_sharing", future=True)
    assert future.equals(read_table(sample_future_path("bike_sharing")))
    hours = (future["ds"] - table["ds"].max()).dt.total_hours()
    assert hours.to_list() == list(range(1, 25))


def test_an_unknown_sample_is_an_error_that_names_the_samples():
    for function in (load_sample, sample_path):
        with pytest.raises(ConfigError, match=r"sample cannot be 'bikes'\nHint: .*'bike_sharing'"):
            function("bikes")
