"""The JSON schema of a flow's parameters."""

from __future__ import annotations

import datetime as dt
import json
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from pydantic import BaseModel, Field

from penstock import flow
from penstock.parameter_schema import descriptions


class Node(BaseModel):
    """A type that holds itself."""

    value: int
    children: list[Node] = []


class Handle:
    """A class without a JSON form."""


@flow
def everything(
    n: int,
    when: dt.date,
    mode: Literal["fast", "slow"] = "fast",
    limits: Annotated[list[int], Field(min_length=1, description="at least one")] = [1],  # noqa: B006
    since: dt.date = dt.date(2026, 1, 2),
    tree: Node | None = None,
    handle: Handle = Handle(),  # noqa: B008
    loose: Any = None,
    plain=3,  # type: ignore[no-untyped-def]
) -> None:
    """Does everything.

    Args:
        n: how many
            rows to read
        mode (str): how to read
        unknown: is not a parameter
    """


def test_types_defaults_required_and_descriptions() -> None:
    schema = everything.parameter_schema
    properties = schema["properties"]
    assert schema["required"] == ["n", "when"]
    assert schema["additionalProperties"] is False
    assert properties["n"] == {"title": "n", "position": 0, "type": "integer", "description": "how many rows to read"}
    assert properties["mode"]["enum"] == ["fast", "slow"]
    assert properties["mode"]["description"] == "how to read"
    assert properties["limits"]["description"] == "at least one"
    assert (properties["limits"]["minItems"], properties["limits"]["default"]) == (1, [1])
    assert (properties["since"]["format"], properties["since"]["default"]) == ("date", "2026-01-02")
    assert properties["handle"] == {"title": "handle", "position": 6}
    assert properties["plain"] == {"title": "plain", "position": 8, "default": 3}
    assert [name for name, _ in sorted(properties.items(), key=lambda item: item[1]["position"])] == list(properties)


def test_it_is_json_without_references_and_a_valid_schema() -> None:
    text = json.dumps(everything.parameter_schema)
    assert "$ref" not in text
    assert "$defs" not in text
    jsonschema.Draft202012Validator.check_schema(json.loads(text))


@pytest.mark.parametrize(
    ("parameters", "valid"),
    [
        ({"n": 1, "when": "2026-01-01"}, True),
        ({"n": 1, "when": "2026-01-01", "tree": {"value": 1, "children": [{"value": 2}]}}, True),
        ({"n": 1}, False),
        ({"n": "x", "when": "2026-01-01"}, False),
        ({"n": 1, "when": "2026-01-01", "other": 1}, False),
        ({"n": 1, "when": "2026-01-01", "mode": "medium"}, False),
        ({"n": 1, "when": "2026-01-01", "tree": {"children": []}}, False),
    ],
)
def test_a_validator_takes_what_the_flow_takes(parameters: dict[str, Any], valid: bool) -> None:
    assert jsonschema.Draft202012Validator(everything.parameter_schema).is_valid(parameters) is valid


def test_variadic_keywords_allow_further_properties() -> None:
    @flow
    def f(*args: int, **more: str) -> None: ...

    schema = f.parameter_schema
    assert schema["properties"]["args"]["items"] == {"type": "integer"}
    assert schema["additionalProperties"] == {"type": "string"}
    assert "required" not in schema


def test_a_flow_without_parameters() -> None:
    @flow
    def f() -> None: ...

    assert f.parameter_schema == {
        "title": "Parameters",
        "type": "object",
        "properties": {},
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    "docstring",
    [
        "Loads.\n\nArgs:\n    x: the\n        first\n    y (int): second\n\nReturns:\n    z: nothing",
        "Loads.\n\nParameters\n----------\nx : int\n    the\n    first\ny\n    second\n\nReturns\n-------\nz\n    no",
        "Loads.\n\n:param x: the\n    first\n:param int y: second\n:returns: nothing",
    ],
    ids=["google", "numpy", "sphinx"],
)
def test_docstrings_of_every_manner(docstring: str) -> None:
    assert descriptions(docstring) == {"x": "the first", "y": "second"}
