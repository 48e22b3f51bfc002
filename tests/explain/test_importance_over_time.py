from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from fusecast.explain.importance import ImportanceByStep


def collected(batches, panel, index, inputs) -> dict:
    """Every weight with its group, position, time and variable: the slow way."""
    found = defaultdict(list)
    times = panel.times().to_list()
    for batch, output in batches:
        for w, number in enumerate(batch.window.tolist()):
            s, cutoff = (int(v[0]) for v in index.locate([number]))
            for group, names in (("past", inputs.past_names), ("future", inputs.future_names)):
                weights = getattr(output, f"{group}_weights").double().numpy()[w]
                for step in range(len(weights)):
                    if group == "past" and not batch.past_mask[w, step]:
                        continue
                    position = step - index.lookback if group == "past" else step
                    time = times[panel.indptr[s] + cutoff + position]
                    for name, weight in zip(names, weights[step], strict=True):
                        found[group, position, time, name].append(weight)
    return found


@pytest.fixture
def world(windows_of, inputs, panel_of, windows_in):
    panel = panel_of(21, 15)
    index = windows_in(panel)
    batches = [windows_of(0, 9), windows_of(1, len(index) - 9, first=9)]
    tally = ImportanceByStep(inputs, panel, index)
    for batch, output in batches:
        tally.add(batch.window.numpy(), batch, output)
    return tally, collected(batches, panel, index, inputs)


def test_importance_by_position_agrees_with_numpy(world) -> None:
    tally, slow = world
    expected = defaultdict(list)
    for (group, position, _, name), values in slow.items():
        expected[group, position, name] += values
    rows = {(r["group"], r["position"], r["variable"]): r for r in tally.by_position().iter_rows(named=True)}
    assert set(rows) == set(expected)
    for key, values in expected.items():
        assert rows[key]["mean"] == pytest.approx(np.mean(values))
        found = [rows[key][name] for name in ("p10", "p50", "p90")]
        assert found == pytest.approx(np.percentile(values, (10, 50, 90)).tolist())


def test_importance_over_time_agrees_with_loops(world) -> None:
    tally, slow = world
    expected = defaultdict(list)
    for (group, _, time, name), values in slow.items():
        expected[group, time, name] += values
    rows = {(r["group"], r["time"], r["variable"]): r for r in tally.over_time().iter_rows(named=True)}
    assert set(rows) == set(expected)  # 21 hours: a bin each
    for key, values in expected.items():
        assert rows[key]["mean"] == pytest.approx(np.mean(values))
        assert rows[key]["steps"] == len(values)


def test_a_long_span_has_at_most_sixty_bins_of_equal_width(windows_of, inputs, panel_of, windows_in) -> None:
    panel = panel_of(300)
    index = windows_in(panel)
    tally = ImportanceByStep(inputs, panel, index)
    batch, output = windows_of(0, len(index), masked=False)
    tally.add(batch.window.numpy(), batch, output)
    times = tally.over_time().filter(group="past")["time"].unique().sort()
    assert len(times) == 60
    assert set(times.diff().drop_nulls()) == {timedelta(hours=5)}
    shares = tally.over_time().group_by("group", "time").agg(pl.col("mean").sum())["mean"].to_numpy()
    np.testing.assert_allclose(shares, 1.0)


def test_without_windows_there_are_no_rows(inputs, panel_of, windows_in) -> None:
    panel = panel_of(21)
    tally = ImportanceByStep(inputs, panel, windows_in(panel).subset([False]))
    assert tally.over_time().height == 0
    assert tally.by_position().height == 0
