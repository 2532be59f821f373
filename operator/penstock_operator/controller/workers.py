"""The warm workers of all pools, as their Leases, their pods and the runs they have show them; who holds which place.

Implements `reconcile.sources.Workers`. The controller tells of what its informers hear; `named` is called with pools
whose workers changed, `run_named` with runs whose worker may be lost. A Lease is believed as long as it changes: what
counts is this process' own monotonic clock, and only while its own reads succeed.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from penstock.api import labels, names, workers

from ..cluster import LEASES, Cluster
from ..core import orphans
from ..core.views import LeaseView, PodView, RunView
from ..core.workers import MUTE, Member, Worker, choose, fingerprint, room
from ..reconcile.sources import Key, Requeue
from .cache import ObjectCache, newer

Body = dict[str, Any]

CONFIRM = workers.RENEW_SECONDS * 1.5
"""Seconds after a read that found a Lease unchanged at which another is to find it so, too: for the time that the API
server was away, nobody could renew it."""


def pod_number(pod: PodView) -> int:
    """What a worker's pod is the how-manieth of; -1 where its annotation makes no sense."""
    said = str((pod.metadata.get("annotations") or {}).get(labels.WORKER_NUMBER) or "")
    return int(said) if said.isdecimal() and len(said) < 9 else -1


def is_worker(body: Body) -> bool:
    """Whether a pod is that of a worker which the operator has made."""
    return (body["metadata"].get("labels") or {}).get(labels.COMPONENT) == labels.WORKER


