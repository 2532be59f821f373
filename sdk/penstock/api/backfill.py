"""The Backfill kind: runs for a range of a schedule's slots in the past."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from .flowdeployment import Schedule, Slug
from .schema import (
    AGE,
    Column,
    Conditions,
    Count,
    JsonObject,
    Kind,
    Model,
    ObjectReference,
    Resource,
    Rule,
    Time,
    Uid,
    immutable,
)


class BackfillSpec(Model):
    """What is wanted of a backfill."""

    rules = (
        Rule("self.to > self.from", "to: must be later than from", ".to"),
        immutable("deploymentRef", "schedule", "from", "to", "mode", "order", "parameters"),
        Rule(
            "!(has(oldSelf.cancel) && oldSelf.cancel) || (has(self.cancel) && self.cancel)",
            "cancel: a cancellation cannot be taken back",
            ".cancel",
        ),
    )

    deployment_ref: ObjectReference
    """The deployment."""
    schedule: Slug
    """Slug of its schedule."""
    from_: Annotated[Time, Field(alias="from")]
    """First instant of the range."""
    to: Time
    """End of the range; not in it."""
    mode: Literal["Missing", "All"] | None = None
    """Missing (default) makes the runs that are not there; All makes all of them anew."""
    parallelism: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Runs at once; 1 when unset."""
    order: Literal["Ascending", "Descending"] | None = None
    """Oldest first (default) or newest first."""
    parameters: JsonObject | None = None
    """Parameters over those of the schedule."""
    suspend: bool | None = None
    """Makes no further runs while true."""
    cancel: bool | None = None
    """Ends the backfill and its runs."""


class BackfillStatus(Model):
    """What is known of a backfill."""

    observed_generation: Count | None = None
    """Generation this status is of."""
    conditions: Conditions | None = None
    """Ready, Complete."""
    deployment_uid: Uid | None = None
    """Uid of the FlowDeployment whose slots it makes; another of its name has other runs."""
    range_schedule: Schedule | None = None
    """The schedule as it was when the backfill began; later edits do not change its slots."""
    total: Count | None = None
    """Slots in the range."""
    created: Count | None = None
    """Runs made."""
    skipped: Count | None = None
    """Slots whose run was there already, or could not be made."""
    done: Count | None = None
    """Runs that Completed."""
    failed: Count | None = None
    """Runs that ended otherwise."""
    cursor: Time | None = None
    """The slot that was handled last, in the order of the backfill."""
    active: Annotated[list[Time], Field(max_length=1000)] | None = None
    """Slots whose runs have not ended."""


class Backfill(Resource):
    """A backfill of a schedule."""

    about: ClassVar[Kind] = Kind(
        "Backfill",
        "backfills",
        "bf",
        columns=(
            Column("Deployment", ".spec.deploymentRef.name"),
            Column("Schedule", ".spec.schedule"),
            Column("Total", ".status.total", "integer"),
            Column("Created", ".status.created", "integer"),
            Column("Done", ".status.done", "integer"),
            Column("Failed", ".status.failed", "integer"),
            Column("Complete", ".status.conditions[?(@.type=='Complete')].status"),
            Column("Reason", ".status.conditions[?(@.type=='Complete')].reason", priority=1),
            AGE,
        ),
    )

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')",
            "metadata.name: the name of a backfill is a DNS label of at most 63 characters, for its runs bear it",
        ),
    )

    spec: BackfillSpec
    """What is wanted."""
    status: BackfillStatus | None = None
    """What is known."""
