"""The TaskRunPage kind: task records of one run, many to an object, written by the run's own pod."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from .schema import AGE, Column, Count, Kind, Model, ObjectName, Resource, Rule, Text, Time, Uid

MAX_PAGE = 32_768  # bytes of `data` at which a page is sealed


class RunReference(Model):
    """The run the records belong to."""

    name: ObjectName
    """Its name."""
    uid: Uid
    """Its uid."""


class TaskSummary(Model):
    """How many task runs of one task are in each state."""

    task: Annotated[str, Field(max_length=253)]
    """Name of the task."""
    states: Annotated[dict[str, Count], Field(max_length=32)]
    """State name to count."""


class TaskFailure(Model):
    """A task run that did not complete, in clear."""

    id: Annotated[str, Field(max_length=64)]
    """Id of the task run."""
    name: Annotated[str, Field(max_length=253)]
    """Name of the task run."""
    state: Annotated[str, Field(max_length=64)]
    """Its state."""
    attempts: Count = 1
    """How often it was tried."""
    message: Text = ""
    """What went wrong."""
    ended: Time | None = None
    """When it ended."""


class TaskRunPage(Resource):
    """A page of task records of one run."""

    about: ClassVar[Kind] = Kind(
        "TaskRunPage",
        "taskrunpages",
        "trp",
        columns=(
            Column("Run", ".run.name"),
            Column("Page", ".number", "integer"),
            Column("Records", ".records", "integer"),
            Column("Sealed", ".sealed", "boolean", priority=1),
            AGE,
        ),
        selectable=(".run.name",),
        has_status=False,
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.run == oldSelf.run && self.attempt == oldSelf.attempt && self.number == oldSelf.number",
            "run, attempt, number: a page stays that of its run and attempt",
        ),
        Rule(
            "!(has(oldSelf.sealed) && oldSelf.sealed) || (has(self.sealed) && self.sealed && has(self.data) == "
            "has(oldSelf.data) && (!has(self.data) || self.data == oldSelf.data))",
            "sealed: a sealed page is not written again; begin the next one",
            ".sealed",
        ),
    )

    run: RunReference
    """The run."""
    attempt: Count
    """Attempt that wrote the page."""
    number: Count
    """Number of the page, from 0."""
    records: Count
    """How many records `data` holds."""
    sealed: bool | None = None
    """Whether the page is full; a sealed page is not written again."""
    summary: Annotated[list[TaskSummary], Field(max_length=1000)] | None = None
    """Counts by task and state."""
    failures: Annotated[list[TaskFailure], Field(max_length=100)] | None = None
    """Task runs that did not complete."""
    encoding: Annotated[str, Field(max_length=32)] | None = None
    """Format of `data`."""
    data: Annotated[str, Field(max_length=65_536)] | None = None
    """The records, compressed."""
