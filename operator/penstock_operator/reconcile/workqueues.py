"""Reconciles a WorkQueue: is its pool there, may its runs start, and is there anything that its selector takes?"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from penstock.api import reasons

from ..cluster import WORK_POOLS, WORK_QUEUES, Cluster
from ..core import resolve
from . import conditions
from .conditions import Ready
from .sources import Body, Clock, Key, Requeue

AGAIN = timedelta(minutes=5)


def ready(queue: Body, pool: Body | None, *, selected: bool | None) -> Ready:
    """Whether runs of the queue start. `selected`: whether its selector matches anything that is there; None: none."""
    spec = queue["spec"]
    if pool is None:
        waiting = resolve.missing("WorkPool", spec["workPoolRef"]["name"])
        message = f"spec.workPoolRef: WorkPool {waiting.name} is not in this namespace: apply it, or make another queue"
        return Ready(False, waiting.reason, message, waits_for=("WorkPool", waiting.name))
    if spec.get("suspend"):
        return Ready(False, reasons.QUEUE_SUSPENDED, "spec.suspend is set: no runs are started")
    if spec.get("concurrencyLimit") == 0:
        return Ready(False, reasons.LIMIT_ZERO, "spec.concurrencyLimit is 0: no runs are started; raise or unset it")
    if selected is False:
        message = (
            "spec.selector matches no deployment of the pool and no run of now: compare matchLabels and matchTags with "
            "labels and tags of the deployments; runs that name the queue in spec.queue come to it all the same"
        )
        return Ready(True, reasons.NO_RUN_MATCHES, message)
    return Ready(True)


class WorkQueues:
    """The reconciler of queues."""

    def __init__(self, cluster: Cluster, clock: Clock, selected: Callable[[Key], bool | None]) -> None:
        """`selected(queue)`: whether its selector matches anything that is known; None where it has none."""
        self._cluster, self._clock, self._selected = cluster, clock, selected

    async def reconcile(self, key: Key) -> Requeue | None:
        """Write the Ready condition; whether something matches is asked again now and then."""
        body = await self._cluster.get(WORK_QUEUES, *key)
        if body is None:
            return None
        pool = await self._cluster.get(WORK_POOLS, key.namespace, body["spec"]["workPoolRef"]["name"])
        found = ready(body, pool, selected=self._selected(key))
        await conditions.write(self._cluster, WORK_QUEUES, key, body, found, self._clock)
        selects = "selector" in body["spec"]
        return Requeue(self._clock() + AGAIN if selects else None, found.waits_for)
