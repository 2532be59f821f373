"""The WorkQueue kind: a share of a pool with its own priority and limit."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from .schema import (
    AGE,
    READY_COLUMNS,
    Column,
    Conditions,
    Count,
    Kind,
    Limit,
    LongText,
    Model,
    ObjectReference,
    Priority,
    Resource,
    Rule,
    StringMap,
    Tags,
    immutable,
)


class RunSelector(Model):
    """Which runs a queue takes that name no queue themselves; all given parts must match."""

    match_labels: StringMap | None = None
    """Labels that the run has."""
    match_tags: Annotated[Tags, Field(min_length=1)] | None = None
    """Tags that the run has, all of them."""


class WorkQueueSpec(Model):
    """What is wanted of a queue."""

    rules = (immutable("workPoolRef"),)

    work_pool_ref: ObjectReference
    """The pool it belongs to."""
    description: LongText | None = None
    """What the queue is for."""
    priority: Priority = 1000
    """1 is first."""
    concurrency_limit: Limit | None = None
    """Most runs at once; 0 means none."""
    suspend: bool | None = None
    """Starts no runs while true."""
    selector: RunSelector | None = None
    """Which runs it takes."""


class WorkQueueStatus(Model):
    """What is known of a queue."""

    observed_generation: Count | None = None
    """Generation this status is of."""
    conditions: Conditions | None = None
    """Ready: its pool exists."""
    queued: Count | None = None
    """Runs that wait."""
    active: Count | None = None
    """Runs that hold a slot."""


class WorkQueue(Resource):
    """A queue of a work pool."""

    about: ClassVar[Kind] = Kind(
        "WorkQueue",
        "workqueues",
        "wq",
        columns=(
            Column("Pool", ".spec.workPoolRef.name"),
            Column("Priority", ".spec.priority", "integer"),
            Column("Limit", ".spec.concurrencyLimit", "integer"),
            Column("Queued", ".status.queued", "integer"),
            Column("Active", ".status.active", "integer"),
            *READY_COLUMNS,
            AGE,
        ),
        selectable=(".spec.workPoolRef.name",),
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')",
            "metadata.name: the name of a queue is a DNS label of at most 63 characters, for runs name it",
        ),
    )

    spec: WorkQueueSpec
    """What is wanted."""
    status: WorkQueueStatus | None = None
    """What is known."""
