from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from tests.helpers.encoded_panels import gather

from fusecast.config import FeatureConfig
from fusecast.data.panel_builder import build_panel
from fusecast.data.schema import make_schema
from fusecast.features.preprocessor import Preprocessor
from fusecast.windows.window_index import WindowIndex
from fusecast.windows.window_scaling import compute_window_units

LOOKBACK, HORIZON = 6, 2


@pytest.mark.parametrize("kind", ["none", "mean", "last", "season"])
@pytest.mark.parametrize("missing", [False, True])
def test_units_of_windows_are_those_of_their_batch_in_float64(kind: str, missing: bool) -> None:
    rng = np.random.default_rng(0)
    steps = [datetime(2024, 1, 1) + timedelta(days=day) for day in range(20)]
    values = rng.normal(1e3, 10.0, (2, 20)).cumsum(axis=1)
    frame = pl.concat(
        pl.DataFrame({"unique_id": name, "ds": steps, "y": row, "z": row[::-1]})
        for name, row in zip("ab", values, strict=True)
    )
    if missing:
        frame = frame.with_columns(y=pl.when(pl.int_range(pl.len()) % 9 < 7).then("y"))
    panel = build_panel(frame, make_schema(frame, targets=("y", "z")))
    encoded = Preprocessor(FeatureConfig(window_scaling=kind)).fit(panel, panel.lengths).encode(panel)
    index = WindowIndex.between(
        lengths=panel.lengths, begin=0, end=panel.lengths, lookback=LOOKBACK, horizon=HORIZON, min_history=1
    )
    batch = gather(encoded, index, np.arange(len(index)))
    center, scale = compute_window_units(encoded, LOOKBACK, *index.locate(np.arange(len(index))))
    np.testing.assert_allclose(center, batch.center.numpy(), rtol=1e-6)
    np.testing.assert_allclose(scale, batch.scale.numpy(), rtol=1e-5)
    target = batch.target.double().numpy() * scale[:, None] + center[:, None]
    cutoff = index.locate(np.arange(len(index)))[1]
    actual = values[0, cutoff[0] : cutoff[0] + HORIZON]
    np.testing.assert_allclose(target[0, :, 0], actual, rtol=1e-5)
