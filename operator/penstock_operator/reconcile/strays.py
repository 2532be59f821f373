"""Deletes what is left of a run's earlier attempts, or of a run that is settled; `flowruns` calls it at each look."""

from __future__ import annotations

from ..cluster import FLOW_RUNS, JOBS, PODS, Cluster
from ..core.attempts import Doomed
from ..core.strays import strays
from ..core.views import JobView, PodView, RunView
from .sources import Cache, Key


class Strays:
    """Finds them in the cache; what it deletes it names by uid."""

    def __init__(self, cluster: Cluster, cache: Cache) -> None:
        self._cluster, self._cache = cluster, cache

    async def end(self, run: RunView) -> None:
        """Delete those of a run. Raises ApiError."""
        for doomed in self._of(run):
            resource, how = (JOBS, "Foreground") if doomed.kind == "Job" else (PODS, "Background")
            await self._cluster.delete(resource, run.namespace, doomed.name, uid=doomed.uid, propagation=how)

    async def end_of_settled(self, key: Key) -> None:
        """Delete those of a run that is settled; what is left of a deleted one, Kubernetes collects. Raises ApiError.

        Asks the API server only where there is something alive under that name.
        """
        alive = [pod for pod in map(PodView, self._cache.pods(key)) if not (pod.gone or pod.deleting)]
        unfinished = [job for job in map(JobView, self._cache.jobs(key)) if not (job.finished or job.deleting)]
        if alive or unfinished:
            body = await self._cluster.get(FLOW_RUNS, *key)
            if body is not None and RunView(body).settled:
                await self.end(RunView(body))

    def _of(self, run: RunView) -> tuple[Doomed, ...]:
        key = Key(run.namespace, run.name)
        pods, jobs = map(PodView, self._cache.pods(key)), map(JobView, self._cache.jobs(key))
        return strays(run, pods, jobs, self._cache.lost_nodes())
