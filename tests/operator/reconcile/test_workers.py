"""The workers of a pool: what of their pods is made, refused and told of, by a cluster in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from crash_points import WRITE_FAULTS, Acts, Fault, Killed, Operator, same_at_any_write
from memory_cluster import Write
from penstock.api import labels, names
from penstock_operator.cluster import PODS, Forbidden, Invalid
from penstock_operator.reconcile.workers import RETRY_CREATE
from penstock_operator.reconcile.workpools import PROBE
from run_stage import NAMESPACE
from warm_workers import POOL, WarmPool, played

Json = dict[str, Any]
ONE: Json = {"worker": {"min": 1}}


class MortalPool(WarmPool):
    """A pool whose operator may be killed at a write. Whoever waits for it then raises Killed."""

    def __init__(self, **spec: Any) -> None:
        super().__init__(**spec)
        self.operator = Operator()
        self.dead = False
        self.cluster.before, self.cluster.after = self._before, self._after

    def _before(self, write: Write) -> None:
        if self._operators(write):
            self._dies_of(self.operator.before, write)
            self.operator.writes.append(write)

    def _after(self, write: Write) -> None:
        if self._operators(write):
            self._dies_of(self.operator.after, write)

    def _operators(self, write: Write) -> bool:
        """All but what agents and the user make, dry runs, and Events, which are posted beside what is reconciled."""
        if self.dead and write.verb != "create":
            raise Killed
        others = write.kind == "Event" or (
            write.verb == "create" and (write.kind in ("Lease", "FlowRun") or write.name == PROBE)
        )
        return not others

    def _dies_of(self, hook: Callable[[Write], None], write: Write) -> None:
        try:
            if self.dead:
                raise Killed
            hook(write)
        except Killed:
            self.dead = True
            raise

    def idle(self) -> bool:
        if self.dead:
            raise Killed
        return super().idle()

    def over(self, *runs: str) -> bool:
        """Whether these have settled."""
        return all(self.settled(run) for run in runs)

    async def others(self) -> bool:
        """One thing that the kubelet, an agent or a process of a run does; whether there was any."""
        for body in self.cluster.kinds("Pod"):
            name = body["metadata"]["name"]
            if "deletionTimestamp" in body["metadata"]:
                self.stage.remove("Pod", name)
                self.stage.remove("Lease", names.worker_lease(name))
                return True
            if self.lease(name) is None:
                await self.comes_up(name, slots=1)
                return True
        for run in self.stage.names("FlowRun"):
            state = self.stage.state(run)
            if state and state[0] == "Pending" and self.worker(run):
                await self.claims(run)
                return True
            begun = all("startTime" in self.stage.run(each) for each in self.stage.names("FlowRun"))
            if state and state[0] == "Running" and begun:
                await self.ends(run)
                return True
        return False


def said(pool: WarmPool) -> tuple[str, str]:
    """Reason and message of the pool's condition."""
    body = pool.stage.get("WorkPool", "default") or {}
    (found,) = body["status"]["conditions"]
    return found["reason"], found["message"]


@pytest.mark.parametrize(
    ("error", "reason", "says"),
    [
        (Forbidden(403, "Forbidden", "exceeded quota: pods"), "PodCreateForbidden", "exceeded quota: pods"),
        (Invalid(422, "Invalid", "spec.x: Invalid value"), "PodInvalid", "spec.x: Invalid value"),
    ],
    ids=["a quota", "a template"],
)
def test_what_the_api_server_says_to_a_workers_pod_is_told_on_the_pool_and_tried_again(
    error: Exception, reason: str, says: str
) -> None:
    async def whole() -> None:
        pool, refused = WarmPool(**ONE), True

        def before(write: Write) -> None:
            if refused and write.kind == "Pod" and "worker" in write.name:
                raise error

        pool.cluster.before = before
        async with pool.running():
            assert said(pool)[0] == reason
            assert says in said(pool)[1]
            refused = False
            await pool.time_passes(RETRY_CREATE.total_seconds())
            assert len(pool.pods()) == 1
            assert said(pool)[0] == "WorkersNotReady"

    asyncio.run(whole())


def test_a_pod_that_does_not_start_says_why_the_pool_is_not_ready() -> None:
    async def scenario(pool: WarmPool) -> None:
        (pod,) = pool.pods()
        waiting = {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}
        status = [{"name": "flow", "image": "x:1", "state": waiting}]
        pool.cluster.set_status(PODS, NAMESPACE, pod, phase="Pending", containerStatuses=status)
        await pool.quiet()
        assert said(pool)[0] == "WorkersNotReady"
        assert "image x:1 cannot be pulled" in said(pool)[1]

    played(scenario, **ONE)


