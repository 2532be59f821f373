"""Reconciles a Flow: can its code be delivered?"""

from __future__ import annotations

from penstock.api import reasons

from ..cluster import FLOWS, Cluster
from ..core import code
from . import conditions
from .conditions import Ready
from .revisions import Revisions
from .sources import Body, Clock, Key, Requeue


def ready(flow: Body) -> Ready:
    """Whether runs of the flow could be launched."""
    problem = code.problem(flow)
    if problem:
        return Ready(False, reasons.INVALID_CODE, problem, (("codeDigest", None),))
    return Ready(True, fields=(("codeDigest", code.digest(flow)),))


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
