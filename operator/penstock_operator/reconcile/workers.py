"""Reconciles the workers of one pool of type Process: how many pods there are, and which of them are drained."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta

from penstock.api import labels, names, reasons

from ..cluster import LEASES, PODS, WORK_POOLS, AlreadyExists, Cluster, Forbidden, Invalid, NotFound
from ..core import diagnosis, workers
from ..core.workers import Member
from ..launch import workers as launch
from ..launch.pods import Defaults, InvalidTemplate
from .conditions import Ready
from .nodes import read_doubted
from .sources import Body, Cache, Clock, Key, Requeue, Workers

logger = logging.getLogger(__name__)

RETRY_CREATE = timedelta(seconds=10)  # after a quota or an admission policy refused a pod
DRAIN = [{"op": "add", "path": f"/metadata/annotations/{labels.DRAIN.replace('/', '~1')}", "value": "true"}]


class WorkerPods:
    """The reconciler of workers, by the key of their pool. `told` is called with pools whose readiness has changed."""

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        known: Workers,
        defaults: Defaults,
        clock: Clock,
        told: Callable[[Key], None],
    ) -> None:
        self._cluster, self._cache, self._known = cluster, cache, known
        self._defaults, self._clock, self._told = defaults, clock, told
        self._refused: dict[Key, Ready] = {}  # pools whose pods are refused, and why
        self._said: dict[Key, Ready] = {}

    async def reconcile(self, key: Key) -> Requeue | None:
        """Make, drain and delete pods of workers; when to look again, if at all. Raises ApiError."""
        pool = self._known.pool(key)
        if pool is None:
            pool = await self._cluster.get(WORK_POOLS, *key)
            if pool is not None:
                self._known.heard_pool(pool)
        spec: Body = pool["spec"] if pool else {}
        wanted = spec.get("worker") if spec.get("type") == "Process" else None
        current = workers.fingerprint(spec)
        members = await self._members(key)
        found = workers.scale(wanted, current, members, self._known.queued(key), self._clock())
        self._known.drain(key, found.drain)
        for name in self._known.untold(key):  # also those of an earlier look, whose write failed
            await self._drain(key.namespace, name)
        for pod in found.delete:
            await self._cluster.delete(PODS, key.namespace, pod.name, uid=pod.uid)
        due = found.due
        self._refused.pop(key, None)
        if pool is not None and not await self._create(key, pool, found.create, current):
            due = self._clock() + RETRY_CREATE
        if pool is not None and spec.get("type") == "Process":
            ready = self.ready(pool)
            if self._said.get(key) != ready:
                self._said[key] = ready
                self._told(key)
        else:
            self._said.pop(key, None)
        return Requeue(due) if due else None

    async def _members(self, key: Key) -> list[Member]:
        """The pods that are the pool's workers, after another look at what makes some of them useless."""
        members = self._known.members(key)
        useless = [member.pod.node for member in members if member.useless and member.alive]
        if not useless:
            return members
        await read_doubted(self._cluster, self._cache, useless)
        return self._known.members(key)

    async def _drain(self, namespace: str, worker: str) -> None:
        try:
            await self._cluster.patch(LEASES, namespace, names.worker_lease(worker), DRAIN)
        except (NotFound, Invalid) as error:  # it is gone, or not what it was: then nothing is to be told
            logger.debug("worker %s/%s: %s", namespace, worker, error)

    async def _create(self, key: Key, pool: Body, numbers: tuple[int, ...], current: str) -> bool:
        """Whether the pods were taken."""
        for number in numbers:
            try:
                pod = launch.pod(pool, number, current, self._defaults)
                created = await self._cluster.create(PODS, key.namespace, pod)
            except AlreadyExists:
                continue  # made, and not heard of yet; or that of a namesake, whose deletion will be heard of
            except InvalidTemplate as error:
                self._refused[key] = Ready(False, reasons.POD_INVALID, str(error))
                return False
            except Invalid as error:
                message = f"spec.template makes no valid pod of a worker: {error.message}"
                self._refused[key] = Ready(False, reasons.POD_INVALID, message)
                return False
            except Forbidden as error:
                message = f"the API server refuses a worker's pod: {error.message}"
                self._refused[key] = Ready(False, reasons.POD_CREATE_FORBIDDEN, message)
                return False
            self._known.made(created)
        return True

    def ready(self, pool: Body) -> Ready:
        """Whether runs of the pool find a worker, with the count of those that are ready."""
        key = Key(pool["metadata"]["namespace"], pool["metadata"]["name"])
        current = workers.fingerprint(pool["spec"])
        count = sum(worker.ready(current) for worker in self._known.of_pool(key))
        fields = (("workers", count),)
        if count:
            return Ready(True, fields=fields)
        refused = self._refused.get(key)
        if refused is not None:
            return Ready(False, refused.reason, refused.message, fields)
        scaling = pool["spec"].get("worker")
        if scaling is None:
            message = (
                f"no worker is ready: start one with `penstock worker start --pool {key.name}`, or set spec.worker"
            )
            return Ready(False, reasons.WORKERS_NOT_READY, message, fields)
        members = [m for m in self._known.members(key) if m.fingerprint == current and not m.pod.deleting]
        if not members and not scaling.get("min"):
            return Ready(True, fields=fields)  # one is made for the first run
        return Ready(False, reasons.WORKERS_NOT_READY, _why(members), fields)


def _why(members: list[Member]) -> str:
    """Why none of these is ready, by the first that says so."""
    for member in members:
        pod = member.pod
        if pod.gone:
            how = diagnosis.ended(pod)
            return f"no worker is ready: pod {pod.name} failed: {how.message}"
        cause = diagnosis.starting(pod) or diagnosis.restarting(pod)
        if cause is not None:
            return f"no worker is ready: pod {pod.name}: {cause.message}"
    return "no worker is ready yet: their pods start"


async def read_worker(cluster: Cluster, known: Workers, namespace: str, name: str) -> None:
    """Have the Lease of a worker read afresh, then its pod, where that is one which the operator has made."""
    lease = await cluster.get(LEASES, namespace, names.worker_lease(name))
    pod = await cluster.get(PODS, namespace, name)
    known.read(Key(namespace, name), lease, pod)
