"""A worker as one of its pool: takes the Lease of its name, keeps it while the API server answers, gives it back.

Called by the agent, which decides what becomes of runs; of these nothing is known here but which were deleted while
they had a process. `lease` says what is written.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from ..api import labels
from ..api.workers import LEASE_SECONDS, RENEW_SECONDS
from ..errors import PenstockError
from ..runner.status import timestamp
from . import lease
from .deletions import Deletions
from .lease import OUT_OF_CONTACT, Worker
from .upstream import JSON_PATCH, MERGE_PATCH, Refused, Unreachable, Upstream

Body = dict[str, Any]
LAST_WORDS = 10.0  # seconds at the end in which the ends of runs are told
POOL_EVERY = 6  # renewals between two looks at the pool
TOUCH_SECONDS = RENEW_SECONDS / 2  # after which a renewal counts as lost, and is tried on another connection
RETRY_SECONDS = 1.0
SOON = 0.1  # seconds in which what is to be said on the Lease is gathered


class WorkerRefused(PenstockError):
    """The worker cannot be: its name is taken, or it may not be one."""

    reason = "WorkerRefused"


@dataclass(frozen=True, slots=True)
class Renewal:
    """What came of one. `lost`: the worker does not count as one any more; `silent`: seconds since it last did."""

    lost: bool
    silent: float
    cut: bool
    """An answer stayed out: no connection of before is trusted."""
    draining: bool
    """Somebody wants the worker to end when its last run has."""


class Membership:
    """A worker's place in its pool. `contact` is called whenever the API server has just confirmed it."""

    def __init__(
        self,
        worker: Worker,
        upstream: Upstream,
        stopping: asyncio.Event,
        contact: Callable[[], None],
        tell: Callable[[str], None],
    ) -> None:
        self.worker = worker
        self.within = 0.0
        """Seconds in which there must be contact, or runs are ended; 0: they go on."""
        self._upstream, self._stopping, self._contact, self._tell = upstream, stopping, contact, tell
        self._confirmed = time.monotonic()
        self._deletions, self._news = Deletions(), asyncio.Event()

    def is_(self, **facts: Any) -> None:
        """What the worker says of itself from its next Lease on."""
        self.worker = replace(self.worker, facts=self.worker.facts.model_copy(update=facts))

    def deleted(self, process: str, name: str, uid: str, last: Body | None) -> None:
        """The run of a process is no more: say on the Lease that its process is there. `last`: as it was last seen."""
        if self._deletions.deleted(process, name, uid, last):
            self._news.set()

    def ended(self, process: str) -> None:
        """A process has ended: say so, where its run was deleted."""
        if self._deletions.ended(process):
            self._news.set()

    async def begin(self) -> None:
        """Become the worker of this name. Raises WorkerRefused."""
        worker, told = self.worker, False
        before: tuple[str, float] | None = None
        while not self._stopping.is_set():
            try:
                await self._upstream.json("POST", worker.path, lease.created(worker, _now()))
                return self._confirm()
            except Unreachable as error:
                self._tell(f"the API server is waited for: {error}")
                await self.or_stopped(asyncio.sleep(2))
                continue
            except Refused as error:
                if error.status != 409:
                    if not error.busy:
                        raise WorkerRefused(f"{worker.lease} in namespace {worker.namespace}: {error}") from error
                    await self.or_stopped(asyncio.sleep(2))
                    continue
            with suppress(Unreachable, Refused):
                there = await self._upstream.json("GET", f"{worker.path}/{worker.lease}")
                version = there["metadata"]["resourceVersion"]
                if before is None or before[0] != version:
                    if before is not None and lease.holder(there) not in ("", worker.facts.uid):
                        raise WorkerRefused(f"there is a worker {worker.name} already: choose another --name")
                    before = (version, time.monotonic())
                mine = lease.holder(there) in ("", worker.facts.uid) or worker.facts.pod is not None
                if mine or time.monotonic() - before[1] > LEASE_SECONDS:
                    change = lease.taken_over(worker, version, _now())
                    await self._upstream.json("PATCH", f"{worker.path}/{worker.lease}", change, MERGE_PATCH)
                    return self._confirm()
                if not told:
                    self._tell(
                        f"a worker {worker.name} was here and has not said goodbye: it is given {LEASE_SECONDS} s"
                    )
                    told = True
            await self.or_stopped(asyncio.sleep(1))
        return None

    async def read_pool(self) -> None:
        """What the pool says of runs whose worker falls silent; a worker in a pod is its pod, whatever its contact."""
        path = f"/apis/{labels.API_VERSION}/namespaces/{self.worker.namespace}/workpools/{self.worker.pool}"
        if self.worker.facts.pod is None:
            with suppress(Unreachable, Refused, TimeoutError):
                async with asyncio.timeout(TOUCH_SECONDS):
                    pool = await self._upstream.json("GET", path)
                again = (pool["spec"].get("worker") or {}).get("onWorkerLost") == "Retry"
                self.within = OUT_OF_CONTACT if again else 0.0

    async def renewals(self) -> AsyncIterator[Renewal]:
        """Keep the Lease, and say each time what came of it; after one that is lost, whoever is told begins anew."""
        for turn in count(1):
            await asyncio.sleep(RENEW_SECONDS)
            found, cut = await self._touch_until_answered()
            silent = time.monotonic() - self._confirmed
            lost = found is None or bool(self.within and silent > self.within)
            if not lost:
                self._confirm()
                if turn % POOL_EVERY == 0:
                    await self.read_pool()
            yield Renewal(lost, silent, cut, draining=found is not None and lease.draining(found))

    async def tell_news(self) -> None:
        """Say at once what is new, until cancelled; what is not taken, the next renewal says."""
        while True:
            await self._news.wait()
            await asyncio.sleep(SOON)
            self._news.clear()
            with suppress(Unreachable, Refused, TimeoutError):
                async with asyncio.timeout(TOUCH_SECONDS):
                    await self._touch()

    async def drain(self) -> None:
        """Say that no more runs are wanted."""
        with suppress(Unreachable, Refused, TimeoutError):
            async with asyncio.timeout(LAST_WORDS / 2):
                await self._touch(drain=True)

    async def leave(self) -> None:
        """Give the Lease back."""
        with suppress(Unreachable, Refused, TimeoutError):
            async with asyncio.timeout(LAST_WORDS / 2):
                await self._upstream.json("DELETE", f"{self.worker.path}/{self.worker.lease}")

    async def or_stopped(self, wait: Awaitable[Any]) -> None:
        """Wait for that, or for the worker's end."""
        tasks = asyncio.ensure_future(wait), asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()

    async def _touch_until_answered(self) -> tuple[Body | None, bool]:
        """The Lease, renewed, or None where it is not this worker's any more; and whether an answer stayed out.

        Where one does, no connection of before is trusted: one that is dead looks like one that waits.
        """
        for tries in count():
            try:
                async with asyncio.timeout(TOUCH_SECONDS):
                    return await self._touch(), tries > 0
            except (Unreachable, TimeoutError) as error:
                why = str(error) or f"no answer within {TOUCH_SECONDS:g} s"
            except Refused as error:
                if error.status in (404, 409, 422):
                    return None, tries > 0
                why = str(error)
            if tries % 10 == 0:
                self._tell(f"the Lease of this worker is not renewed: {why}")
            self._upstream.distrust()
            await asyncio.sleep(RETRY_SECONDS)
        raise AssertionError("unreachable")

    async def _touch(self, *, drain: bool = False) -> Body:
        path, deleted = f"{self.worker.path}/{self.worker.lease}", self._deletions.said(time.monotonic())
        change = lease.renewed(self.worker, _now(), drain=drain, deleted=deleted)
        found = await self._upstream.json("PATCH", path, change, JSON_PATCH)
        self._deletions.heard(deleted, time.monotonic())
        return found

    def _confirm(self) -> None:
        self._confirmed = time.monotonic()
        self._contact()


def _now() -> str:
    return timestamp(time.time())


def new_uid() -> str:
    """The uid of a worker that has no pod."""
    import uuid

    return str(uuid.uuid4())


def version() -> str:
    """Penstock's."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as of

    try:
        return of("penstock")
    except PackageNotFoundError:
        return ""