class Workers:
    """What is known of workers. One event loop."""

    def __init__(
        self,
        cluster: Cluster,
        cache: ObjectCache,
        clock: Callable[[], datetime],
        named: Callable[[Key], None],
        run_named: Callable[[Key], None],
        queued: Callable[[Key], int],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster, self._cache, self._clock, self._monotonic = cluster, cache, clock, monotonic
        self._named, self._run_named, self._queued = named, run_named, queued
        self._pools: dict[Key, tuple[Body, str]] = {}  # and the fingerprint of each
        self._workers: dict[Key, dict[str, Worker]] = defaultdict(dict)  # by pool, then by their name
        self._pool_of: dict[Key, Key] = {}
        self._pods_of: dict[Key, set[str]] = defaultdict(set)
        self._beats: dict[Key, tuple[tuple[str, str], float]] = {}  # by Lease: how it stands, and since when
        self._asked: dict[Key, float] = {}  # since when reads have found a Lease unchanged that should have changed
        self._silent: set[Key] = set()
        self._used: dict[str, datetime] = {}  # by uid
        self._draining: set[str] = set()  # uids of those whose Lease does not say so yet
        self._chosen: dict[str, tuple[Key, str]] = {}  # by uid of a run that is being assigned: it, its worker's uid

    def clear(self) -> None:
        """Begin a term: what others have done is read from their objects, and every Lease has its whole time again."""
        now = self._monotonic()
        self._beats = {key: (beat, now) for key, (beat, _) in self._beats.items()}
        self._asked.clear()
        self._silent.clear()
        self._draining.clear()
        self._chosen.clear()

    # What is heard.

    def heard_lease(self, body: Body) -> datetime:
        """A Lease came or changed; when to look at it."""
        lease, key = LeaseView(body), Key(body["metadata"]["namespace"], body["metadata"]["name"])
        known = self._beats.get(key)
        if known is None or known[0] != lease.beat:
            self._beats[key] = (lease.beat, self._monotonic())
            self._asked.pop(key, None)
            self._silent.discard(key)
        self._build(Key(key.namespace, lease.worker))
        self._hear_of_deleted(lease)
        return self._clock() + timedelta(seconds=lease.seconds)

    def _hear_of_deleted(self, lease: LeaseView) -> None:
        """The worker may have processes of deleted runs, which this process may not know of; or have them no more."""
        for orphan in orphans.said(lease, self._clock()):
            run, known = self._cache.run(Key(*orphan.key)), self._cache.orphans.get(orphan.uid)
            if known is not None:
                self._cache.orphans.put(replace(known, until=orphan.until))
            elif run is None or run["metadata"]["uid"] != orphan.uid:
                self._cache.orphans.put(orphan)
        ended = {run.uid for run in lease.deleted_runs if run.ended}
        for orphan in self._cache.orphans.of_worker(lease.holder):
            if orphan.uid in ended or self._clock() >= orphan.until:
                self._run_named(Key(*orphan.key))

    def left(self, orphan: orphans.Orphan) -> None:
        """The process of a deleted run is in a worker, or is there no more."""
        self._used[orphan.worker_uid] = self._clock()
        pool = self._pool_of.get(Key(orphan.namespace, orphan.worker))
        if pool is not None:
            self._named(pool)

    def _name_runs(self, uid: str) -> None:
        """Have what a worker has looked at."""
        for ref in (*self._cache.runs_in(uid), *(orphan.key for orphan in self._cache.orphans.of_worker(uid))):
            self._run_named(Key(*ref))

    def lost_lease(self, key: Key) -> None:
        """A Lease was deleted."""
        self._beats.pop(key, None)
        self._asked.pop(key, None)
        self._silent.discard(key)
        self._build(Key(key.namespace, key.name.removeprefix(names.worker_lease(""))))

    def heard_pod(self, body: Body, *, gone: bool = False) -> None:
        """A worker's pod came, changed or was deleted."""
        meta = body["metadata"]
        key = Key(meta["namespace"], meta["name"])
        pool = Key(key.namespace, str((meta.get("labels") or {}).get(labels.POOL) or ""))
        (self._pods_of[pool].discard if gone else self._pods_of[pool].add)(key.name)
        if not self._pods_of[pool]:
            del self._pods_of[pool]
        self._build(key)
        self._named(pool)
        self._name_runs(meta["uid"])

    def heard_run(self, body: Body) -> None:
        """A run came or changed that a worker has or had."""
        at = (body.get("status") or {}).get("worker")
        if at:
            self._used[at["uid"]] = self._clock()
            pool = self._pool_of.get(Key(body["metadata"]["namespace"], at["name"]))
            if pool is not None:
                self._named(pool)

    def _build(self, key: Key) -> None:
        """Take the worker of that name as its Lease and its pod are now."""
        before = self._find(key)
        body = self._cache.get("Lease", Key(key.namespace, names.worker_lease(key.name)))
        lease = LeaseView(body) if body else None
        said = lease.facts if lease else None
        after: Worker | None = None
        if lease is not None and said is not None and lease.pool:
            pod = self._cache.get("Pod", key)
            view = PodView(pod) if pod else None
            ready = view is not None and view.uid == said.uid and view.phase == "Running" and not view.deleting
            annotations = (view.metadata.get("annotations") or {}) if view else {}
            after = Worker(
                name=key.name,
                uid=said.uid,
                pool=lease.pool,
                slots=said.slots,
                drains=lease.drains,
                managed=lease.managed,
                pod_ready=ready or not lease.managed,
                fingerprint=annotations.get(labels.WORKER_FINGERPRINT) if lease.managed else None,
            )
            self._used.setdefault(said.uid, self._clock())
            if after.drains:
                self._draining.discard(said.uid)
        if before == after:
            return
        if before is not None:
            pool = self._pool_of.pop(key)
            del self._workers[pool][key.name]
            if not self._workers[pool]:
                del self._workers[pool]
            if after is None or after.uid != before.uid:
                self._forget(before.uid)
            self._named(pool)
        if after is not None:
            pool = self._pool_of[key] = Key(key.namespace, after.pool)
            self._workers[pool][key.name] = after
            self._named(pool)

    def _forget(self, uid: str) -> None:
        """A worker is no more: whatever it has is to be looked at."""
        self._used.pop(uid, None)
        self._draining.discard(uid)
        self._name_runs(uid)

    def _find(self, key: Key) -> Worker | None:
        pool = self._pool_of.get(key)
        return None if pool is None else self._workers[pool].get(key.name)

    async def look(self, key: Key) -> Requeue | None:
        """Look whether a Lease has fallen silent, and delete one whose worker is gone. Raises ApiError."""
        body, known = self._cache.get("Lease", key), self._beats.get(key)
        if body is None or known is None:
            return None
        lease = LeaseView(body)
        if self._stale(lease, key):
            await self._cluster.delete(LEASES, *key, uid=body["metadata"]["uid"])
            return None
        quiet = self._monotonic() - known[1]
        if quiet < lease.seconds:
            return Requeue(self._clock() + timedelta(seconds=lease.seconds - quiet))
        if key in self._silent:
            if quiet >= MUTE:
                self._named(Key(key.namespace, lease.pool))
            return Requeue(self._clock() + timedelta(seconds=max(MUTE - quiet, workers.LEASE_SECONDS)))
        await self._ask(key, lease)
        return Requeue(self._clock() + timedelta(seconds=CONFIRM))

    async def _ask(self, key: Key, lease: LeaseView) -> None:
        """Read a Lease that should have changed; two reads in a row that find it as it was mean silence."""
        since = self._asked.pop(key, None)
        found = await self._cluster.get(LEASES, *key)
        if found is None:
            self._cache.drop("Lease", key)
            self.lost_lease(key)
            return
        if LeaseView(found).beat != self._beats[key][0]:
            self._cache.put("Lease", {**found, "kind": "Lease"})
            self.heard_lease(found)
            return
        now = self._monotonic()
        self._asked[key] = now if since is None else since
        if since is None or now - since < CONFIRM:
            return
        self._silent.add(key)
        self._named(Key(key.namespace, lease.pool))
        self._name_runs(lease.holder)

    def _stale(self, lease: LeaseView, key: Key) -> bool:
        """Whether the worker is gone for good, and nothing waits to hear of that."""
        if self._cache.runs_in(lease.holder):
            return False
        if lease.managed:
            pod = self._cache.get("Pod", Key(key.namespace, lease.worker))
            return pod is None or pod["metadata"]["uid"] != lease.holder
        return key in self._silent

    # reconcile.sources.Workers

    def lease(self, namespace: str, worker: str) -> LeaseView | None:
        body = self._cache.get("Lease", Key(namespace, names.worker_lease(worker)))
        return LeaseView(body) if body else None

    def pod(self, namespace: str, worker: str) -> PodView | None:
        body = self._cache.get("Pod", Key(namespace, worker))
        return PodView(body) if body and is_worker(body) else None

    def silent(self, namespace: str, worker: str) -> bool:
        return Key(namespace, names.worker_lease(worker)) in self._silent

    def quiet(self, namespace: str, worker: str) -> float:
        known = self._beats.get(Key(namespace, names.worker_lease(worker)))
        return float("inf") if known is None else self._monotonic() - known[1]

    def of_pool(self, pool: Key) -> list[Worker]:
        return [self._now(pool.namespace, worker) for worker in self._workers.get(pool, {}).values()]

    def _now(self, namespace: str, worker: Worker) -> Worker:
        held = self._cache.runs_in(worker.uid)
        # A watch may tell of an assignment before the write of it is answered: it has one place all the same.
        picked = sum(uid == worker.uid and run not in held for run, uid in self._chosen.values())
        pod = self.pod(namespace, worker.name) if worker.managed and self._cache.lost_nodes() else None
        return replace(
            worker,
            pod_ready=worker.pod_ready and not (pod and pod.node in self._cache.lost_nodes()),
            held=len(held) + len(self._cache.orphans.of_worker(worker.uid)) + picked,
            drains=worker.drains or worker.uid in self._draining,
            silent=self.silent(namespace, worker.name),
            used=self._used.get(worker.uid),
        )

    def members(self, pool: Key) -> list[Member]:
        known = {worker.uid: worker for worker in self.of_pool(pool)}
        lost_nodes, silent_nodes, found = self._cache.lost_nodes(), self._cache.silent_nodes(), []
        for name in self._pods_of.get(pool, ()):
            body = self._cache.get("Pod", Key(pool.namespace, name))
            if body is None:
                continue
            pod = PodView(body)
            beat = self._beats.get(Key(pool.namespace, names.worker_lease(name)))
            worker = known.get(pod.uid)
            mute = worker is not None and worker.silent and beat is not None and self._monotonic() - beat[1] >= MUTE
            print_ = str((pod.metadata.get("annotations") or {}).get(labels.WORKER_FINGERPRINT) or "")
            useless = pod.node in lost_nodes or (mute and pod.node not in silent_nodes)
            found.append(Member(pod, pod_number(pod), print_, worker, useless))
        return found

    def pool(self, pool: Key) -> Body | None:
        known = self._pools.get(pool)
        return known[0] if known else None

    def heard_pool(self, body: Body) -> None:
        key = Key(body["metadata"]["namespace"], body["metadata"]["name"])
        known = self._pools.get(key)
        if body["spec"]["type"] != "Process" or (known and not newer(body, known[0])):
            return
        print_ = fingerprint(body["spec"])
        self._pools[key] = (body, print_)
        if known is None or known[0]["spec"] != body["spec"]:
            self._named(key)

    def lost_pool(self, pool: Key, version: str) -> None:
        """A pool is gone, at that version."""
        known = self._pools.get(pool)
        if known and int(known[0]["metadata"]["resourceVersion"]) <= int(version):
            del self._pools[pool]
            self._named(pool)

    def read(self, worker: Key, lease: Body | None, pod: Body | None) -> None:
        key = Key(worker.namespace, names.worker_lease(worker.name))
        if lease is not None:
            self._cache.put("Lease", {**lease, "kind": "Lease"})
            self.heard_lease(lease)
        elif self._cache.get("Lease", key):
            self._cache.drop("Lease", key)
            self.lost_lease(key)
        if pod is not None and is_worker(pod):
            self.made(pod)
        elif known := self._cache.get("Pod", worker):
            self._cache.forget_pod(worker, worker.name)
            self.heard_pod(known, gone=True)

    def made(self, pod: Body) -> None:
        if self._cache.put("Pod", {**pod, "kind": "Pod"}):
            self.heard_pod(pod)

    def queued(self, pool: Key) -> int:
        return self._queued(pool)

    def choose(self, run: RunView, pool: str, *, beyond: bool) -> Worker | None:
        self._chosen.pop(run.uid, None)
        key = Key(run.namespace, pool)
        if key not in self._pools:
            return None
        found = choose(self.of_pool(key), self._pools[key][1], beyond=beyond)
        if found is not None:
            self._chosen[run.uid] = (Key(run.namespace, run.name), found.uid)
        return found

    def settle(self, run: RunView) -> None:
        self._chosen.pop(run.uid, None)

    def room(self, pool: Key) -> int:
        """How many runs the pool can have."""
        return room(self.of_pool(pool), self._pools[pool][1]) if pool in self._pools else 0

    def open(self, pool: Key) -> bool:
        """Whether a worker of the pool could take a run."""
        return pool in self._pools and choose(self.of_pool(pool), self._pools[pool][1]) is not None

    def drain(self, pool: Key, names_: Iterable[str]) -> None:
        for name in names_:
            worker = self._workers.get(pool, {}).get(name)
            if worker is not None:
                self._draining.add(worker.uid)

    def untold(self, pool: Key) -> tuple[str, ...]:
        return tuple(worker.name for worker in self.of_pool(pool) if worker.uid in self._draining)
