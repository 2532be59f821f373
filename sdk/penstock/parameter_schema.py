"""The JSON schema of a flow's parameters, as it stands in a manifest. Called by `Flow.parameter_schema`; pure.

Draft 2020-12, without references: a type that holds itself is described down to the point where it repeats. What has
no JSON form is left open (`{}`), so that a schema never refuses what the flow would take.
"""

from __future__ import annotations

import inspect
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .parameters import Signature

_PARAMETER = inspect.Parameter


def parameter_schema(signature: Signature) -> dict[str, Any]:
    """`{type: object, properties, required, additionalProperties}`; each property has its `position` in the call."""
    annotations = signature.annotations()
    described = descriptions(inspect.getdoc(signature.fn) or "")
    properties: dict[str, Any] = {}
    required: list[str] = []
    further: Any = False
    for position, parameter in enumerate(signature.inspected.parameters.values()):
        schema = _type_schema(annotations.get(parameter.name, Any))
        if parameter.kind is _PARAMETER.VAR_KEYWORD:
            further = schema or True
            continue
        if parameter.kind is _PARAMETER.VAR_POSITIONAL:
            schema = {"type": "array", "items": schema}
        elif parameter.default is _PARAMETER.empty:
            required.append(parameter.name)
        else:
            schema.update(_default(parameter.default))
        if "description" not in schema and parameter.name in described:
            schema["description"] = described[parameter.name]
        properties[parameter.name] = {"title": parameter.name, "position": position, **schema}
    result: dict[str, Any] = {"title": "Parameters", "type": "object", "properties": properties}
    if required:
        result["required"] = required
    result["additionalProperties"] = further
    return result


def _type_schema(annotation: Any) -> dict[str, Any]:
    if annotation is Any:
        return {}
    from pydantic import PydanticUserError
    from pydantic.errors import PydanticInvalidForJsonSchema

    from .parameters import type_adapter

    try:
        schema: dict[str, Any] = type_adapter(annotation).json_schema()
    except (PydanticInvalidForJsonSchema, PydanticUserError):
        return {}
    definitions = schema.pop("$defs", {})
    inlined: dict[str, Any] = _inline(schema, definitions, ())
    return inlined


def _inline(node: Any, definitions: Mapping[str, Any], inside: tuple[str, ...]) -> Any:
    """`node` with each reference replaced by what it refers to."""
    if isinstance(node, list):
        return [_inline(item, definitions, inside) for item in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/$defs/"):
        name = reference.removeprefix("#/$defs/")
        beside = {key: value for key, value in node.items() if key != "$ref"}
        if name in inside or name not in definitions:
            return {"title": name, **beside}
        return {**_inline(definitions[name], definitions, (*inside, name)), **beside}
    node = {key: value for key, value in node.items() if key != "discriminator"}  # its mapping is made of references
    return {key: _inline(value, definitions, inside) for key, value in node.items()}


def _default(value: Any) -> dict[str, Any]:
    """The default as JSON; left out where it has no such form, the parameter being optional all the same."""
    try:
        return {"default": json.loads(json.dumps(value, allow_nan=False))}
    except (TypeError, ValueError):
        pass
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    try:
        return {"default": json.loads(json.dumps(to_jsonable_python(value), allow_nan=False))}
    except (PydanticSerializationError, TypeError, ValueError):
        return {}


_SECTION = re.compile(r"^(args|arguments|parameters|params)\s*:?\s*$", re.IGNORECASE)
_GOOGLE = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_NUMPY = re.compile(r"^\*{0,2}(\w+)\s*(?::.*)?$")
_REST = re.compile(r"^\s*:param\s+(?:[\w.\[\], |]+\s+)?\*{0,2}(\w+)\s*:\s*(.*)$")


def descriptions(docstring: str) -> dict[str, str]:
    """What a docstring says of each parameter, in Google's, NumPy's or Sphinx's manner."""
    lines = docstring.splitlines()
    found: dict[str, list[str]] = {}
    for number, line in enumerate(lines):
        if match := _REST.match(line):
            found[match[1]] = [match[2], *_deeper(lines[number + 1 :], _indent(line))]
        elif _SECTION.match(line):
            body = lines[number + 1 :]
            if body and set(body[0].strip()) == {"-"}:
                _read_numpy(body[1:], found)
            else:
                _read_google(body, found)
    return {name: text for name, parts in found.items() if (text := " ".join(" ".join(parts).split()))}


def _read_google(lines: list[str], found: dict[str, list[str]]) -> None:
    first = next((line for line in lines if line.strip()), "")
    level = _indent(first)
    if level == 0:
        return
    for number, line in enumerate(lines):
        if line.strip() and _indent(line) < level:
            return
        if _indent(line) == level and (match := _GOOGLE.match(line.strip())):
            found[match[1]] = [match[2], *_deeper(lines[number + 1 :], level)]


def _read_numpy(lines: list[str], found: dict[str, list[str]]) -> None:
    for number, line in enumerate(lines):
        following = lines[number + 1].strip() if number + 1 < len(lines) else ""
        if following and set(following) == {"-"}:
            return  # the next section's heading
        if line.strip() and _indent(line) == 0 and (match := _NUMPY.match(line)):
            found[match[1]] = _deeper(lines[number + 1 :], 0)


def _deeper(lines: list[str], level: int) -> list[str]:
    """The lines up to the next blank or less indented one."""
    text = []
    for line in lines:
        if not line.strip() or _indent(line) <= level:
            break
        text.append(line.strip())
    return text


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
