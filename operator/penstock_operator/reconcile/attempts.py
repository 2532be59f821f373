"""Sees what a run's attempt consists of: its pods and Job, or its worker; and the run's parent and children.

Called by `flowruns`, before it decides from the cache, and before it decides what only consistent reads may. What is
seen is a value of `core.attempts`, upon which `core.runs` decides.
"""

from __future__ import annotations

from penstock.api import labels, names
from penstock.api.states import StateType

from ..cluster import FLOW_RUNS, JOBS, PODS, Cluster
from ..core import attempts, owners, pod_events
from ..core.attempts import Attempt
from ..core.children import Family
from ..core.views import JobView, PodView, RunView
from .nodes import read_doubted
from .sources import Body, Cache, Key, Workers
from .workers import read_worker


class Attempts:
    """What is known of the attempts of runs."""

    def __init__(self, cluster: Cluster, cache: Cache, workers: Workers | None) -> None:
        self._cluster, self._cache, self._workers = cluster, cache, workers

    def of(self, run: RunView) -> Attempt:
        """The attempt that a run is in, as the cache knows it."""
        if "worker" in run.status:
            return self._in_worker(run)
        key = Key(run.namespace, run.name)
        seen = tuple(
            PodView(pod)
            for pod in self._cache.pods(key)
            if (pod["metadata"].get("labels") or {}).get(labels.ATTEMPT) == str(run.attempt)
            and owners.belongs(pod, run)
        )
        job = self._cache.job(key, names.pod(run.name, run.attempt)) if run.resolved.get("poolType") == "Job" else None
        mine = JobView(job) if job and owners.controller_uid(job) == run.uid else None
        subjects = pod_events.subjects(seen, mine) if run.type is StateType.PENDING else ()
        told = next((cause for uid in subjects if (cause := self._cache.told(uid))), None)
        last = self._cache.departed(run.claimed_uid) if run.claimed_uid else None
        departed = PodView(last) if last is not None else None
        return Attempt(seen, mine, self._cache.lost_nodes(), self._cache.silent_nodes(), told, departed)

    def _in_worker(self, run: RunView) -> Attempt:
        assert self._workers is not None
        name, last = run.status["worker"]["name"], self._cache.departed(run.status["worker"]["uid"])
        return attempts.in_worker(
            run,
            self._workers.lease(run.namespace, name),
            self._workers.pod(run.namespace, name),
            silent=self._workers.silent(run.namespace, name),
            departed=PodView(last) if last is not None else None,
            lost_nodes=self._cache.lost_nodes(),
            silent_nodes=self._cache.silent_nodes(),
        )

    async def family(self, run: RunView) -> Family:
        """Its parent, where that matters, and whether it has children under way. Raises ApiError."""
        parent: Body | None = None
        reference = run.parent
        if reference and (run.in_parent or reference.get("awaited") or "task" in run.spec):
            parent = self._cache.run(Key(run.namespace, reference["name"]))
            if parent is None or parent["metadata"]["uid"] != reference["uid"]:  # settled, or deleted
                parent = await self._cluster.get(FLOW_RUNS, run.namespace, reference["name"])
        mine = (RunView(body) for body in self._cache.children(Key(run.namespace, run.name)))
        unfinished = any(
            child.in_parent and child.parent.get("uid") == run.uid and not (child.type and child.type.terminal)
            for child in mine
        )
        return Family(None if parent is None else RunView(parent), unfinished)

    async def fresh(self, key: Key) -> Body | None:
        """The run, its Job and its pods by consistent reads, which the cache then knows.

        In this order: a pod that has claimed the run as it was read, or that a finished Job has made, was there before
        the list that follows; where the list does not show it, it is gone.
        """
        body = await self._cluster.get(FLOW_RUNS, *key)
        if body is None:
            return None
        self._cache.remember(body)
        run = RunView(body)
        if "worker" in run.status:
            assert self._workers is not None
            await read_worker(self._cluster, self._workers, run.namespace, run.status["worker"]["name"])
        if run.resolved.get("poolType") == "Job":
            name = names.pod(run.name, run.attempt)
            job = await self._cluster.get(JOBS, key.namespace, name)
            if job is None:
                self._cache.forget_job(key, name)
            else:
                self._cache.remember({**job, "kind": "Job"})
        await self.read_pods(key)
        await read_doubted(self._cluster, self._cache, (pod.node for pod in self.of(run).pods))
        return body

    async def read_pods(self, key: Key) -> None:
        """The pods of all runs of that name by a consistent read, which the cache then knows."""
        selector = f"{labels.MANAGED_BY}={labels.MANAGED_BY_VALUE},{labels.RUN}={key.name}"
        found: set[str] = set()
        async for page in self._cluster.list_pages(PODS, key.namespace, label_selector=selector):
            for pod in page.items:
                found.add(pod["metadata"]["name"])
                self._cache.remember({"apiVersion": "v1", "kind": "Pod", **pod})
        for pod in self._cache.pods(key):
            if pod["metadata"]["name"] not in found:
                self._cache.forget_pod(key, pod["metadata"]["name"])

    def left(self, key: Key, run: RunView | None) -> bool:
        """Whether the cache knows of a Job or a pod that goes on of another run of that name than this one."""
        pods = [pod for pod in self._cache.pods(key) if run is None or not owners.belongs(pod, run)]
        jobs = [job for job in self._cache.jobs(key) if run is None or owners.controller_uid(job) != run.uid]
        return not (all(PodView(pod).gone for pod in pods) and all(JobView(job).finished for job in jobs))
