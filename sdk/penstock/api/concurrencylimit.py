"""The ConcurrencyLimit kind: a named limit that runs take slots of."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from .schema import AGE, Column, Count, Kind, Limit, LongText, Model, ObjectName, Resource, Rule, Tag, Time, Uid


class ConcurrencyLimitSpec(Model):
    """What is wanted of a limit."""

    rules = (
        Rule(
            "!(has(self.tag) && has(self.slotDecayPerSecond))",
            "slotDecayPerSecond: a limit on a tag counts runs, which give their slots back when they end",
            ".slotDecayPerSecond",
        ),
    )

    limit: Limit
    """Number of slots; 0 means none."""
    tag: Tag | None = None
    """Flow runs with this tag hold a slot each while their attempt lasts; unset: only code takes slots, by name."""
    description: LongText | None = None
    """What the limit protects."""
    slot_decay_per_second: Annotated[float, Field(ge=0, le=1_000_000)] | None = None
    """Makes it a rate limit: slots come back at this rate instead of on release."""


class Claim(Model):
    """Slots that an attempt holds or waits for."""

    id: Annotated[str, Field(max_length=128)]
    """Identity of the claim."""
    run: ObjectName
    """The FlowRun."""
    run_uid: Uid
    """Its uid."""
    attempt: Count
    """Its attempt."""
    slots: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """How many slots."""
    requested: Time
    """When it was asked for."""
    granted: Time | None = None
    """When it was granted; unset while it waits."""


class ConcurrencyLimitStatus(Model):
    """Who holds and who waits, in order; for display and waking, the live attempts are the truth."""

    observed_generation: Count | None = None
    """Generation this status is of."""
    claims: Annotated[list[Claim], Field(max_length=1000)] | None = None
    """Claims, oldest first."""
    active: Count | None = None
    """Slots held."""
    queued: Count | None = None
    """Claims that wait."""


class ConcurrencyLimit(Resource):
    """A named limit."""

    about: ClassVar[Kind] = Kind(
        "ConcurrencyLimit",
        "concurrencylimits",
        "cl",
        columns=(
            Column("Limit", ".spec.limit", "integer"),
            Column("Active", ".status.active", "integer"),
            Column("Queued", ".status.queued", "integer"),
            Column("Tag", ".spec.tag", priority=1),
            Column("Decay", ".spec.slotDecayPerSecond", "number", priority=1),
            AGE,
        ),
    )

    spec: ConcurrencyLimitSpec
    """What is wanted."""
    status: ConcurrencyLimitStatus | None = None
    """What is known."""
