"""Reads of objects that many runs name, such as their pool, shared by the runs that ask for them at the same time.

The controller gives them to the reconciler of runs, and tells of what its watches hear. A read may serve every run that
came before it began, as long as nobody has heard of a change: it shows what was there after the run came, as that run's
own would. When runs come one by one each has a read of its own; those that wait for slots share a few.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from ..cluster import ApiError, Body, Cluster, ResourceType
from ..reconcile.sources import Key, Read

KEPT = 5.0  # seconds from a read's begin for which it serves, for a watch may be late or away

What = tuple[str, str, str]  # kind, namespace, name


def version(body: Body) -> str:
    """Which object it is, and which of its specs it has."""
    return f"{body['metadata'].get('uid')}/{body['metadata'].get('generation')}"


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
        self._came: dict[Key, float] = {}

    def of(self, key: Key, named: float) -> Read:
        """Reads for a run that was named at that time at the latest; it came when it was first looked at."""
        came = self._came.setdefault(key, named)

        async def read(resource: ResourceType, namespace: str, name: str) -> Body | None:
            return await self._get(resource, namespace, name, came, named)

        return read

    async def lately(self, resource: ResourceType, namespace: str, name: str) -> Body | None:
        """An object as it was at most some seconds ago, and as far as anybody has heard still is."""
        return await self._get(resource, namespace, name, 0.0, self._clock())

    def forget(self, key: Key) -> None:
        """The run is gone: another of its name comes anew."""
        self._came.pop(key, None)

    def heard(self, kind: str, key: Key, version_: str | None) -> None:
        """A watch tells of an object, which is gone or has a spec of that version: what was read may be too old."""
        known = self._reads.get((kind, *key))
        if known is not None and not (known.over and known.body is not None and version(known.body) == version_):
            del self._reads[kind, *key]

    async def get(self, resource: ResourceType, namespace: str, name: str, *, since: float) -> Body | None:
        """The object as it was at some time after `since`, or None; raises as `Cluster.get`."""
        return await self._get(resource, namespace, name, since, since)

    async def _get(
        self, resource: ResourceType, namespace: str, name: str, since: float, absent_since: float
    ) -> Body | None:
        """As `get`; that there is none, nobody would hear again, so that is to be as new as `absent_since`."""
        what = (resource.kind, namespace, name)
        while True:
            known = self._reads.get(what)
            if known is not None and known.over and known.body is None and known.begun < absent_since:
                known = None
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
