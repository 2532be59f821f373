"""Where a run waits: the queue that takes it, its place there, and the limits it needs a slot of.

Pools, queues, deployments and limits are read into slim values, of which `controller.slots` keeps thousands.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from penstock.api import labels, launches, reasons

from .admission import Limit, Line, Order, Waiting
from .collisions import Policy
from .views import Body, PodView, RunView, parse_time

DEFAULT_PRIORITY = 1000
DEPLOYMENT, QUEUE, TAG, POOL, WORKERS = "FlowDeployment", "WorkQueue", "tag", "WorkPool", "workers"
NO_QUEUE = "no WorkQueue"  # kind of the limit, always closed, at which runs wait whose queue is not there


@dataclass(frozen=True, slots=True)
class Pool:
    """What matters of a WorkPool."""

    limit: int | None
    suspended: bool
    warm: bool
    """Its runs need a free place in a worker, too."""


@dataclass(frozen=True, slots=True)
class Queue:
    """What matters of a WorkQueue; no labels and no tags: they are not asked for."""

    name: str
    pool: str
    priority: int
    limit: int | None
    suspended: bool
    selects: bool
    labels: frozenset[tuple[str, str]] = frozenset()
    tags: frozenset[str] = frozenset()

    def takes(self, labels: frozenset[tuple[str, str]], tags: frozenset[str]) -> bool:
        """Whether its selector matches; labels are pairs of key and value."""
        return self.selects and self.tags <= tags and self.labels <= labels


@dataclass(frozen=True, slots=True)
class Deployment:
    """What matters of a FlowDeployment."""

    pool: str
    queue: str | None
    priority: int | None
    tags: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]
    limit: int | None
    policy: Policy
    suspended: bool
    starting_deadline: int | None


@dataclass(frozen=True, slots=True)
class TagLimit:
    """What matters of a ConcurrencyLimit: the tag whose runs it bounds, where it does."""

    tag: str | None
    limit: int


Rule = Pool | Queue | Deployment | TagLimit


def rule(kind: str, body: Body) -> Rule:
    """The slim value of an object."""
    spec = body["spec"]
    suspended = bool(spec.get("suspend"))
    if kind == "WorkPool":
        return Pool(spec.get("concurrencyLimit"), suspended, spec["type"] == "Process")
    if kind == "WorkQueue":
        selector = spec.get("selector")
        return Queue(
            name=body["metadata"]["name"],
            pool=spec["workPoolRef"]["name"],
            priority=spec.get("priority") or DEFAULT_PRIORITY,
            limit=spec.get("concurrencyLimit"),
            suspended=suspended,
            selects=selector is not None,
            labels=frozenset(((selector or {}).get("matchLabels") or {}).items()),
            tags=frozenset((selector or {}).get("matchTags") or ()),
        )
    if kind == "ConcurrencyLimit":
        return TagLimit(spec.get("tag"), spec["limit"])
    concurrency = spec.get("concurrency") or {}
    return Deployment(
        pool=spec.get("workPool") or "default",
        queue=spec.get("queue"),
        priority=spec.get("priority"),
        tags=tuple(spec.get("tags") or ()),
        labels=tuple((spec.get("labels") or {}).items()),
        limit=concurrency.get("limit"),
        policy=concurrency.get("policy") or "Queue",
        suspended=suspended,
        starting_deadline=spec.get("startingDeadlineSeconds"),
    )


@dataclass(frozen=True, slots=True)
class Asks:
    """What a run that could start says itself of where it is to wait."""

    namespace: str
    name: str
    uid: str
    pool: str
    deployment: str | None
    queue: str | None
    priority: int | None
    tags: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]
    due: float
    created: float
    first: float
    new: bool
    """It was never launched."""


def first_seen(run: RunView, now: datetime) -> float:
    """When the run was first looked at, by its history, which outlives the process that did; else it is now."""
    told = parse_time(run.history[0]["time"]) if run.history else None
    return (told or now).timestamp()


def asks(run: RunView, pool: str, first: float) -> Asks:
    """The slim value of a run that waits in a pool; `first`: see `first_seen`."""
    created = _seconds(run.metadata.get("creationTimestamp"))
    return Asks(
        namespace=run.namespace,
        name=run.name,
        uid=run.uid,
        pool=pool,
        deployment=deployment_name(run),
        queue=run.spec.get("queue"),
        priority=run.spec.get("priority"),
        tags=tuple(run.spec.get("tags") or ()),
        labels=tuple((run.metadata.get("labels") or {}).items()),
        due=_seconds(run.spec.get("scheduledTime")) or created,
        created=created,
        first=first,
        new=not run.attempt,
    )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run waits, and what it will have been admitted by."""

    waiting: Waiting
    queue: str | None
    named: str | None
    """The queue that run or deployment name; without one, selectors are asked."""
    tags: tuple[str, ...]
    labels: frozenset[tuple[str, str]]

    def concerns(self, name: str, queue: Queue | None) -> bool:
        """Whether it may be another place since that queue is as it is now, or (None) is no more."""
        if self.named is not None:
            return self.named == name
        return self.queue == name or (queue is not None and queue.takes(self.labels, frozenset(self.tags)))

    @property
    def admitted(self) -> Body:
        """`status.admitted` of the run; empty where its pool and deployment are all that it needs slots of."""
        found: Body = {"queue": self.queue} if self.queue else {}
        return found | ({"tags": list(self.tags)} if self.tags else {})


