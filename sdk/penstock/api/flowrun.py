"""The FlowRun kind: one execution of a flow, and what is asked of it; `runstatus` has what is known of it."""

from __future__ import annotations

from typing import ClassVar, Literal

from .flowdeployment import InfraRetries
from .pauses import Resume
from .pods import PodOverrides
from .runstatus import FlowRunStatus
from .schema import (
    AGE,
    Column,
    Entrypoint,
    JsonObject,
    Kind,
    Label,
    Model,
    ObjectName,
    ObjectReference,
    Priority,
    Resource,
    Rule,
    Seconds,
    SecondsOrZero,
    Tags,
    Time,
    Uid,
    Url,
    at_creation,
    exactly_one,
    immutable,
)
from .states import StateType


class ParentReference(Model):
    """The run that made this one."""

    name: ObjectName
    """Name of the parent FlowRun."""
    uid: Uid
    """Its uid."""
    awaited: bool | None = None
    """Whether the parent waits for it; such children end with the parent."""


class RetriedRun(Model):
    """The run that this one retries."""

    name: ObjectName
    """Name of a FlowRun that has ended."""
    uid: Uid
    """Its uid, so that a namesake is not taken for it."""


class TaskOfRun(Model):
    """A single task to run in a pod of its own, or in the background."""

    entrypoint: Entrypoint
    """`module:task`."""
    arguments: Url | None = None
    """Where its arguments are in the result store."""
    result: Url | None = None
    """Where its result goes in the result store."""


class FlowRunSpec(Model):
    """What is wanted of a run, and what is asked of it while it runs."""

    # All of them are looked at with each write of a status: what a run is made of is judged when it is made, and
    # costs one comparison later.
    rules = (
        at_creation(exactly_one(("deploymentRef", "flowRef"), "spec")),
        immutable(
            "deploymentRef",
            "flowRef",
            "parameters",
            "scheduledTime",
            "workPool",
            "parent",
            "infrastructure",
            "task",
            "retryOf",
            "pod",
        ),
        at_creation(
            Rule(
                "!has(self.retryOf) "
                "|| !(has(self.task) || has(self.infrastructure) && self.infrastructure == 'Parent')",
                "retryOf: a whole run is retried, no task and no subflow",
                ".retryOf",
            )
        ),
        Rule(
            "!oldSelf.?cancel.orValue(false) || self.?cancel.orValue(false)",
            "cancel: a cancellation cannot be taken back",
            ".cancel",
        ),
        at_creation(
            Rule(
                "!has(self.infrastructure) || self.infrastructure != 'Parent' || has(self.parent)",
                "infrastructure: Parent needs parent",
                ".infrastructure",
            )
        ),
    )

    deployment_ref: ObjectReference | None = None
    """The FlowDeployment that is run."""
    flow_ref: ObjectReference | None = None
    """The Flow that is run without a deployment."""
    parameters: JsonObject | None = None
    """Parameters, over those of the deployment."""
    scheduled_time: Time | None = None
    """Not before this instant; at once when unset."""
    work_pool: Label | None = None
    """WorkPool; the deployment's when unset."""
    queue: Label | None = None
    """WorkQueue; the deployment's when unset."""
    priority: Priority | None = None
    """1 is first; the deployment's when unset."""
    tags: Tags | None = None
    """Tags, added to those of the deployment."""
    parent: ParentReference | None = None
    """The run that made this one."""
    infrastructure: Literal["Pool", "Parent"] | None = None
    """Pool (default) launches it; Parent runs it in its parent's process."""
    task: TaskOfRun | None = None
    """Run this single task instead of the whole flow."""
    retry_of: RetriedRun | None = None
    """Retry this run: same code and parameters; what its tasks kept in a shared result store is used again."""
    pod: PodOverrides | None = None
    """Changes to the pool's pod template; only what the pool allows."""
    infra_retries: InfraRetries | None = None
    """Retries of attempts that the infrastructure ended; the deployment's when unset."""
    pending_deadline_seconds: Seconds | None = None
    """A pod that does not run user code after this is given up."""
    starting_deadline_seconds: Seconds | None = None
    """A run that could not start this long after its scheduled time is given up."""
    active_deadline_seconds: Seconds | None = None
    """A run active for longer is ended as Failed."""
    ttl_seconds_after_finished: SecondsOrZero | None = None
    """The run is deleted this long after its end."""
    cancel: bool | None = None
    """Ask the run to end; cannot be taken back."""
    suspend: bool | None = None
    """Ask the run to stop and keep what it has; unset, it goes on in a new pod."""
    resume: Resume | None = None
    """Answer a pause."""


class FlowRun(Resource):
    """One run of a flow."""

    about: ClassVar[Kind] = Kind(
        "FlowRun",
        "flowruns",
        "fr",
        columns=(
            Column("Deployment", ".spec.deploymentRef.name"),
            Column("State", ".status.state.name", description="State of the run"),
            Column("Reason", ".status.state.reason"),
            Column("Tasks", ".status.tasks.summary", description="Finished and all task runs"),
            Column("Pool", ".status.resolved.pool.name"),
            Column("Attempt", ".status.attempt", "integer"),
            Column("Started", ".status.startTime", "date"),
            Column("Duration", ".status.duration"),
            AGE,
            Column("Message", ".status.state.message", priority=1),
            Column("Pod", ".status.pod.name", priority=1),
            Column("Worker", ".status.worker.name", priority=1),
        ),
        selectable=(
            ".spec.deploymentRef.name",
            ".spec.workPool",
            ".status.settled",
            ".status.state.type",
            ".status.worker.name",
        ),
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        at_creation(
            Rule(
                "self.metadata.name.size() <= 52 && !self.metadata.name.contains('.')",
                "metadata.name: the name of a run is a DNS label of at most 52 characters",
            )
        ),
        Rule("has(self.status) || !has(oldSelf.status)", "status: a run's status cannot be removed"),
    )

    spec: FlowRunSpec
    """What is wanted."""
    status: FlowRunStatus | None = None
    """What is known."""

    @property
    def state_type(self) -> StateType | None:
        """Type of the current state; None before it was accepted."""
        return StateType(self.status.state.type) if self.status and self.status.state else None
