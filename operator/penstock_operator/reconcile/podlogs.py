"""Keeps the logs of runs' pods, where their pool wants it: of pods that ended, and of those that are about to.

Named by the controller with each pod that changes. A pod that is deleted, by the operator or by others, is followed
from then until its container ends, since its log goes with it; what is followed is lost with this process, or with the
lease, and taken up by the next as far as there is something left. What is not in the archive is read again after a
restart, from pods that are still there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Protocol

from penstock.api import labels
from penstock.archive.logs import LogAddress, LogTail
from penstock.errors import ConfigurationError, StorageUnavailable
from penstock.results.storage import Storage, open_storage
from penstock.results.urls import StorageUrl

from .. import metrics
from ..cluster import EVENTS, AlreadyExists, ApiError, Cluster, Invalid, NotFound
from ..core import podlogs
from ..core.views import PodView
from .archive import warning
from .sources import Body, Clock, Key, Requeue

logger = logging.getLogger(__name__)

MAX_FOLLOWED = 64
MAX_HELD = 64 * 2**20  # bytes of logs in memory, compressed, of all that are read; beyond it their beginnings are cut
OPENING = 2.0  # seconds for a log to be opened before its pod is deleted nevertheless
TRIES, RETRY_READING = 3, 1.0  # of a log that breaks off, and seconds between them
REMEMBERED = 10_000
FIRST_BACKOFF, MAX_BACKOFF = 5.0, 300.0  # seconds
PATIENCE = timedelta(minutes=10)  # what was followed waits so long for an archive that cannot be reached

Refusals = (StorageUnavailable, ConfigurationError)


class Pods(Protocol):
    """What is known of pods."""

    def get(self, kind: str, key: Key) -> Body | None:
        """One."""

    def objects(self, kind: str) -> Iterable[Body]:
        """All."""


class PodLogs:
    """The keeper of logs. `kept(pod)` is called when nothing waits for a pod's log any more."""

    def __init__(
        self,
        cluster: Cluster,
        pods: Pods,
        places: Sequence[StorageUrl],
        clock: Clock,
        kept: Callable[[PodView], None] = lambda _: None,
    ) -> None:
        self._cluster, self._pods, self._places, self._clock, self._kept = cluster, pods, places, clock, kept
        self._done: dict[str, None] = {}  # uids of pods whose log is kept, or never will be
        self._followed: dict[str, asyncio.Task[None]] = {}
        self._reading: dict[LogAddress, LogTail] = {}
        self._failures: dict[str, int] = {}
        self._closed: dict[str, datetime] = {}  # until when a place is left alone

    def awaited(self, pod: PodView) -> bool:
        """Whether the log of a pod is to be kept, and is not yet; so that it must not be deleted, nor its run."""
        return (
            bool(self._places)
            and podlogs.wanted(pod) is not None
            and pod.uid not in self._done
            and self._where(pod) is not None
            and podlogs.has_run(pod)
            and podlogs.waits(pod, self._clock())
        )

    def runs(self, namespace: str) -> set[str]:
        """Names of the runs of a namespace that own a pod whose log is awaited."""
        if not self._places:
            return set()
        pods = (PodView(body) for body in self._pods.objects("Pod") if body["metadata"]["namespace"] == namespace)
        return {str(pod.metadata["labels"].get(labels.RUN)) for pod in pods if self.awaited(pod)}

    def _where(self, pod: PodView) -> tuple[StorageUrl, LogAddress] | None:
        address = podlogs.address(pod)
        try:
            place = podlogs.place(podlogs.wanted(pod) or "", self._places)
        except podlogs.NotAllowed:  # which the pool's condition says
            return None
        return (place, address) if address else None

    async def reconcile(self, name: str) -> Requeue | None:
        """Keep the log of the pod `namespace/name`, if it is time; when to look again. Raises ApiError."""
        body = self._pods.get("Pod", Key(*name.split("/")))
        if body is None:
            return None
        pod = PodView(body)
        where = self._where(pod) if self.awaited(pod) else None
        if where is None:
            return None
        if not pod.gone:
            if pod.deleting:
                await self.follow([body])
            return None
        if pod.uid in self._followed:
            return Requeue(self._clock() + timedelta(seconds=FIRST_BACKOFF))
        closed = self._closed.get(str(where[0]))
        if closed is not None and self._clock() < closed:
            return Requeue(closed)
        try:
            await self._archive(*where, pod)
        except Refusals as error:
            return Requeue(self._clock() + timedelta(seconds=await self._refused(*where, pod, error)))
        return None

    async def _archive(self, place: StorageUrl, address: LogAddress, pod: PodView) -> None:
        storage = open_storage(place)
        if await asyncio.to_thread(storage.get, address.path, 1) is None:
            tail = LogTail(address)
            try:
                await self._read(pod, address, tail, follow=False)
                await self._put(storage, address, tail)
            except (NotFound, Invalid) as error:  # the node has none of it any more
                logger.info("pod %s/%s has no log: %s", address.namespace, pod.name, error)
            finally:
                self._reading.pop(address, None)
        self._keep(pod, place)

    async def _put(self, storage: Storage, address: LogAddress, tail: LogTail, note: str = "") -> None:
        packed = await asyncio.to_thread(tail.packed, note)
        await asyncio.to_thread(storage.put, address.path, packed)
        metrics.LOGS_ARCHIVED.inc()

    async def _read(
        self, pod: PodView, address: LogAddress, tail: LogTail, *, follow: bool, opened: asyncio.Event | None = None
    ) -> None:
        self._reading[address] = tail
        namespace = address.namespace
        async for chunk in self._cluster.logs(namespace, pod.name, labels.CONTAINER, follow=follow):
            if opened is not None:
                opened.set()
            if tail.feed(chunk):
                await asyncio.to_thread(tail.seal)
                while sum(one.size for one in self._reading.values()) > MAX_HELD and tail.drop_oldest():
                    pass

    def _keep(self, pod: PodView, place: StorageUrl | None = None) -> None:
        if place is not None and self._failures.pop(str(place), 0):
            self._closed.pop(str(place), None)
            logger.info("the archive %s takes logs again", place)
        metrics.LOG_ARCHIVE_FAILING.set(len(self._failures))
        self._done[pod.uid] = None
        if len(self._done) > REMEMBERED:
            self._done.pop(next(iter(self._done)))
        self._kept(pod)

    async def _refused(self, place: StorageUrl, address: LogAddress, pod: PodView, error: Exception) -> float:
        """Leave a place alone for the seconds that are returned, and say so: in the log, in a metric, in an Event."""
        now = self._clock()
        closed = self._closed.get(str(place))
        if closed is not None and now < closed:  # another that was on its way has said it
            return (closed - now).total_seconds()
        count = self._failures[str(place)] = self._failures.get(str(place), 0) + 1
        wait = min(FIRST_BACKOFF * 2.0 ** min(count - 1, 16), MAX_BACKOFF)
        self._closed[str(place)] = now + timedelta(seconds=wait)
        metrics.LOG_ARCHIVE_FAILING.set(len(self._failures))
        logger.warning("the log of pod %s/%s cannot be kept yet: %s", address.namespace, pod.name, error)
        note = f"The log of pod {pod.name} cannot be archived, and is tried again: {error}"
        event = warning(address.namespace, address.run, address.uid, "FlowRunLogNotArchived", note, now)
        with suppress(AlreadyExists, ApiError):  # told already, or best effort
            await self._cluster.create(EVENTS, address.namespace, event)
        return wait

    # Pods that are deleted while they run.

    async def follow(self, pods: Iterable[Body]) -> None:
        """Begin to follow those that run, and return when their logs are open, or will not be soon."""
        if not self._places:
            return
        openings = [opened for body in pods if (opened := self._begin(PodView(body))) is not None]
        with suppress(TimeoutError):
            async with asyncio.timeout(OPENING):
                for opened in openings:
                    await opened.wait()

    def _begin(self, pod: PodView) -> asyncio.Event | None:
        where = self._where(pod) if self.awaited(pod) and not pod.gone else None
        if where is None or pod.uid in self._followed:
            return None
        if len(self._followed) >= MAX_FOLLOWED:
            logger.warning("pod %s/%s ends while %d logs are followed", where[1].namespace, pod.name, MAX_FOLLOWED)
            return None
        opened = asyncio.Event()
        task = asyncio.create_task(self._follow(*where, pod, opened), name=f"log of {pod.name}")
        self._followed[pod.uid] = task
        task.add_done_callback(lambda _: self._followed.pop(pod.uid, None))
        return opened

    async def _follow(self, place: StorageUrl, address: LogAddress, pod: PodView, opened: asyncio.Event) -> None:
        try:
            tail, note = await self._followed_to_its_end(pod, address, opened)
            if tail is not None and await self._put_patiently(place, address, pod, tail, note):
                self._keep(pod, place)
        except Exception:  # the others go on
            logger.exception("the log of pod %s/%s cannot be kept", address.namespace, pod.name)
        finally:
            opened.set()
            self._reading.pop(address, None)

    async def _followed_to_its_end(
        self, pod: PodView, address: LogAddress, opened: asyncio.Event
    ) -> tuple[LogTail | None, str]:
        """The log, and what is to be said of it; None where there is none."""
        best: LogTail | None = None
        note = ""
        for _ in range(TRIES):
            tail = LogTail(address)
            try:
                await self._read(pod, address, tail, follow=True, opened=opened)
            except ApiError as error:
                note = f"the log broke off: {error}"
                best = tail if best is None or tail.fed > best.fed else best
                if isinstance(error, (NotFound, Invalid)):
                    break
                await asyncio.sleep(RETRY_READING)
            else:
                return tail, ""
        return (best, note) if best is not None and best.fed else (None, note)

    async def _put_patiently(
        self, place: StorageUrl, address: LogAddress, pod: PodView, tail: LogTail, note: str
    ) -> bool:
        """Whether what was followed is in the archive."""
        until = self._clock() + PATIENCE
        while True:
            try:
                storage = open_storage(place)
                if await asyncio.to_thread(storage.get, address.path, 1) is None:
                    await self._put(storage, address, tail, note)
            except Refusals as error:
                wait = await self._refused(place, address, pod, error)
                if self._clock() + timedelta(seconds=wait) > until:
                    metrics.LOGS_LOST.inc()
                    logger.error("the log of pod %s/%s is lost: %s", address.namespace, pod.name, error)
                    return False
                await asyncio.sleep(wait)
            else:
                return True

    async def close(self) -> None:
        """Follow no more: another may act now."""
        tasks = list(self._followed.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
