"""The bricks of every resource model: bounded field types, CEL rules, printer columns and the kind's own facts.

Each kind's module builds on it; `crd` reads what is declared here. Every string, list and map has a bound, for the API
server refuses CEL rules over unbounded data and etcd holds objects of at most 1.5 MiB.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from . import labels


@dataclass(frozen=True, slots=True)
class Rule:
    """A CEL rule on the struct that declares it, or on the field whose `Annotated` names it. `message` names the field
    and the remedy.

    `message_expression` is CEL that makes a message of the value at hand, looked at only where the rule refuses;
    `message` stands in the reference then. `docs/designs/021-cost-of-rules.md` says what a rule costs.
    """

    rule: str
    message: str
    field_path: str | None = None
    optional_old_self: bool = False
    message_expression: str | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; priority 1 shows with `-o wide` only."""

    name: str
    json_path: str
    type: Literal["string", "integer", "number", "boolean", "date"] = "string"
    description: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Preserve:
    """Marks a field whose content the API server keeps without a schema."""


class Model(BaseModel):
    """A struct of the API: camelCase on the wire, snake_case here; unknown fields of newer versions are ignored."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True, use_attribute_docstrings=True
    )
    rules: ClassVar[tuple[Rule, ...]] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, camelCase, without what is unset."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)


def count_of(*names: str) -> str:
    """CEL for how many of the optional fields are set."""
    return " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in names)


def exactly_one(names: tuple[str, ...], what: str) -> Rule:
    """A rule that one, and only one, of the optional fields is set."""
    return Rule(f"{count_of(*names)} == 1", f"{what}: set exactly one of {', '.join(names)}")


def at_creation(rule: Rule) -> Rule:
    """The rule for what cannot change later: looked at only where there is no object yet."""
    return replace(rule, rule=f"oldSelf.hasValue() || ({rule.rule})", optional_old_self=True)


def immutable(*names: str) -> Rule:
    """A rule that optional fields, once the object exists, neither change nor appear nor go.

    The API server's CEL sees no keys of an object without a schema: in a `JsonObject` it misses a key that is renamed
    with nothing else changed. The chart's admission policy closes that gap for parameters.
    """
    same = {n: f"has(self.{n}) == has(oldSelf.{n}) && (!has(self.{n}) || self.{n} == oldSelf.{n})" for n in names}
    if len(names) == 1:
        return Rule(same[names[0]], f"{names[0]} is immutable: create a new object to change it", f".{names[0]}")
    return Rule(
        f"self == oldSelf || ({' && '.join(f'({rule})' for rule in same.values())})",
        f"{', '.join(names)} are immutable: create a new object to change them",
        message_expression=" + ".join(f"({rule} ? '' : '{n} is immutable, ')" for n, rule in same.items())
        + " + 'create a new object to change it'",
    )


def own_keys_reserved(name: str) -> Rule:
    """A rule that a map of labels or annotations has none of the keys that Penstock itself sets."""
    return Rule(
        f"!has(self.{name}) || !self.{name}.exists(key, key.startsWith('{labels.GROUP}/'))",
        f"{name}: keys that begin with {labels.GROUP}/ are reserved",
        f".{name}",
    )


DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"

Label = Annotated[str, Field(min_length=1, max_length=63, pattern=DNS_LABEL)]
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=DNS_SUBDOMAIN)]
Word = Annotated[str, Field(min_length=1, max_length=128)]
Tag = Annotated[str, Field(min_length=1, max_length=128)]
Tags = Annotated[list[Tag], Field(max_length=64)]
Text = Annotated[str, Field(max_length=1024)]
LongText = Annotated[str, Field(max_length=32768)]
Url = Annotated[str, Field(min_length=1, max_length=2048)]
Image = Annotated[str, Field(min_length=1, max_length=1024)]
Entrypoint = Annotated[
    str,
    Field(
        min_length=3,
        max_length=512,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$",
    ),
]
Uid = Annotated[str, Field(max_length=64)]
Digest = Annotated[str, Field(max_length=128)]
Seconds = Annotated[int, Field(ge=1, le=31_536_000)]
SecondsOrZero = Annotated[int, Field(ge=0, le=31_536_000)]
Count = Annotated[int, Field(ge=0, le=2_147_483_647)]
Limit = Annotated[int, Field(ge=0, le=1_000_000)]
Priority = Annotated[int, Field(ge=1, le=1_000_000)]
Time = datetime
JsonObject = Annotated[dict[str, Any], Preserve(), Field(max_length=1024)]
JsonValue = Annotated[Any, Preserve()]
StringMap = Annotated[
    dict[str, Annotated[str, Field(max_length=4096)]],
    Field(max_length=128),
]


class ObjectReference(Model):
    """An object of the same namespace, by name."""

    name: ObjectName
    """Name of the object."""


class Condition(Model):
    """A condition as Kubernetes has them (metav1.Condition)."""

    type: Annotated[str, Field(max_length=316)]
    """Kind of condition, CamelCase."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: Annotated[str, Field(max_length=1024)] = ""
    """Machine-readable cause, CamelCase."""
    message: Annotated[str, Field(max_length=1024)] = ""
    """For people: what is so, and what to do."""
    last_transition_time: Time | None = None
    """When `status` last changed."""
    observed_generation: Count | None = None
    """`metadata.generation` this was found for."""


Conditions = Annotated[
    list[Condition], Field(max_length=16, json_schema_extra={"x-kubernetes-list-map-keys": ["type"]})
]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind is called, and how kubectl shows it."""

    kind: str
    plural: str
    short: str
    columns: tuple[Column, ...] = ()
    selectable: tuple[str, ...] = ()
    has_status: bool = True

    @property
    def singular(self) -> str:
        return self.kind.lower()

    @property
    def crd_name(self) -> str:
        return f"{self.plural}.{labels.GROUP}"


READY_COLUMNS = (
    Column("Ready", ".status.conditions[?(@.type=='Ready')].status", description="Whether it can be used"),
    Column("Reason", ".status.conditions[?(@.type=='Ready')].reason", description="Why not", priority=1),
)
AGE = Column("Age", ".metadata.creationTimestamp", "date")


class ObjectMeta(BaseModel):
    """The part of Kubernetes' ObjectMeta that Penstock reads or writes."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="allow", frozen=True)

    name: str = ""
    namespace: str | None = None
    uid: str | None = None
    generation: int | None = None
    resource_version: str | None = None
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class Resource(BaseModel):
    """Base of every kind: apiVersion, kind and metadata; subclasses add spec and status."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True, use_attribute_docstrings=True
    )
    about: ClassVar[Kind]
    rules: ClassVar[tuple[Rule, ...]] = ()

    api_version: str = labels.API_VERSION
    kind: str = ""
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready manifest, camelCase, apiVersion and kind first."""
        body = self.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)
        return {"apiVersion": labels.API_VERSION, "kind": self.about.kind, **body}
