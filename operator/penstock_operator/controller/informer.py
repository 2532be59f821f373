"""An informer: a paged LIST, then a watch, for ever; tells of every object that is, changed or is no more.

A relist is compared with what was known, so that objects deleted while nobody watched are told of, too. Knows nothing
of what the objects mean, and an object that its listener cannot take in keeps no other from being told of.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..backoff import backoff, spread
from ..cluster import ApiError, Cluster, Expired, ResourceType

logger = logging.getLogger(__name__)

Body = dict[str, Any]
Ref = tuple[str, str]  # namespace, name

FIRST_WAIT, LONGEST_WAIT = 0.4, 10.0  # seconds after failures


def ref(body: Body) -> Ref:
    """Namespace and name of an object."""
    meta = body["metadata"]
    return meta.get("namespace") or "", meta["name"]


@dataclass(frozen=True, slots=True)
class Selection:
    """What is watched."""

    resource: ResourceType
    namespaces: tuple[str | None, ...] = (None,)
    label_selector: str = ""
    field_selector: str = ""
    watch_seconds: int = 300


def gone_since(known: Iterable[Ref], listed: Iterable[Ref]) -> set[Ref]:
    """What was known and is not listed any more."""
    return set(known) - set(listed)


class Informer:
    """Follows one selection. `changed(body)` and `deleted(ref, version)` are called in order and must not block.

    The version is that at which the object was found to be gone: whoever knows a later one of it knows better.
    """

    def __init__(
        self,
        cluster: Cluster,
        selection: Selection,
        *,
        changed: Callable[[Body], None],
        deleted: Callable[[Ref, str], None],
        known: Callable[[str | None], Iterable[Ref]],
    ) -> None:
        self._cluster, self.selection = cluster, selection
        self._changed, self._deleted, self._known = changed, deleted, known
        self.synced = asyncio.Event()
        """Set while everything that was there at the time of the last `relist`, or of the start, has been told."""
        self._unsynced = set(selection.namespaces)
        self._relists = 0
        now = time.monotonic()
        self._heard: dict[str | None, float] = dict.fromkeys(selection.namespaces, now)
        self._moved: dict[str | None, float] = dict.fromkeys(selection.namespaces, now)
        self._passes: dict[str | None, asyncio.Timeout] = {}
        self._versions: dict[str | None, str | None] = dict.fromkeys(selection.namespaces)
        self._failures = dict.fromkeys(selection.namespaces, 0)

    def silence(self) -> float:
        """Seconds since anything, a bookmark or an end of watch included, was heard of the quietest namespace."""
        return time.monotonic() - min(self._heard.values())

    def stillness(self) -> float:
        """Seconds since the loop of the slowest namespace took a step, be it a failed one."""
        return time.monotonic() - min(self._moved.values())

    def relist(self) -> None:
        """List everything anew by reads consistent with now; `synced` is set again once that has been told."""
        self.synced.clear()
        self._unsynced = set(self.selection.namespaces)
        self._relists += 1
        for under_way in self._passes.values():
            if not under_way.expired():
                under_way.reschedule(0.0)

    async def run(self) -> None:
        """List and watch until cancelled; errors are waited out with backoff."""
        async with asyncio.TaskGroup() as group:
            for namespace in self.selection.namespaces:
                group.create_task(self._follow(namespace))

    async def _follow(self, namespace: str | None) -> None:
        while True:
            try:
                with contextlib.suppress(TimeoutError):  # so ends a pass that is to begin anew with a list
                    async with asyncio.timeout(None) as scope:
                        self._passes[namespace] = scope
                        await self._pass(namespace)
            except Expired:
                self._versions[namespace] = None
            except ApiError as error:
                failures = self._failures[namespace] = self._failures[namespace] + 1
                logger.warning("watch of %s: %s", self.selection.resource.plural, error)
                if failures >= 3:  # the server may have lost what we resume from
                    self._versions[namespace] = None
                self._moved[namespace] = time.monotonic()
                wait = backoff(failures, FIRST_WAIT, LONGEST_WAIT)
                await asyncio.sleep(max(spread(error.retry_after or 0.0), wait))

    async def _pass(self, namespace: str | None) -> None:
        """List, if that is needed, then watch until the watch ends."""
        try:
            version = self._versions[namespace]
            if version is None or namespace in self._unsynced:
                version = await self._list(namespace)
            async for event in self._cluster.watch(
                self.selection.resource,
                namespace,
                resource_version=version,
                label_selector=self.selection.label_selector,
                field_selector=self.selection.field_selector,
                timeout_seconds=self.selection.watch_seconds,
            ):
                self._heard[namespace] = self._moved[namespace] = time.monotonic()
                self._failures[namespace] = 0
                version = self._versions[namespace] = event.object["metadata"]["resourceVersion"]
                if event.type == "DELETED":
                    self._tell_deleted(ref(event.object), version)
                elif event.type != "BOOKMARK":
                    self._tell(event.object)
            self._heard[namespace] = self._moved[namespace] = time.monotonic()
        finally:
            self._passes.pop(namespace, None)

    def _tell(self, body: Body) -> None:
        try:
            self._changed(body)
        except Exception:
            logger.exception("%s %s/%s is left out", self.selection.resource.plural, *ref(body))

    def _tell_deleted(self, gone: Ref, version: str) -> None:
        try:
            self._deleted(gone, version)
        except Exception:
            logger.exception("%s %s/%s: its end is left out", self.selection.resource.plural, *gone)

    async def _list(self, namespace: str | None) -> str:
        listed: set[Ref] = set()
        version, relists = "0", self._relists
        async for page in self._cluster.list_pages(
            self.selection.resource,
            namespace,
            label_selector=self.selection.label_selector,
            field_selector=self.selection.field_selector,
        ):
            version = page.resource_version
            self._moved[namespace] = time.monotonic()
            for body in page.items:
                listed.add(ref(body))
                self._tell(body)
        for vanished in gone_since(self._known(namespace), listed):
            self._tell_deleted(vanished, version)
        self._heard[namespace] = time.monotonic()
        self._versions[namespace] = version
        if relists != self._relists:  # this list began before what it is to show
            return version
        self._unsynced.discard(namespace)
        if not self._unsynced:
            self.synced.set()
        return version
