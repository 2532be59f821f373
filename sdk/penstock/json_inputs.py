"""Whether values fit a JSON Schema, and what to say when they do not: of parameters, and of answers to pauses. Pure.

Called by the operator, the SDK and the command line, so that all three refuse the same. References to other documents
are never fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from jsonschema import ValidationError

MAX_TOLD = 5
MAX_LISTED = 16
SIMPLER = "give the schema fewer alternatives (anyOf, oneOf, $ref), or pass a reference to large data"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong; as text, `path: why`."""

    kind: Literal["missing", "unknown", "value", "schema", "more"]
    path: str
    message: str
    value: Any = field(default=None, compare=False)
    """What stands there, where `kind` is `value`."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def problems(
    schema: Mapping[str, Any] | None, values: Mapping[str, Any], *, partial: bool = False, what: str = "parameters"
) -> list[Problem]:
    """What is wrong, the first few; empty where they fit. `partial` forgives what is missing.

    A schema that names its properties and says nothing of others refuses others, for a misspelt name must not pass.
    `what` the values are is told of what concerns all of them.
    """
    if not schema:
        return []
    from jsonschema.exceptions import SchemaError

    from .bounded_validator import TakesTooLong, errors

    closed = dict(schema)
    if "properties" in closed:
        closed.setdefault("additionalProperties", False)
    if partial:
        closed.pop("required", None)
    try:
        found = sorted(errors(closed, values), key=lambda error: [str(part) for part in error.path])
    except SchemaError as error:
        return [Problem("schema", "", f"the schema of the {what} is no JSON Schema: {error.message}")]
    except TakesTooLong:
        return [Problem("schema", "", f"holding the {what} to their schema takes too long; {SIMPLER}")]
    except Exception as error:  # a $ref that leads nowhere has several types
        return [Problem("schema", "", f"the schema of the {what} cannot be used: {error}")]
    told = list(dict.fromkeys(problem for error in found for problem in _say(error, closed, values, what)))
    more = [Problem("more", "", f"and {len(told) - MAX_TOLD} more")] if len(told) > MAX_TOLD else []
    return told[:MAX_TOLD] + more


def _say(error: ValidationError, schema: Mapping[str, Any], values: Mapping[str, Any], what: str) -> list[Problem]:
    parts = list(error.absolute_path)
    if not parts and error.validator == "required":
        return [
            Problem("missing", name, "it must be given") for name in schema.get("required", []) if name not in values
        ]
    if not parts and error.validator == "additionalProperties" and schema.get("additionalProperties") is False:
        known = schema.get("properties", {})
        return [
            Problem("unknown", name, f"there is no such name; {_instead(name, known)}")
            for name in values
            if name not in known
        ]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")
    return [Problem("value", path or what, error.message[:300], error.instance)]


def _instead(name: str, known: Mapping[str, Any]) -> str:
    close = get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]}?"
    more = f" and {len(known) - MAX_LISTED} more" if len(known) > MAX_LISTED else ""
    return f"there are {', '.join([*known][:MAX_LISTED])}{more}" if known else "there are none"
