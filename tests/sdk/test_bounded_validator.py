"""Schemas that would take for ever, and that what is held to the others is what JSON Schema says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, SchemaError

from penstock import bounded_validator
from penstock.bounded_validator import MAX_ERRORS, TakesTooLong, errors

Json = dict[str, Any]


def twice(depth: int) -> Json:
    """A schema that refers to the next twice, so often."""
    steps: Json = {f"s{at}": {"allOf": [{"$ref": f"#/$defs/s{at + 1}"}] * 2} for at in range(depth)}
    return {"$defs": {**steps, f"s{depth}": {"type": "integer"}}, "properties": {"a": {"$ref": "#/$defs/s0"}}}


def test_a_schema_that_doubles_with_each_step_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_validator, "SECONDS", 0.05)
    assert errors(twice(3), {"a": 1}) == []
    with pytest.raises(TakesTooLong):
        errors(twice(40), {"a": 1})


def test_so_is_one_that_would_be_held_to_an_older_draft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_validator, "SECONDS", 0.05)
    schema = twice(40)
    schema["properties"]["a"]["$schema"] = "http://json-schema.org/draft-07/schema#"
    for step in schema["$defs"].values():
        step["$schema"] = "http://json-schema.org/draft-07/schema#"
    with pytest.raises(TakesTooLong):
        errors(schema, {"a": 1})


def test_patterns_never_go_back_and_forth() -> None:
    bad = "a" * 60 + "!"
    assert len(errors({"properties": {"a": {"pattern": "^(a+)+$"}}}, {"a": bad})) == 1
    assert errors({"patternProperties": {"^(a+)+$": False}}, {bad: 1}) == []
    assert len(errors({"patternProperties": {"^(a+)+$": True}, "additionalProperties": False}, {bad: 1})) == 1
    with pytest.raises(SchemaError, match="say additionalProperties"):
        errors({"patternProperties": {"^(a+)+$": True}, "unevaluatedProperties": False}, {bad: 1})


def test_what_a_pattern_cannot_say_in_time_is_left_to_the_run() -> None:
    schema = {
        "patternProperties": {"(?=a)": False},
        "additionalProperties": False,
        "properties": {"b": {"pattern": "(?!c)"}},
    }
    assert errors(schema, {"a": 1, "b": "c"}) == []


def test_no_more_errors_are_kept_than_can_be_told() -> None:
    assert len(errors({"properties": {"a": {"items": False}}}, {"a": []})) == 0
    assert len(errors({"properties": {"a": {"items": {"type": "string"}}}}, {"a": [1] * 5000})) == MAX_ERRORS


values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, 1.5]) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "x1"]), inner, max_size=3),
    max_leaves=6,
)
schemas = st.recursive(
    st.sampled_from(
        [
            True,
            False,
            {"type": "integer"},
            {"type": ["string", "null"]},
            {"pattern": "^a+$"},
            {"uniqueItems": True},
            {"enum": [1, "a", [True]]},
            {"minProperties": 1, "additionalProperties": False, "patternProperties": {"^x": {"type": "integer"}}},
        ]
    ),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda each: {"anyOf": each}),
        st.dictionaries(st.sampled_from(["a", "b"]), inner).map(lambda each: {"properties": each}),
        st.tuples(inner, inner).map(
            lambda pair: {"patternProperties": {"^[ab]": pair[0]}, "additionalProperties": pair[1]}
        ),
        inner.map(lambda each: {"items": each, "uniqueItems": True}),
    ),
    max_leaves=6,
)


@given(schemas, values)
def test_all_others_are_held_to_what_json_schema_says(schema: Any, value: Any) -> None:
    wrapped = {"properties": {"v": schema}}
    assert (errors(wrapped, {"v": value}) == []) is Draft202012Validator(wrapped).is_valid({"v": value})
