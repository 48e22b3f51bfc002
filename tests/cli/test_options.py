"""Texts of options become values, whatever they resemble."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from fusecast.cli.options import parse_assignments, parse_changes, parse_value, split_names, split_numbers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("promo=no", {"promo": "no"}),  # YAML would say false
        ("code=007", {"code": "007"}),  # and 7
        ("price.net = 9.9", {"price.net": "9.9"}),  # and a section
        ("promo=", {"promo": ""}),
        ("promo='a b'", {"promo": "a b"}),
        ("name=a=b", {"name": "a=b"}),
        ("promo=[no, yes,'007']", {"promo": ["no", "yes", "007"]}),
        ("day=2024-01-01", {"day": "2024-01-01"}),
    ],
)
def test_a_change_is_the_text_that_was_written(text: str, expected: dict[str, Any]) -> None:
    assert parse_changes([text]) == expected


@pytest.mark.parametrize("text", ["promo", "=3", ""])
def test_a_text_that_is_no_change_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="column=value"):
        parse_changes([text])


def test_values_that_are_no_yaml_are_refused() -> None:
    with pytest.raises(typer.BadParameter, match="cannot be read as YAML"):
        parse_assignments(["training.seed=[1,"])


def test_an_option_cannot_lie_in_a_section_that_already_has_a_value() -> None:
    with pytest.raises(typer.BadParameter, match="'training', which already has a value"):
        parse_assignments(["training=3", "training.seed=1"])


@pytest.mark.parametrize(("text", "value"), [("1e-3", 1e-3), ("0.15", 0.15), ("3", 3), ("null", None), ("1e", "1e")])
def test_a_number_is_a_number_in_every_notation(text: str, value: Any) -> None:
    assert parse_value(text) == value
    assert parse_assignments([f"training.x={text}"]) == {"training": {"x": value}}


def test_lists_are_split_at_commas() -> None:
    assert split_names(" a, b,,c ") == ["a", "b", "c"]
    assert split_names("") == []
    assert split_numbers("0.1, 5e-1") == [0.1, 0.5]
    assert split_names(None) is split_numbers(None) is None
    with pytest.raises(typer.BadParameter, match="'low' is not a list of numbers"):
        split_numbers("low")
