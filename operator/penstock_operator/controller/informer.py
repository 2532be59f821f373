"""An informer: a paged LIST, then a watch, for ever; tells of every object that is, changed or is no more.

A relist is compared with what was known, so that objects deleted while nobody watched are told of, too. Knows nothing
of what the objects mean.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..cluster import ApiError, Cluster, Expired, ResourceType, Unavailable

logger = logging.getLogger(__name__)

Body = dict[str, Any]
Ref = tuple[str, str]  # namespace, name


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


def gone_since(known: Iterable[Ref], listed: Iterable[Ref]) -> set[Ref]:
    """What was known and is not listed any more."""
    return set(known) - set(listed)


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row: doubled each time, at most ten."""
    return min(0.2 * 2.0 ** min(failures, 16), 10.0)


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
        self._unsynced = set(selection.namespaces)
        self._heard: dict[str | None, float] = {namespace: time.monotonic() for namespace in selection.namespaces}

    def silence(self) -> float:
        """Seconds since anything, a bookmark or an end of watch included, was heard of the quietest namespace."""
        return time.monotonic() - min(self._heard.values())

    async def run(self) -> None:
        """List and watch until cancelled; errors are waited out with backoff."""
        async with asyncio.TaskGroup() as group:
            for namespace in self.selection.namespaces:
                group.create_task(self._follow(namespace))

    async def _follow(self, namespace: str | None) -> None:
        failures = 0
        version: str | None = None
        while True:
            try:
                if version is None:
                    version = await self._list(namespace)
                async for event in self._cluster.watch(
                    self.selection.resource,
                    namespace,
                    resource_version=version,
                    label_selector=self.selection.label_selector,
                    field_selector=self.selection.field_selector,
                ):
                    self._heard[namespace] = time.monotonic()
                    failures = 0
                    version = event.object["metadata"]["resourceVersion"]
                    if event.type == "DELETED":
                        self._deleted(ref(event.object), version)
                    elif event.type != "BOOKMARK":
                        self._changed(event.object)
                self._heard[namespace] = time.monotonic()
            except Expired:
                version = None
            except (Unavailable, ApiError) as error:
                failures += 1
                logger.warning("watch of %s: %s", self.selection.resource.plural, error)
                if failures >= 3:  # the server may have lost what we resume from
                    version = None
                retry_after = error.retry_after or 0.0
                await asyncio.sleep(max(retry_after, backoff(failures) * random.uniform(0.5, 1.0)))  # noqa: S311

    async def _list(self, namespace: str | None) -> str:
        listed: set[Ref] = set()
        version = "0"
        async for page in self._cluster.list_pages(
            self.selection.resource,
            namespace,
            label_selector=self.selection.label_selector,
            field_selector=self.selection.field_selector,
        ):
            version = page.resource_version
            for body in page.items:
                listed.add(ref(body))
                self._changed(body)
        for vanished in gone_since(self._known(namespace), listed):
            self._deleted(vanished, version)
        self._heard[namespace] = time.monotonic()
        self._unsynced.discard(namespace)
        if not self._unsynced:
            self.synced.set()
        return version
