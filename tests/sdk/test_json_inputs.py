"""Values against a JSON Schema: what fits, and what is said of what does not."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.json_inputs import MAX_TOLD, problems

SCHEMA: dict[str, Any] = {
    "properties": {
        "parts": {"type": "integer"},
        "mode": {"type": "string"},
        "days": {"type": "array", "items": {"type": "integer"}},
    },
    "required": ["parts", "mode"],
}

# Values, and what is said of them.
SAID: dict[str, tuple[dict[str, Any], list[str]]] = {
    "all fits": ({"parts": 1, "mode": "a"}, []),
    "each that is missing": ({}, ["parts: it must be given", "mode: it must be given"]),
    "each that is unknown": (
        {"parts": 1, "mode": "a", "part": 1, "xyzzy": 2},
        [
            "part: there is no such name; did you mean parts?",
            "xyzzy: there is no such name; there are parts, mode, days",
        ],
    ),
    "one of another type": ({"parts": "x", "mode": "a"}, ["parts: 'x' is not of type 'integer'"]),
    "deep inside": ({"parts": 1, "mode": "a", "days": [1, "x"]}, ["days[1]: 'x' is not of type 'integer'"]),
}


@pytest.mark.parametrize(("values", "said"), SAID.values(), ids=SAID)
def test_what_is_wrong_names_the_value_and_the_remedy(values: dict[str, Any], said: list[str]) -> None:
    assert [str(problem) for problem in problems(SCHEMA, values)] == said


def test_what_is_missing_may_be_forgiven() -> None:
    assert problems(SCHEMA, {}, partial=True) == []
    assert [problem.kind for problem in problems(SCHEMA, {"x": 1}, partial=True)] == ["unknown"]


def test_an_open_schema_takes_other_names() -> None:
    assert problems({**SCHEMA, "additionalProperties": True}, {"parts": 1, "mode": "a", "x": 1}) == []
    assert problems({"type": "object"}, {"x": 1}) == []
    assert problems(None, {"x": 1}) == []


def test_of_many_the_first_are_told() -> None:
    told = problems({"properties": {}}, {f"p{number}": 1 for number in range(9)})
    assert len(told) == MAX_TOLD + 1
    assert str(told[-1]) == "and 4 more"


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "nonsense"}, "the schema of the input is no JSON Schema"),
        ({"$ref": "https://example.com/other.json"}, "the schema of the input cannot be used"),
        ({"$ref": "#/nowhere"}, "the schema of the input cannot be used"),
    ],
)
def test_a_schema_that_is_none_is_told(schema: dict[str, Any], said: str) -> None:
    """And other documents are never fetched."""
    (told,) = problems(schema, {"a": 1}, what="input")
    assert str(told).startswith(said)
