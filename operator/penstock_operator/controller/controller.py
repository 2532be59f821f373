"""Wires informers, cache, queue, due times and reconcilers together; `main` starts it, handlers feed it other kinds.

Informers fill the cache always; keys are named, decided on and written about only while this process leads. A term
begins with what was there before it forgotten, everything listed consistently, and every key named.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from penstock.api import labels, names
from penstock.results.urls import StorageUrl

from .. import metrics
from ..backoff import spread
from ..cluster import (
    CONCURRENCY_LIMITS,
    EVENTS,
    FLOW_DEPLOYMENTS,
    FLOW_RUNS,
    JOBS,
    LEASES,
    LOW_RATE,
    NODES,
    PODS,
    WORK_POOLS,
    WORK_QUEUES,
    ApiError,
    Cluster,
)
from ..core import pod_events, podlogs, schedules
from ..core.policy import DEFAULT_LATE_AFTER
from ..core.retention import DEFAULT_CEILING, Ceiling
from ..core.views import PodView, RunView
from ..launch.pods import DEFAULT_POD_TTL, TTL, Defaults
from ..reconcile.archive import Archive
from ..reconcile.backfills import Backfills
from ..reconcile.claims import Claims
from ..reconcile.copies import Copies
from ..reconcile.flowruns import FlowRuns
from ..reconcile.podlogs import PodLogs
from ..reconcile.retention import Retention
from ..reconcile.revisions import Revisions
from ..reconcile.schedules import Schedules
from ..reconcile.sources import Key, Read, Requeue
from ..reconcile.workers import WorkerPods
from . import slots, unreconciled
from .cache import ObjectCache
from .counts import Counts
from .dependents import Dependents
from .due import DueTimes
from .events import EventPoster, untold_since
from .fresh_reads import FreshReads
from .housekeeping import Housekeeping
from .informer import Informer, Selection
from .leadership import Leadership
from .queue import KeyQueue
from .settled import SettledRuns
from .waiting import Waiting
from .workers import Workers, is_worker

logger = logging.getLogger(__name__)

Body = dict[str, Any]
Work = tuple[str, Key]  # kind, key
Wanted = tuple[str, str, str]  # kind, namespace, name
Reconciler = Callable[[Key], Awaitable[Requeue | None]]

SAFETY = timedelta(minutes=5)  # a run that waits for another object is looked at this often, whatever was heard
SWEEP = 60.0  # seconds between lists of the kinds that kopf watches, which never tells of deletions it did not see
COUNT = 1.0  # seconds between writes of the counts of pools and queues, and between tellings of reasons to wait
TOLD_AT_ONCE = 20  # runs that are told anew why they wait: as many writes a second, at most
MAX_STILLNESS = 180.0
MAX_WORK = 600.0  # far more than one look can wait for while the API server answers
RETENTION, COPIES, LOGS = "retention", "copies", "logs"  # tasks of the housekeeping
LOGS_AT_ONCE = 4
WORKERS = "Workers"  # kind of the keys by which pools have their workers reconciled
CLAIMS = "Claims"  # of a namespace, whose key has no name
REMEMBERED_TOUCHES = 1000
TTL_TEXT = re.compile(r"[0-9]{1,9}")


# An API server keeps Events in no cache of its own, and so sends no bookmarks of them: such a watch ends by itself
# before its silence could be taken for a broken connection.
EVENTS_WATCH = 60


def _let_go(*_: object) -> None:
    """What is known of an Event outlives it."""


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def pod_deadline(pod: PodView) -> datetime | None:
    """When a finished pod may be deleted; None while it is not finished."""
    finished = podlogs.ended(pod)
    return finished + timedelta(seconds=_ttl(pod)) if finished else None


def _ttl(pod: PodView) -> int:
    """What the pod's annotation says; anybody may have written there."""
    said = str((pod.metadata.get("annotations") or {}).get(TTL))
    return int(said) if TTL_TEXT.fullmatch(said) else DEFAULT_POD_TTL


