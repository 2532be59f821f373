"""Resource models to CustomResourceDefinitions: a pure function of the classes, and the only place CRDs come from.

`crd_files` writes what this returns. It reads the models' annotations itself, for the JSON Schema that pydantic emits
has `$ref`, `anyOf` with null, `const` and others that a structural schema may not have. A shape it does not know, or a
string, list or map without a bound, raises `UnknownShape`: nothing is passed through on trust.
"""

from __future__ import annotations

import types
from datetime import datetime
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic.fields import FieldInfo

from . import labels
from .schema import Column, Model, Preserve, Resource, Rule

Json = dict[str, Any]

LIST_KEYS = "x-kubernetes-list-map-keys"
RULES = "x-kubernetes-validations"
_NOT_IN_SCHEMA = frozenset({"api_version", "kind", "metadata"})
_SCALARS: dict[Any, Json] = {
    bool: {"type": "boolean"},
    int: {"type": "integer", "format": "int64"},
    float: {"type": "number", "format": "double"},
    str: {"type": "string"},
    datetime: {"type": "string", "format": "date-time"},
}


class UnknownShape(TypeError):
    """A model has a field that no structural schema can be made of; the message says where and why."""


def crd(resource: type[Resource]) -> Json:
    """The CustomResourceDefinition of a kind."""
    about = resource.about
    version: Json = {
        "name": labels.VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [_column(column) for column in about.columns],
        "schema": {"openAPIV3Schema": _root(resource)},
    }
    if about.has_status:
        version["subresources"] = {"status": {}}
    if about.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in about.selectable]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": about.crd_name},
        "spec": {
            "group": labels.GROUP,
            "names": {
                "kind": about.kind,
                "listKind": f"{about.kind}List",
                "plural": about.plural,
                "singular": about.singular,
                "shortNames": [about.short],
                "categories": [labels.CATEGORY],
            },
            "scope": "Namespaced",
            "versions": [version],
        },
    }


def _root(resource: type[Resource]) -> Json:
    fields = {name: info for name, info in resource.model_fields.items() if name not in _NOT_IN_SCHEMA}
    if resource.about.has_status != ("status" in fields):
        raise UnknownShape(f"{resource.__name__}: has_status and the field `status` must go together")
    properties: Json = {
        "apiVersion": {"type": "string", "description": f"Always `{labels.API_VERSION}`."},
        "kind": {"type": "string", "description": f"Always `{resource.about.kind}`."},
        "metadata": {"type": "object"},
    }
    required = []
    for name, info in fields.items():
        where = f"{resource.__name__}.{name}"
        properties[_wire_name(name, info, where)] = _field(info, where, in_status=name == "status")
        if info.is_required():
            required.append(_wire_name(name, info, where))
    return _struct(resource, properties, required)


def _struct(cls: type[Model] | type[Resource], properties: Json, required: list[str]) -> Json:
    schema: Json = {"description": _docstring(cls), "type": "object"}
    if required:
        schema["required"] = required
    schema["properties"] = properties
    if cls.rules:
        schema[RULES] = [_rule(rule) for rule in cls.rules]
    return schema


def _model(cls: type[Model], where: str, in_status: bool) -> Json:
    properties: Json = {}
    required = []
    for name, info in cls.model_fields.items():
        inner = f"{where}.{name}"
        wire = _wire_name(name, info, inner)
        properties[wire] = _field(info, inner, in_status)
        if info.is_required():
            required.append(wire)
    return _struct(cls, properties, required)


def _field(info: FieldInfo, where: str, in_status: bool) -> Json:
    """Schema of a field. Defaults are written for settings only: a status says what is known, never what is usual."""
    schema = _type(info.annotation, _constraints(info, where), where, in_status)
    if not info.description:
        raise UnknownShape(f"{where}: has no docstring")
    schema = {"description": info.description, **{k: v for k, v in schema.items() if k != "description"}}
    if not in_status and not info.is_required() and info.default is not None:
        if not isinstance(info.default, bool | int | float | str):
            raise UnknownShape(f"{where}: default {info.default!r} is no plain scalar")
        schema["default"] = info.default
    return schema


def _wire_name(name: str, info: FieldInfo, where: str) -> str:
    if info.alias is None:
        raise UnknownShape(f"{where}: {name} has no alias, so no name on the wire")
    return info.alias


def _constraints(info: FieldInfo, where: str) -> list[Any]:
    """What a `Field(...)` says beyond the type, as one list."""
    extra = info.json_schema_extra
    if extra is None:
        return list(info.metadata)
    if not isinstance(extra, dict) or set(extra) != {LIST_KEYS}:
        raise UnknownShape(f"{where}: of json_schema_extra only {LIST_KEYS} is known")
    return [*info.metadata, extra]


