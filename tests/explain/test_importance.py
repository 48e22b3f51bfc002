from __future__ import annotations

import numpy as np
import pytest
import torch

from fusecast.explain.importance import ImportanceTally
from fusecast.features.encoded_panel import Inputs


def pooled(batches, group: str) -> np.ndarray:
    """All samples of a group at once: the slow way that keeps everything."""
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
        for number, name in enumerate(variables):
            row = rows[group, name]
            assert row.mean == pytest.approx(samples[:, number].mean(), rel=1e-9)
            assert [row.p10, row.p50, row.p90] == pytest.approx(
                np.percentile(samples[:, number], (10, 50, 90)).tolist(), rel=1e-9
            )


def test_importances_of_a_group_add_to_one_and_fall(inputs, windows_of) -> None:
    tally = ImportanceTally(inputs)
    tally.add(*windows_of(0, 20))
    for group in ("static", "past", "future"):
        means = [row.mean for row in tally.table() if row.group == group]
        assert sum(means) == pytest.approx(1.0)
        assert means == sorted(means, reverse=True)


def test_what_stands_at_masked_steps_changes_nothing(inputs, windows_of) -> None:
    batch, output = windows_of(0, 20)
    clean, dirty = ImportanceTally(inputs), ImportanceTally(inputs)
    clean.add(batch, output)
    dirty.add(batch, output._replace(past_weights=output.past_weights + 0.5 * ~batch.past_mask[..., None]))
    assert dirty.table() == clean.table()


def test_half_precision_is_understood(inputs, windows_of) -> None:
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
    assert [row.to_dict() for row in tally.table()] == [
        {"group": "past", "variable": "y", "mean": 1.0, "p10": 1.0, "p50": 1.0, "p90": 1.0}
    ]
