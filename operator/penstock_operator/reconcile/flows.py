"""Reconciles a Flow: can its code be delivered?"""

from __future__ import annotations

from penstock.api import names, reasons

from ..cluster import FLOWS, Cluster
from ..core import resolve
from . import conditions
from .conditions import Ready
from .revisions import Revisions
from .sources import Body, Clock, Key, Requeue


def ready(flow: Body) -> Ready:
    """Whether runs of the flow could be launched."""
    text = flow["spec"]["code"].get("source", {}).get("text")
    fields = (("codeDigest", names.content_digest(text) if text is not None else None),)
    problem = resolve.code_problem(flow)
    if problem:
        return Ready(False, reasons.INVALID_CODE, problem, fields)
    return Ready(True, fields=fields)


class Flows:
    """The reconciler of flows."""

    def __init__(self, cluster: Cluster, clock: Clock, revisions: Revisions) -> None:
        self._cluster, self._clock, self._revisions = cluster, clock, revisions

    async def reconcile(self, key: Key) -> Requeue | None:
        """Write the Ready condition, and keep what was deployed."""
        body = await self._cluster.get(FLOWS, *key)
        if body is not None:
            await self._revisions.keep_new(FLOWS.kind, body, read=False)
            await conditions.write(self._cluster, FLOWS, key, body, ready(body), self._clock)
        return None
