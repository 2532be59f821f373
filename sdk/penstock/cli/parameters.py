"""Parameters as people type them, `-p name=value`, and what to say when they do not fit the flow."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import click

from .suggestions import instead, listed

if TYPE_CHECKING:
    from jsonschema import ValidationError

MAX_TOLD = 5

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
    from jsonschema import Draft202012Validator
    from referencing import Registry

    closed = {"additionalProperties": False, **schema}
    if partial:
        closed.pop("required", None)
    validator = Draft202012Validator(closed, registry=Registry())
    found = sorted(validator.iter_errors(dict(parameters)), key=lambda error: [str(part) for part in error.path])
    told = list(dict.fromkeys(_say(error, schema, parameters) for error in found))  # one each for what is missing
    return told[:MAX_TOLD] + ([f"and {len(told) - MAX_TOLD} more"] if len(told) > MAX_TOLD else [])


def _say(error: ValidationError, schema: Mapping[str, Any], parameters: Mapping[str, Any]) -> str:
    known: Mapping[str, Any] = schema.get("properties", {})
    parts = list(error.absolute_path)
    if not parts and error.validator == "required":
        absent = [name for name in schema.get("required", []) if name not in parameters]
        return f"{listed(absent)} must be given: {' '.join(f'-p {name}=VALUE' for name in absent)}"
    if not parts and error.validator == "additionalProperties":
        unknown = [name for name in parameters if name not in known]
        return no_parameters(unknown, known)
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")
    text = f"{path or 'parameters'}: {error.message[:300]}"
    if len(parts) == 1 and not isinstance(error.instance, str) and _takes_text(known.get(str(parts[0]), {})):
        text += f"; text that looks like JSON needs quotes: -p '{path}=\"...\"'"
    return text


def no_parameters(unknown: Iterable[str], known: Iterable[str]) -> str:
    """That there are no such parameters, and which there are."""
    words = list(known)
    return "; ".join(f"there is no parameter {name}, {instead(name, words, 'and no other')}" for name in unknown)


def _takes_text(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") == "string" or any(_takes_text(choice) for choice in schema.get("anyOf", ()))
