from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from fusecast.explain.importance import Importance
from fusecast.explain.permutation import (
    compare_importances,
    permutation_importance,
    random_cycle,
    rank_correlation,
)
from fusecast.features.encoded_panel import EncodedPanel, Inputs
from fusecast.model.batch import Batch, Output
from fusecast.windows.window_index import WindowIndex

LOOKBACK, HORIZON, ROWS = 4, 2, 60
INPUTS = Inputs(targets=("y",), observed_reals=("x",), known_reals=("price",), known_categories={"day": 4})


def an_encoded_panel(missing: bool) -> EncodedPanel:
    """Return two series whose y is 2 * price + (day == 3); x is noise."""
    rng = np.random.default_rng(0)
    price, day = rng.normal(size=2 * ROWS), rng.integers(1, 4, 2 * ROWS)
    reals = np.stack([2 * price + (day == 3), rng.normal(size=2 * ROWS), price], axis=1).astype(np.float32)
    present = np.ones((2 * ROWS, 3), dtype=bool)
    if missing:
        present[rng.random(2 * ROWS) < 0.2, 2] = False
        reals[~present] = 0.0
    return EncodedPanel(
        inputs=INPUTS,
        indptr=np.array([0, ROWS, 2 * ROWS]),
        reals=reals,
        reals_present=present if missing else present[:, :0],
        categories=day[:, None].astype(np.int32),
        static_reals=np.zeros((2, 0), dtype=np.float32),
        static_reals_present=np.zeros((2, 0), dtype=bool),
        static_categories=np.zeros((2, 0), dtype=np.int32),
        center=np.zeros((2, 1)),
        scale=np.ones((2, 1)),
    )


def oracle(batch: Batch) -> Output:
    """Forecast y by its formula, with 0 for a missing price."""
    value = 2 * batch.future_real[..., 0] + (batch.future_cat[..., 0] == 3)
    empty = torch.zeros(0)
    return Output(value[..., None, None], empty, empty, empty, empty, empty)


@pytest.fixture
def index() -> WindowIndex:
    return WindowIndex.between(lengths=[ROWS] * 2, begin=0, end=ROWS, lookback=LOOKBACK, horizon=HORIZON)


def brute_force(encoded: EncodedPanel, index: WindowIndex, seed: int) -> dict[str, float]:
    """Return the mean median loss with a variable's future rows taken from another window, by loops."""
    cycle = np.random.default_rng(seed).permutation(len(index)).tolist()
    next_in_cycle = dict(zip(cycle, [*cycle[1:], cycle[0]], strict=True))
    order = [next_in_cycle[w] for w in range(len(index))]
    series, cutoff = index.locate(np.arange(len(index)))
    losses = {"none": [], "price": [], "day": []}
    for w, donor in enumerate(order):
        for h in range(HORIZON):
            row, other = (encoded.indptr[series[i]] + cutoff[i] + h for i in (w, donor))
            for name, values in losses.items():
                price = encoded.reals[other if name == "price" else row, 2]
                day = encoded.categories[other if name == "day" else row, 0]
                values.append(0.5 * abs(encoded.reals[row, 0] - 2 * price - (day == 3)))
    return {name: float(np.mean(values)) for name, values in losses.items()}


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("batch_size", [7, 1000])
def test_shuffling_agrees_with_loops(missing: bool, batch_size: int, index: WindowIndex) -> None:
    encoded = an_encoded_panel(missing)
    result = permutation_importance(oracle, encoded, index, (0.5,), repeats=1, seed=3, batch_size=batch_size)
    rows = {row["variable"]: row for row in result.iter_rows(named=True)}
    expected = brute_force(encoded, index, 3)
    assert rows["price"]["loss"] == pytest.approx(expected["none"], abs=1e-6)
    assert rows["price"]["shuffled"] == pytest.approx(expected["price"], rel=1e-5)
    assert rows["day"]["shuffled"] == pytest.approx(expected["day"], rel=1e-5)


