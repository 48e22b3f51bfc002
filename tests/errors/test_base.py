from __future__ import annotations

import pytest

from fusecast.errors.base import did_you_mean, format_count, join_words, list_examples, some_of


def test_counts_have_a_noun_in_the_right_number():
    assert [format_count(n, "row") for n in (0, 1, 2, 12_000)] == ["0 rows", "1 row", "2 rows", "12,000 rows"]
    assert format_count(2, "series") == "2 series"


@pytest.mark.parametrize(
    ("examples", "total", "text"),
    [
        ([], 0, ""),
        (["a"], 1, "a"),
        (["a", "b"], 2, "a, b"),
        (["a"], 3, "a and 2 more"),
        (list("abcdefg"), 7, "a, b, c, d, e and 2 more"),
        (list("abcdefg"), 2_007, "a, b, c, d, e and 2,002 more"),
    ],
)
def test_at_most_five_examples_are_listed_and_the_rest_is_counted(examples, total, text):
    assert list_examples(examples, total) == text


def test_names_are_quoted_and_numbers_are_not():
    assert some_of(["a", 1]) == "'a', 1"
    assert some_of({1: None, 2: None, 3: None}, limit=2) == "1, 2 and 1 more"


def test_words_are_joined_as_in_a_sentence():
    assert [join_words(w) for w in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]


def test_a_hint_names_the_closest_spelling_or_all_names():
    assert did_you_mean("hidden", ["hidden_size", "dropout"]) == "Hint: did you mean 'hidden_size'?"
    assert did_you_mean("x", ["b", "a"]) == "Hint: available are 'a', 'b'"
