"""The Ready condition of the kinds that change seldom: found by a pure function, written when it changed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from penstock.api import reasons
from penstock.api.bounds import cut

from ..cluster import ApiError, Cluster, NotFound, ResourceType
from ..core.views import format_time
from .sources import Body, Clock, Key

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ready:
    """Whether an object can be used, and if not, why and what to do; further fields of its status, None for none."""

    ok: bool
    reason: str = reasons.READY
    message: str = ""
    fields: tuple[tuple[str, Any], ...] = ()
    waits_for: tuple[str, str] | None = None


def said(body: Body) -> Ready | None:
    """What the Ready condition says of the object as it is now; None where it is of an earlier spec."""
    conditions = (body.get("status") or {}).get("conditions") or []
    found = next((c for c in conditions if c["type"] == reasons.READY), None)
    if found is None or found.get("observedGeneration") != body["metadata"].get("generation"):
        return None
    return Ready(found["status"] == "True", found["reason"], found.get("message", ""))


def holds(body: Body, type_: str) -> bool:
    """Whether the condition of that type is True."""
    conditions = (body.get("status") or {}).get("conditions") or []
    return any(c["type"] == type_ and c["status"] == "True" for c in conditions)


def with_condition(body: Body, type_: str, ok: bool, reason: str, message: str, now: datetime) -> list[Body]:
    """The conditions of an object with this one among them; those that it has where that changes nothing."""
    conditions: list[Body] = list((body.get("status") or {}).get("conditions") or [])
    wanted: Body = {
        "type": type_,
        "status": "True" if ok else "False",
        "reason": reason,
        "message": cut(message),
        "observedGeneration": body["metadata"].get("generation") or 0,
    }
    old: Body = next((c for c in conditions if c["type"] == type_), {})
    if all(old.get(name, "") == value for name, value in wanted.items()):
        return conditions
    since = old.get("lastTransitionTime") if old.get("status") == wanted["status"] else None
    wanted["lastTransitionTime"] = since or format_time(now)
    return [*(c for c in conditions if c["type"] != type_), wanted]


async def write_status(cluster: Cluster, resource: ResourceType, key: Key, body: Body, fields: Body) -> Body:
    """The object after its status has these fields, None for none, and all others that it had when it was read.

    Raises Conflict or Invalid where it was changed since, NotFound where it is deleted.
    """
    new = {name: value for name, value in {**(body.get("status") or {}), **fields}.items() if value is not None}
    ops: list[Body] = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": body["metadata"]["resourceVersion"]},
        {"op": "add", "path": "/status", "value": new},
    ]
    return await cluster.patch(resource, key.namespace, key.name, ops, subresource="status")


def _untold(_: Body) -> None: ...


async def write(
    cluster: Cluster,
    resource: ResourceType,
    key: Key,
    body: Body,
    ready: Ready,
    clock: Clock,
    written: Callable[[Body], None] = _untold,
) -> bool:
    """Set the Ready condition and the fields, in one patch, only when something differs; False: it changed meanwhile,
    and is to be read again. `written` is told of the object as it is then."""
    status: Body = body.get("status") or {}
    conditions = with_condition(body, reasons.READY, ready.ok, ready.reason, ready.message, clock())
    wanted = dict(ready.fields)
    if conditions == (status.get("conditions") or []) and all(status.get(n) == value for n, value in wanted.items()):
        return True
    fields = {**wanted, "observedGeneration": body["metadata"].get("generation") or 0, "conditions": conditions}
    try:
        written(await write_status(cluster, resource, key, body, fields))
    except NotFound:
        return True
    except ApiError as error:
        if error.status not in (409, 422):
            raise
        logger.debug("%s %s/%s changed meanwhile", resource.kind, *key)
        return False
    return True
