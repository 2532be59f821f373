"""Parameters are held to the flow's schema, and what is wrong is said by path."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_operator.core import parameters

SCHEMA = {
    "type": "object",
    "properties": {
        "n": {"type": "integer"},
        "rows": {"type": "array", "items": {"$ref": "#/$defs/row"}},
    },
    "required": ["n"],
    "$defs": {"row": {"type": "object", "properties": {"size": {"type": "integer", "minimum": 1}}}},
}
layers = st.dictionaries(st.sampled_from("abcd"), st.integers(), max_size=4)


@given(st.lists(st.none() | layers, max_size=4))
def test_a_later_layer_wins_name_by_name(given_layers: list[dict[str, int] | None]) -> None:
    merged = parameters.merge(*given_layers)
    for name in "abcd":
        said = [layer[name] for layer in given_layers if layer and name in layer]
        assert merged.get(name) == (said[-1] if said else None)


def test_null_is_a_value_and_wins_too() -> None:
    assert parameters.merge({"n": 1}, {"n": None}) == {"n": None}


@pytest.mark.parametrize(
    ("given_parameters", "problems"),
    [
        pytest.param({"n": 1}, [], id="they fit"),
        pytest.param({"n": 1, "rows": [{"size": 2}]}, [], id="a reference within the schema is followed"),
        pytest.param({}, ["n: it must be given"], id="one is missing"),
        pytest.param({"n": "x"}, ["n: 'x' is not of type 'integer'"], id="of another type"),
        pytest.param(
            {"n": 1, "rows": [{"size": 2}, {"size": 0}]},
            ["rows[1].size: 0 is less than the minimum of 1"],
            id="deep within",
        ),
        pytest.param(
            {"n": 1, "m": 2},
            ["m: there is no such name; there are n, rows"],
            id="a misspelt name",
        ),
    ],
)
def test_what_is_wrong_is_said_by_path(given_parameters: dict[str, Any], problems: list[str]) -> None:
    assert parameters.problems(SCHEMA, given_parameters) == problems


@pytest.mark.parametrize("schema", [None, {}, {"type": "object"}])
def test_a_schema_that_names_nothing_takes_any_parameters(schema: dict[str, Any] | None) -> None:
    assert parameters.problems(schema, {"anything": [1, None]}) == []


def test_a_schema_may_say_that_others_are_welcome() -> None:
    assert parameters.problems({**SCHEMA, "additionalProperties": True}, {"n": 1, "m": 2}) == []


def test_partial_forgives_what_is_missing_and_nothing_else() -> None:
    assert parameters.problems(SCHEMA, {}, partial=True) == []
    assert parameters.problems(SCHEMA, {"n": "x"}, partial=True) == ["n: 'x' is not of type 'integer'"]
    assert SCHEMA["required"] == ["n"], "the flow's own schema is not touched"


def test_only_the_first_problems_are_told_and_the_others_counted() -> None:
    schema = {"properties": {f"p{i}": {"type": "integer"} for i in range(8)}}
    told = parameters.problems(schema, {f"p{i}": "x" for i in range(8)})
    assert [line.partition(":")[0] for line in told] == ["p0", "p1", "p2", "p3", "p4", "and 3 more"]


def test_one_problem_is_never_longer_than_a_message_can_be() -> None:
    [told] = parameters.problems(SCHEMA, {"n": "x" * 10_000})
    assert len(told) <= len("n: ") + 300


def test_parameters_beyond_the_size_that_an_object_can_have_are_refused() -> None:
    [told] = parameters.problems(None, {"data": "x" * parameters.MAX_BYTES})
    assert told.startswith("parameters: ")
    assert f"at most {parameters.MAX_BYTES}" in told
    fits = "x" * (parameters.MAX_BYTES - len('{"data": ""}'))
    assert parameters.problems(None, {"data": fits}) == []


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        pytest.param({"properties": {"n": {"type": "whole"}}}, "is no JSON Schema", id="no schema at all"),
        pytest.param({"properties": {"n": {"$ref": "#/$defs/gone"}}}, "cannot be used", id="a reference to nothing"),
        pytest.param({"properties": {"n": {"$ref": "http://127.0.0.1:9/x"}}}, "cannot be used", id="elsewhere"),
        pytest.param({"properties": {"n": {"$ref": "#/properties/n"}}}, "cannot be used", id="a circle"),
    ],
)
def test_a_schema_that_cannot_be_used_is_the_problem(schema: dict[str, Any], said: str) -> None:
    [told] = parameters.problems(schema, {"n": 1})
    assert said in told
