"""Writes the counts of waiting and active runs into the status of pools, queues and limits of tags, now and then.

They are for people: nothing is decided by them, and one that could not be written comes with the next change. Runs that
come one by one would each cost two writes of their pool; so while nobody waits, counts have time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ..cluster import CONCURRENCY_LIMITS, WORK_POOLS, WORK_QUEUES, ApiError, Body, Cluster, Invalid, NotFound
from ..core.admission import Limit
from ..core.places import POOL, QUEUE, TAG
from .slots import Slots

logger = logging.getLogger(__name__)

RESOURCES = {POOL: WORK_POOLS, QUEUE: WORK_QUEUES, TAG: CONCURRENCY_LIMITS}
Counted = tuple[int, int]  # that wait, that hold
CALM = 10.0  # seconds for which counts may be old while nobody waits


class Counts:
    """Writes what has changed since it was written last. One for a term."""

    def __init__(self, cluster: Cluster, slots: Slots, clock: Callable[[], float] = time.monotonic) -> None:
        self._cluster, self._slots, self._clock = cluster, slots, clock
        self._written: dict[tuple[Limit, str], Counted] = {}
        self._changed: dict[tuple[Limit, str], float] = {}  # since when what is written is old

    async def write(self) -> None:
        """Write what has changed. Raises nothing of the API server's."""
        for limit, counted in self._slots.counts().items():
            for name in self._slots.rules.shown(limit) if limit.kind in RESOURCES else ():
                written = self._written.get((limit, name))
                if written == counted:
                    self._changed.pop((limit, name), None)
                elif written is None or written[0] or counted[0] or self._old(limit, name):
                    await self._write(limit, name, counted)
                else:
                    self._slots.recount(limit)

    def _old(self, limit: Limit, name: str) -> bool:
        """Whether what is written has been old for long enough."""
        now = self._clock()
        return now - self._changed.setdefault((limit, name), now) >= CALM

    async def _write(self, limit: Limit, name: str, counted: Counted) -> None:
        resource, values = RESOURCES[limit.kind], dict(zip(("queued", "active"), counted, strict=True))
        ops: list[Body] = [{"op": "add", "path": f"/status/{field}", "value": n} for field, n in values.items()]
        try:
            try:
                await self._cluster.patch(resource, limit.namespace, name, ops, subresource="status")
            except Invalid:
                body = await self._cluster.get(resource, limit.namespace, name)
                if body is None or "status" in body:
                    raise
                ops = [
                    {"op": "test", "path": "/metadata/resourceVersion", "value": body["metadata"]["resourceVersion"]},
                    {"op": "add", "path": "/status", "value": values},
                ]
                await self._cluster.patch(resource, limit.namespace, name, ops, subresource="status")
            self._written[(limit, name)] = counted
            self._changed.pop((limit, name), None)
        except NotFound:
            return
        except ApiError as error:
            logger.debug("counts of %s %s/%s: %s", limit.kind, limit.namespace, name, error)
            self._slots.recount(limit)
