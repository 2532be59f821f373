"""Holds values to a JSON Schema within bounded time, whoever wrote schema and values.

Called by `json_inputs` alone. One operator serves all namespaces on one thread: a schema that refers to another twice,
again and again, or a pattern that goes back and forth would stop it for everybody, and its successor after it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker, SchemaError, ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend
from referencing import Registry

from . import linear_patterns

SCHEMAS = 128  # that are kept ready: to check one takes far longer than to check what is held to it
SECONDS = 3.0
"""CPU time of one check: 512 KiB of numbers, each held to two types, take half of it on a slow machine."""

MAX_ERRORS = 500

_until: ContextVar[float] = ContextVar("until")
Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]


class TakesTooLong(Exception):
    """Schema and values together need more than `SECONDS`."""


def errors(schema: Mapping[str, Any], values: Mapping[str, Any]) -> list[ValidationError]:
    """What is wrong, at most `MAX_ERRORS`. Raises SchemaError and TakesTooLong, and what references raise.

    A pattern is held to what `linear_patterns` can say; of others, whoever takes the values must judge.
    """
    token = _until.set(time.thread_time() + SECONDS)
    try:
        found = _validator(json.dumps(schema)).iter_errors(dict(values))
        return [error for error, _ in zip(found, range(MAX_ERRORS), strict=False)]
    finally:
        _until.reset(token)


@lru_cache(maxsize=SCHEMAS)
def _validator(schema: str) -> Validator:
    """What holds values to a schema. Raises SchemaError."""
    if '"unevaluatedProperties"' in schema and '"patternProperties"' in schema:  # the library's own looks go back
        raise SchemaError("unevaluatedProperties beside patternProperties is not supported; say additionalProperties")
    parsed = json.loads(schema, object_hook=_without_dialect)
    Bounded.check_schema(parsed, format_checker=_formats)
    validator: Validator = Bounded(parsed, registry=Registry())
    return validator


def _without_dialect(part: dict[str, Any]) -> dict[str, Any]:
    """The part of a schema, which would be held to another draft, by a validator that has no bounds."""
    if isinstance(part.get("$schema"), str):
        del part["$schema"]
    return part


_formats = FormatChecker(formats=())
_formats.checks("regex")(lambda pattern: not isinstance(pattern, str) or linear_patterns.is_pattern(pattern))


def _on_time(keyword: Keyword) -> Keyword:
    def bounded(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
        if time.thread_time() > _until.get():
            raise TakesTooLong
        yield from keyword(validator, wanted, instance, schema) or ()

    return bounded


def _pattern(validator: Any, pattern: str, instance: Any, _: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "string") and linear_patterns.found(pattern, instance) is False:
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: Any, _: Any
) -> Iterator[ValidationError]:
    for pattern, subschema in patterns.items() if validator.is_type(instance, "object") else ():
        for name, value in instance.items():
            if linear_patterns.found(pattern, name):
                yield from validator.descend(value, subschema, path=name, schema_path=pattern)


def _additional_properties(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not validator.is_type(instance, "object"):
        return
    patterns = schema.get("patternProperties", {})
    extra = [
        name
        for name in instance
        if name not in schema.get("properties", {})
        and all(linear_patterns.found(pattern, name) is False for pattern in patterns)
    ]
    if validator.is_type(wanted, "object"):
        for name in extra:
            yield from validator.descend(instance[name], wanted, path=name)
    elif wanted is False and extra:
        yield ValidationError(f"Additional properties are not allowed ({', '.join(map(repr, extra[:16]))})")


def _unique_items(validator: Any, wanted: Any, instance: Any, _: Any) -> Iterator[ValidationError]:
    if not wanted or not validator.is_type(instance, "array"):
        return
    if len({_identity(item) for item in instance}) < len(instance):
        yield ValidationError(f"{instance!r} has non-unique elements")


def _identity(value: Any) -> Any:
    """What equal values have in common: 1 is 1.0, and True is neither."""
    if isinstance(value, dict):
        return frozenset((name, _identity(each)) for name, each in value.items())
    if isinstance(value, list):
        return tuple(_identity(each) for each in value)
    return (isinstance(value, bool), value)


Bounded = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {
        name: _on_time(keyword)
        for name, keyword in {
            **Draft202012Validator.VALIDATORS,
            "pattern": _pattern,
            "patternProperties": _pattern_properties,
            "additionalProperties": _additional_properties,
            "uniqueItems": _unique_items,
        }.items()
    },
)