def _type(tp: Any, constraints: list[Any], where: str, in_status: bool) -> Json:
    origin = get_origin(tp)
    if origin is Annotated:
        inner, *extra = get_args(tp)
        flat = [c for e in extra for c in (_constraints(e, where) if isinstance(e, FieldInfo) else [e])]
        return _type(inner, [*flat, *constraints], where, in_status)
    if origin in (Union, types.UnionType):
        parts = [part for part in get_args(tp) if part is not type(None)]
        if len(parts) != 1:
            raise UnknownShape(f"{where}: a union of several types; use sibling optional structs and a rule")
        return _type(parts[0], constraints, where, in_status)
    if rules := [c for c in constraints if isinstance(c, Rule)]:
        schema = _type(tp, [c for c in constraints if not isinstance(c, Rule)], where, in_status)
        return {**schema, RULES: [*schema.get(RULES, ()), *map(_rule, rules)]}
    if any(isinstance(c, Preserve) for c in constraints):
        return _preserved(tp, [c for c in constraints if not isinstance(c, Preserve)], where)
    if origin is Literal:
        return _literal(tp, constraints, where)
    if origin is list:
        return _list(tp, constraints, where, in_status)
    if origin is dict:
        return _map(tp, constraints, where, in_status)
    if isinstance(tp, type) and issubclass(tp, Model):
        _refuse(constraints, where)
        return _model(tp, where, in_status)
    if tp in _SCALARS:
        return _scalar(tp, constraints, where)
    raise UnknownShape(f"{where}: {tp!r} has no structural schema")


def _preserved(tp: Any, constraints: list[Any], where: str) -> Json:
    """Content the API server keeps without looking: any value, or any object."""
    if tp is Any:
        _refuse(constraints, where)
        return {"x-kubernetes-preserve-unknown-fields": True}
    if get_origin(tp) is not dict:
        raise UnknownShape(f"{where}: Preserve stands on Any or dict, not on {tp!r}")
    low, high = _lengths(constraints, where)
    return {
        "type": "object",
        **_bounds("minProperties", low, "maxProperties", high),
        "x-kubernetes-preserve-unknown-fields": True,
    }


def _literal(tp: Any, constraints: list[Any], where: str) -> Json:
    _refuse(constraints, where)
    words = get_args(tp)
    if not all(isinstance(word, str) for word in words):
        raise UnknownShape(f"{where}: a Literal of other things than strings")
    return {"type": "string", "enum": list(words)}


def _list(tp: Any, constraints: list[Any], where: str, in_status: bool) -> Json:
    keys = [c[LIST_KEYS] for c in constraints if isinstance(c, dict)]
    low, high = _lengths([c for c in constraints if not isinstance(c, dict)], where)
    (item,) = get_args(tp)
    schema: Json = {
        "type": "array",
        **_bounds("minItems", low, "maxItems", high),
        "items": _type(item, [], f"{where}[]", in_status),
    }
    if keys:
        properties = schema["items"].get("properties", {})
        if any(key not in properties for key in keys[0]):
            raise UnknownShape(f"{where}: {LIST_KEYS} names a field that its items do not have")
        schema |= {"x-kubernetes-list-type": "map", LIST_KEYS: list(keys[0])}
    return schema


def _map(tp: Any, constraints: list[Any], where: str, in_status: bool) -> Json:
    key, value = get_args(tp)
    if key is not str:
        raise UnknownShape(f"{where}: keys of a map are strings")
    low, high = _lengths(constraints, where)
    return {
        "type": "object",
        **_bounds("minProperties", low, "maxProperties", high),
        "additionalProperties": _type(value, [], f"{where}{{}}", in_status),
    }


def _scalar(tp: type, constraints: list[Any], where: str) -> Json:
    schema = dict(_SCALARS[tp])
    for constraint in constraints:
        match constraint:
            case Ge(ge=low) if tp in (int, float):
                schema["minimum"] = low
            case Le(le=high) if tp in (int, float):
                schema["maximum"] = high
            case MinLen(min_length=low) if tp is str:
                if low:
                    schema["minLength"] = low
            case MaxLen(max_length=high) if tp is str:
                schema["maxLength"] = high
            case _ if tp is str and isinstance(getattr(constraint, "pattern", None), str):
                schema["pattern"] = constraint.pattern
            case _:
                raise UnknownShape(f"{where}: {constraint!r} means nothing for {tp.__name__}")
    if tp is str and "maxLength" not in schema:
        raise UnknownShape(f"{where}: a string without max_length; rules over it would cost without bound")
    return schema


def _lengths(constraints: list[Any], where: str) -> tuple[int | None, int]:
    low: int | None = None
    high: int | None = None
    for constraint in constraints:
        match constraint:
            case MinLen(min_length=found):
                low = found
            case MaxLen(max_length=found):
                high = found
            case _:
                raise UnknownShape(f"{where}: {constraint!r} means nothing for a list or map")
    if high is None:
        raise UnknownShape(f"{where}: a list or map without max_length; rules over it would cost without bound")
    return low, high


def _bounds(low_word: str, low: int | None, high_word: str, high: int) -> Json:
    return ({low_word: low} if low else {}) | {high_word: high}


def _refuse(constraints: list[Any], where: str) -> None:
    if constraints:
        raise UnknownShape(f"{where}: {constraints[0]!r} means nothing here")


def _rule(rule: Rule) -> Json:
    body: Json = {"rule": rule.rule, "message": rule.message}
    if rule.field_path:
        body["fieldPath"] = rule.field_path
    if rule.message_expression:
        body["messageExpression"] = rule.message_expression
    if rule.optional_old_self:
        body["optionalOldSelf"] = True
    return body


def _column(column: Column) -> Json:
    body: Json = {"name": column.name, "type": column.type, "jsonPath": column.json_path}
    if column.type == "date":
        body["format"] = "date-time"
    if column.description:
        body["description"] = column.description
    if column.priority:
        body["priority"] = column.priority
    return body


def _docstring(cls: type) -> str:
    text = cls.__dict__.get("__doc__")
    if not text:
        raise UnknownShape(f"{cls.__name__}: has no docstring")
    return " ".join(text.split())
