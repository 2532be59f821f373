"""The ConcurrencyLimit kind: a named limit that runs take slots of."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from .bounds import MAX_SHOWN_CLAIMS
from .schema import AGE, Column, Count, Kind, Limit, LongText, Model, ObjectName, Resource, Rule, Tag, Time, Uid


class ConcurrencyLimitSpec(Model):
    """What is wanted of a limit."""

    rules = (
        Rule(
            "!(has(self.tag) && has(self.slotDecayPerSecond))",
            "slotDecayPerSecond: a limit on a tag counts runs, which give their slots back when they end",
            ".slotDecayPerSecond",
        ),
        Rule(
            "!(has(self.tag) && has(self.taskTag))",
            "taskTag: a limit counts runs by their tag, or task runs by theirs: create another",
            ".taskTag",
        ),
    )

    limit: Limit
    """Number of slots; 0 means none."""
    tag: Tag | None = None
    """Flow runs with this tag hold a slot each while their attempt lasts; unset: code takes slots, by name."""
    description: LongText | None = None
    """What the limit protects."""
    slot_decay_per_second: Annotated[float, Field(ge=0, le=1_000_000)] | None = None
    """Makes it a rate limit: slots come back at this rate instead of on release."""
    task_tag: Tag | None = None
    """Task runs with this tag take a slot each, in all runs of the namespace, without a line of code."""


class Claimant(Model):
    """An attempt that holds slots or waits for some."""

    run: ObjectName
    """The FlowRun."""
    run_uid: Uid
    """Its uid."""
    attempt: Count
    """Its attempt."""
    active: Count = 0
    """Slots it holds."""
    queued: Count = 0
    """Slots it waits for."""
    since: Time
    """When it asked first."""


class RateUse(Model):
    """How much of a rate is used; it comes back by time."""

    taken: Annotated[float, Field(ge=0, le=1e9)]
    """Slots that were taken and had not come back; may run a second ahead."""
    time: Time
    """As of when."""


class ConcurrencyLimitStatus(Model):
    """Who holds and who waits, for display: what counts stands in the runs. Written at most once a second."""

    observed_generation: Count | None = None
    """Generation this status is of."""
    active: Count | None = None
    """Slots held; of a rate, nothing is held."""
    queued: Count | None = None
    """Slots that are waited for."""
    claims: Annotated[list[Claimant], Field(max_length=MAX_SHOWN_CLAIMS)] | None = None
    """The first of those who hold and who wait."""
    rate: RateUse | None = None
    """Use of a rate."""


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
            Column("Decay", ".spec.slotDecayPerSecond", "number", priority=1),
            Column("Tag", ".spec.tag", priority=1),
            Column("Task-Tag", ".spec.taskTag", priority=1),
            AGE,
        ),
    )

    spec: ConcurrencyLimitSpec
    """What is wanted."""
    status: ConcurrencyLimitStatus | None = None
    """What is known."""
