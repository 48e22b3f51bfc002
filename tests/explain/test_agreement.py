from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from fusecast.explain.agreement import compare_importances, rank_correlation
from fusecast.explain.importance import Importance


def test_rank_correlation_gives_ties_their_mean_rank() -> None:
    assert rank_correlation(np.array([1.0, 2, 2, 3]), np.array([10.0, 20, 30, 40])) == pytest.approx(0.9486833)
    assert rank_correlation(np.array([3.0, 1, 2]), np.array([-3.0, -1, -2])) == pytest.approx(-1.0)


def test_rank_correlation_is_nan_where_one_of_the_two_does_not_vary() -> None:
    assert np.isnan(rank_correlation(np.ones(4), np.arange(4.0)))


def weights(**shares: float) -> list[Importance]:
    return [Importance(group="past", variable=n, mean=m, p10=m, p50=m, p90=m) for n, m in shares.items()]


def costs(**rises: float) -> pl.DataFrame:
    names = list(rises)
    return pl.DataFrame({"variable": names, "increase": list(rises.values()), "constant": [False] * len(names)})


def test_agreement_is_said_and_has_no_exceptions() -> None:
    found = compare_importances(weights(a=0.6, b=0.3, c=0.1), costs(a=0.9, b=0.3, c=0.05))
    assert found.correlation == {"past": pytest.approx(1.0)}
    assert found.notes == ("For past variables, selection weights and shuffling agree (rank correlation 1.00).",)


def test_disagreement_is_named_variable_by_variable() -> None:
    found = compare_importances(weights(a=0.7, b=0.2, c=0.1), costs(a=0.001, b=0.3, c=0.4))
    assert found.correlation["past"] == pytest.approx(-1.0)
    text = "\n".join(found.notes)
    assert "contradict each other" in text
    assert "'a' gets 70% of the past selection, yet shuffling it changes the loss by only +0.1%" in text
    assert "'c' gets 10% of the past selection, yet shuffling it raises the loss by 40.0%" in text


def test_what_cannot_be_shuffled_is_no_evidence() -> None:
    table = costs(a=0.0, b=0.3, c=0.1).with_columns(constant=pl.col("variable") == "a")
    found = compare_importances(weights(a=0.7, b=0.2, c=0.1), table)
    assert found.correlation == {}
    assert any("'a' (70%) cannot be checked: constant over all windows" in note for note in found.notes)
