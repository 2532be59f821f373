"""Takes what informers hear into the caches, and has it named.

Called by the informers of all kinds, leading or not. An object that cannot be taken in is told of by the looks at it.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from penstock.api import names

from ..core import schedules
from ..reconcile.sources import Key
from .agenda import Agenda, Work
from .cache import ObjectCache
from .naming import Naming
from .slots import Slots
from .workers import Workers

Body = dict[str, Any]
Ref = tuple[str, str]


class Intake:
    """The informers' ears."""

    def __init__(
        self,
        agenda: Agenda,
        cache: ObjectCache,
        slots: Slots,
        workers: Workers,
        naming: Naming,
        reconciled: Container[str],
    ) -> None:
        """`reconciled`: kinds of which keys are looked at, as they are registered."""
        self._agenda, self._cache, self._slots, self._workers = agenda, cache, slots, workers
        self._naming, self._reconciled = naming, reconciled
        self.broken: dict[Work, Exception] = {}
        """Objects that could not even be taken into the cache."""

    def take(self, kind: str, body: Body) -> None:
        """An object came or changed; what cannot be taken in fails when it is looked at, from now on."""
        work = (kind, Key(body["metadata"].get("namespace") or "", body["metadata"]["name"]))
        self.broken.pop(work, None)
        try:
            self.changed(kind, body)
        except Exception as error:
            if kind not in self._reconciled:
                raise
            self.broken[work] = error
            if self._agenda.leads:
                self._agenda.queue.add(work)

    def let_go(self, kind: str, ref: Ref, version: str) -> None:
        """An object was deleted, or is selected no more."""
        self.broken.pop((kind, Key(*ref)), None)
        self.deleted(kind, ref, version)

    def changed(self, kind: str, body: Body) -> None:
        """An object came or changed. Raises whatever its shape may cause."""
        body["kind"] = kind
        key = Key(body["metadata"].get("namespace") or "", body["metadata"]["name"])
        if kind == "Lease" and not key.name.startswith(names.worker_lease("")):
            return  # whoever may write other Leases, as runs may write their locks, makes no workers by that
        known = self._cache.deployment(key) if kind == "FlowDeployment" else None
        if not self._cache.put(kind, body):
            return
        if kind == "Lease":
            self._agenda.due.at((kind, key), self._workers.heard_lease(body))
        elif kind == "FlowDeployment":
            self._slots.rules.put(kind, body)
            self._naming.dependents.put(body)
            if not schedules.same(known, body):
                self._naming.changed(kind, body)
        elif kind == "Node":
            self._naming.node(key.name)
        else:
            self._naming.changed(kind, body)

    def deleted(self, kind: str, ref: Ref, version: str) -> None:
        """An object was deleted, or is selected no more. Raises whatever its shape may cause."""
        key, body = Key(*ref), self._cache.drop(kind, ref, version)
        gone = self._cache.get(kind, key) is None  # and no namesake is there, nor something newer
        if kind == "Node":
            if gone:
                self._cache.forget_node(key.name)
                self._naming.node(key.name)
        elif kind == "FlowRun":
            self._naming.run_gone(key, body)
        elif kind == "Lease":
            if gone:
                self._agenda.due.drop((kind, key))
                self._workers.lost_lease(key)
        elif kind == "FlowDeployment":
            if gone:
                self._naming.dependents.drop(key)
                self._agenda.due.drop(("Schedules", key))
                self._agenda.due.drop((kind, key))
            self._slots.rules.drop(kind, ref, version)
            self._naming.deployment_gone(key)
        elif body is not None:
            self._naming.changed(kind, body, gone=True)

    def rule(self, kind: str, body: Body) -> None:
        """A pool, a queue or a limit came or changed."""
        self._slots.rules.put(kind, body)
        if kind == "WorkPool":
            self._workers.heard_pool(body)
        elif kind == "ConcurrencyLimit":
            namespace = body["metadata"]["namespace"]
            known = self._cache.get(kind, Key(namespace, body["metadata"]["name"]))
            if self._cache.put(kind, {**body, "kind": kind}):
                # What the operator says of a limit changes nothing here.
                said = [(b["spec"], b["metadata"]["uid"], b["metadata"].get("annotations")) for b in (body, known) if b]
                if len(said) == 1 or said[0] != said[1]:
                    self._agenda.claims(namespace)

    def rule_gone(self, kind: str, ref: Ref, version: str) -> None:
        """A pool, a queue or a limit was deleted."""
        self._slots.rules.drop(kind, ref, version)
        if kind == "WorkPool":
            self._workers.lost_pool(Key(*ref), version)
        elif kind == "ConcurrencyLimit":
            self._cache.drop(kind, ref, version)
            self._agenda.claims(ref[0])

    def told(self, event: Body) -> None:
        """An Event of anything: it may say why a pod of a run does not start."""
        if self._cache.tell(event):
            namespace, name = event["metadata"]["namespace"], event["regarding"].get("name") or ""
            body = self._cache.get(event["regarding"]["kind"], Key(namespace, name))
            if body is not None:
                self._naming.changed(body["kind"], body)