def place(run: Asks, deployed: Deployment | None, queues: Iterable[Queue], *, warm: bool = False) -> Place:
    """Where a run waits. `queues`: those of its pool, in the order in which they are asked.

    A deployment without a bound makes no line of its own, for there may be thousands of them.
    """
    named = run.queue or (deployed.queue if deployed else None)
    tags = tuple(dict.fromkeys((*(deployed.tags if deployed else ()), *run.tags)))
    labels = frozenset(dict((*(deployed.labels if deployed else ()), *run.labels)).items())
    queue = next((queue for queue in queues if queue.name == named), None) if named else taking(queues, labels, tags)
    order = Order(
        queue.priority if queue else DEFAULT_PRIORITY,
        run.priority or (deployed.priority if deployed else None) or DEFAULT_PRIORITY,
        run.due,
        run.created,
        run.first,
        run.uid,
    )
    name = queue.name if queue else None
    absent = f"{run.pool}/{named}" if named and queue is None else None
    bounded = run.deployment if deployed and (deployed.limit is not None or deployed.suspended) else None
    limits = line(run.namespace, run.pool, bounded, name, tags, warm=warm, absent=absent)
    return Place(Waiting(order, limits), name, named, tags, labels)


def taking(queues: Iterable[Queue], labels: Iterable[tuple[str, str]], tags: Iterable[str]) -> Queue | None:
    """The first of the queues whose selector matches; None: none takes such a run. Labels are pairs."""
    pairs, of_run = frozenset(labels), frozenset(tags)
    return next((queue for queue in queues if queue.takes(pairs, of_run)), None)


def line(
    namespace: str,
    pool: str,
    deployment: str | None,
    queue: str | None,
    tags: Iterable[str],
    *,
    warm: bool = False,
    absent: str | None = None,
) -> Line:
    """The limits of a run: its deployment's and its queue's first, its pool's last."""
    found = [Limit(NO_QUEUE, namespace, absent)] if absent else []
    found += [Limit(DEPLOYMENT, namespace, deployment)] if deployment else []
    found += [Limit(QUEUE, namespace, queue)] if queue else []
    found += [Limit(TAG, namespace, tag) for tag in sorted(tags)]
    found += [Limit(POOL, namespace, pool)]
    return (*found, Limit(WORKERS, namespace, pool)) if warm else tuple(found)


def exempt(run: RunView) -> bool:
    """Whether it needs no slots: what runs in its parent's process, or is a task that its parent waits for.

    Its parent holds slots while it waits; if it had to wait for some of its own, neither might ever go on.
    """
    return run.in_parent or launches.is_awaited(run.spec)


