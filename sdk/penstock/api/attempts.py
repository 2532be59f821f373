"""An attempt in a run's status: what it was admitted by, the pod that has claimed it, the worker it was given to."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .schema import Count, Label, Model, ObjectName, Rule, Tag, Text, Time, Uid


class Admitted(Model):
    """What the attempt holds slots of, besides those of its pool and its deployment."""

    queue: Label | None = None
    """Its WorkQueue; unset: that of all whom no queue takes."""
    tags: Annotated[list[Tag], Field(max_length=128)] | None = None
    """Its tags and those of its deployment."""


class ClaimedPod(Model):
    """The pod that owns the current attempt."""

    name: Annotated[str, Field(max_length=253)]
    """Its name."""
    uid: Uid
    """Its uid; later writes must come from it."""


class WorkerVariable(Model):
    """An environment variable of the run's process."""

    name: Annotated[str, Field(min_length=1, max_length=256)]
    """Name of the variable."""
    value: Annotated[str, Field(max_length=8192)] = ""
    """Its value, in the clear."""


class WorkerExit(Model):
    """How the process of an attempt ended that wrote no end of its run."""

    attempt: Count
    """The attempt whose process it was; also where it never had one."""
    exit_code: Annotated[int, Field(ge=0, le=255)] | None = None
    """Its exit code, 128 and the signal's number where one ended it."""
    reason: Annotated[str, Field(max_length=128)] = ""
    """Machine-readable cause, such as OOMKilled."""
    message: Text = ""
    """For people: what is known of the cause."""
    time: Time
    """When it ended."""


class AssignedWorker(Model):
    """The warm worker that an attempt was given to, of runs in pools of type Process."""

    rules = (
        Rule(
            "self.attempt != oldSelf.attempt || (self.name == oldSelf.name && self.uid == oldSelf.uid "
            "&& (!oldSelf.?end.orValue(false) || self.?end.orValue(false)) "
            "&& (!has(oldSelf.exited) || (has(self.exited) && self.exited == oldSelf.exited)))",
            "worker: an attempt stays with its worker; end cannot be taken back, exited cannot be changed",
            message_expression="self.name != oldSelf.name || self.uid != oldSelf.uid "
            "? 'worker: an attempt stays with its worker' "
            ": oldSelf.?end.orValue(false) && !self.?end.orValue(false) ? 'worker.end cannot be taken back' "
            ": 'worker.exited cannot be changed once it is written'",
        ),
    )

    name: ObjectName
    """Its name; that of its pod for workers in the cluster."""
    uid: Uid
    """Its uid: another worker of the same name is another worker."""
    attempt: Count
    """The attempt."""
    env: Annotated[list[WorkerVariable], Field(max_length=160)] | None = None
    """Environment of the process beside what it is told of the run."""
    end: bool | None = None
    """True asks the worker to end the process."""
    exited: WorkerExit | None = None
    """Written by the worker once the process has ended, where the run has no end."""
