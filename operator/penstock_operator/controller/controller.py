"""Wires informers, cache, agenda and reconcilers together; `main` starts it, handlers feed it other kinds.

Informers fill the cache always (`intake`); keys are named (`naming`), looked at (`looks`) and written about only while
this process leads (`term`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from penstock.api import labels
from penstock.results.urls import StorageUrl

from ..cluster import (
    CONCURRENCY_LIMITS,
    EVENTS,
    FLOW_DEPLOYMENTS,
    FLOW_RUNS,
    JOBS,
    LEASES,
    NODES,
    PODS,
    WORK_POOLS,
    WORK_QUEUES,
    Cluster,
)
from ..core import pod_events
from ..core.policy import DEFAULT_LATE_AFTER
from ..core.retention import DEFAULT_CEILING, Ceiling
from ..launch.pods import Defaults
from ..reconcile.archive import Archive
from ..reconcile.backfills import Backfills
from ..reconcile.claims import Claims
from ..reconcile.copies import Copies
from ..reconcile.flowruns import FlowRuns
from ..reconcile.podlogs import PodLogs
from ..reconcile.retention import Retention
from ..reconcile.revisions import Revisions
from ..reconcile.schedules import Schedules
from ..reconcile.sources import Key, Read
from ..reconcile.workers import WorkerPods
from . import liveness
from .agenda import CLAIMS, CURSORS, WORKERS, Agenda
from .cache import ObjectCache
from .counts import Counts
from .events import EventPoster, untold_since
from .fresh_reads import FreshReads, version
from .housekeeping import COPIES, LOGS, RETENTION, Housekeeping
from .informer import Informer, Selection
from .intake import Intake
from .leadership import Leadership
from .looks import Looks, Reconciler
from .naming import Naming
from .orphans import Orphans
from .pod_ttl import PodTTL
from .settled import SettledRuns
from .slots import Slots
from .sweep import Sweep
from .takeover import Takeover
from .term import Term
from .unreconciled import Unreconciled
from .workers import Workers

logger = logging.getLogger(__name__)

Body = dict[str, Any]
Ref = tuple[str, str]

READ = frozenset(("FlowDeployment", "WorkPool"))  # kinds that are watched here, and read afresh for runs
LOGS_AT_ONCE = 4
COUNT = 1.0  # seconds between writes of the counts of pools and queues, and between tellings of reasons to wait
TOLD_AT_ONCE = 20  # runs that are told anew why they wait: as many writes a second, at most
# An API server keeps Events in no cache of its own, and so sends no bookmarks of them: such a watch ends by itself
# before its silence could be taken for a broken connection.
EVENTS_WATCH = 60


def _let_go(*_: object) -> None:
    """What is known of an Event outlives it."""


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


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
        self._cluster, self._clock, self._leadership = cluster, clock, leadership
        self._where: tuple[str | None, ...] = namespaces or (None,)
        # Who may watch some namespaces only may not read Nodes, unless told otherwise.
        watch_nodes = not namespaces if watch_nodes is None else watch_nodes
        reconcilers: dict[str, Reconciler] = {}
        self._reconcilers = reconcilers
        agenda = self.agenda = Agenda(clock, leads=leadership is None)
        self.cache = ObjectCache(agenda.claims, Orphans(clock, lambda orphan: self.naming.orphan(orphan)))
        self.events = EventPoster(cluster, instance)
        self.revisions = Revisions(cluster)
        self._fresh_reads = FreshReads(cluster)

        self.slots = Slots(
            clock,
            lambda key: agenda.queue.add(("FlowRun", key), first=True),
            lambda pool: agenda.queue.add((WORKERS, pool)),
        )
        self.logs = PodLogs(cluster, self.cache, log_archives, clock, lambda pod: self.naming.log_kept(pod))
        self.workers = Workers(
            cluster, self.cache, clock, lambda pool: self.naming.workers(pool), agenda.run, self._awaiting_workers
        )
        self.backfills = Backfills(cluster, self.cache, clock)
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
        self.log_keeping = Housekeeping({LOGS: self.logs.reconcile}, clock, LOGS_AT_ONCE)

        self.naming = Naming(
            agenda,
            self.cache,
            self.slots,
            self.workers,
            self.logs,
            self.housekeeping,
            self.log_keeping,
            reconcilers,
        )
        self.intake = Intake(agenda, self.cache, self.slots, self.workers, self.naming, reconcilers)
        self._informers(watch_nodes)

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
            lambda key: self._fresh_reads.of(key, agenda.queue.named(("FlowRun", key))),
            self.workers,
            self._fresh_reads.lately,
        )
        self.claims = Claims(cluster, self.cache, clock)
        self.worker_pods = WorkerPods(
            cluster, self.cache, self.workers, defaults, clock, lambda pool: self.naming.touch("WorkPool", pool)
        )
        self.schedules = Schedules(
            cluster,
            self.cache,
            clock,
            lambda body: self.intake.take("FlowRun", body),
            lambda key: agenda.queue.add((CURSORS, key)),
        )
        reconcilers |= {
            "FlowRun": self.runs.reconcile,
            "Pod": PodTTL(cluster, self.cache, self.logs, clock).reconcile,
            "Lease": self.workers.look,
            WORKERS: self.worker_pods.reconcile,
            CLAIMS: self.claims.reconcile,
            "Schedules": self.schedules.reconcile,
            CURSORS: self.schedules.write,
            "Backfill": self.backfills.reconcile,
        }

        self._sweep = Sweep(cluster, self._where, self.touch)
        self.takeover = Takeover(
            cluster,
            agenda,
            self.cache,
            self.naming,
            self._sweep,
            self.slots,
            self.runs,
            clock,
            watch_nodes=watch_nodes,
        )
        complaints = Unreconciled(cluster, instance, clock)
        self.looks = Looks(agenda, self.cache, reconcilers, self.intake.broken, complaints, self.takeover.looked)
        self.term = Term(
            agenda,
            self.takeover,
            self.informers,
            self.settled_informer,
            forget=(
                agenda.clear,
                self.events.clear,
                self._sweep.clear,
                self.naming.dependents.forget,
                self.backfills.forget,
                self.takeover.clear,
                self.housekeeping.clear,
                self.claims.clear,
                self.schedules.clear,
                self.log_keeping.clear,
                self.revisions.clear,
                self.slots.close,
                self.workers.clear,
            ),
            begin=self._begin,
            loops={
                "events": self.events.run,
                "due times": agenda.due.run,
                "sweep": self._sweep.run,
                "housekeeping": self._keep_house,
                "logs": self._keep_logs,
                "counts": self._keep_counts,
                **{f"worker {number}": self.looks.run for number in range(workers)},
            },
        )

    # What is heard.

    def _informers(self, watch_nodes: bool) -> None:
        where, managed = self._where, f"{labels.MANAGED_BY}={labels.MANAGED_BY_VALUE}"
        self.settled_informer = Informer(
            self._cluster,
            Selection(FLOW_RUNS, where, field_selector="status.settled=true"),
            changed=self.settled.put,
            deleted=self.settled.drop,
            known=self.settled.refs,
        )
        self.informers = [
            self._informer("Pod", Selection(PODS, where, label_selector=managed)),
            self._informer("Job", Selection(JOBS, where, label_selector=managed)),
            self._informer("Lease", Selection(LEASES, where, label_selector=f"{labels.COMPONENT}={labels.WORKER}")),
            self._informer("FlowRun", Selection(FLOW_RUNS, where, field_selector="status.settled!=true")),
            *(
                self._rules_informer(Selection(resource, where))
                for resource in (WORK_POOLS, WORK_QUEUES, CONCURRENCY_LIMITS)
            ),
            self._informer("FlowDeployment", Selection(FLOW_DEPLOYMENTS, where)),
            self.settled_informer,
        ]
        if watch_nodes:
            self.informers.append(self._informer("Node", Selection(NODES)))
        told = Selection(EVENTS, where, field_selector=pod_events.SELECTOR, watch_seconds=EVENTS_WATCH)
        # Not among the others: nothing waits for it, and no health rests on it, for there may be a million Events.
        self.hearsay = Informer(self._cluster, told, changed=self.intake.told, deleted=_let_go, known=lambda _: ())

    def _informer(self, kind: str, selection: Selection) -> Informer:
        return Informer(
            self._cluster,
            selection,
            changed=lambda body: self._heard(kind, body, self.intake.take),
            deleted=lambda ref, version: self._lost(kind, ref, version, self.intake.let_go),
            known=lambda namespace: self.cache.refs(kind, namespace),
        )

    def _rules_informer(self, selection: Selection) -> Informer:
        kind = selection.resource.kind
        return Informer(
            self._cluster,
            selection,
            changed=lambda body: self._heard(kind, body, self.intake.rule),
            deleted=lambda ref, version: self._lost(kind, ref, version, self.intake.rule_gone),
            known=lambda namespace: self.slots.rules.refs(kind, namespace),
        )

    def _heard(self, kind: str, body: Body, take: Callable[[str, Body], None]) -> None:
        if kind in READ:
            self._fresh_reads.heard(kind, Key(body["metadata"]["namespace"], body["metadata"]["name"]), version(body))
        take(kind, body)

    def _lost(self, kind: str, ref: Ref, version_: str, let_go: Callable[[str, Ref, str], None]) -> None:
        if kind in READ:
            self._fresh_reads.heard(kind, Key(*ref), None)
        let_go(kind, ref, version_)
        if kind == "FlowRun" and self.cache.run(Key(*ref)) is None:
            self._fresh_reads.forget(Key(*ref))

    def touch(self, kind: str, key: Key, version: str | None = None) -> None:
        """An object of another kind appeared, changed or went: reconcile it, and whatever waits for it.

        `version` is that of its spec, where it is known.
        """
        self._fresh_reads.heard(kind, key, version)
        self.naming.touch(kind, key, version)

    def register(self, kind: str, reconciler: Reconciler) -> None:
        """Have keys of another kind reconciled."""
        self._reconcilers[kind] = reconciler

    def reads(self, kind: str, key: Key) -> Read:
        """Reads for the look at a key that is under way."""
        return partial(self._fresh_reads.get, since=self.agenda.queue.named((kind, key)))

    def _uncounted(self, backfill: Key, run: str) -> bool:
        """Whether a run must stay for its backfill's sake; not for that of one that is deleted."""
        return not self._sweep.missing("Backfill", backfill) and self.backfills.uncounted(backfill, run)

    def _awaiting_workers(self, pool: Key) -> int:
        return self.slots.awaiting_workers(pool) + self.agenda.waiting.count((WORKERS, *pool))

    # Terms.

    async def run(self) -> None:
        """Watch until cancelled, and reconcile while this process leads."""
        leadership = self._leadership
        if leadership is not None:
            await leadership.looked.wait()
            self.agenda.leads = leadership.leads  # then the lists to come are the consistent ones of its first term
        async with asyncio.TaskGroup() as group:
            for informer in self.informers:
                group.create_task(informer.run(), name=f"informer {informer.selection.resource.plural}")
            group.create_task(self.hearsay.run(), name="informer events")
            while leadership is not None:
                await leadership.gained()
                await self.term.serve(leadership)
            await self.term.act()

    def _begin(self) -> None:
        self.events.begin(untold_since(self._clock(), self._leadership.led_until if self._leadership else None))
        self.looks.progress = time.monotonic()

    async def _keep_house(self) -> None:
        """Look after runs that have ended, once all of them are known: a count of some of them would be none."""
        await self.settled_informer.synced.wait()
        for namespace in self._where:
            self.housekeeping.soon(COPIES, namespace or "")
        await self.housekeeping.run()

    async def _keep_logs(self) -> None:
        try:
            await self.log_keeping.run()
        finally:
            await self.logs.close()

    async def _keep_counts(self) -> None:
        counts = Counts(self._cluster, self.slots, self.cache)
        while True:
            await asyncio.sleep(COUNT)
            await counts.write()
            self.slots.tell(TOLD_AT_ONCE)

    async def drain(self, seconds: float) -> None:
        """Take no more keys, and let what is under way end and its Events go out, for at most so many seconds."""
        if not self.term.acts:
            return
        self.agenda.leads = False
        queue = self.agenda.queue
        try:
            async with asyncio.timeout(seconds):
                await queue.close()
                await self.events.sent()
        except TimeoutError:
            logger.warning("%d keys are still worked on after %.0f s", queue.working, seconds)

    def health(self) -> dict[str, float]:
        """Figures of liveness. Raises RuntimeError when this process' own loops stand still."""
        return liveness.health(self.informers, self.agenda, acts=self.term.acts, progress=self.looks.progress)