def test_what_the_forecasts_do_not_use_costs_nothing(index: WindowIndex) -> None:
    def slightly_wrong(batch: Batch) -> Output:
        output = oracle(batch)
        return output._replace(quantiles=output.quantiles + 0.1)

    result = permutation_importance(slightly_wrong, an_encoded_panel(False), index, (0.5,))
    assert result["variable"].to_list()[:2] == ["price", "day"]
    rows = {row["variable"]: row for row in result.iter_rows(named=True)}
    assert rows["x"]["increase"] == pytest.approx(0.0, abs=1e-9)
    assert rows["y"]["increase"] == pytest.approx(0.0, abs=1e-9)
    assert rows["price"]["groups"] == "past,future"
    assert not result["constant"].any()


def test_a_variable_that_is_the_same_in_every_window_is_called_so(index: WindowIndex) -> None:
    encoded = an_encoded_panel(False)
    encoded.categories[:] = 2
    result = permutation_importance(oracle, encoded, index, (0.5,))
    assert dict(result.select("variable", "constant").iter_rows())["day"]


@pytest.mark.parametrize("seed", range(6))
def test_of_two_windows_each_has_the_values_of_the_other(seed: int, index: WindowIndex) -> None:
    two = replace(index, first_cutoff=index.last_cutoff - [1, 0], last_cutoff=index.last_cutoff - [0, 1])
    assert len(two) == 2
    result = permutation_importance(oracle, an_encoded_panel(False), two, (0.5,), seed=seed)
    rows = {row["variable"]: row for row in result.iter_rows(named=True)}
    assert not rows["price"]["constant"]
    assert rows["price"]["shuffled"] > 0


@pytest.mark.parametrize("count", [2, 3, 7, 50])
def test_a_shuffle_is_one_round_trip_through_all(count: int) -> None:
    rng, ways = np.random.default_rng(0), set()
    for _ in range(40):
        donors, at, seen = random_cycle(count, rng), 0, []
        for _ in range(count):
            seen.append(at)
            at = int(donors[at])
        assert sorted(seen) == list(range(count))
        ways.add(tuple(seen))
    assert len(ways) >= min(40, {2: 1, 3: 2}.get(count, 35))
    assert random_cycle(1, rng).tolist() == [0]


def test_ties_share_their_mean_rank_in_the_rank_correlation() -> None:
    assert rank_correlation(np.array([1.0, 2, 2, 3]), np.array([10.0, 20, 30, 40])) == pytest.approx(0.9486833)
    assert rank_correlation(np.array([3.0, 1, 2]), np.array([-3.0, -1, -2])) == pytest.approx(-1.0)


def test_rank_correlation_is_nan_where_one_of_the_two_does_not_vary() -> None:
    assert np.isnan(rank_correlation(np.ones(4), np.arange(4.0)))


def weights(**shares: float) -> list[Importance]:
    return [Importance(group="past", variable=n, mean=m, p10=m, p50=m, p90=m) for n, m in shares.items()]


def costs(**rises: float) -> pl.DataFrame:
    names = list(rises)
    return pl.DataFrame({"variable": names, "increase": list(rises.values()), "constant": [False] * len(names)})


def test_agreement_is_stated_and_has_no_exceptions() -> None:
    result = compare_importances(weights(a=0.6, b=0.3, c=0.1), costs(a=0.9, b=0.3, c=0.05))
    assert result.correlation == {"past": pytest.approx(1.0)}
    assert result.notes == ("For past variables, selection weights and shuffling agree (rank correlation 1.00).",)


def test_disagreement_is_named_variable_by_variable() -> None:
    result = compare_importances(weights(a=0.7, b=0.2, c=0.1), costs(a=0.001, b=0.3, c=0.4))
    assert result.correlation["past"] == pytest.approx(-1.0)
    text = "\n".join(result.notes)
    assert "contradict each other" in text
    assert "'a' gets 70% of the past selection, yet shuffling it changes the loss by only +0.1%" in text
    assert "'c' gets 10% of the past selection, yet shuffling it raises the loss by 40.0%" in text


def test_what_cannot_be_shuffled_is_no_evidence() -> None:
    table = costs(a=0.0, b=0.3, c=0.1).with_columns(constant=pl.col("variable") == "a")
    result = compare_importances(weights(a=0.7, b=0.2, c=0.1), table)
    assert result.correlation == {}
    assert any("'a' (70%) cannot be checked: constant over all windows" in note for note in result.notes)
