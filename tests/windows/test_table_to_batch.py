"""From a make_table to a batch, with the real reader of tables."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
import torch
from tests.helpers.encoded_panels import gather

from fusecast.config import FeatureConfig
from fusecast.data.future import extend_panel
from fusecast.data.panel_builder import build_panel
from fusecast.data.schema import Column, Kind, Role, Schema
from fusecast.features.preprocessor import Preprocessor
from fusecast.windows.window_index import WindowIndex

L, H = 24, 6
SCHEMA = Schema(
    columns=(
        Column(name="y", role=Role.TARGET),
        Column(name="temperature", role=Role.OBSERVED),
        Column(name="weather", role=Role.OBSERVED, kind=Kind.CATEGORICAL),
        Column(name="price", role=Role.KNOWN),
    ),
    frequency="1h",
)
SEEN = ("past_real", "past_cat", "past_mask", "past_real_present", "static_real", "static_cat", "center", "scale")


def make_table() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    return pl.concat(
        pl.DataFrame(
            {
                "unique_id": [name] * rows,
                "ds": [datetime(2024, 3, 1) + timedelta(hours=hour) for hour in range(rows)],
                "y": rng.normal(size=rows),
                "temperature": rng.normal(size=rows),
                "weather": rng.choice(["rain", "sun"], rows).tolist(),
                "price": rng.normal(size=rows),
            }
        )
        for name, rows in (("a", 100), ("b", 80))
    )


def overwrite_after(frame: pl.DataFrame, after: datetime, columns: list[str]) -> pl.DataFrame:
    later = pl.col("ds") >= after
    other = {"y": 1e6, "temperature": -1e6, "weather": "hail", "price": 77.0}
    return frame.with_columns(pl.when(later).then(pl.lit(other[c])).otherwise(pl.col(c)).alias(c) for c in columns)


def batch_at(frame: pl.DataFrame, cutoff: int, **options):
    panel = build_panel(frame, SCHEMA)
    fitted = Preprocessor(FeatureConfig(**options)).fit(panel, np.full(2, cutoff))
    index = WindowIndex.between(lengths=panel.lengths, begin=cutoff, end=cutoff + H, lookback=L, horizon=H)
    return gather(fitted.encode(panel), index, [0, 1])


@pytest.mark.parametrize("window_scaling", ["none", "mean", "last", "season"])
@pytest.mark.parametrize("column", ["y", "temperature", "weather"])
def test_rows_after_the_cutoff_change_no_input_of_the_network(column, window_scaling):
    cutoff = 60
    after = datetime(2024, 3, 1) + timedelta(hours=cutoff)
    before = batch_at(make_table(), cutoff, window_scaling=window_scaling)
    later = batch_at(overwrite_after(make_table(), after, [column]), cutoff, window_scaling=window_scaling)
    for name in (*SEEN, "future_real", "future_cat"):
        torch.testing.assert_close(getattr(later, name), getattr(before, name), rtol=0, atol=0)
    other_table = overwrite_after(make_table(), after - timedelta(hours=1), [column])
    earlier = batch_at(other_table, cutoff, window_scaling=window_scaling)
    assert any(not torch.equal(getattr(earlier, name), getattr(before, name)) for name in SEEN)


def test_known_values_after_the_cutoff_are_seen_in_the_future_alone():
    after = datetime(2024, 3, 1) + timedelta(hours=60)
    before, later = batch_at(make_table(), 60), batch_at(overwrite_after(make_table(), after, ["price"]), 60)
    assert not torch.equal(later.future_real, before.future_real)
    for name in SEEN:
        torch.testing.assert_close(getattr(later, name), getattr(before, name), rtol=0, atol=0)


def test_rows_that_gaps_left_out_are_missing_and_an_uncalendared_gap_is_masked():
    gap = pl.col("ds").is_between(datetime(2024, 3, 2), datetime(2024, 3, 2, 3))
    frame = make_table().filter(~gap)
    batch = batch_at(frame, 40, calendar=("hour",))
    assert batch.past_mask.shape == (2, 0)  # the calendar knows those hours
    lacking = (~batch.past_real_present[0, :, 0]).nonzero().ravel().tolist()
    assert lacking == [8, 9, 10, 11]
    bare = batch_at(frame, 40, calendar=())
    assert (~bare.past_mask[0]).nonzero().ravel().tolist() == lacking
    assert bare.past_real_present.shape == (2, L, 0)


def test_a_window_at_the_end_has_the_calendar_of_the_steps_to_come():
    panel = build_panel(make_table().drop("price"), Schema(columns=SCHEMA.columns[:3], frequency="1h"))
    encoded = Preprocessor().fit(panel, panel.lengths).encode(extend_panel(panel, H))
    index = WindowIndex.at_end(lengths=panel.lengths, lookback=L, horizon=H)
    batch = gather(encoded, index, [0, 1])
    hours = list(encoded.inputs.known_categories).index("calendar:hour")
    assert (batch.future_cat[:, :, hours] - 1).tolist() == [[4, 5, 6, 7, 8, 9], [8, 9, 10, 11, 12, 13]]
    assert not batch.target_mask.any()
    assert batch.past_mask.shape == (2, 0)


def test_calendar_features_follow_the_zone_of_the_schema(dataset):
    frame = pl.read_parquet(dataset("vic_electricity")).head(48 * 400)  # a year, with both changes of the clock
    frame = frame.with_columns(pl.col("ds").dt.replace_time_zone("UTC"))
    schema = Schema(columns=(Column(name="y", role=Role.TARGET),), frequency="30m", time_zone="Australia/Melbourne")
    panel = build_panel(frame, schema)
    encoded = Preprocessor().fit(panel, panel.lengths).encode(panel)
    hour = list(encoded.inputs.known_categories).index("calendar:hour")
    local = frame["ds"].dt.convert_time_zone("Australia/Melbourne").dt.hour()
    assert (encoded.categories[:, hour] - 1).tolist() == local.to_list()
