"""The FlowRun kind: one execution of a flow, what is asked of it and all that is known of it.

Writers: the operator and the claimed attempt's runner, each by JSON patch that tests `attempt` and `state.seq`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from .bounds import MAX_ANSWERS, MAX_HISTORY, MAX_HISTORY_MESSAGE
from .claims import SlotClaims, SlotGrants
from .flow import SHA256, ResultDefaults
from .flowdeployment import InfraRetries
from .pods import PodOverrides
from .schema import (
    AGE,
    Column,
    Conditions,
    Count,
    Digest,
    Entrypoint,
    Image,
    JsonObject,
    JsonValue,
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
    Tag,
    Tags,
    Text,
    Time,
    Uid,
    Url,
    immutable,
)
from .states import TERMINAL, TRANSITIONS, StateType

StateWord = Literal[
    "Scheduled", "Pending", "Running", "Paused", "Cancelling", "Completed", "Failed", "Crashed", "Cancelled"
]


def _cel_list(types: Iterable[StateType]) -> str:
    return "[" + ", ".join(sorted(f"'{t.value}'" for t in types)) + "]"


_TERMINAL_CEL = _cel_list(TERMINAL)
_TRANSITIONS_CEL = (
    "{"
    + ", ".join(f"'{t.value}': {_cel_list(following)}" for t, following in TRANSITIONS.items() if t and following)
    + "}"
)


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


class Resume(Model):
    """The answer to one pause."""

    pause: Annotated[str, Field(min_length=1, max_length=64)]
    """`status.pause.id` of the pause that is answered; an answer to another pause does nothing."""
    input: JsonObject | None = None
    """Input that the pause asked for; checked against `status.pause.schema`."""


class FlowRunSpec(Model):
    """What is wanted of a run, and what is asked of it while it runs."""

    rules = (
        Rule(
            "(has(self.deploymentRef) ? 1 : 0) + (has(self.flowRef) ? 1 : 0) == 1",
            "spec: set exactly one of deploymentRef, flowRef",
        ),
        *immutable(
            "deploymentRef",
            "flowRef",
            "parameters",
            "scheduledTime",
            "workPool",
            "parent",
            "infrastructure",
            "task",
            "retryOf",
        ),
        Rule(
            "!has(self.retryOf) || !(has(self.task) || has(self.infrastructure) && self.infrastructure == 'Parent')",
            "retryOf: a whole run is retried, no task and no subflow",
            ".retryOf",
        ),
        Rule(
            "!(has(oldSelf.cancel) && oldSelf.cancel) || (has(self.cancel) && self.cancel)",
            "cancel: a cancellation cannot be taken back",
            ".cancel",
        ),
        Rule(
            "!has(self.infrastructure) || self.infrastructure != 'Parent' || has(self.parent)",
            "infrastructure: Parent needs parent",
            ".infrastructure",
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


class RunState(Model):
    """What the run is doing."""

    rules = (
        Rule(
            f"!(oldSelf.type in {_TERMINAL_CEL}) || self == oldSelf",
            "state: a terminal state cannot be changed",
        ),
        Rule("self.seq >= oldSelf.seq", "state.seq cannot go back", ".seq"),
        Rule(
            "self.type == oldSelf.type || self.seq > oldSelf.seq",
            "state.seq must grow with each change of state",
            ".seq",
        ),
        # A writer may take several legal steps in one write, each with its seq; a single step is held to the table.
        Rule(
            f"self.seq != oldSelf.seq + 1 || oldSelf.type in {_TERMINAL_CEL} "
            f"|| self.type in {_TRANSITIONS_CEL}[oldSelf.type]",
            "state.type: no run moves so; the legal moves are in the table of states",
            ".type",
        ),
        Rule(
            "oldSelf.type != 'Cancelling' || self.type in ['Cancelling', 'Cancelled']",
            "state: a run that is being cancelled can only become Cancelled",
        ),
    )

    type: StateWord
    """Kind of state."""
    name: Annotated[str, Field(min_length=1, max_length=64)]
    """Name that refines it, such as Late or TimedOut."""
    reason: Annotated[str, Field(max_length=128)] = ""
    """Machine-readable cause."""
    message: Text = ""
    """For people: what happened and what to do."""
    time: Time
    """When it was entered."""
    seq: Count
    """Number of this change of state; grows by one each time."""


class HistoryEntry(Model):
    """A state that the run was in."""

    type: StateWord
    """Kind of state."""
    name: Annotated[str, Field(min_length=1, max_length=64)]
    """Name that refines it."""
    reason: Annotated[str, Field(max_length=128)] = ""
    """Machine-readable cause."""
    message: Annotated[str, Field(max_length=MAX_HISTORY_MESSAGE)] = ""
    """Cut short; the current state has it whole."""
    time: Time
    """When it was entered."""
    seq: Count
    """Number of the change."""
    attempt: Count = 0
    """Attempt it belongs to."""
    writer: Annotated[str, Field(max_length=64)]
    """Who wrote it: `operator`, or the uid of the pod."""


class ResolvedReference(Model):
    """An object as it was when the run was resolved."""

    name: ObjectName
    """Its name."""
    uid: Uid
    """Its uid."""
    generation: Count
    """Its generation."""
    revision: Annotated[str, Field(max_length=253)] | None = None
    """ControllerRevision that keeps this generation."""


class ResolvedCode(Model):
    """The code of the run: by content where the cluster holds it, else where it is fetched from."""

    kind: Literal["image", "source", "bundle", "git", "archive"]
    """Form of delivery."""
    digest: Digest = ""
    """Content digest, where there is content or one was asked for."""
    config_map: Annotated[str, Field(max_length=253)] | None = None
    """Immutable ConfigMap that holds it."""
    url: Url | None = None
    """Where it is fetched from."""
    ref: Annotated[str, Field(max_length=256)] | None = None
    """Branch, tag or commit that was asked for."""
    path: Annotated[str, Field(max_length=1024)] | None = None
    """Folder in it that is put on sys.path."""
    secret_ref: ObjectReference | None = None
    """Secret with the credentials."""
    python_version: Annotated[str, Field(max_length=16)] | None = None
    """Interpreter that made the bundle."""
    penstock_version: Annotated[str, Field(max_length=64)] | None = None
    """SDK that made the bundle."""


class ResolvedRequirements(Model):
    """What is installed for the run."""

    digest: Digest
    """Content digest of the lines."""
    config_map: Annotated[str, Field(max_length=253)]
    """Immutable ConfigMap that holds them."""


class FoundCode(Model):
    """What the run's code turned out to be; written by its runner before user code starts, once."""

    commit: Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$", max_length=64)] | None = None
    """Commit of a git repository."""
    digest: Annotated[str, Field(max_length=71, pattern=SHA256)] | None = None
    """sha256:<hex> of an archive."""


