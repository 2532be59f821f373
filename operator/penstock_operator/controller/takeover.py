"""What a leader does once, between knowing everything and acting: finds who holds slots, and names every key.

Called by `term`. Every key was looked at once is told by a metric, for that is when an outage of operators is over.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from penstock.api import labels

from .. import metrics
from ..cluster import ApiError, Cluster
from ..core import owners, places, schedules
from ..core.views import PodView, RunView
from ..reconcile.flowruns import FlowRuns
from ..reconcile.nodes import read_node
from ..reconcile.sources import Clock, Key
from .agenda import Agenda, Work
from .cache import ObjectCache
from .naming import Naming
from .slots import Slots
from .sweep import Sweep

logger = logging.getLogger(__name__)

Body = dict[str, Any]


class Takeover:
    """Everything is looked at once."""

    def __init__(
        self,
        cluster: Cluster,
        agenda: Agenda,
        cache: ObjectCache,
        naming: Naming,
        sweep: Sweep,
        slots: Slots,
        runs: FlowRuns,
        clock: Clock,
        *,
        watch_nodes: bool,
    ) -> None:
        self._cluster, self._agenda, self._cache, self._naming = cluster, agenda, cache, naming
        self._sweep, self._slots, self._runs, self._watch_nodes = sweep, slots, runs, watch_nodes
        self._clock = clock
        self._first: set[Work | None] = set()  # keys that the term began with, and that were not looked at yet
        self._begun = 0.0

    def clear(self) -> None:
        """Forget what another term began with."""
        self._first.clear()

    async def name_all(self, begun: float) -> None:
        """Name every key; everything is listed. `begun`: when the term did, in monotonic time."""
        logger.info("synced: %d runs, %d pods", self._cache.count("FlowRun"), self._cache.count("Pod"))
        if self._watch_nodes:
            await self.find_lost_nodes()
        await self._sweep.once()
        for body in self._cache.objects("FlowDeployment"):
            key = Key(body["metadata"]["namespace"], body["metadata"]["name"])
            self._naming.deployment(key, due=schedules.overdue(body, self._clock()))
        self.recall()
        for namespace in self._cache.limited():
            self._agenda.claims(namespace)
        self._first, self._begun = set(self._agenda.queue.keys()), begun
        self._tell()

    async def find_lost_nodes(self) -> None:
        """Find the nodes that were deleted while nobody watched: pods name them still, the API server has them not."""
        named = {pod.get("spec", {}).get("nodeName") for pod in self._cache.objects("Pod")} - {None}
        for node in sorted(named - {name for _, name in self._cache.refs("Node", None)}):
            try:
                await read_node(self._cluster, self._cache, node)
            except ApiError as error:  # Kubernetes deletes such pods in the end, and that is heard of
                logger.warning("node %s: %s", node, error)
            else:
                self._naming.node(node)

    def recall(self) -> None:
        """Find who holds slots and who waits for them, then begin to grant them."""
        for body in self._cache.objects("FlowRun"):
            try:
                self._runs.account(body)
                self._slots.recall(RunView(body))
            except Exception:  # each look at it says so
                logger.exception("%s/%s is left out", body["metadata"]["namespace"], body["metadata"]["name"])
        for body in self._cache.objects("Pod"):
            try:
                self._recall_pod(body)
            except Exception:  # anybody may have made such a pod
                logger.exception("pod %s/%s is left out", body["metadata"]["namespace"], body["metadata"]["name"])
        self._cache.orphans.renew()
        for orphan in self._cache.orphans.all():
            self._slots.haunt(Key(*orphan.key), orphan.uid, orphan.held, orphan.deployment)
            self._naming.orphan(orphan)
        self._slots.open()

    def _recall_pod(self, body: Body) -> None:
        """Of a run that was deleted its pods still hold the slots."""
        pod, meta = PodView(body), body["metadata"]
        name, uid = (meta.get("labels") or {}).get(labels.RUN), owners.run_uid(body)
        if pod.gone or not name or uid is None:
            return
        run = self._cache.run(Key(meta["namespace"], name))
        if run is None or run["metadata"]["uid"] != uid:
            self._slots.haunt(Key(meta["namespace"], name), uid, *places.held_for(pod))

    def looked(self, work: Work) -> None:
        """A key was looked at."""
        if self._first:
            self._first -= {work}
            self._tell()

    def _tell(self) -> None:
        """Tell when everything that the term began with was looked at once."""
        if not self._first:
            seconds = time.monotonic() - self._begun
            metrics.TAKEOVER_SECONDS.set(seconds)
            logger.info("everything was looked at once, %.1f s after this process began to act", seconds)
