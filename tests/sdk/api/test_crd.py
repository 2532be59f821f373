"""Models to CRDs: what Kubernetes' structural schemas take, and an error for all they do not."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field

from penstock.api import kinds
from penstock.api.crd import UnknownShape, crd
from penstock.api.schema import (
    Column,
    JsonObject,
    JsonValue,
    Kind,
    Model,
    Preserve,
    Resource,
    Rule,
    Text,
)

# Words of JSON Schema that a structural schema may not have, or that mean something else there.
FORBIDDEN = {"$ref", "$defs", "anyOf", "oneOf", "allOf", "not", "const", "title", "nullable", "uniqueItems"}
ALSO_FORBIDDEN = {"exclusiveMinimum", "exclusiveMaximum", "prefixItems", "discriminator", "definitions"}


def of(**annotations: Any) -> dict[str, Any]:
    """Schema of a struct with these fields, as the spec of a kind."""
    fields = {name: tp for name, tp in annotations.items() if not name.startswith("default_")}
    defaults = {name.removeprefix("default_"): value for name, value in annotations.items() if name not in fields}
    body = {
        "__doc__": "A struct.",
        "__module__": __name__,
        "__annotations__": {name: Annotated[tp, Field(description="A field.")] for name, tp in fields.items()},
        **defaults,
    }
    return spec_of(type("Spec", (Model,), body))


def spec_of(spec: Any) -> dict[str, Any]:
    body = {
        "__doc__": "A kind.",
        "__module__": __name__,
        "__annotations__": {"about": ClassVar[Kind], "spec": Annotated[spec, Field(description="The spec.")]},
        "about": Kind("Thing", "things", "th", has_status=False),
    }
    resource: Any = type("Thing", (Resource,), body)
    version = crd(resource)["spec"]["versions"][0]
    found: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


def field(tp: Any) -> dict[str, Any]:
    """Schema of one required field, without its description."""
    found: dict[str, Any] = of(x=tp)["properties"]["x"]
    assert found.pop("description") == "A field."
    return found


def walk(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema in a schema with its path."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from walk(inner, f"{path}.{name}")
    if "items" in schema:
        yield from walk(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from walk(schema["additionalProperties"], f"{path}{{}}")


@pytest.mark.parametrize(
    ("tp", "schema"),
    [
        (bool, {"type": "boolean"}),
        (datetime, {"type": "string", "format": "date-time"}),
        (Annotated[int, Field(ge=1, le=9)], {"type": "integer", "format": "int64", "minimum": 1, "maximum": 9}),
        (Annotated[float, Field(ge=0)], {"type": "number", "format": "double", "minimum": 0}),
        (
            Annotated[str, Field(min_length=1, max_length=5, pattern="^a")],
            {"type": "string", "minLength": 1, "maxLength": 5, "pattern": "^a"},
        ),
        (Literal["A", "B"], {"type": "string", "enum": ["A", "B"]}),
        (
            Annotated[list[Text], Field(min_length=1, max_length=2)],
            {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "string", "maxLength": 1024}},
        ),
        (
            Annotated[dict[str, bool], Field(max_length=3)],
            {"type": "object", "maxProperties": 3, "additionalProperties": {"type": "boolean"}},
        ),
        (JsonObject, {"type": "object", "maxProperties": 1024, "x-kubernetes-preserve-unknown-fields": True}),
        (JsonValue, {"x-kubernetes-preserve-unknown-fields": True}),
    ],
    ids=lambda value: str(value)[:60],
)
def test_each_known_shape_has_its_schema_and_an_optional_one_the_same(tp: Any, schema: dict[str, Any]) -> None:
    assert field(tp) == schema
    assert field(tp | None) == schema


class Inner(Model):
    """Docstring of the struct."""

    rules = (Rule("self.x != ''", "x: not empty", ".x", optional_old_self=True),)

    x: Text = "usual"
    """The x."""


def test_a_struct_is_inlined_with_its_rules_and_the_fields_own_words() -> None:
    assert of(x=Inner)["properties"]["x"] == {
        "description": "A field.",
        "type": "object",
        "properties": {"x": {"description": "The x.", "type": "string", "maxLength": 1024, "default": "usual"}},
        "x-kubernetes-validations": [
            {"rule": "self.x != ''", "message": "x: not empty", "fieldPath": ".x", "optionalOldSelf": True}
        ],
    }


def test_a_rule_of_a_field_alone_stands_at_the_field_after_those_of_its_struct() -> None:
    once = Rule("self == oldSelf", "x cannot be changed")
    body = {"rule": "self == oldSelf", "message": "x cannot be changed"}
    assert field(Annotated[int, once]) == {"type": "integer", "format": "int64", "x-kubernetes-validations": [body]}
    found = field(Annotated[Inner, once] | None)["x-kubernetes-validations"]
    assert [rule["rule"] for rule in found] == ["self.x != ''", "self == oldSelf"]


def test_a_list_keyed_by_a_field_is_a_map_to_kubernetes() -> None:
    keyed = Field(max_length=4, json_schema_extra={"x-kubernetes-list-map-keys": ["x"]})
    found = field(Annotated[list[Inner], keyed])
    assert (found["x-kubernetes-list-type"], found["x-kubernetes-list-map-keys"]) == ("map", ["x"])
    other = Field(max_length=4, json_schema_extra={"x-kubernetes-list-map-keys": ["y"]})
    with pytest.raises(UnknownShape, match="a field that its items do not have"):
        field(Annotated[list[Inner], other])


def test_fields_without_default_are_required_and_none_is_no_default() -> None:
    found = of(some_name=bool, other=bool | None, third=bool, default_other=None, default_third=False)
    assert found["required"] == ["someName"]
    assert "default" not in found["properties"]["other"]
    assert found["properties"]["third"]["default"] is False


@pytest.mark.parametrize(
    "tp",
    [
        str,
        Annotated[str, Field(pattern="^a$")],
        list[bool],
        Annotated[list[str], Field(max_length=3)],
        dict[str, bool],
        Annotated[dict[int, bool], Field(max_length=3)],
        bool | Annotated[int, Field(ge=0)],
        bytes,
        Any,
        tuple[bool, bool],
        set[bool],
        Literal[1, 2],
        Annotated[int, Field(gt=0)],
        Annotated[int, Field(multiple_of=2)],
        Annotated[float, Field(lt=1)],
        Annotated[bool, "something"],
        Annotated[str, Preserve(), Field(max_length=3)],
        Annotated[dict[str, Any], Preserve()],
        Annotated[list[bool], Field(max_length=3, json_schema_extra={"x-order": 1})],
        object,
    ],
    ids=lambda value: str(value)[:70],
)
def test_a_shape_that_is_not_known_is_an_error_that_says_where(tp: Any) -> None:
    with pytest.raises(UnknownShape, match=r"^Thing\.spec\.x"):
        field(tp)


def test_a_field_without_words_is_an_error() -> None:
    bare = type("Spec", (Model,), {"__doc__": "A struct.", "__module__": __name__, "__annotations__": {"x": bool}})
    with pytest.raises(UnknownShape, match=r"Thing\.spec\.x: has no docstring"):
        spec_of(bare)


@pytest.mark.parametrize("kind", kinds.ALL, ids=lambda kind: kind.__name__)
def test_every_kinds_schema_is_structural_and_bounded(kind: type[Resource]) -> None:
    schema = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for path, found in walk(schema):
        assert not set(found) & (FORBIDDEN | ALSO_FORBIDDEN), path
        assert "type" in found or "x-kubernetes-preserve-unknown-fields" in found, path
        if path.count(".") > 1 and found.get("type") == "string":
            assert {"maxLength", "enum", "format"} & set(found), path
        if found.get("type") == "array":
            assert "maxItems" in found, path


@pytest.mark.parametrize("kind", kinds.ALL, ids=lambda kind: kind.__name__)
def test_every_crd_is_small_enough_for_kubectl_apply(kind: type[Resource]) -> None:
    """kubectl keeps the whole object in an annotation of at most 256 KiB."""
    assert len(json.dumps(crd(kind))) < 64 * 1024


@pytest.mark.parametrize("kind", kinds.ALL, ids=lambda kind: kind.__name__)
def test_columns_and_selectors_name_fields_that_exist(kind: type[Resource]) -> None:
    version = crd(kind)["spec"]["versions"][0]
    scalars = {
        path: found.get("type")
        for path, found in walk(version["schema"]["openAPIV3Schema"])
        if "properties" not in found
    }
    for column in kind.about.columns:
        plain = re.sub(r"\[\?\(@\.type=='\w+'\)\]", "[]", column.json_path).replace("[0]", "[]")
        if not plain.startswith(".metadata"):
            assert plain in scalars, column.name
            shown = {"date": "string"}.get(column.type, column.type)
            assert scalars[plain] in (shown, None), column.name
    for path in kind.about.selectable:
        assert scalars[path] in ("string", "boolean", "integer")


def test_no_default_stands_in_a_status() -> None:
    for kind in kinds.ALL:
        status = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"].get("status", {})
        assert all("default" not in found for _, found in walk(status)), kind.__name__


def test_status_and_the_kinds_word_for_it_go_together() -> None:
    about = Kind("Thing", "things", "th", columns=(Column("Age", ".metadata.creationTimestamp", "date"),))
    body = {"__doc__": "A kind.", "__module__": __name__, "about": about, "__annotations__": {"about": ClassVar[Kind]}}
    thing: Any = type("Thing", (Resource,), body)
    with pytest.raises(UnknownShape, match="has_status"):
        crd(thing)
