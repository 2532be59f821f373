"""The WorkPool kind: where runs are executed, and in what kind of pod."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from . import labels
from .pods import Override
from .schema import (
    AGE,
    READY_COLUMNS,
    Column,
    Conditions,
    Count,
    Image,
    JsonObject,
    Kind,
    Limit,
    LongText,
    Model,
    ObjectName,
    ObjectReference,
    Resource,
    Rule,
    Seconds,
    SecondsOrZero,
    Url,
)

ModuleName = Annotated[str, Field(max_length=253, pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$")]


class AllowedOverrides(Model):
    """What deployments and runs may change in the pods of the pool."""

    allow: Annotated[list[Override], Field(max_length=16)]
    """Fields of `spec.pod` that are allowed; others are refused with InvalidOverrides."""


class Storage(Model):
    """A place in object storage or on a shared volume."""

    url: Url
    """Such as s3://bucket/prefix or file:///mnt/results."""
    secret_ref: ObjectReference | None = None
    """Secret with the credentials, mounted into the pods."""
    shared: bool | None = None
    """Whether other pods can reach it; file: URLs are not shared unless this says so."""


class LogStorage(Model):
    """A place for logs, which the operator writes with its own credentials."""

    url: Url
    """Such as s3://bucket/prefix; at or below a place that the chart's `archive` allows."""


class LogsArchive(Model):
    """Where logs go before their pods are deleted."""

    archive: LogStorage | None = None
    """The place."""


class WorkerScaling(Model):
    """Warm workers that the operator runs for a Process pool; unset, its workers are those that people start."""

    rules = (
        Rule("!has(self.max) || !has(self.min) || self.max >= self.min", "worker.max: at least worker.min", ".max"),
    )

    min: Annotated[int, Field(ge=0, le=10_000)] | None = None
    """Workers that always run; 0 when unset."""
    max: Annotated[int, Field(ge=0, le=10_000)] | None = None
    """Most workers; 1 when unset."""
    concurrency: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Runs at once in one worker; 1 when unset."""
    idle_seconds: Seconds | None = None
    """A worker above `min` that has had no run for this long is deleted; 300 when unset."""
    preload: Annotated[list[ModuleName], Field(max_length=32)] | None = None
    """Modules that a worker imports before it takes runs, so that none of them has to."""
    on_worker_lost: Literal["Crash", "Retry"] | None = None
    """Of the runs of a worker outside the cluster that fell silent: Retry has new attempts as `infraRetries` allow."""


class NodeLost(Model):
    """What happens to a run whose node fell silent."""

    policy: Literal["Wait", "ForceDelete"] = "Wait"
    """Wait until the node returns or is deleted; or delete the pod, which may let code run twice."""
    after_seconds: Seconds | None = None
    """How long ForceDelete waits."""


class WorkPoolSpec(Model):
    """What is wanted of a pool."""

    rules = (
        Rule("self.type == oldSelf.type", "type is immutable: create another pool", ".type"),
        Rule("!has(self.worker) || self.type == 'Process'", "worker: only for pools of type Process", ".worker"),
        Rule(
            f"!has(self.serviceAccountName) || (self.serviceAccountName == '{labels.WORKER_ACCOUNT}') "
            "== (self.type == 'Process')",
            f"serviceAccountName: {labels.WORKER_ACCOUNT} is the account of workers, which pools of type Process have, "
            "and no others: leave it out",
            ".serviceAccountName",
        ),
    )

    type: Literal["Job", "Pod", "Process"]
    """Each run as a Job, as a Pod, or as a process in a warm worker."""
    description: LongText | None = None
    """What the pool is for."""
    image: Image | None = None
    """Image of runs whose flow names none; the operator's own image when unset."""
    template: JsonObject | None = None
    """PodTemplateSpec under Penstock's own fields; the container that runs the flow is called `flow`."""
    overrides: AllowedOverrides | None = None
    """What deployments and runs may change; image, imagePullPolicy, resources, env, labels, annotations when unset."""
    service_account_name: ObjectName | None = None
    """ServiceAccount of its pods; `penstock-run` when unset, of workers always `penstock-worker`."""
    concurrency_limit: Limit | None = None
    """Most runs at once; 0 means none."""
    suspend: bool | None = None
    """Starts no runs while true."""
    results: Storage | None = None
    """Where results are kept."""
    logs: LogsArchive | None = None
    """Where logs are kept."""
    worker: WorkerScaling | None = None
    """Warm workers that the operator runs."""
    pending_deadline_seconds: Seconds | None = None
    """A pod that does not run user code after this is given up; 600 when unset."""
    pod_ttl_seconds_after_finished: SecondsOrZero | None = Field(default=None, alias="podTTLSecondsAfterFinished")
    """Ended pods stay this long, so that their logs can be read; 3600 when unset."""
    on_node_lost: NodeLost | None = None
    """What happens to a run whose node fell silent; Wait when unset."""


class WorkPoolStatus(Model):
    """What is known of a pool."""

    observed_generation: Count | None = None
    """Generation this status is of."""
    conditions: Conditions | None = None
    """Ready: its template makes a valid pod."""
    queued: Count | None = None
    """Runs that wait."""
    active: Count | None = None
    """Runs that hold a slot."""
    workers: Count | None = None
    """Workers that are ready."""


class WorkPool(Resource):
    """A pool of capacity that runs are executed in."""

    about: ClassVar[Kind] = Kind(
        "WorkPool",
        "workpools",
        "wp",
        columns=(
            Column("Type", ".spec.type"),
            *READY_COLUMNS,
            Column("Limit", ".spec.concurrencyLimit", "integer"),
            Column("Queued", ".status.queued", "integer"),
            Column("Active", ".status.active", "integer"),
            Column("Workers", ".status.workers", "integer"),
            Column("Suspend", ".spec.suspend", "boolean", priority=1),
            AGE,
        ),
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')",
            "metadata.name: the name of a pool is a DNS label of at most 63 characters",
        ),
    )

    spec: WorkPoolSpec
    """What is wanted."""
    status: WorkPoolStatus | None = None
    """What is known."""
