"""Whether parameters fit a flow's schema, and what to say when they do not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry

MAX_BYTES = 512 * 1024
MAX_TOLD = 5
SCHEMAS = 128  # that are kept ready: to check one takes far longer than to check what is held to it


def merge(*layers: Mapping[str, Any] | None) -> dict[str, Any]:
    """Parameters by name; a later layer wins."""
    return {name: value for layer in layers for name, value in (layer or {}).items()}


def problems(
    schema: Mapping[str, Any] | None,
    parameters: Mapping[str, Any],
    *,
    partial: bool = False,
    what: str = "parameters",
    most: int = MAX_BYTES,
) -> list[str]:
    """What is wrong, each as `path: why`; empty when they fit. `partial` forgives what is missing.

    `what` they are and how many bytes they may have is for those who check something else, such as an answer.

    A schema that names its properties and says nothing of others refuses others, for a misspelt name must not pass.
    References to other documents are never fetched.
    """
    size = len(json.dumps(parameters))
    if size > most:
        return [f"{what}: {size} bytes of JSON, at most {most}; pass a reference to large data instead"]
    if not schema:
        return []
    closed = dict(schema)
    if "properties" in closed:
        closed.setdefault("additionalProperties", False)
    if partial:
        closed.pop("required", None)
    try:
        validator = _validator(json.dumps(closed))
        found = sorted(validator.iter_errors(dict(parameters)), key=lambda error: [str(part) for part in error.path])
    except SchemaError as error:
        return [f"the schema of the {what} is no JSON Schema: {error.message}"]
    except Exception as error:  # a $ref that leads nowhere has several types
        return [f"the schema of the {what} cannot be used: {error}"]
    told = [_say(error, what) for error in found[:MAX_TOLD]]
    return told + ([f"and {len(found) - MAX_TOLD} more"] if len(found) > MAX_TOLD else [])


@lru_cache(maxsize=SCHEMAS)
def _validator(schema: str) -> Draft202012Validator:
    """What holds values to a schema. Raises SchemaError."""
    parsed = json.loads(schema)
    Draft202012Validator.check_schema(parsed)
    return Draft202012Validator(parsed, registry=Registry())


def _say(error: ValidationError, what: str) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
    return f"{path or what}: {error.message[:300]}"
