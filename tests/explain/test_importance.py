from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
import torch

from fusecast.explain.importance import ImportanceByStep, ImportanceTally
from fusecast.features.encoded_panel import Inputs


def pooled(batches, group: str) -> np.ndarray:
    """Return all samples of a group at once."""
    found = []
    for batch, output in batches:
        weights = getattr(output, f"{group}_weights").double().numpy()
        for window in range(len(weights)):
            if group == "static":
                found.append(weights[window])
                continue
            for step in range(weights.shape[1]):
                if group == "past" and batch.past_mask.shape[1] and not batch.past_mask[window, step]:
                    continue
                found.append(weights[window, step])
    return np.array(found)


@pytest.mark.parametrize("masked", [True, False])
def test_importances_agree_with_numpy_on_all_samples(masked: bool, inputs, windows_of) -> None:
    batches = [windows_of(seed, count, masked=masked) for seed, count in enumerate((5, 8, 1))]
    tally = ImportanceTally(inputs)
    for batch, output in batches:
        tally.add(batch, output)
    rows = {(row.group, row.variable): row for row in tally.table()}

    names = {"static": inputs.static_names, "past": inputs.past_names, "future": inputs.future_names}
    assert set(rows) == {(group, name) for group in names for name in names[group]}
    for group, variables in names.items():
        samples = pooled(batches, group)
        for v, name in enumerate(variables):
            row = rows[group, name]
            assert row.mean == pytest.approx(samples[:, v].mean(), rel=1e-9)
            assert [row.p10, row.p50, row.p90] == pytest.approx(
                np.percentile(samples[:, v], (10, 50, 90)).tolist(), rel=1e-9
            )


def test_importances_of_a_group_add_to_one_and_fall(inputs, windows_of) -> None:
    tally = ImportanceTally(inputs)
    tally.add(*windows_of(0, 20))
    for group in ("static", "past", "future"):
        means = [row.mean for row in tally.table() if row.group == group]
        assert sum(means) == pytest.approx(1.0)
        assert means == sorted(means, reverse=True)


def test_weights_at_masked_steps_change_nothing(inputs, windows_of) -> None:
    batch, output = windows_of(0, 20)
    clean, dirty = ImportanceTally(inputs), ImportanceTally(inputs)
    clean.add(batch, output)
    dirty.add(batch, output._replace(past_weights=output.past_weights + 0.5 * ~batch.past_mask[..., None]))
    assert dirty.table() == clean.table()


def test_weights_of_half_precision_are_summarised(inputs, windows_of) -> None:
    batch, output = windows_of(0, 20)
    half = output._replace(**{n: getattr(output, n).bfloat16() for n in ("past_weights", "future_weights")})
    tally = ImportanceTally(inputs)
    tally.add(batch, half)
    assert sum(row.mean for row in tally.table() if row.group == "past") == pytest.approx(1.0, abs=0.01)


def test_groups_without_variables_have_no_rows(windows_of) -> None:
    batch, output = windows_of(0, 4)
    bare = output._replace(
        static_weights=torch.zeros(4, 0), future_weights=torch.zeros(4, 3, 0), past_weights=torch.ones(4, 6, 1)
    )
    tally = ImportanceTally(Inputs(targets=("y",)))
    assert tally.table() == []
    tally.add(batch, bare)
    assert [asdict(row) for row in tally.table()] == [
        {"group": "past", "variable": "y", "mean": 1.0, "p10": 1.0, "p50": 1.0, "p90": 1.0}
    ]


def collected(batches, panel, index, inputs) -> dict:
    """Return every weight by its group, position, time and variable."""
    found = defaultdict(list)
    times = panel.times().to_list()
    for batch, output in batches:
        for w, window in enumerate(batch.window.tolist()):
            s, cutoff = (int(v[0]) for v in index.locate([window]))
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
