"""Writes the counts of waiting and active runs into the status of pools, queues, limits of tags and deployments, now
and then; of deployments those of active runs only.

They are for people: nothing is decided by them, and one that could not be written comes with the next change. Runs that
come one by one would each cost two writes of their pool; so while nobody waits, counts have time, and those of
deployments, of which there are thousands, always.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ..cluster import (
    CONCURRENCY_LIMITS,
    FLOW_DEPLOYMENTS,
    WORK_POOLS,
    WORK_QUEUES,
    ApiError,
    Body,
    Cluster,
    Invalid,
    NotFound,
)
from ..core.admission import Limit
from ..core.places import DEPLOYMENT, POOL, QUEUE, TAG
from ..reconcile.sources import Cache, Key
from .slots import Slots

logger = logging.getLogger(__name__)

RESOURCES = {POOL: WORK_POOLS, QUEUE: WORK_QUEUES, TAG: CONCURRENCY_LIMITS, DEPLOYMENT: FLOW_DEPLOYMENTS}
Counted = tuple[int, int]  # that wait, that hold
CALM = 10.0  # seconds for which counts may be old while nobody waits
DEPLOYMENTS_AT_ONCE = 10  # whose counts are written in one go, so that those of pools need not wait for many


class Counts:
    """Writes what has changed since it was written last. One for a term."""

    def __init__(
        self, cluster: Cluster, slots: Slots, cache: Cache, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cluster, self._slots, self._cache, self._clock = cluster, slots, cache, clock
        self._written: dict[tuple[Limit, str], Counted] = {}
        self._changed: dict[tuple[Limit, str], float] = {}  # since when what is written is old

    async def write(self) -> None:
        """Write what has changed. Raises nothing of the API server's."""
        left = DEPLOYMENTS_AT_ONCE
        for limit, counted in self._slots.counts().items():
            if limit.kind == DEPLOYMENT:
                left -= await self._write_deployment(limit, counted[1], wait=left <= 0)
                continue
            for name in self._slots.rules.shown(limit) if limit.kind in RESOURCES else ():
                written = self._written.get((limit, name))
                if written == counted:
                    self._changed.pop((limit, name), None)
                elif written is None or written[0] or counted[0] or self._old(limit, name):
                    await self._write(limit, name, counted)
                else:
                    self._slots.recount(limit)

    async def _write_deployment(self, limit: Limit, active: int, *, wait: bool) -> bool:
        """Write how many runs of a deployment are active, if that is due and need not `wait`; whether it was."""
        body = self._cache.deployment(Key(limit.namespace, limit.name))
        if body is None:
            return False
        shown = (limit, str(body["metadata"]["uid"]))
        said = (0, int((body.get("status") or {}).get("active") or 0))
        if self._written.get(shown, said)[1] == active:
            self._changed.pop(shown, None)
            return False
        if not self._old(*shown) or wait:
            self._slots.recount(limit)
            return False
        await self._write(limit, limit.name, (0, active), shown[1])
        return True

    def _old(self, limit: Limit, name: str) -> bool:
        """Whether what is written has been old for long enough."""
        now = self._clock()
        return now - self._changed.setdefault((limit, name), now) >= CALM

    async def _write(self, limit: Limit, name: str, counted: Counted, uid: str | None = None) -> None:
        """`uid`: by which to remember what is written, where names are taken again."""
        resource, values = RESOURCES[limit.kind], dict(zip(("queued", "active"), counted, strict=True))
        if limit.kind == DEPLOYMENT:
            del values["queued"]
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
            self._written[(limit, uid or name)] = counted
            self._changed.pop((limit, uid or name), None)
        except NotFound:
            return
        except ApiError as error:
            logger.debug("counts of %s %s/%s: %s", limit.kind, limit.namespace, name, error)
            self._slots.recount(limit)
