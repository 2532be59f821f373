"""`-p name=value`: what is JSON and what is text, and what is said of parameters that do not fit."""

from __future__ import annotations

import json
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.parameters import parse_parameters, problems
from penstock.json_inputs import MAX_TOLD

# What is typed after the name's equals sign, and the value.
VALUES: dict[str, tuple[str, Any]] = {
    "a number": ("3", 3),
    "a negative number": ("-1.5", -1.5),
    "an exponent": ("1e3", 1000.0),
    "true": ("true", True),
    "null": ("null", None),
    "a list": ('[1, "two"]', [1, "two"]),
    "an object": ('{"a": {"b": []}}', {"a": {"b": []}}),
    "a JSON string": ('"3"', "3"),
    "a word": ("append", "append"),
    "Python's truth is text": ("True", "True"),
    "Python's None is text": ("None", "None"),
    "a date": ("2026-01-31", "2026-01-31"),
    "a leading zero": ("007", "007"),
    "an equals sign": ("a=b", "a=b"),
    "nothing": ("", ""),
    "spaces": (" x ", " x "),
    "broken JSON": ('{"a": 1', '{"a": 1'),
    "not a number, which is no JSON": ("NaN", "NaN"),
    "infinity, which is no JSON": ("-Infinity", "-Infinity"),
    "a number that is too large to be one": ("1e999", "1e999"),
    "infinity inside": ("[1e999]", "[1e999]"),
    "JSON without end": ("[" * 100_000, "[" * 100_000),
}


@pytest.mark.parametrize(("typed", "value"), VALUES.values(), ids=VALUES)
def test_json_is_json_and_all_else_is_text(typed: str, value: Any) -> None:
    found = parse_parameters([f"x={typed}"])["x"]
    assert found == value
    assert type(found) is type(value)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
names = st.text(min_size=1).filter(lambda name: "=" not in name)


@given(st.dictionaries(names, json_values, max_size=4))
def test_what_json_writes_is_read_as_it_was(parameters: dict[str, Any]) -> None:
    assert parse_parameters(f"{name}={json.dumps(value)}" for name, value in parameters.items()) == parameters


@given(st.text())
def test_every_value_can_be_sent(typed: str) -> None:
    """No text makes a value that JSON cannot hold."""
    json.dumps(parse_parameters([f"x={typed}"]), allow_nan=False)


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["x"], "'x': write it as name=value"),
        (["=3"], "'=3': write it as name=value"),
        ([""], "'': write it as name=value"),
        (["x=1", "y=2", "x=3"], "x is given twice"),
    ],
)
def test_what_is_no_pair_is_refused(pairs: list[str], message: str) -> None:
    with pytest.raises(click.BadParameter, match=message) as error:
        parse_parameters(pairs)
    assert error.value.param_hint == "--param"


SCHEMA = {
    "type": "object",
    "properties": {
        "parts": {"type": "integer"},
        "mode": {"type": "string"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "rows": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}}},
    },
    "required": ["parts", "rows"],
}
GOOD = {"parts": 1, "rows": []}

# Parameters, and what is said of them.
WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "all fit": (GOOD, []),
    "what must be given is told once": ({}, ["parts, rows must be given: -p parts=VALUE -p rows=VALUE"]),
    "one is missing": ({"parts": 1}, ["rows must be given: -p rows=VALUE"]),
    "a name is misspelt": ({**GOOD, "part": 1}, ["there is no parameter part, did you mean parts?"]),
    "a name is unknown": ({**GOOD, "x": 1}, ["there is no parameter x, there are parts, mode, note, rows"]),
    "a value is of another type": ({**GOOD, "parts": "x"}, ["parts: 'x' is not of type 'integer'"]),
    "a value is wrong deep inside": (
        {**GOOD, "rows": [{"n": 1}, {"n": "x"}]},
        ["rows[1].n: 'x' is not of type 'integer'"],
    ),
    "a number where text is wanted": (
        {**GOOD, "mode": 1.1},
        ["mode: 1.1 is not of type 'string'; text that looks like JSON needs quotes: -p 'mode=\"...\"'"],
    ),
    "a number where text or nothing is wanted": (
        {**GOOD, "note": 1},
        [
            "note: 1 is not valid under any of the given schemas; "
            "text that looks like JSON needs quotes: -p 'note=\"...\"'"
        ],
    ),
}


@pytest.mark.parametrize(("parameters", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named_with_the_remedy(parameters: dict[str, Any], said: list[str]) -> None:
    assert problems(SCHEMA, parameters) == said


def test_what_is_missing_may_come_later() -> None:
    """A deployment may leave parameters to its runs."""
    assert problems(SCHEMA, {"mode": "x"}, partial=True) == []
    assert problems(SCHEMA, {"moed": "x"}, partial=True) == ["there is no parameter moed, did you mean mode?"]


def test_a_flow_without_parameters_says_so() -> None:
    assert problems({"type": "object", "properties": {}}, {"x": 1}) == ["there is no parameter x, and no other"]


def test_a_flow_that_takes_any_takes_any() -> None:
    assert problems({**SCHEMA, "additionalProperties": True}, {**GOOD, "x": 1}) == []


def test_of_many_only_some_are_told() -> None:
    schema = {"properties": {f"p{n}": {"type": "integer"} for n in range(MAX_TOLD + 2)}}
    said = problems(schema, {f"p{n}": "x" for n in range(MAX_TOLD + 2)})
    assert len(said) == MAX_TOLD + 1
    assert said[-1] == "and 2 more"


def test_long_values_are_cut() -> None:
    (said,) = problems(SCHEMA, {**GOOD, "parts": "x" * 5000})
    assert len(said) < 400