def test_a_container_that_ends_again_and_again_says_so() -> None:
    async def scenario(pool: WarmPool) -> None:
        (pod,) = pool.pods()
        state = {"waiting": {"reason": "CrashLoopBackOff"}}
        last = {"terminated": {"exitCode": 1, "message": "No module named penstock.worker"}}
        status = [{"name": "agent", "state": state, "lastState": last}]
        pool.cluster.set_status(PODS, NAMESPACE, pod, phase="Running", containerStatuses=status)
        await pool.quiet()
        assert "container agent ended with exit code 1" in said(pool)[1]
        assert "No module named penstock.worker" in said(pool)[1]

    played(scenario, **ONE)


def test_a_pool_whose_workers_people_start_has_no_pods_and_says_how_to_start_one() -> None:
    async def scenario(pool: WarmPool) -> None:
        await pool.submitted()
        assert pool.pods() == []
        assert said(pool)[0] == "WorkersNotReady"
        assert "penstock worker start --pool default" in said(pool)[1]
        await pool.starts("laptop")
        assert said(pool)[0] == "Ready"
        assert pool.worker()["name"] == "laptop"

    played(scenario)


def test_a_pool_whose_workers_come_when_they_are_needed_is_ready_without_any() -> None:
    async def scenario(pool: WarmPool) -> None:
        assert pool.pods() == []
        assert said(pool)[0] == "Ready"

    played(scenario, worker={"max": 2})


def test_a_workers_pod_is_made_once() -> None:
    async def scenario(pool: WarmPool) -> None:
        (pod,) = pool.pods()
        body = pool.stage.get("Pod", pod)
        assert body is not None
        assert body["metadata"]["ownerReferences"][0]["kind"] == "WorkPool"
        assert body["metadata"]["labels"][labels.COMPONENT] == labels.WORKER
        pool.controller.touch("Workers", POOL)
        await pool.quiet()
        assert pool.pods() == [pod], "made twice is made once"

    played(scenario, **ONE)


def test_the_workers_of_a_pool_that_is_gone_go_when_they_have_no_runs() -> None:
    async def scenario(pool: WarmPool) -> None:
        busy, idle = pool.pods()
        for pod in (busy, idle):
            await pool.comes_up(pod)
        await pool.submitted()
        busy = pool.worker()["name"]
        await pool.claims()
        pool.stage.remove("WorkPool", "default")
        pool.controller.touch("WorkPool", POOL)
        await pool.quiet()
        assert pool.pods() == [busy]
        await pool.ends()
        assert pool.pods() == []

    played(scenario, worker={"min": 2, "max": 2})


@pytest.mark.parametrize("fault", WRITE_FAULTS)
def test_a_fault_at_any_write_leaves_the_same_workers_and_runs(fault: Fault) -> None:
    """Two workers are made for two runs, take one each, and are drained and deleted when they have idled."""
    runs = ("one", "two")

    async def whole(pool: MortalPool) -> None:
        for name in runs:
            pool.stage.submit(name)
        for _ in range(60):
            try:
                async with pool.running():
                    while pool.cluster.kinds("Pod") or not pool.over(*runs):
                        if not await pool.others():
                            await pool.time_passes(61 if pool.over(*runs) else 1)
                    return
            except Killed:
                pool.dead = False
        raise AssertionError("it does not come to its end")

    def live(disturb: Callable[[Acts], None]) -> tuple[Any, list[Write]]:
        pool = MortalPool(worker={"max": 2, "idleSeconds": 60})
        disturb(pool.operator)
        asyncio.run(asyncio.wait_for(whole(pool), 20))
        ended = {run: (pool.stage.state(run), pool.stage.run(run)["attempt"]) for run in runs}
        workers = sorted(pool.worker(run)["name"] for run in runs)
        assert len(set(workers)) == 2
        writes = pool.operator.writes
        made = sorted(write.name for write in set(writes) if (write.verb, write.kind) == ("create", "Pod"))
        assert len(made) == 2
        return (ended, workers, made, pool.cluster.kinds("Pod"), pool.cluster.kinds("Lease")), writes

    same_at_any_write(live, fault)
