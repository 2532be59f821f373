"""The Ready condition of the kinds that change seldom: found by a pure function, written when it changed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
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


async def write(cluster: Cluster, resource: ResourceType, key: Key, body: Body, ready: Ready, clock: Clock) -> None:
    """Set the Ready condition and the fields, in one patch, only when something differs."""
    status: Body = body.get("status") or {}
    generation = body["metadata"].get("generation") or 0
    wanted: Body = {
        "type": reasons.READY,
        "status": "True" if ready.ok else "False",
        "reason": ready.reason,
        "message": cut(ready.message),
        "observedGeneration": generation,
    }
    old: Body = next((c for c in status.get("conditions") or [] if c["type"] == reasons.READY), {})
    same = all(old.get(name, "") == value for name, value in wanted.items())
    if same and all(status.get(name) == value for name, value in ready.fields):
        return
    changed = old.get("status") != wanted["status"]
    wanted["lastTransitionTime"] = format_time(clock()) if changed else old["lastTransitionTime"]
    others = [c for c in status.get("conditions") or [] if c["type"] != reasons.READY]
    fields = {**status, **dict(ready.fields), "observedGeneration": generation, "conditions": [*others, wanted]}
    new = {name: value for name, value in fields.items() if value is not None}
    ops = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": body["metadata"]["resourceVersion"]},
        {"op": "add", "path": "/status", "value": new},
    ]
    try:
        await cluster.patch(resource, key.namespace, key.name, ops, subresource="status")
    except NotFound:
        return
    except ApiError as error:
        if error.status not in (409, 422):
            raise
        logger.debug("%s %s/%s changed meanwhile", resource.kind, *key)
