"""Reconciles a Block: can flows use it?"""

from __future__ import annotations

from penstock.api import reasons

from ..cluster import BLOCKS, Cluster
from ..core.blocks import problems
from . import conditions
from .conditions import Ready
from .sources import Body, Clock, Key, Requeue


def ready(block: Body) -> Ready:
    """Whether the block is valid, as far as the cluster can tell."""
    found = problems(block)
    return Ready(False, reasons.INVALID_SPEC, "; ".join(found)) if found else Ready(True)


class Blocks:
    """The reconciler of blocks."""

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self._cluster, self._clock = cluster, clock

    async def reconcile(self, key: Key) -> Requeue | None:
        """Write the Ready condition."""
        body = await self._cluster.get(BLOCKS, *key)
        if body is not None:
            await conditions.write(self._cluster, BLOCKS, key, body, ready(body), self._clock)
        return None
