"""Writes the record of a settled run into the archive: the run, its pages of task records, its Events.

Called by `retention`. The operator's own credentials lead there (environment, workload identity); they are not known
here. What stands in the archive under a run's name is never written again: a settled run does not change.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

from penstock.api import labels, names
from penstock.archive import record
from penstock.results.storage import Storage, open_storage
from penstock.results.urls import parse

from ..cluster import EVENTS, FLOW_RUNS, TASK_RUN_PAGES, Cluster
from ..core.retention import Settled
from ..core.views import format_time
from .sources import Body

PAGES_AT_ONCE = 50  # of 64 KiB each


def warning(namespace: str, run: str, uid: str, reason: str, note: str, now: datetime) -> Body:
    """The Event on a run by which it is told that something of it cannot be archived; one of a reason and run."""
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": names.emitted_event(run, uid, reason),
            "namespace": namespace,
            "labels": {labels.MANAGED_BY: labels.MANAGED_BY_VALUE, labels.RUN: run},
        },
        "eventTime": format_time(now),
        "type": "Warning",
        "reason": reason,
        "action": "Archive",
        "note": note.encode()[:1024].decode(errors="ignore"),
        "reportingController": f"{labels.GROUP}/operator",
        "reportingInstance": "archive",
        "regarding": {
            "apiVersion": labels.API_VERSION,
            "kind": "FlowRun",
            "name": run,
            "namespace": namespace,
            "uid": uid,
        },
    }


class Archive:
    """The archive of an operator. Raises StorageUnavailable, and ApiError when the cluster cannot be read."""

    def __init__(self, cluster: Cluster, storage: Storage) -> None:
        self._cluster, self._storage = cluster, storage

    @classmethod
    def at(cls, cluster: Cluster, url: str) -> Archive:
        """The archive at a URL. Raises ConfigurationError."""
        return cls(cluster, open_storage(parse(url, "archive")))

    async def write(self, run: Settled) -> None:
        """Make sure that the run is there; one that was deleted meanwhile cannot be any more."""
        body = await self._cluster.get(FLOW_RUNS, run.namespace, run.name)
        if body is None or body["metadata"]["uid"] != run.uid:
            return
        body["kind"] = FLOW_RUNS.kind
        path = record.address(body).path
        if await asyncio.to_thread(self._storage.get, path, 1) is not None:
            return
        pages, events = await self._pages(run), await self._events(run)
        packed = await asyncio.to_thread(lambda: record.pack(record.lines(body, pages, events)))
        await asyncio.to_thread(self._storage.put, path, packed)

    async def _pages(self, run: Settled) -> list[Body]:
        selector = f"run.name={run.name}"
        found = [
            {"apiVersion": f"{TASK_RUN_PAGES.group}/{TASK_RUN_PAGES.version}", "kind": TASK_RUN_PAGES.kind, **body}
            async for page in self._cluster.list_pages(
                TASK_RUN_PAGES, run.namespace, field_selector=selector, limit=PAGES_AT_ONCE
            )
            for body in page.items
            if body["run"]["uid"] == run.uid
        ]
        return sorted(found, key=lambda page: (page["attempt"], page["number"]))

    async def _events(self, run: Settled) -> list[Body]:
        found = [
            {"apiVersion": "events.k8s.io/v1", "kind": EVENTS.kind, **body}
            async for page in self._cluster.list_pages(EVENTS, run.namespace, label_selector=f"{labels.RUN}={run.name}")
            for body in page.items
            if (body.get("regarding") or {}).get("uid") == run.uid
        ]
        return sorted(found, key=lambda event: (event.get("eventTime") or "", event["metadata"]["name"]))
