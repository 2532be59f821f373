"""Parameters as people type them, `-p name=value`, and what to say when they do not fit the flow."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import click

from .. import json_inputs
from ..json_inputs import Problem
from .suggestions import instead, listed

parameters_option = click.option(
    "-p",
    "--param",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter; the value is JSON, or text when it is no JSON. May be repeated.",
)


def parse_parameters(pairs: Iterable[str], option: str = "--param") -> dict[str, Any]:
    """`name=value` pairs, as `option` takes them: a value that is JSON is taken as JSON, anything else as text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{pair!r}: write it as name=value", param_hint=option)
        if name in found:
            raise click.BadParameter(f"{name} is given twice", param_hint=option)
        found[name] = value_of(text)
    return found


def value_of(text: str) -> Any:
    """What a person typed: JSON where it is some, else the text."""
    try:
        value = json.loads(text)
        json.dumps(value, allow_nan=False)  # NaN and 1e999 are Python's JSON, and nobody else's
    except (ValueError, RecursionError):
        return text
    return value


def problems(schema: Mapping[str, Any], parameters: Mapping[str, Any], *, partial: bool = False) -> list[str]:
    """What is wrong with them and what to write instead; `partial` forgives what is missing."""
    found = json_inputs.problems({"properties": {}, **schema}, parameters, partial=partial)
    known: Mapping[str, Any] = schema.get("properties", {})
    absent = [problem.path for problem in found if problem.kind == "missing"]
    unknown = [problem.path for problem in found if problem.kind == "unknown"]
    told = [_say(problem, known) for problem in found if problem.kind not in ("missing", "unknown")]
    if unknown:
        told.insert(0, no_parameters(unknown, known))
    if absent:
        told.insert(0, f"{listed(absent)} must be given: {' '.join(f'-p {name}=VALUE' for name in absent)}")
    return told


def _say(problem: Problem, known: Mapping[str, Any]) -> str:
    text = str(problem)
    if problem.kind == "value" and not isinstance(problem.value, str) and _takes_text(known.get(problem.path, {})):
        text += f"; text that looks like JSON needs quotes: -p '{problem.path}=\"...\"'"
    return text


def no_parameters(unknown: Iterable[str], known: Iterable[str]) -> str:
    """That there are no such parameters, and which there are."""
    words = list(known)
    return "; ".join(f"there is no parameter {name}, {instead(name, words, 'and no other')}" for name in unknown)


def _takes_text(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "string" or any(_takes_text(choice) for choice in schema.get("anyOf", ()))