def held(run: RunView) -> Line:
    """The limits of which an admitted run holds slots, as its status says."""
    admitted = run.status.get("admitted") or {}
    deployment = (run.resolved.get("deployment") or {}).get("name")
    pool, warm = str(run.resolved["pool"]["name"]), run.resolved.get("poolType") == "Process"
    return line(run.namespace, pool, deployment, admitted.get("queue"), admitted.get("tags") or (), warm=warm)


def held_for(pod: PodView) -> tuple[Line, str | None]:
    """The limits of which the run that a pod was made for holds slots, as the pod says, and its deployment.

    For the pods of runs that are deleted. Without labels and with nonsense in the annotation it is the pool's alone.
    """
    found, said = pod.metadata.get("labels") or {}, (pod.metadata.get("annotations") or {}).get(labels.ADMITTED)
    try:
        admitted = json.loads(said) if said else {}
    except ValueError:
        admitted = {}
    pool, deployment = found.get(labels.POOL), found.get(labels.DEPLOYMENT)
    if admitted is None or not pool:  # it was exempt
        return (), deployment
    admitted = admitted if isinstance(admitted, dict) else {}
    tags, queue = admitted.get("tags"), admitted.get("queue")
    known = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
    queue = queue if isinstance(queue, str) else None
    return line(str(pod.metadata["namespace"]), pool, deployment, queue, known), deployment


def deployment_name(run: RunView) -> str | None:
    """The deployment that the run is of."""
    found = run.resolved.get("deployment") or run.spec.get("deploymentRef") or {}
    name: str | None = found.get("name")
    return name


def _seconds(time: str | None) -> float:
    found = parse_time(time)
    return found.timestamp() if found else 0.0


@dataclass(frozen=True, slots=True)
class Words:
    """Why runs wait at a limit; `full`: for a slot, and not for a person."""

    reason: str
    message: str
    full: bool = False


CLOSED = {
    POOL: (reasons.POOL_SUSPENDED, "WorkPool"),
    QUEUE: (reasons.QUEUE_SUSPENDED, "WorkQueue"),
    DEPLOYMENT: (reasons.DEPLOYMENT_SUSPENDED, "FlowDeployment"),
}
FULL = {
    POOL: (reasons.POOL_FULL, "WorkPool {}", "spec.concurrencyLimit"),
    QUEUE: (reasons.QUEUE_FULL, "WorkQueue {}", "spec.concurrencyLimit"),
    DEPLOYMENT: (reasons.DEPLOYMENT_FULL, "FlowDeployment {}", "spec.concurrency.limit"),
    TAG: (reasons.TAG_FULL, "the limit of tag {}", "spec.limit of its ConcurrencyLimit"),
    WORKERS: (reasons.WORKERS_FULL, "WorkPool {}", "its workers' places"),
}


def words(limit: Limit, size: int, *, suspended: bool, kept: bool) -> Words:
    """What to tell of a limit; `kept`: it has free slots, which are for others.

    It rests on nothing that changes with each run, for a text that changes is a write for each who waits.
    """
    if limit.kind == NO_QUEUE:
        pool, _, name = limit.name.partition("/")
        message = f"WorkPool {pool} has no WorkQueue {name}; the run starts when one is applied, with that workPoolRef"
        return Words(reasons.QUEUE_NOT_FOUND, message)
    if suspended:
        reason, kind = CLOSED[limit.kind]
        return Words(reason, f"{kind} {limit.name} is suspended; the run starts when spec.suspend is unset")
    if limit.kind == WORKERS and size == 0:
        message = f"no worker of WorkPool {limit.name} is ready; the run starts when one is"
        return Words(reasons.WORKERS_NOT_READY, message, full=True)
    if limit.kind == WORKERS and not kept:  # without numbers, which change as workers come and go
        message = f"all workers of WorkPool {limit.name} are busy; the run starts when one has room"
        return Words(reasons.WORKERS_FULL, message, full=True)
    reason, subject, field = FULL[limit.kind]
    who = subject.format(limit.name)
    if size == 0:
        return Words(reason, f"{who} takes no runs: {field} is 0; raise or unset it", full=True)
    if kept:
        return Words(reasons.SLOT_KEPT, f"free slots of {who} are kept for runs that were passed over", full=True)
    return Words(reason, f"{who} is full: {size} of {size} ({field})", full=True)
