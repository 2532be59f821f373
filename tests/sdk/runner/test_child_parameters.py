"""Parameters of subflows as JSON: what tells calls apart, and what stands in the spec."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from penstock.runner.child_parameters import MAX_TEXT, Parameters


class Point(BaseModel):
    x: int


# Parameters, how they are shown, whether equal texts mean equal parameters.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], bool]] = {
    "plain JSON": ({"n": 1, "l": [1, None]}, {"n": 1, "l": [1, None]}, True),
    "a model": ({"p": Point(x=1)}, {"p": {"x": 1}}, True),
    "a date": ({"d": date(2026, 1, 2)}, {"d": "2026-01-02"}, True),
    "a path": ({"p": Path("data/in")}, {"p": "data/in"}, True),
    "no JSON at all": ({"o": object()}, {"o": "<object>"}, False),
    "no JSON inside of a list": ({"o": [1, object()]}, {"o": [1, "<object>"]}, False),
    "a number that JSON has not": ({"x": float("nan"), "n": 1}, {"x": "<float>", "n": 1}, False),
    "none": ({}, {}, True),
}


@pytest.mark.parametrize(("given", "shown", "exact"), CASES.values(), ids=CASES.keys())
def test_parameters_are_shown_as_json(given: dict[str, Any], shown: dict[str, Any], exact: bool) -> None:
    found = Parameters(given)
    assert (found.shown, found.exact) == (shown, exact)


def test_their_text_does_not_depend_on_their_order() -> None:
    assert Parameters({"a": 1, "b": {"c": 2, "d": 3}}).text == Parameters({"b": {"d": 3, "c": 2}, "a": 1}).text


def test_large_ones_are_told_apart_but_not_shown() -> None:
    large = Parameters({"n": 1, "data": "x" * (MAX_TEXT + 1)})
    assert large.shown == {"n": 1, "data": f"<str, {MAX_TEXT + 3} bytes>"}
    assert large.exact
    assert large.text != Parameters({"n": 1, "data": "y" * (MAX_TEXT + 1)}).text
