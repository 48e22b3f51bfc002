from __future__ import annotations

import math
from dataclasses import replace

import pytest
from tests.helpers import report_samples as samples

from fusecast.errors.base import join_words
from fusecast.reporting.text import decimals_for, describe_accuracy, format_number, format_percent, summarise


def test_a_model_better_than_its_baselines_is_described_as_better() -> None:
    words = describe_accuracy(samples.evaluation())
    assert words.startswith("Over 1,460 forecasts it was not trained on, its weighted quantile loss is 37% lower than")
    assert words.endswith("its 80% intervals covered 83% of the actual values.")


def test_a_model_worse_than_a_baseline_is_not_praised() -> None:
    words = describe_accuracy(samples.evaluation(model_error=90.0))
    assert "higher than that of the best baseline, seasonal naive 168: prefer the baseline" in words


def test_a_baseline_that_is_exact_is_to_be_preferred() -> None:
    evaluation = samples.evaluation()
    exact = tuple(replace(scores, wql=0.0) for scores in evaluation.scores["last value"])
    words = describe_accuracy(replace(evaluation, scores={**evaluation.scores, "last value": exact}))
    assert "the best baseline, last value, is exact: prefer the baseline for now" in words


def test_without_baselines_the_loss_stands_alone() -> None:
    evaluation = replace(samples.evaluation(), baselines=())
    assert "its weighted quantile loss is 0.15" in describe_accuracy(evaluation)


def test_the_summary_states_what_how_accurately_and_why() -> None:
    what, how_accurately, why = summarise(samples.report_data())
    assert what == "A Temporal Fusion Transformer forecasts y of 12 series, the next 24 h from the last 168 h."
    assert "lower than" in how_accurately
    assert why.startswith("It relies most on past “y” and “hour” and on the future values of “hour”")


def test_each_of_several_targets_is_compared_with_its_best_baseline() -> None:
    evaluation = samples.evaluation(targets=("a", "b"))
    sentences = summarise(samples.report_data(targets=("a", "b"), evaluation=evaluation))
    assert sentences[0].startswith("A Temporal Fusion Transformer forecasts a and b of")
    assert "for a," in sentences[1]
    assert "for b," in sentences[2]


@pytest.mark.parametrize(
    ("values", "decimals"),
    [
        ([1234.5, 3.0], 0),
        ([123.4], 0),
        ([12.3], 1),
        ([1.2], 2),
        ([0.123], 3),
        ([0.0123], 4),
        ([0.0], 0),
        ([math.nan], 0),
    ],
)
def test_three_digits_of_the_largest_number_are_shown(values: list[float], decimals: int) -> None:
    assert decimals_for(values) == decimals


def test_numbers_and_lists_are_written_for_reading() -> None:
    assert format_number(-1234.5, 1) == "\N{MINUS SIGN}1,234.5"
    assert format_number(math.nan, 1) == "\N{EN DASH}"
    assert format_percent(-0.256) == "\N{MINUS SIGN}26%"
    assert [join_words(w) for w in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
