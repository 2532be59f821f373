"""Deletes copies of code and specs once nothing has referred to them for an hour.

Called by `controller.housekeeping`, for all that the operator watches at once or a namespace at a time. What is
remembered of runs says which copies may be unneeded; a consistent list of the runs decides.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator, Iterable
from datetime import datetime, timedelta
from typing import Protocol

import orjson

from penstock.api import labels, names
from penstock.schedules.suspension import as_deployed

from ..cluster import CONFIG_MAPS, CONTROLLER_REVISIONS, FLOW_DEPLOYMENTS, FLOW_RUNS, FLOWS, Cluster, ResourceType
from ..core import copies, retention
from ..core.copies import Copy
from ..core.views import RunView
from .revisions import Revisions
from .sources import Body, Clock, Requeue

logger = logging.getLogger(__name__)

AGAIN = timedelta(minutes=10)
UNREFERENCED = timedelta(hours=1)
MANAGED = f"{labels.MANAGED_BY}={labels.MANAGED_BY_VALUE}"
PAGE = {CONFIG_MAPS: 20, CONTROLLER_REVISIONS: 100}  # code may have 128 KiB a piece


class Runs(Protocol):
    """What is remembered of all runs."""

    def references(self, namespace: str | None) -> set[tuple[str, str]]:
        """Namespace and name of the copies that they name."""


class Copies:
    """The reconciler of copies."""

    def __init__(self, cluster: Cluster, revisions: Revisions, runs: Runs, clock: Clock) -> None:
        self._cluster, self._revisions, self._runs, self._clock = cluster, revisions, runs, clock
        self._since: dict[Copy, datetime] = {}  # when a copy was first seen to be unneeded

    async def reconcile(self, scope: str) -> Requeue | None:
        """Look at the copies of a namespace, or of all where it is empty; again in ten minutes."""
        namespace, now = scope or None, self._clock()
        found = [copy async for copy in self._copies(namespace)]
        owners = {
            body["metadata"]["uid"] for kind in (FLOW_DEPLOYMENTS, FLOWS) async for body in self._each(kind, namespace)
        }
        idle = copies.unneeded(found, self._runs.references(namespace), owners)
        elsewhere = {copy: since for copy, since in self._since.items() if namespace not in (None, copy.namespace)}
        self._since = {**elsewhere, **{copy: self._since.get(copy, now) for copy in idle}}
        due = [copy for copy in idle if now - self._since[copy] >= UNREFERENCED]
        if due:
            await self._delete(await self._still(due, namespace))
        return Requeue(now + AGAIN)

    async def _still(self, due: list[Copy], namespace: str | None) -> list[Copy]:
        """Those of them that no run names, by a consistent list."""
        named = set()
        async for body in self._each(FLOW_RUNS, namespace):
            named |= {(body["metadata"]["namespace"], name) for name in retention.references(RunView(body))}
        referred = [copy for copy in due if copy.ref in named]
        for copy in referred:
            del self._since[copy]
        return [copy for copy in due if copy.ref not in named]

    async def _delete(self, unneeded: Iterable[Copy]) -> None:
        for copy in unneeded:
            if not self._revisions.let_go(*copy.ref):
                del self._since[copy]
                continue
            try:
                resource = CONFIG_MAPS if copy.kind == "ConfigMap" else CONTROLLER_REVISIONS
                await self._cluster.delete(resource, copy.namespace, copy.name, uid=copy.uid)
                del self._since[copy]
                logger.info("%s %s/%s, which no run names, is deleted", copy.kind, *copy.ref)
            finally:
                self._revisions.gone(*copy.ref)

    async def _copies(self, namespace: str | None) -> AsyncIterator[Copy]:
        async for body in self._each(CONFIG_MAPS, namespace, MANAGED):
            meta = body["metadata"]
            digest = (meta.get("annotations") or {}).get(labels.CODE_DIGEST)
            if digest and meta["name"] == names.code_config_map(digest):  # else somebody else's, whatever its labels
                yield Copy("ConfigMap", meta["namespace"], meta["name"], meta["uid"])
        async for body in self._each(CONTROLLER_REVISIONS, namespace, MANAGED):
            meta = body["metadata"]
            owner = (meta.get("annotations") or {}).get(labels.OWNER_UID)
            if owner:
                yield Copy(
                    *("ControllerRevision", meta["namespace"], meta["name"], meta["uid"]),
                    owner,
                    body.get("revision", 0),
                    _deployed(body),
                )

    async def _each(self, resource: ResourceType, namespace: str | None, selector: str = "") -> AsyncIterator[Body]:
        limit = PAGE.get(resource, 500)
        async for page in self._cluster.list_pages(resource, namespace, label_selector=selector, limit=limit):
            for body in page.items:
                yield body


def _deployed(revision: Body) -> str:
    """A digest of what was deployed, where that is less than the whole spec."""
    if revision["metadata"]["labels"].get(labels.OWNER_KIND) != FLOW_DEPLOYMENTS.kind:
        return ""
    try:
        spec = orjson.dumps(as_deployed(revision["data"]), option=orjson.OPT_SORT_KEYS)
    except (AttributeError, KeyError, TypeError):  # the operator has made no such revision
        return ""
    return hashlib.sha256(spec).hexdigest()
