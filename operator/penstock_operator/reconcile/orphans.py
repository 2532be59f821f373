"""Looks after the processes that deleted runs have left in warm workers; `flowruns` asks at each look at their name.

What they hold is haunted until they are over, which the worker's Lease tells, its loss, or time (`core.orphans`).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from penstock.api.workers import RENEW_SECONDS

from ..cluster import FLOW_RUNS, Cluster
from ..core import attempts, orphans
from ..core.orphans import Orphan
from ..core.views import PodView
from .nodes import read_doubted
from .sources import Cache, Clock, Key, Requeue, Slots, Workers
from .workers import read_worker

AGAIN = timedelta(seconds=RENEW_SECONDS)


class LeftBehind:
    """Finds them in the cache, and has their slots held."""

    def __init__(self, cluster: Cluster, cache: Cache, slots: Slots, workers: Workers | None, clock: Clock) -> None:
        """Without `workers` nothing is ever left."""
        self._cluster, self._cache, self._slots, self._workers, self._clock = cluster, cache, slots, workers, clock

    async def of(self, key: Key) -> list[Orphan]:
        """What deleted runs of that name have left and has not ended; what has is forgotten. Raises ApiError."""
        left = []
        for known in self._cache.orphans.of_run(key):
            orphan = known if known.sure else await self._looked_for(key, known)
            if orphan is not None and not await self._is_over(orphan):
                left.append(orphan)
                self._slots.haunt(key, orphan.uid, orphan.held, orphan.deployment)
            else:
                self._cache.orphans.forget(known)
        return left

    def again(self, left: list[Orphan]) -> Requeue | None:
        """When to look at them again."""
        if not left:
            return None
        return Requeue(max(min(orphan.until for orphan in left), self._clock() + AGAIN))

    async def _looked_for(self, key: Key, orphan: Orphan) -> Orphan | None:
        """None where the run is there: what was heard of it last is not that it was deleted, but settled."""
        found = await self._cluster.get(FLOW_RUNS, *key)
        if found is not None and found["metadata"]["uid"] == orphan.uid:
            return None
        orphan = replace(orphan, sure=True)
        self._cache.orphans.put(orphan)
        return orphan

    async def _is_over(self, orphan: Orphan) -> bool:
        assert self._workers is not None
        where = orphan.namespace, orphan.worker
        lost = self._is_lost(orphan, self._workers)
        if lost:
            await read_worker(self._cluster, self._workers, *where)
            pod = self._workers.pod(*where)
            await read_doubted(self._cluster, self._cache, [pod.node] if pod else ())
            lost = self._is_lost(orphan, self._workers)
        lease, quiet = self._workers.lease(*where), self._workers.quiet(*where)
        return orphans.over(orphan, lease, self._clock(), lost=lost, quiet=quiet)

    def _is_lost(self, orphan: Orphan, workers: Workers) -> bool:
        where, last = (orphan.namespace, orphan.worker), self._cache.departed(orphan.worker_uid)
        lost = attempts.loss(
            {"name": orphan.worker, "uid": orphan.worker_uid},
            workers.lease(*where),
            workers.pod(*where),
            silent=workers.silent(*where),
            departed=PodView(last) if last is not None else None,
            lost=self._cache.lost_nodes(),
        )
        return lost is not None