def _is_cancelled() -> bool:
    """Whether the task that asks is to end; else a CancelledError is one that a library let through."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Controller:
    """The operator's hot path."""

    def __init__(
        self,
        cluster: Cluster,
        defaults: Defaults,
        *,
        namespaces: tuple[str, ...] = (),
        instance: str = "operator",
        workers: int = 16,
        watch_nodes: bool | None = None,
        late_after: int = DEFAULT_LATE_AFTER,
        ceiling: Ceiling = DEFAULT_CEILING,
        archive: Archive | None = None,
        log_archives: Sequence[StorageUrl] = (),
        clock: Callable[[], datetime] = utc_now,
        leadership: Leadership | None = None,
    ) -> None:
        """`leadership` None: there is no other operator, and this one always leads."""
        self._cluster, self._clock, self._workers, self._leadership = cluster, clock, workers, leadership
        self._leads = leadership is None
        self.cache = ObjectCache(self._claims_changed)
        self.queue: KeyQueue[Work] = KeyQueue(lambda work: work[0] == "FlowDeployment")  # of which thousands may come
        self.due: DueTimes[Work] = DueTimes(clock, self._due)
        self.events = EventPoster(cluster, instance)
        self.revisions = Revisions(cluster)
        self.waiting: Waiting[Work, Wanted] = Waiting()
        self._touched: dict[Wanted, float] = {}
        self.dependents = Dependents()
        self._listed: dict[str, set[Key]] = {}  # of the kinds that kopf watches
        self._first: set[Work | None] = set()  # keys that the term began with, and that were not looked at yet
        self._begun = 0.0
        self._broken: dict[Work, Exception] = {}  # objects that could not even be taken into the cache
        self.unreconciled = unreconciled.Unreconciled(cluster, instance, clock)
        self._acts = False  # workers run
        self.logs = PodLogs(cluster, self.cache, log_archives, clock, self._log_kept)
        self._log_keeping = Housekeeping({LOGS: self.logs.reconcile}, clock, LOGS_AT_ONCE)
        self.workers = Workers(cluster, self.cache, clock, self._workers_named, self._run_named, self._awaiting_workers)
        self.worker_pods = WorkerPods(cluster, self.workers, defaults, clock, lambda pool: self.touch("WorkPool", pool))
        self._fresh_reads = FreshReads(cluster)
        self.slots = slots.Slots(
            clock,
            lambda key: self.queue.add(("FlowRun", key), first=True),
            lambda pool: self.queue.add((WORKERS, pool)),
        )
        self.runs = FlowRuns(
            cluster,
            self.cache,
            self.revisions,
            self.events,
            defaults,
            self.slots,
            clock,
            late_after,
            self.logs,
            partial(self.reads, "FlowRun"),
            self.workers,
        )
        self.claims = Claims(cluster, self.cache, clock)
        self._reconcilers: dict[str, Reconciler] = {
            "FlowRun": self.runs.reconcile,
            "Pod": self._pod_ttl,
            "Lease": self.workers.look,
            WORKERS: self.worker_pods.reconcile,
            CLAIMS: self.claims.reconcile,
        }
        made = Schedules(cluster, self.cache, clock, lambda body: self._take_in("FlowRun", body))
        self._reconcilers["Schedules"] = made.reconcile
        self.backfills = Backfills(cluster, self.cache, clock)
        self._reconcilers["Backfill"] = self.backfills.reconcile
        self._where: tuple[str | None, ...] = namespaces or (None,)
        where = self._where
        managed = f"{labels.MANAGED_BY}={labels.MANAGED_BY_VALUE}"
        self.informers = [
            self._informer("Pod", Selection(PODS, where, label_selector=managed)),
            self._informer("Job", Selection(JOBS, where, label_selector=managed)),
            self._informer("Lease", Selection(LEASES, where, label_selector=f"{labels.COMPONENT}={labels.WORKER}")),
            self._informer("FlowRun", Selection(FLOW_RUNS, where, field_selector="status.settled!=true")),
            *(
                self._slots_informer(Selection(resource, where))
                for resource in (WORK_POOLS, WORK_QUEUES, CONCURRENCY_LIMITS)
            ),
            self._informer("FlowDeployment", Selection(FLOW_DEPLOYMENTS, where)),
        ]
        self.settled = SettledRuns(
            self.cache,
            clock,
            lambda namespace: self.housekeeping.soon(RETENTION, namespace),
            self.logs.runs,
            self._uncounted,
        )
        retention = Retention(cluster, self.settled, ceiling, archive, clock)
        copies = Copies(cluster, self.revisions, self.settled, clock)
        self.housekeeping = Housekeeping({RETENTION: retention.reconcile, COPIES: copies.reconcile}, clock)
        self._settled_informer = Informer(
            cluster,
            Selection(FLOW_RUNS, where, field_selector="status.settled=true"),
            changed=self.settled.put,
            deleted=self.settled.drop,
            known=self.settled.refs,
        )
        self.informers.append(self._settled_informer)
        told = Selection(EVENTS, where, field_selector=pod_events.SELECTOR, watch_seconds=EVENTS_WATCH)
        # Not among the others: nothing waits for it, and no health rests on it, for there may be a million Events.
        self.hearsay = Informer(cluster, told, changed=self._told, deleted=_let_go, known=lambda _: ())
        # Who may watch some namespaces only may not read Nodes, unless told otherwise.
        self._watch_nodes = not namespaces if watch_nodes is None else watch_nodes
        if self._watch_nodes:
            self.informers.append(self._informer("Node", Selection(NODES)))
        self._progress = time.monotonic()

    def register(self, kind: str, reconciler: Reconciler) -> None:
        """Have keys of another kind reconciled."""
        self._reconcilers[kind] = reconciler

    def touch(self, kind: str, key: Key, version: str | None = None) -> None:
        """An object of another kind appeared, changed or went: reconcile it, and whatever waits for it.

        `version` is that of its spec, where it is known: deployments that name it are looked at once for each.
        """
        if not self._leads:
            return
        if kind in self._reconcilers:
            self.queue.add((kind, key))
        for name in self.dependents.concerned(kind, key, version):
            if "FlowDeployment" in self._reconcilers:
                self.queue.add(("FlowDeployment", Key(key.namespace, name)))
        self._wake(kind, key)

    def _uncounted(self, backfill: Key, run: str) -> bool:
        """Whether a run must stay for its backfill's sake; not for that of one that is deleted."""
        there = self._listed.get("Backfill")
        return (there is None or backfill in there) and self.backfills.uncounted(backfill, run)

    def _due(self, work: Work) -> None:
        """A run that is due by its schedule is made before anything else is done."""
        self.queue.add(work, first=work[0] == "Schedules")

    def _wake(self, kind: str, key: Key) -> None:
        """Name what waits for an object."""
        self._touched.pop((kind, *key), None)  # so that the oldest comes first
        self._touched[(kind, *key)] = time.monotonic()
        if len(self._touched) > REMEMBERED_TOUCHES:
            self._touched.pop(next(iter(self._touched)))
        for work in self.waiting.take((kind, *key)):
            self.queue.add(work)

    def _informer(self, kind: str, selection: Selection) -> Informer:
        return Informer(
            self._cluster,
            selection,
            changed=lambda body: self._take_in(kind, body),
            deleted=lambda ref, version: self._let_go(kind, ref, version),
            known=lambda namespace: self.cache.refs(kind, namespace),
        )

    def reads(self, kind: str, key: Key) -> Read:
        """Reads for the look at a key that is under way."""
        return partial(self._fresh_reads.get, since=self.queue.named((kind, key)))

    def _slots_informer(self, selection: Selection) -> Informer:
        kind = selection.resource.kind
        return Informer(
            self._cluster,
            selection,
            changed=lambda body: self._rule_changed(kind, body),
            deleted=lambda ref, version: self._rule_deleted(kind, ref, version),
            known=lambda namespace: self.slots.refs(kind, namespace),
        )

    def _rule_changed(self, kind: str, body: Body) -> None:
        self.slots.put(kind, body)
        if kind == "WorkPool":
            self.workers.heard_pool(body)
        elif kind == "ConcurrencyLimit":
            known = self.cache.get(kind, Key(body["metadata"]["namespace"], body["metadata"]["name"]))
            if self.cache.put(kind, {**body, "kind": kind}):
                # What the operator says of a limit changes nothing here.
                said = [(b["spec"], b["metadata"]["uid"], b["metadata"].get("annotations")) for b in (body, known) if b]
                if len(said) == 1 or said[0] != said[1]:
                    self._claims_changed(body["metadata"]["namespace"])

    def _rule_deleted(self, kind: str, ref: tuple[str, str], version: str) -> None:
        self.slots.drop(kind, ref, version)
        if kind == "WorkPool":
            self.workers.lost_pool(Key(*ref), version)
        elif kind == "ConcurrencyLimit":
            self.cache.drop(kind, ref, version)
            self._claims_changed(ref[0])

    def _told(self, event: Body) -> None:
        """An Event of anything: it may say why a pod of a run does not start."""
        if self.cache.tell(event):
            namespace, name = event["metadata"]["namespace"], event["regarding"].get("name") or ""
            body = self.cache.get(event["regarding"]["kind"], Key(namespace, name))
            if body is not None:
                self._name(body["kind"], body)

    def _claims_changed(self, namespace: str) -> None:
        if self._leads:
            self.queue.add((CLAIMS, Key(namespace, "")), first=True)

    def _changed(self, kind: str, body: Body) -> None:
        body["kind"] = kind
        name = body["metadata"]["name"]
        if kind == "Lease" and not name.startswith(names.worker_lease("")):
            return  # whoever may write other Leases, as runs may write their locks, makes no workers by that
        before = self.cache.of_node(name)
        known = self.cache.deployment(Key(body["metadata"]["namespace"], name)) if kind == "FlowDeployment" else None
        if not self.cache.put(kind, body):
            return
        if kind == "Lease":
            self.due.at((kind, Key(body["metadata"]["namespace"], name)), self.workers.heard_lease(body))
        elif kind == "FlowDeployment":
            self.slots.put(kind, body)
            self.dependents.put(body)
            if not schedules.same(known, body):
                self._name(kind, body)
        elif kind != "Node":
            self._name(kind, body)
        elif self.cache.of_node(name) != before:
            self._name_runs_on(name)

    def _deleted(self, kind: str, ref: tuple[str, str], version: str) -> None:
        body = self.cache.drop(kind, ref, version)
        if kind == "Node":
            if self.cache.get(kind, Key(*ref)) is None:
                self.cache.forget_node(ref[1])
                self._name_runs_on(ref[1])
        elif kind == "FlowRun":
            if self.cache.run(Key(*ref)) is None:
                self.due.drop((kind, Key(*ref)))
                self.waiting.drop((kind, Key(*ref)))
                if self._leads and self.slots.knows(Key(*ref)):
                    self.queue.add((kind, Key(*ref)), first=True)
            self._name_relatives(Key(*ref), body)
            if body is not None:
                self.workers.heard_run(body)
                if self._leads:
                    self._name_backfill(ref[0], body)
        elif kind == "Lease":
            if self.cache.get(kind, Key(*ref)) is None:
                self.due.drop((kind, Key(*ref)))
                self.workers.lost_lease(Key(*ref))
        elif kind == "FlowDeployment":
            if self.cache.deployment(Key(*ref)) is None:
                self.dependents.drop(Key(*ref))
                self.due.drop(("Schedules", Key(*ref)))
                self.due.drop((kind, Key(*ref)))
            self.slots.drop(kind, ref, version)
            if self._leads:
                self.housekeeping.soon(RETENTION, ref[0])
                self._wake(kind, Key(*ref))
        elif body is not None:
            self._name(kind, body, gone=True)

    def _name(self, kind: str, body: Body, *, gone: bool = False) -> None:
        """Queue the keys that an object concerns."""
        if kind == "Pod" and is_worker(body):
            self.workers.heard_pod(body, gone=gone)
        if not self._leads:
            return
        namespace = body["metadata"].get("namespace") or ""
        if kind == "FlowRun":
            key = Key(namespace, body["metadata"]["name"])
            self.queue.add((kind, key))
            self.workers.heard_run(body)
            status = body.get("status") or {}
            if "endTime" in status:
                self._name_backfill(namespace, body)
            if "pod" not in status or "endTime" in status:
                self._name_relatives(key, body)
            return
        if kind == "FlowDeployment":
            key = Key(namespace, body["metadata"]["name"])
            self._name_deployment(key)
            self.housekeeping.soon(RETENTION, namespace)
            self._wake(kind, key)
            return
        run = (body["metadata"].get("labels") or {}).get(labels.RUN)
        if run:
            self.queue.add(("FlowRun", Key(namespace, run)))
        if kind == "Pod":
            if self.cache.haunted(namespace):
                self._claims_changed(namespace)
            pod = PodView(body)
            if (pod.gone or pod.deleting) and self.logs.awaited(pod):
                self._log_keeping.at_once(LOGS, f"{namespace}/{pod.name}")
            deadline = pod_deadline(pod)
            if deadline:
                self.due.at((kind, Key(namespace, body["metadata"]["name"])), deadline)

    def _name_backfill(self, namespace: str, run: Body) -> None:
        """A run that has ended makes room for the next of its backfill."""
        name = RunView(run).backfill
        if name:
            self.queue.add(("Backfill", Key(namespace, name)))

    def _name_deployment(self, key: Key) -> None:
        for kind in ("Schedules", "FlowDeployment"):
            if kind in self._reconcilers:
                self.queue.add((kind, key))

    def _name_relatives(self, key: Key, body: Body | None) -> None:
        """A run without an attempt under way concerns its children, and one that has ended its parent."""
        for child in self.cache.children(key):
            self.queue.add(("FlowRun", Key(key.namespace, child["metadata"]["name"])))
        parent = ((body or {}).get("spec") or {}).get("parent")
        if parent and self.cache.run(Key(key.namespace, parent["name"])):
            self.queue.add(("FlowRun", Key(key.namespace, parent["name"])))

    def _workers_named(self, pool: Key) -> None:
        """The workers of a pool, or what they have, changed: scale them, and look at runs that wait for one."""
        self.slots.room(pool, self.workers.room(pool))
        if not self._leads:
            return
        if self.workers.open(pool):
            self.touch(WORKERS, pool)
        else:
            self.queue.add((WORKERS, pool))

    def _run_named(self, key: Key) -> None:
        if self._leads:
            self.queue.add(("FlowRun", key))

    def _awaiting_workers(self, pool: Key) -> int:
        return self.slots.awaiting_workers(pool) + self.waiting.count((WORKERS, *pool))

    def _name_runs_on(self, node: str) -> None:
        for pod in list(self.cache.objects("Pod")):
            if pod.get("spec", {}).get("nodeName") == node:
                self._name("Pod", pod)

    async def _find_lost_nodes(self) -> None:
        """Find the nodes that were deleted while nobody watched: pods name them still, the API server has them not."""
        named = {pod.get("spec", {}).get("nodeName") for pod in self.cache.objects("Pod")} - {None}
        for node in sorted(named - {name for _, name in self.cache.refs("Node", None)}):
            try:
                found = await self._cluster.get(NODES, None, node)
            except ApiError as error:  # Kubernetes deletes such pods in the end, and that is heard of
                logger.warning("node %s: %s", node, error)
            else:
                if found is None:
                    self.cache.forget_node(node)
                else:
                    self.cache.remember({**found, "kind": "Node"})

    async def _pod_ttl(self, key: Key) -> Requeue | None:
        """Delete a pod of a run that finished long enough ago and whose run is settled; Jobs see to their own pods."""
        body = self.cache.get("Pod", key)
        if body is None:
            return None
        pod, deadline = PodView(body), pod_deadline(PodView(body))
        owner: Body = next((o for o in pod.metadata.get("ownerReferences") or [] if o.get("controller")), {})
        by_us = owner.get("kind") == "Job" and podlogs.wanted(pod) is not None  # such a Job has no time to live
        if deadline is None or not (owner.get("kind") == "FlowRun" or by_us):
            return None
        if self._clock() < deadline:
            return Requeue(deadline)
        run = (pod.metadata.get("labels") or {}).get(labels.RUN)
        if run and self.cache.run(Key(key.namespace, run)):
            return Requeue(self._clock() + timedelta(seconds=30))
        if self.logs.awaited(pod):
            return Requeue(self._clock() + timedelta(seconds=30))  # or when it is kept
        if by_us:
            await self._cluster.delete(JOBS, key.namespace, owner["name"], uid=owner["uid"])
        else:
            await self._cluster.delete(PODS, key.namespace, key.name, uid=pod.uid)
        return None

    def _log_kept(self, pod: PodView) -> None:
        """What waited for it may go on: the pod's deletion, and that of its run."""
        namespace = str(pod.metadata["namespace"])
        self.queue.add(("Pod", Key(namespace, pod.name)))
        self.housekeeping.soon(RETENTION, namespace)

    async def run(self) -> None:
        """Watch until cancelled, and reconcile while this process leads."""
        leadership = self._leadership
        if leadership is not None:
            await leadership.looked.wait()
            self._leads = leadership.leads  # then the lists that come next are the consistent ones of its first term
        async with asyncio.TaskGroup() as group:
            for informer in self.informers:
                group.create_task(informer.run(), name=f"informer {informer.selection.resource.plural}")
            group.create_task(self.hearsay.run(), name="informer events")
            while leadership is not None:
                await leadership.gained()
                await self._term(leadership)
            await self._act()

    async def drain(self, seconds: float) -> None:
        """Take no more keys, and let what is under way end and its Events go out, for at most so many seconds."""
        if not self._acts:
            return
        self._leads = False
        try:
            async with asyncio.timeout(seconds):
                await self.queue.close()
                await self.events.sent()
        except TimeoutError:
            logger.warning("%d keys are still worked on after %.0f s", self.queue.working, seconds)

    async def _term(self, leadership: Leadership) -> None:
        """Act until the lease is lost."""
        if not self._leads:
            self._begin()
        acts = asyncio.create_task(self._act(), name="term")
        lost = asyncio.create_task(leadership.lost(), name="lease")
        try:
            await asyncio.wait((acts, lost), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._leads = self._acts = False
            for task in (acts, lost):
                task.cancel()
            ends = await asyncio.gather(acts, lost, return_exceptions=True)
        if isinstance(ends[0], Exception):
            raise ends[0]

    def _begin(self) -> None:
        """Forget what an earlier term knew, and list anew: others have acted since."""
        self.queue.clear()
        self.due.clear()
        self.events.clear()
        self.waiting.clear()
        self._touched.clear()
        self._listed.clear()
        self.dependents.forget()
        self.backfills.forget()
        self._first.clear()
        self.housekeeping.clear()
        self.claims.clear()
        self._log_keeping.clear()
        self.revisions.clear()
        self.slots.close()
        self.workers.clear()
        self._leads = True
        for informer in self.informers:
            informer.relist()

    async def _act(self) -> None:
        """Name every key, then reconcile until cancelled."""
        begun = time.monotonic()
        # Nothing is decided before everything is known: a run whose pod is not listed yet is not a run without one.
        for informer in self.informers:
            if informer is not self._settled_informer:  # the longest list, which nothing under way rests on
                await informer.synced.wait()
        logger.info("synced: %d runs, %d pods", self.cache.count("FlowRun"), self.cache.count("Pod"))
        if self._watch_nodes:
            await self._find_lost_nodes()
        await self._sweep()
        for ref in self.cache.refs("FlowDeployment", None):
            self._name_deployment(Key(*ref))
        self.recall()
        for namespace in self.cache.limited():
            self._claims_changed(namespace)
        self._first, self._begun = set(self.queue.keys()), begun
        self._look_over(None)
        self.events.begin(untold_since(self._clock(), self._leadership.led_until if self._leadership else None))
        self._acts, self._progress = True, time.monotonic()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.events.run(), name="events")
            group.create_task(self.due.run(), name="due times")
            group.create_task(self._sweep_again(), name="sweep")
            group.create_task(self._keep_house(), name="housekeeping")
            group.create_task(self._keep_logs(), name="logs")
            group.create_task(self._keep_counts(), name="counts")
            for number in range(self._workers):
                group.create_task(self._work(), name=f"worker {number}")

    async def _keep_house(self) -> None:
        """Look after runs that have ended, once all of them are known: a count of some of them would be none."""
        await self._settled_informer.synced.wait()
        for namespace in self._where:
            self.housekeeping.soon(COPIES, namespace or "")
        await self.housekeeping.run()

    def recall(self) -> None:
        """Find who holds slots and who waits for them, then begin to grant them."""
        for body in self.cache.objects("FlowRun"):
            try:
                self.runs.account(body)
                self.slots.recall(RunView(body))
            except Exception:  # each look at it says so
                logger.exception("%s/%s is left out", body["metadata"]["namespace"], body["metadata"]["name"])
        self.slots.open()

    async def _keep_counts(self) -> None:
        counts = Counts(self._cluster, self.slots)
        while True:
            await asyncio.sleep(COUNT)
            await counts.write()
            self.slots.tell(TOLD_AT_ONCE)

    async def _keep_logs(self) -> None:
        try:
            await self._log_keeping.run()
        finally:
            await self.logs.close()

    async def _sweep_again(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            await self._sweep()

    async def _sweep(self) -> None:
        """List the kinds that kopf watches, and touch what came and went; all of it when a term begins."""
        for resource in LOW_RATE:
            try:
                found = {
                    Key(body["metadata"]["namespace"], body["metadata"]["name"])
                    for namespace in self._where
                    async for page in self._cluster.list_pages(resource, namespace)
                    for body in page.items
                }
            except ApiError as error:
                logger.warning("list of %s: %s", resource.plural, error)
                continue
            for key in found ^ self._listed.get(resource.kind, set()):
                self.touch(resource.kind, key)
            self._listed[resource.kind] = found

    async def _work(self) -> None:
        while True:
            work = await self.queue.take()
            kind, key = work
            start, failed, retry_after = time.monotonic(), True, 0.0
            told = kind == "FlowRun" and unreconciled.failed(self.cache.run(key))
            try:
                if work in self._broken:
                    raise self._broken[work]
                again = await self._reconcilers[kind](key)
                failed = False
                if told:
                    await self.unreconciled.clear(key)
                self._schedule(work, again)
            except ApiError as error:
                retry_after = spread(error.retry_after or 0.0)
                logger.info("%s %s/%s: %s; again later", kind, *key, error)
                await self._complain(work, error)
            except (Exception, asyncio.CancelledError) as error:  # one bad object never stops the others
                if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                    raise
                logger.exception("%s %s/%s cannot be reconciled", kind, *key)
                await self._complain(work, error)
            finally:
                self._progress = time.monotonic()
                metrics.RECONCILE_SECONDS.labels(kind).observe(self._progress - start)
                metrics.RECONCILES.labels(kind, "failed" if failed else "done").inc()
                delay = self.queue.done(work, failed=failed)
                if delay is not None:
                    self.due.at(work, self._clock() + timedelta(seconds=max(delay, retry_after)))
                if self._first:
                    self._look_over(work)

    def _take_in(self, kind: str, body: Body) -> None:
        """An object that cannot be taken in is told of by the looks at it, which fail from now on."""
        work = (kind, Key(body["metadata"].get("namespace") or "", body["metadata"]["name"]))
        self._broken.pop(work, None)
        try:
            self._changed(kind, body)
        except Exception as error:
            if kind not in self._reconcilers:
                raise
            self._broken[work] = error
            if self._leads:
                self.queue.add(work)

    def _let_go(self, kind: str, ref: tuple[str, str], version: str) -> None:
        self._broken.pop((kind, Key(*ref)), None)
        self._deleted(kind, ref, version)

    async def _complain(self, work: Work, error: BaseException) -> None:
        """Say on the object what is wrong with it, when that is no passing trouble."""
        if self.queue.failures(work) and not unreconciled.passes(error):
            await self.unreconciled.tell(*work, error)

    def _look_over(self, work: Work | None) -> None:
        """Tell when everything that the term began with was looked at once."""
        self._first -= {work}
        if not self._first:
            seconds = time.monotonic() - self._begun
            metrics.TAKEOVER_SECONDS.set(seconds)
            logger.info("everything was looked at once, %.1f s after this process began to act", seconds)

    def _schedule(self, work: Work, again: Requeue | None) -> None:
        self.waiting.drop(work)
        if again is None:
            return
        if again.waits_for:
            kind, name = again.waits_for
            wanted = (kind, work[1].namespace, name)
            if self._touched.get(wanted, 0.0) >= self.queue.named(work):  # what was read may be older than that
                self.queue.add(work)
            else:
                self.waiting.wait(work, wanted)
                if kind == WORKERS:
                    self.queue.add((WORKERS, Key(work[1].namespace, name)))
                self.due.at(work, self._clock() + SAFETY)
        if again.at:
            self.due.at(work, again.at)

    def health(self) -> dict[str, float]:
        """Figures of liveness. Raises RuntimeError when this process' own loops stand still; neither a backlog nor an
        API server that is away is a reason to start it anew: silence of the watches is a figure, and a metric."""
        stillness = max(informer.stillness() for informer in self.informers)
        if stillness > MAX_STILLNESS:
            raise RuntimeError(f"a watch took no step for {stillness:.0f} s")
        waited = self.queue.oldest_age() if self._acts and not self.queue.working else 0.0
        still = min(waited, time.monotonic() - self._progress)
        if still > MAX_STILLNESS:
            raise RuntimeError(f"keys wait, and nothing was done for {still:.0f} s")
        if self.queue.longest_work() > MAX_WORK:
            raise RuntimeError(f"a key has been worked on for {self.queue.longest_work():.0f} s")
        silence = max(informer.silence() for informer in self.informers)
        return {"silence": round(silence, 1), "queued": float(len(self.queue)), "leads": float(self._leads)}
