from __future__ import annotations

import numpy as np
import pytest
from polars.testing import assert_frame_equal
from tests.helpers.network_outputs import permutation

from fusecast.explain.attention import AttentionTally
from fusecast.explain.explanation import Explanation
from fusecast.explain.importance import ImportanceByStep, ImportanceTally


@pytest.fixture
def batches(windows_of) -> list:
    return [windows_of(0, 5), windows_of(1, 8, first=5)]


@pytest.fixture
def explanation(batches, inputs, panel_of, windows_in) -> Explanation:
    panel = panel_of(21)
    return Explanation.from_outputs(((b.window.numpy(), b, o) for b, o in batches), inputs, panel, windows_in(panel))


def test_an_explanation_holds_what_the_tallies_of_all_batches_hold(batches, explanation, inputs, panel_of, windows_in):
    panel = panel_of(21)
    importance, attention = ImportanceTally(inputs), AttentionTally(6, 3)
    by_step = ImportanceByStep(inputs, panel, windows_in(panel))
    for batch, output in batches:
        importance.add(batch, output)
        attention.add(batch, output)
        by_step.add(batch.window.numpy(), batch, output)

    assert explanation.windows == 13
    assert explanation.importances == importance.table()
    np.testing.assert_array_equal(explanation.attention.p90, attention.profile().p90)
    assert_frame_equal(explanation.importance_by_step, by_step.by_position())
    assert_frame_equal(explanation.importance_over_time, by_step.over_time())
    assert len(explanation.regimes.distance) == 13


def test_how_windows_are_batched_changes_nothing(windows_of, inputs, panel_of, windows_in) -> None:
    panel = panel_of(21)
    batch, output = windows_of(0, 13)
    at_once = Explanation.from_outputs([(batch.window.numpy(), batch, output)], inputs, panel, windows_in(panel))
    pieces = [
        (batch.window[part].numpy(), type(batch)(*(t[part] for t in batch)), type(output)(*(t[part] for t in output)))
        for part in (slice(0, 1), slice(1, 12), slice(12, 13))
    ]
    in_pieces = Explanation.from_outputs(pieces, inputs, panel, windows_in(panel))
    for name, table in at_once.tables().items():
        assert_frame_equal(table, in_pieces.tables()[name])


def test_tables_are_tidy(explanation: Explanation) -> None:
    tables = explanation.tables()
    assert list(tables) == [
        "importances", "importance_by_step", "importance_over_time", "attention", "attention_by_step", "seasonal_lags",
        "periodicities", "regimes", "events",
    ]  # fmt: skip
    assert tables["attention_by_step"].height == 3 * 9
    assert tables["attention"]["words"][5] == "1 h before"
    assert list(explanation.with_permutation(permutation()).tables())[-2:] == ["permutation", "agreement"]


def test_the_sentences_name_variables_lags_and_disagreement(explanation: Explanation) -> None:
    text = " ".join(explanation.with_permutation(permutation()).sentences())
    assert "13 forecasts of 1 series" in text
    assert "The past variables selected most are" in text
    assert "rank correlation" in text


def test_the_representation_is_one_short_line(explanation: Explanation) -> None:
    assert repr(explanation) == "Explanation(13 windows, 10 importances)"
