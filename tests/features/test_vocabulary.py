from __future__ import annotations

import numpy as np

from fusecast.features.vocabulary import encode_categories, fit_vocabulary


def test_a_vocabulary_holds_what_was_seen_in_the_order_of_its_text():
    codes = np.array([2, -1, 0, 2], dtype=np.int32)
    assert fit_vocabulary(codes, ("snow", "rain", "hail")) == ("hail", "snow")


def test_codes_count_from_one_and_unknown_or_missing_is_zero():
    codes = encode_categories(np.array([0, 1, 2, -1], dtype=np.int32), ("sun", "fog", "rain"), ("rain", "sun"))
    assert codes.tolist() == [2, 0, 1, 0]
    assert codes.dtype == np.int32


def test_a_column_without_levels_is_unknown_throughout():
    assert encode_categories(np.array([-1, -1], dtype=np.int32), (), ("rain",)).tolist() == [0, 0]


def test_codes_do_not_depend_on_how_a_table_numbers_its_levels():
    vocabulary = ("rain", "sun")
    one = encode_categories(np.array([0, 1], dtype=np.int32), ("sun", "rain"), vocabulary)
    other = encode_categories(np.array([1, 0], dtype=np.int32), ("rain", "sun"), vocabulary)
    np.testing.assert_array_equal(one, other)
