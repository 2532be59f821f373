"""A pool of type Process on a cluster in memory, with a whole controller; a test plays the agents and the kubelet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from controller_stage import DEFAULTS, Play
from penstock.api import labels, names
from penstock.api.workers import LEASE_SECONDS, WorkerFacts, WorkerPod
from penstock_operator.cluster import FLOW_RUNS, LEASES, PODS
from penstock_operator.controller.controller import Controller
from penstock_operator.reconcile.sources import Key
from penstock_operator.reconcile.workpools import WorkPools
from run_stage import NAMESPACE, at_once

Json = dict[str, Any]
POOL = Key(NAMESPACE, "default")


class WarmPool(Play):
    """The pool `default`, its operator, and its workers."""

    def __init__(self, **spec: Any) -> None:
        """`spec` of the pool."""
        super().__init__(pool_type="Process", pool=spec)
        self.monotonic = 1000.0

    def begin(self, **options: Any) -> Controller:
        """An operator that reads the test's clocks, and reconciles pools."""
        controller = super().begin(**options)
        controller.workers._monotonic = lambda: self.monotonic
        controller.register("WorkPool", WorkPools(self.cluster, DEFAULTS, self.clock, controller.worker_pods).reconcile)
        return controller

    @asynccontextmanager
    async def running(self, **options: Any) -> AsyncIterator[Controller]:
        """An operator process, which has looked at everything once; leaving it kills it."""
        async with super().running(**options) as controller:
            await self.quiet()
            yield controller

    async def time_passes(self, seconds: float) -> None:
        """Both clocks go on, and what is due comes."""
        self.monotonic += seconds
        await super().time_passes(seconds)

    async def edited(self, **spec: Any) -> None:
        """Somebody edits the pool."""
        meta = self.stage.edit("WorkPool", "default", **spec)["metadata"]
        self.cluster.objects[(("workpools"), NAMESPACE, "default")]["metadata"]["generation"] = meta["generation"] + 1
        self.controller.touch("WorkPool", POOL)
        await self.quiet()

    # Workers.

    async def starts(self, name: str, slots: int = 1, uid: str | None = None) -> str:
        """Somebody starts a worker outside of the cluster."""
        uid = uid or f"{name}-uid"
        self._lease(name, WorkerFacts(uid=uid, slots=slots), uid)
        await self.quiet()
        return uid

    async def comes_up(self, pod: str, slots: int = 1) -> str:
        """The kubelet starts a worker's pod, and its agent makes its Lease."""
        body = self.stage.get("Pod", pod)
        assert body is not None
        uid = body["metadata"]["uid"]
        self.cluster.set_node(NAMESPACE, pod, "node-1")
        self.cluster.set_status(PODS, NAMESPACE, pod, phase="Running")
        self._lease(pod, WorkerFacts(uid=uid, slots=slots, pod=WorkerPod(name=pod, uid=uid)), uid)
        await self.quiet()
        return str(uid)

    def _lease(self, name: str, facts: WorkerFacts, uid: str) -> None:
        meta = {
            "name": names.worker_lease(name),
            "labels": {labels.POOL: "default", labels.COMPONENT: labels.WORKER},
            "annotations": {labels.WORKER_FACTS: facts.annotation()},
        }
        spec = {"holderIdentity": uid, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": self.stage.now()}
        at_once(self.cluster.create(LEASES, NAMESPACE, {"kind": "Lease", "metadata": meta, "spec": spec}))

    async def renews(self, name: str, **spec: Any) -> None:
        """An agent renews its Lease."""
        ops = [{"op": "add", "path": "/spec/renewTime", "value": self.stage.now()}]
        ops += [{"op": "add", "path": f"/spec/{field}", "value": value} for field, value in spec.items()]
        at_once(self.cluster.patch(LEASES, NAMESPACE, names.worker_lease(name), ops))
        await self.quiet()

    def pods(self) -> list[str]:
        """The pods of workers that are not being deleted."""
        found = (body["metadata"] for body in self.cluster.kinds("Pod"))
        return sorted(meta["name"] for meta in found if "deletionTimestamp" not in meta)

    async def kubelet_ends_pods(self) -> None:
        """What is being deleted is gone."""
        for body in self.cluster.kinds("Pod"):
            if "deletionTimestamp" in body["metadata"]:
                self.stage.remove("Pod", body["metadata"]["name"])
        await self.quiet()

    def lease(self, name: str) -> Json | None:
        return self.stage.get("Lease", names.worker_lease(name))

    # Runs.

    async def submitted(self, name: str = "run", **spec: Any) -> Json:
        """Somebody makes a run; its status once all is done that could be."""
        self.stage.submit(name, **spec)
        await self.quiet()
        return self.stage.run(name)

    def worker(self, run: str = "run") -> Json:
        """What the run says of its worker; empty for none."""
        found: Json = self.stage.run(run).get("worker") or {}
        return found

    async def claims(self, run: str = "run") -> None:
        """The process in the worker claims the run."""
        at = self.worker(run)
        self.stage.enter(
            "Running", "Started", run, pod={"name": at["name"], "uid": at["uid"]}, startTime=self.stage.now()
        )
        await self.quiet()

    async def ends(self, run: str = "run", state: str = "Completed") -> None:
        """The process writes its end."""
        self.stage.enter(state, state, run, endTime=self.stage.now())
        await self.quiet()

    async def exits(self, run: str = "run", code: int = 1, reason: str = "") -> None:
        """The agent says that the process has ended."""
        status = self.stage.run(run)
        exited = {"attempt": status["attempt"], "exitCode": code, "reason": reason, "time": self.stage.now()}
        self.cluster.set_status(FLOW_RUNS, NAMESPACE, run, worker={**status["worker"], "exited": exited})
        await self.quiet()

    def settled(self, run: str = "run") -> bool:
        return bool(self.stage.run(run).get("settled"))


def played(scenario: Callable[[WarmPool], Awaitable[None]], **spec: Any) -> None:
    """Play a scenario with an operator that runs from the beginning; `spec` of the pool."""

    async def whole() -> None:
        pool = WarmPool(**spec)
        async with pool.running():
            await scenario(pool)

    asyncio.run(whole())
