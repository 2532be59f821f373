"""Says on an object that it cannot be reconciled, and why: by a condition, or by an Event where none can be written.

The controller calls it when looks at a key fail again and again for a reason that is the object's own or a defect.
Nothing here may rest on the object's shape: it is what broke something else.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from penstock.api import labels, names, reasons

from ..cluster import (
    EVENTS,
    FLOW_DEPLOYMENTS,
    FLOW_RUNS,
    LOW_RATE,
    PODS,
    AlreadyExists,
    ApiError,
    Cluster,
    Conflict,
    NotFound,
    NotLeading,
    ResourceType,
    Unavailable,
)
from ..core.views import format_time
from ..reconcile.sources import Body, Clock, Key

logger = logging.getLogger(__name__)

RESOURCES = {resource.kind: resource for resource in (FLOW_RUNS, FLOW_DEPLOYMENTS, PODS, *LOW_RATE)}
RESOURCES["Schedules"] = RESOURCES["Cursors"] = FLOW_DEPLOYMENTS
TYPES = {resource.kind: reasons.READY for resource in (FLOW_DEPLOYMENTS, *LOW_RATE)} | {"FlowRun": reasons.RECONCILED}
PASSING = (Unavailable, NotLeading, Conflict, NotFound)
MAX_CAUSE = 250  # characters; with four bytes for each they fit into an Event's note


def passes(error: BaseException) -> bool:
    """Whether the error says nothing of the object: somebody was away, or quicker."""
    return isinstance(error, PASSING)


def message(error: BaseException) -> str:
    """What to tell people of an error, within the bounds of an Event's note."""
    cause = f"{type(error).__name__}: {error}"
    cut = cause if len(cause) <= MAX_CAUSE else cause[:MAX_CAUSE] + "…"
    return f"{cut} (it is tried again, about once a minute; see the operator's log)"


def failed(body: Body | None) -> bool:
    """Whether a run's conditions say that it could not be reconciled."""
    found = _conditions(body or {})
    return any(c.get("type") == reasons.RECONCILED and c.get("status") == "False" for c in found)


def condition_patch(body: Body, condition: Body, now: datetime) -> list[Body]:
    """The JSON patch that sets a condition, whatever else stands in the status; empty when it stands there already."""
    current = _conditions(body)
    old: Body = next((c for c in current if c.get("type") == condition["type"]), {})
    if all(old.get(name) == value for name, value in condition.items()):
        return []
    moved = old.get("status") != condition["status"]
    time = format_time(now) if moved else old.get("lastTransitionTime") or format_time(now)
    generation = body["metadata"].get("generation") or 0
    new = {**condition, "observedGeneration": generation, "lastTransitionTime": time}
    wanted = [*(c for c in current if c.get("type") != condition["type"]), new]
    test = {"op": "test", "path": "/metadata/resourceVersion", "value": body["metadata"]["resourceVersion"]}
    if isinstance(body.get("status"), dict) and body["status"]:
        return [test, {"op": "add", "path": "/status/conditions", "value": wanted}]
    first: Body = {"attempt": 0} if body.get("kind") == "FlowRun" else {}
    return [test, {"op": "add", "path": "/status", "value": {**first, "conditions": wanted}}]


def _conditions(body: Body) -> list[Body]:
    status: Any = body.get("status")
    found: Any = status.get("conditions") if isinstance(status, dict) else None
    return [c for c in found if isinstance(c, dict)] if isinstance(found, list) else []


class Unreconciled:
    """Tells of objects that cannot be reconciled."""

    def __init__(self, cluster: Cluster, instance: str, clock: Clock) -> None:
        self._cluster, self._instance, self._clock = cluster, instance, clock

    async def tell(self, kind: str, key: Key, error: BaseException) -> None:
        """Say on the object what went wrong. Raises nothing: what cannot be said stands in the log."""
        try:
            if kind in RESOURCES:
                await self._tell(RESOURCES[kind], key, message(error))
        except Unavailable as away:  # the next failure says it
            logger.info("%s %s/%s: what failed is not said on it: %s", kind, *key, away)
        except Exception:
            logger.exception("%s %s/%s: what failed cannot be said on it", kind, *key)

    async def clear(self, key: Key) -> None:
        """Say on a run that it can be reconciled again. Raises nothing."""
        condition = {"type": reasons.RECONCILED, "status": "True", "reason": reasons.RECONCILED, "message": ""}
        try:
            body = await self._cluster.get(FLOW_RUNS, *key)
            if failed(body):
                await self._write(FLOW_RUNS, key, body or {}, condition)
        except Unavailable as away:
            logger.info("FlowRun %s/%s: that it goes on is not said on it: %s", *key, away)
        except Exception:
            logger.exception("FlowRun %s/%s: that it goes on cannot be said on it", *key)

    async def _tell(self, resource: ResourceType, key: Key, text: str) -> None:
        body = await self._cluster.get(resource, *key)
        if body is None:
            return
        type_ = TYPES.get(resource.kind)
        if type_ is not None:
            condition = {"type": type_, "status": "False", "reason": reasons.RECONCILE_FAILED, "message": text}
            try:
                await self._write(resource, key, body, condition)
            except ApiError as error:
                if passes(error):
                    return  # the next failure says it
                logger.warning("%s %s/%s: its condition cannot be written: %s", resource.kind, *key, error)
            else:
                return
        await self._event(resource, key, body, text)

    async def _write(self, resource: ResourceType, key: Key, body: Body, condition: Body) -> None:
        ops = condition_patch({**body, "kind": resource.kind}, condition, self._clock())
        if ops:
            await self._cluster.patch(resource, key.namespace, key.name, ops, subresource="status")

    async def _event(self, resource: ResourceType, key: Key, body: Body, text: str) -> None:
        """The same failure of the same object is one Event."""
        uid = str(body["metadata"]["uid"])
        version = f"{resource.group}/{resource.version}".removeprefix("/")
        event = {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {
                "name": f"{key.name}.f{names.digest(uid, text, length=20)}",
                "namespace": key.namespace,
                "labels": {labels.MANAGED_BY: labels.MANAGED_BY_VALUE},
            },
            "eventTime": format_time(self._clock()),
            "type": "Warning",
            "reason": reasons.RECONCILE_FAILED,
            "action": "Reconcile",
            "note": text,
            "reportingController": f"{labels.GROUP}/operator",
            "reportingInstance": self._instance[:128],
            "regarding": {
                "apiVersion": version,
                "kind": resource.kind,
                "name": key.name,
                "namespace": key.namespace,
                "uid": uid,
            },
        }
        try:
            await self._cluster.create(EVENTS, key.namespace, event)
        except AlreadyExists:
            return