class Resolved(Model):
    """Everything the run was resolved to; later edits of those objects do not change it."""

    deployment: ResolvedReference | None = None
    """The deployment."""
    flow: ResolvedReference
    """The flow."""
    pool: ResolvedReference
    """The pool."""
    pool_type: Literal["Job", "Pod", "Process"]
    """Its type."""
    entrypoint: Entrypoint
    """`module:function`."""
    code: ResolvedCode
    """The code."""
    requirements: ResolvedRequirements | None = None
    """What is installed for it."""
    image: Image | None = None
    """Image of the flow's container; unset: the pool template's own."""
    results: ResultDefaults | None = None
    """How the flow wants its results kept."""
    blocks: Annotated[list[ResolvedReference], Field(max_length=64)] | None = None
    """The blocks that the flow declares; mounted in each attempt."""
    results_of: Uid | None = None
    """uid of the run whose results it finds, as retries of one run do; its own when unset."""


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
            "self.attempt != oldSelf.attempt || (self.name == oldSelf.name && self.uid == oldSelf.uid)",
            "worker: an attempt stays with its worker",
        ),
        Rule(
            "self.attempt != oldSelf.attempt || !(has(oldSelf.end) && oldSelf.end) || (has(self.end) && self.end)",
            "worker.end cannot be taken back",
            ".end",
        ),
        Rule(
            "self.attempt != oldSelf.attempt || !has(oldSelf.exited) "
            "|| (has(self.exited) && self.exited == oldSelf.exited)",
            "worker.exited cannot be changed once it is written",
            ".exited",
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


class Pause(Model):
    """What a paused run waits for."""

    id: Annotated[str, Field(min_length=1, max_length=64)]
    """Identity of this pause; an answer names it."""
    key: Annotated[str, Field(max_length=256)] | None = None
    """Name that user code gave it."""
    json_schema: Annotated[JsonObject | None, Field(alias="schema")] = None
    """JSON Schema of the input that is wanted."""
    deadline: Time | None = None
    """When waiting ends."""


class PauseAnswer(Model):
    """A pause that was answered: what starts again from its top does not ask again."""

    pause: Annotated[str, Field(min_length=1, max_length=64)]
    """`id` of the pause."""
    input: JsonObject | None = None
    """The input; it fits the pause's schema."""
    time: Time
    """When it was taken."""


class TaskCounts(Model):
    """Task runs of the run, by state."""

    total: Count = 0
    """All task runs that were made."""
    running: Count | None = None
    """Running now."""
    completed: Count | None = None
    """Completed, cached ones included."""
    failed: Count | None = None
    """Failed."""
    crashed: Count | None = None
    """Crashed."""
    cancelled: Count | None = None
    """Cancelled."""
    cached: Count | None = None
    """Completed from the cache."""
    not_ready: Count | None = None
    """Not run, since something upstream failed."""
    summary: Annotated[str, Field(max_length=32)] = ""
    """`finished/total`, as `kubectl get` shows it."""


class Result(Model):
    """What the flow returned."""

    inline: JsonValue | None = None
    """The value, where it is at most 2 KiB of JSON."""
    reference: Url | None = None
    """Where it is in the result store."""
    omitted: Text | None = None
    """Why neither is there."""


class FlowRunStatus(Model):
    """What is known of a run."""

    rules = (
        Rule(
            "!has(oldSelf.attempt) || (has(self.attempt) && self.attempt >= oldSelf.attempt)",
            "attempt cannot go back",
            ".attempt",
        ),
        Rule(
            "!has(oldSelf.attempt) || !has(self.attempt) || self.attempt <= oldSelf.attempt "
            "|| (self.attempt == oldSelf.attempt + 1 && has(self.state) && self.state.type == 'Pending' "
            "&& (!has(oldSelf.state) || self.state.seq > oldSelf.state.seq))",
            "attempt grows by one, with the state Pending of its launch",
            ".attempt",
        ),
        Rule("!has(oldSelf.state) || has(self.state)", "state cannot be removed", ".state"),
        # Who holds the claim may write; whoever could pass it on, or take it from under running code, could fence it.
        Rule(
            "!has(oldSelf.pod) || !has(self.pod) || self.pod == oldSelf.pod "
            "|| (has(self.attempt) && has(oldSelf.attempt) && self.attempt > oldSelf.attempt)",
            "pod: an attempt stays with the pod that has claimed it",
            ".pod",
        ),
        Rule(
            "!has(oldSelf.pod) || has(self.pod) || !has(self.state) || !(self.state.type in ['Running', 'Cancelling'])",
            "pod: a claim cannot be taken from code that runs",
            ".pod",
        ),
        *(
            Rule(
                f"!has(oldSelf.{name}) || (has(self.{name}) && self.{name} >= oldSelf.{name})",
                f"{name} cannot go back",
                f".{name}",
            )
            for name in ("observedSeq", "infraRetries")
        ),
        Rule(
            "!has(self.observedSeq) || (has(self.state) && self.observedSeq <= self.state.seq)",
            "observedSeq: there is no such change of state yet",
            ".observedSeq",
        ),
        *(
            Rule(
                f"!has(oldSelf.{name}) || (has(self.{name}) && self.{name} == oldSelf.{name})",
                f"{name} cannot be changed once it is written",
                f".{name}",
            )
            for name in ("startTime", "endTime")
        ),
        # What the first attempt ran, later ones run; the runner is told by it.
        Rule(
            "!has(oldSelf.code) || (has(self.code) && self.code == oldSelf.code)",
            "code cannot be changed once it is written",
            ".code",
        ),
        Rule(
            f"!has(self.endTime) || (has(self.state) && self.state.type in {_TERMINAL_CEL})",
            "endTime: the run has no end yet",
            ".endTime",
        ),
        Rule(
            "!(has(oldSelf.settled) && oldSelf.settled) || (has(self.settled) && self.settled)",
            "settled cannot be taken back",
            ".settled",
        ),
        Rule(
            f"!(has(self.settled) && self.settled) || (has(self.state) && self.state.type in {_TERMINAL_CEL})",
            "settled: only a run in a terminal state can be settled",
            ".settled",
        ),
    )

    observed_generation: Count | None = None
    """Generation this status is of."""
    state: RunState | None = None
    """What the run is doing."""
    history: Annotated[list[HistoryEntry], Field(max_length=MAX_HISTORY)] | None = None
    """States it was in, oldest first."""
    settled: bool | None = None
    """True once the run is terminal, its pod is gone and all that follows is done: the operator's last write."""
    observed_seq: Count | None = None
    """State changes up to this one were reported as Events and seen by triggers."""
    resolved: Resolved | None = None
    """What its references were resolved to."""
    code: FoundCode | None = None
    """The very code that it runs, also in later attempts and retries."""
    parameters: JsonObject | None = None
    """Parameters with the deployment's beneath; unset where they are the run's own."""
    attempt: Count | None = None
    """Number of the current launch."""
    admitted: Admitted | None = None
    """What the attempt was admitted by; unset: its pool and its deployment alone."""
    pod: ClaimedPod | None = None
    """The pod that claimed the attempt."""
    worker: AssignedWorker | None = None
    """The worker that the attempt was given to."""
    infra_retries: Count | None = None
    """Retries used of attempts that the infrastructure ended."""
    run_count: Count | None = None
    """How often the flow function was entered."""
    accepted_time: Time | None = None
    """When the operator resolved it."""
    start_time: Time | None = None
    """When user code first started."""
    end_time: Time | None = None
    """When it became terminal."""
    duration: Annotated[str, Field(max_length=32)] | None = None
    """From start to end, for people."""
    pause: Pause | None = None
    """What it waits for."""
    answers: Annotated[list[PauseAnswer], Field(max_length=MAX_ANSWERS)] | None = None
    """Pauses that were answered, oldest first."""
    claims: SlotClaims | None = None
    """Slots of ConcurrencyLimits that the attempt holds or waits for; its runner's word."""
    grants: SlotGrants | None = None
    """What of that is granted; the operator's word."""
    tasks: TaskCounts | None = None
    """Task runs by state."""
    result: Result | None = None
    """What the flow returned."""
    conditions: Conditions | None = None
    """Resolved, Admitted, PodReady, Answered, Suspendable."""


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
        Rule(
            "self.metadata.name.size() <= 52 && !self.metadata.name.contains('.')",
            "metadata.name: the name of a run is a DNS label of at most 52 characters",
        ),
        Rule("!has(oldSelf.status) || has(self.status)", "status: a run's status cannot be removed"),
    )

    spec: FlowRunSpec
    """What is wanted."""
    status: FlowRunStatus | None = None
    """What is known."""

    @property
    def state_type(self) -> StateType | None:
        """Type of the current state; None before it was accepted."""
        return StateType(self.status.state.type) if self.status and self.status.state else None


Json = dict[str, Any]
