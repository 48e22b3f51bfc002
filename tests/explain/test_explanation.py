from __future__ import annotations

import numpy as np

from fusecast.explain.attention import AttentionTally
from fusecast.explain.explanation import explain
from fusecast.explain.importance import ImportanceTally


def test_an_explanation_holds_what_the_tallies_of_all_batches_hold(inputs, windows_of) -> None:
    batches = [windows_of(seed, count) for seed, count in enumerate((5, 8))]
    importance, attention = ImportanceTally(inputs), AttentionTally(6, 3)
    for batch, output in batches:
        importance.add(batch, output)
        attention.add(batch, output)

    found = explain(((batch.window.numpy(), batch, output) for batch, output in batches), inputs, 6, 3)

    assert found.windows == 13
    assert found.importances == importance.table()
    np.testing.assert_array_equal(found.attention.p90, attention.profile().p90)
    assert [profile.to_rows() for profile in found.attention_by_step[1:]] == [
        profile.to_rows() for profile in attention.profiles_by_step()[1:]
    ]
