"""Which keys a change concerns: a pod its run, a run its relatives and its backfill, a node the runs on it.

`intake` tells of what informers hear, kopf's handlers of the low-rate kinds. Nothing is named while another leads.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from penstock.api import labels

from ..core.nodes import Silence
from ..core.orphans import Orphan
from ..core.views import PodView, RunView
from ..reconcile.podlogs import PodLogs
from ..reconcile.sources import Key
from .agenda import WORKERS, Agenda
from .cache import REMEMBERED_GONE, ObjectCache
from .dependents import Dependents
from .housekeeping import LOGS, RETENTION, Housekeeping
from .pod_ttl import pod_deadline
from .slots import Slots
from .workers import Workers, is_worker

Body = dict[str, Any]

ANSWERS = (False, None)
"""Of a node: it is not lost, nor silent."""


class Naming:
    """Puts keys on the agenda."""

    def __init__(
        self,
        agenda: Agenda,
        cache: ObjectCache,
        slots: Slots,
        workers: Workers,
        logs: PodLogs,
        housekeeping: Housekeeping,
        log_keeping: Housekeeping,
        reconciled: Container[str],
    ) -> None:
        """`reconciled`: kinds of which keys are looked at, as they are registered."""
        self._agenda, self._cache, self._slots, self._workers = agenda, cache, slots, workers
        self._logs, self._housekeeping, self._log_keeping = logs, housekeeping, log_keeping
        self._reconciled = reconciled
        self._nodes: dict[str, tuple[bool, Silence | None]] = {}  # as they were told, where they do not answer
        self.dependents = Dependents()

    def touch(self, kind: str, key: Key, version: str | None = None) -> None:
        """An object of another kind appeared, changed or went: reconcile it, and whatever waits for it.

        `version` is that of its spec, where it is known: deployments that name it are looked at once for each.
        """
        if not self._agenda.leads:
            return
        if kind in self._reconciled:
            self._agenda.queue.add((kind, key))
        for name in self.dependents.concerned(kind, key, version):
            if "FlowDeployment" in self._reconciled:
                self._agenda.queue.add(("FlowDeployment", Key(key.namespace, name)))
        self._agenda.wake(kind, key)

    def changed(self, kind: str, body: Body, *, gone: bool = False) -> None:
        """Name the keys that an object concerns."""
        if kind == "Pod" and is_worker(body):
            self._workers.heard_pod(body, gone=gone)
        if not self._agenda.leads:
            return
        key = Key(body["metadata"].get("namespace") or "", body["metadata"]["name"])
        if kind == "FlowRun":
            self._run(key, body)
        elif kind == "FlowDeployment":
            self.deployment(key)
            self._housekeeping.soon(RETENTION, key.namespace)
            self._agenda.wake(kind, key)
        else:
            run = (body["metadata"].get("labels") or {}).get(labels.RUN)
            if run:
                self._agenda.queue.add(("FlowRun", Key(key.namespace, run)))
            if kind == "Pod":
                self._pod(key, PodView(body))

    def _run(self, key: Key, body: Body) -> None:
        self._agenda.queue.add(("FlowRun", key))
        self._workers.heard_run(body)
        status = body.get("status") or {}
        if "endTime" in status:
            self._backfill(key.namespace, body)
        if "pod" not in status or "endTime" in status:
            self._relatives(key, body)

    def _pod(self, key: Key, pod: PodView) -> None:
        if self._cache.haunted(key.namespace):
            self._agenda.claims(key.namespace)
        if (pod.gone or pod.deleting) and self._logs.awaited(pod):
            self._log_keeping.at_once(LOGS, f"{key.namespace}/{pod.name}")
        deadline = pod_deadline(pod)
        if deadline:
            self._agenda.due.at(("Pod", key), deadline)

    def deployment(self, key: Key, *, due: bool = False) -> None:
        """Have a deployment looked at, and its schedules; before all else where a run may be `due`."""
        for kind in ("Schedules", "FlowDeployment"):
            if kind in self._reconciled:
                self._agenda.queue.add((kind, key), first=due and kind == "Schedules")

    def _backfill(self, namespace: str, run: Body) -> None:
        """A run that has ended makes room for the next of its backfill."""
        name = RunView(run).backfill
        if name:
            self._agenda.queue.add(("Backfill", Key(namespace, name)))

    def _relatives(self, key: Key, body: Body | None) -> None:
        """A run without an attempt under way concerns its children, and one that has ended its parent."""
        for child in self._cache.children(key):
            self._agenda.queue.add(("FlowRun", Key(key.namespace, child["metadata"]["name"])))
        parent = ((body or {}).get("spec") or {}).get("parent")
        if parent and self._cache.run(Key(key.namespace, parent["name"])):
            self._agenda.queue.add(("FlowRun", Key(key.namespace, parent["name"])))

    def run_gone(self, key: Key, body: Body | None) -> None:
        """A run is settled or deleted; `body` as it was known, which may be that of a namesake's."""
        if self._cache.run(key) is None:
            self._agenda.drop(("FlowRun", key))
            if self._agenda.leads and self._slots.knows(key):
                self._agenda.queue.add(("FlowRun", key), first=True)
        self._relatives(key, body)
        if body is not None:
            self._workers.heard_run(body)
            if self._agenda.leads:
                self._backfill(key.namespace, body)

    def orphan(self, orphan: Orphan) -> None:
        """A deleted run has left a process in a worker, or that has ended."""
        self._workers.left(orphan)
        self._agenda.claims(orphan.namespace)
        if self._agenda.leads:
            work = ("FlowRun", Key(*orphan.key))
            self._agenda.queue.add(work, first=True)
            self._agenda.due.at(work, orphan.until)

    def deployment_gone(self, key: Key) -> None:
        """A deployment is deleted."""
        if self._agenda.leads:
            self._housekeeping.soon(RETENTION, key.namespace)
            self._agenda.wake("FlowDeployment", key)

    def node(self, name: str) -> None:
        """A node came, changed or was deleted: name what has a pod there, where it fell silent, was lost or is back.

        The cache may know that already by a read, of which only who asked has heard.
        """
        before, now = self._nodes.pop(name, ANSWERS), self._cache.of_node(name)
        if now != ANSWERS:
            self._nodes[name] = now
        if len(self._nodes) > REMEMBERED_GONE:
            del self._nodes[next(iter(self._nodes))]
        if now == before:
            return
        for pod in list(self._cache.objects("Pod")):
            if pod.get("spec", {}).get("nodeName") == name:
                self.changed("Pod", pod)

    def workers(self, pool: Key) -> None:
        """The workers of a pool, or what they have, changed: scale them, and look at runs that wait for one."""
        self._slots.room(pool, self._workers.room(pool))
        if not self._agenda.leads:
            return
        if self._workers.open(pool):
            self.touch(WORKERS, pool)
        else:
            self._agenda.queue.add((WORKERS, pool))

    def log_kept(self, pod: PodView) -> None:
        """What waited for it may go on: the pod's deletion, and that of its run."""
        namespace = str(pod.metadata["namespace"])
        self._agenda.queue.add(("Pod", Key(namespace, pod.name)))
        self._housekeeping.soon(RETENTION, namespace)
