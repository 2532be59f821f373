"""Reads of objects that many runs name, such as their pool, shared by the runs that ask for them at the same time.

The controller gives them to the reconciler of runs. A read may serve every run that was named before it began: it shows
what was there after the run came, as that run's own would. When runs come one by one each has a read of its own; when
hundreds wait, they share a few.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ..cluster import ApiError, Body, Cluster, ResourceType

KEPT = 1.0  # seconds from a read's begin for which it serves: an edit holds for all that are looked at this much later

What = tuple[str, str, str]  # plural, namespace, name


@dataclass(slots=True)
class _Read:
    """One read, under way or over, and those who wait for it."""

    begun: float
    over: bool = False
    body: Body | None = None
    waiting: list[asyncio.Future[None]] = field(default_factory=list)

    def end(self, error: ApiError | None = None) -> None:
        self.over = True
        for waiter in self.waiting:
            if waiter.done():  # who waited is cancelled
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)


class FreshReads:
    """Consistent reads. One event loop; nobody may change what they answer."""

    def __init__(self, cluster: Cluster, clock: Callable[[], float] = time.monotonic) -> None:
        self._cluster, self._clock = cluster, clock
        self._reads: dict[What, _Read] = {}

    async def get(self, resource: ResourceType, namespace: str, name: str, *, since: float) -> Body | None:
        """The object as it was at some time after `since`, or None; raises as `Cluster.get`."""
        what = (resource.plural, namespace, name)
        while True:
            known = self._reads.get(what)
            if known is None or known.begun < max(since, self._clock() - KEPT):
                return await self._read(what, resource)
            if known.over:
                return known.body
            waiter = asyncio.get_running_loop().create_future()
            known.waiting.append(waiter)
            await waiter  # then look again: whoever read may have been cancelled

    async def _read(self, what: What, resource: ResourceType) -> Body | None:
        now = self._clock()
        self._reads = {key: read for key, read in self._reads.items() if not read.over or read.begun >= now - KEPT}
        read = self._reads[what] = _Read(now)
        error: ApiError | None = None
        try:
            read.body = await self._cluster.get(resource, *what[1:])
        except BaseException as raised:
            error = raised if isinstance(raised, ApiError) else None
            if self._reads.get(what) is read:
                del self._reads[what]
            raise
        finally:
            read.end(error)
        return read.body
