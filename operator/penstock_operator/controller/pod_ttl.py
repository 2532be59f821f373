"""The time to live of pods that runs were launched as, after their end; Jobs see to their own pods.

The controller calls the reconciler with the key of a pod when its time has come. A pod outlives the settling of its
run, for it is the evidence of its end, and the keeping of its log.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from penstock.api import labels

from ..cluster import JOBS, PODS, Cluster
from ..core import podlogs
from ..core.views import PodView
from ..launch.pods import DEFAULT_POD_TTL, TTL
from ..reconcile.podlogs import PodLogs
from ..reconcile.sources import Clock, Key, Requeue
from .cache import ObjectCache

Body = dict[str, Any]

TTL_TEXT = re.compile(r"[0-9]{1,9}")
LATER = timedelta(seconds=30)


def pod_deadline(pod: PodView) -> datetime | None:
    """When a finished pod may be deleted; None while it is not finished."""
    finished = podlogs.ended(pod)
    return finished + timedelta(seconds=_ttl(pod)) if finished else None


def _ttl(pod: PodView) -> int:
    """What the pod's annotation says; anybody may have written there."""
    said = str((pod.metadata.get("annotations") or {}).get(TTL))
    return int(said) if TTL_TEXT.fullmatch(said) else DEFAULT_POD_TTL


class PodTTL:
    """Deletes pods that have ended long enough ago."""

    def __init__(self, cluster: Cluster, cache: ObjectCache, logs: PodLogs, clock: Clock) -> None:
        self._cluster, self._cache, self._logs, self._clock = cluster, cache, logs, clock

    async def reconcile(self, key: Key) -> Requeue | None:
        """Delete a pod whose run is settled and whose time has come. Raises ApiError."""
        body = self._cache.get("Pod", key)
        if body is None:
            return None
        pod, deadline = PodView(body), pod_deadline(PodView(body))
        owner: Body = next((o for o in pod.metadata.get("ownerReferences") or [] if o.get("controller")), {})
        by_us = owner.get("kind") == "Job" and podlogs.wanted(pod) is not None  # such a Job has no time to live
        if deadline is None or not (owner.get("kind") == "FlowRun" or by_us):
            return None
        if self._clock() < deadline:
            return Requeue(deadline)
        run = (pod.metadata.get("labels") or {}).get(labels.RUN)
        if run and self._cache.run(Key(key.namespace, run)):
            return Requeue(self._clock() + LATER)
        if self._logs.awaited(pod):
            return Requeue(self._clock() + LATER)  # or when it is kept
        if by_us:
            await self._cluster.delete(JOBS, key.namespace, owner["name"], uid=owner["uid"])
        else:
            await self._cluster.delete(PODS, key.namespace, key.name, uid=pod.uid)
        return None
