"""Warm workers as a whole, on a cluster in memory: runs get a place, come to their end, are lost with their worker."""

from __future__ import annotations

import asyncio
from typing import Any

from penstock.api import labels
from penstock.api.workers import LEASE_SECONDS
from penstock_operator.cluster import LEASES, NODES, Unavailable
from penstock_operator.controller.workers import CONFIRM
from penstock_operator.core.workers import MUTE
from run_stage import NAMESPACE
from warm_workers import WarmPool, played

Json = dict[str, Any]
ONE: Json = {"worker": {"min": 1, "max": 1}}
CRASHED = ("Crashed", "WorkerLost")


def test_a_run_is_given_to_a_worker_and_settled_with_two_writes_of_the_operator() -> None:
    async def scenario(pool: WarmPool) -> None:
        uid = await pool.starts("laptop")
        status = await pool.submitted()
        assert (status["state"]["type"], status["attempt"]) == ("Pending", 1)
        assert status["worker"] == {"name": "laptop", "uid": uid, "attempt": 1}
        assert "worker laptop" in status["state"]["message"]
        writes = [w for w in pool.cluster.writes if w.kind == "FlowRun" and w.verb == "patch"]
        assert len(writes) == 1
        await pool.claims()
        await pool.ends()
        assert pool.settled()
        assert pool.stage.state() == ("Completed", "Completed")
        assert pool.pods() == []

    played(scenario)


def test_runs_wait_for_a_free_place_and_follow_each_other() -> None:
    async def scenario(pool: WarmPool) -> None:
        await pool.starts("laptop", slots=2)
        for name in ("a", "b", "c"):
            await pool.submitted(name)
        held = [name for name in ("a", "b", "c") if pool.worker(name)]
        assert len(held) == 2
        (waits,) = {"a", "b", "c"} - set(held)
        assert pool.stage.state(waits) == ("Scheduled", "WorkersFull")
        await pool.claims(held[0])
        await pool.ends(held[0])
        assert pool.worker(waits)["name"] == "laptop"

    played(scenario)


def test_many_runs_at_once_never_get_more_places_than_there_are() -> None:
    async def scenario(pool: WarmPool) -> None:
        await pool.starts("one", slots=3)
        await pool.starts("other", slots=2)
        for number in range(20):
            pool.stage.submit(f"run-{number}")
        await pool.quiet()
        given = [pool.worker(f"run-{number}").get("name") for number in range(20)]
        assert (given.count("one"), given.count("other")) == (3, 2)

    played(scenario)


def test_an_assignment_that_is_heard_of_before_it_is_answered_takes_one_place() -> None:
    """Else the worker seems to have a place less, or more, and who waits is told that none is ready."""

    async def scenario(pool: WarmPool) -> None:
        patch = pool.cluster.patch

        async def answered_late(*what: Any, **how: Any) -> Json:
            body = await patch(*what, **how)
            for _ in range(20):
                await asyncio.sleep(0)
            return body

        pool.cluster.patch = answered_late  # type: ignore[method-assign]
        await pool.starts("laptop", slots=2)
        for name in "abcdef":
            pool.stage.submit(name)
        await pool.quiet()
        assert sum(bool(pool.worker(name)) for name in "abcdef") == 2
        told = {entry["reason"] for name in "abcdef" for entry in pool.stage.run(name)["history"]}
        assert told == {"Accepted", "Launched", "WorkersFull"}

    played(scenario)


def test_no_run_is_given_to_a_worker_that_drains() -> None:
    async def scenario(pool: WarmPool) -> None:
        await pool.starts("laptop")
        drain = [{"op": "add", "path": "/metadata/annotations/penstock.dev~1drain", "value": "true"}]
        await pool.cluster.patch(LEASES, NAMESPACE, "penstock-worker-laptop", drain)
        await pool.quiet()
        await pool.submitted()
        assert not pool.worker()
        await pool.cluster.patch(LEASES, NAMESPACE, "penstock-worker-laptop", [{**drain[0], "value": "false"}])
        await pool.until(pool.worker)

    played(scenario)


def test_a_process_that_ends_without_an_end_of_its_run_is_a_crash() -> None:
    async def scenario(pool: WarmPool) -> None:
        await pool.starts("laptop")
        await pool.submitted()
        await pool.claims()
        await pool.exits(code=139)
        assert pool.stage.state() == ("Crashed", "ContainerExited")
        assert "SIGSEGV" in pool.stage.run()["state"]["message"]
        assert pool.settled()

    played(scenario)


def test_a_cancelled_run_is_cancelled_once_its_process_has_ended() -> None:
    async def scenario(pool: WarmPool) -> None:
        await pool.starts("laptop")
        await pool.submitted()
        await pool.claims()
        pool.stage.edit("FlowRun", "run", cancel=True)
        await pool.until(lambda: pool.stage.state() == ("Cancelling", "CancelRequested"))
        assert pool.worker()["end"] is True
        await pool.quiet()
        assert pool.stage.state() == ("Cancelling", "CancelRequested")
        await pool.exits(code=143)
        assert pool.stage.state() == ("Cancelled", "CancelRequested")
        assert pool.settled()

    played(scenario)


def test_an_outside_worker_is_lost_once_two_reads_have_found_its_lease_as_it_was() -> None:
    async def scenario(pool: WarmPool) -> None:
        await pool.starts("laptop")
        await pool.submitted()
        await pool.claims()
        await pool.time_passes(LEASE_SECONDS)
        assert pool.stage.state() == ("Running", "Started"), "the first read says only that something may be wrong"
        await pool.time_passes(CONFIRM)
        assert pool.stage.state() == CRASHED
        assert pool.settled()
        await pool.time_passes(MUTE)
        assert pool.lease("laptop") is None, "nobody needs it any more"

    played(scenario)


def test_a_worker_that_renews_is_not_lost_however_long_it_runs() -> None:
    async def scenario(pool: WarmPool) -> None:
        await pool.starts("laptop")
        await pool.submitted()
        await pool.claims()
        for _ in range(20):
            await pool.time_passes(10)
            await pool.renews("laptop")
        assert pool.stage.state() == ("Running", "Started")

    played(scenario)


def test_while_the_api_server_is_away_nobody_falls_silent() -> None:
    async def scenario(pool: WarmPool) -> None:
        await pool.starts("laptop")
        await pool.submitted()
        await pool.claims()
        real, away = pool.cluster.get, True

        async def get(*args: Any) -> Any:
            if away:
                raise Unavailable(0, "ConnectionRefused", "")
            return await real(*args)

        pool.cluster.get = get  # type: ignore[method-assign]
        await pool.time_passes(300)
        away = False
        await pool.time_passes(12)  # it is back; the operator reads again before the worker has renewed
        assert pool.stage.state() == ("Running", "Started")
        await pool.renews("laptop")
        await pool.time_passes(CONFIRM)
        assert pool.stage.state() == ("Running", "Started")

    played(scenario)


def test_a_run_of_a_worker_that_fell_silent_is_retried_only_where_the_pool_says_so() -> None:
    async def scenario(pool: WarmPool) -> None:
        await pool.starts("laptop")
        await pool.submitted(infraRetries={"limit": 1})
        await pool.claims()
        await pool.time_passes(LEASE_SECONDS)
        await pool.starts("desktop")
        await pool.time_passes(CONFIRM)
        assert pool.stage.state() == (("Pending", "Launched") if retries else CRASHED)
        if retries:
            assert pool.worker()["name"] == "desktop"
            assert pool.stage.run()["attempt"] == 2

    for retries in (True, False):
        played(scenario, **({"worker": {"max": 0, "onWorkerLost": "Retry"}} if retries else {}))


def test_what_a_lost_worker_had_not_begun_begins_elsewhere_at_no_cost() -> None:
    async def scenario(pool: WarmPool) -> None:
        await pool.starts("laptop")
        await pool.submitted()
        await pool.starts("desktop")
        pool.stage.remove("Lease", "penstock-worker-laptop")
        await pool.until(lambda: pool.worker().get("name") == "desktop")
        status = pool.stage.run()
        assert (status["attempt"], status.get("infraRetries")) == (2, None)

    played(scenario)


def test_a_worker_that_is_started_anew_has_lost_what_it_had() -> None:
    async def scenario(pool: WarmPool) -> None:
        await pool.starts("laptop")
        await pool.submitted()
        await pool.claims()
        lease = pool.lease("laptop")
        assert lease is not None
        pool.stage.remove("Lease", "penstock-worker-laptop")
        await pool.starts("laptop", uid="another")
        assert pool.stage.state() == CRASHED

    played(scenario)


# Pods of workers.


def test_a_worker_whose_node_is_out_of_service_gets_no_runs_and_is_replaced_though_it_goes_on() -> None:
    """Whoever vouched that nothing runs there may have been wrong; its Lease and its pod look as ever."""

    async def scenario(pool: WarmPool) -> None:
        (lost,) = pool.pods()
        await pool.comes_up(lost)
        taints = [{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]
        await pool.cluster.patch(NODES, None, "node-1", [{"op": "add", "path": "/spec/taints", "value": taints}])
        await pool.quiet()
        await pool.submitted()
        assert not pool.worker()
        (other,) = pool.pods()
        assert other != lost
        await pool.cluster.patch(NODES, None, "node-1", [{"op": "add", "path": "/spec/taints", "value": []}])
        await pool.comes_up(other)
        assert pool.worker()["name"] == other
        assert pool.stage.run()["attempt"] == 1

    played(scenario, **ONE)


def test_a_worker_is_kept_whose_node_is_back_before_that_is_heard() -> None:
    async def scenario(pool: WarmPool) -> None:
        (pod,) = pool.pods()
        await pool.comes_up(pod)
        await pool.submitted()
        await pool.claims()
        pool.controller.cache.forget_node("node-1")
        pool.controller.naming.node("node-1")
        await pool.quiet()
        assert pool.pods() == [pod]
        assert pool.stage.state() == ("Running", "Started")

    played(scenario, **ONE)


def test_a_pool_has_its_least_workers_and_is_ready_once_one_of_them_is() -> None:
    async def scenario(pool: WarmPool) -> None:
        (pod,) = pool.pods()
        assert pod.startswith("default-worker-")
        assert ready(pool)[:2] == ("False", "WorkersNotReady")
        await pool.comes_up(pod)
        assert ready(pool)[:2] == ("True", "Ready")
        status = (pool.stage.get("WorkPool", "default") or {})["status"]
        assert status["workers"] == 1

    played(scenario, **ONE)


def test_a_queue_makes_workers_up_to_the_most_and_idleness_takes_them_away() -> None:
    async def scenario(pool: WarmPool) -> None:
        assert pool.pods() == []
        for number in range(5):
            await pool.submitted(f"run-{number}")
        assert len(pool.pods()) == 2, "two runs in each, and no more than two workers"
        for pod in pool.pods():
            await pool.comes_up(pod, slots=2)
        for _ in range(2):
            for number in range(5):
                name = f"run-{number}"
                if pool.stage.state(name) == ("Pending", "Launched"):
                    await pool.claims(name)
                    await pool.ends(name)
        assert all(pool.settled(f"run-{number}") for number in range(5))
        await pool.time_passes(60)
        assert pool.pods() == []

    played(scenario, worker={"min": 0, "max": 2, "concurrency": 2, "idleSeconds": 60})


def test_a_worker_pod_that_is_deleted_takes_its_runs_with_it_and_is_replaced() -> None:
    async def scenario(pool: WarmPool) -> None:
        (pod,) = pool.pods()
        await pool.comes_up(pod)
        await pool.submitted()
        await pool.claims()
        pool.stage.remove("Pod", pod)
        await pool.until(lambda: pool.stage.state() == CRASHED)
        await pool.quiet()
        assert len(pool.pods()) == 1

    played(scenario, **ONE)


def test_its_lease_says_nothing_of_a_worker_whose_pod_lives_but_that_it_gets_no_more_runs() -> None:
    async def scenario(pool: WarmPool) -> None:
        (pod,) = pool.pods()
        await pool.comes_up(pod, slots=2)
        await pool.submitted()
        await pool.claims()
        await pool.time_passes(LEASE_SECONDS)
        await pool.time_passes(CONFIRM)
        assert pool.stage.state() == ("Running", "Started")
        await pool.submitted("other")
        assert not pool.worker("other")
        await pool.time_passes(MUTE)
        assert pool.stage.state() == ("Running", "Started")
        await pool.kubelet_ends_pods()
        assert pool.stage.state() == CRASHED

    played(scenario, **ONE)


def test_a_changed_pool_has_new_workers_and_lets_the_old_ones_end_their_runs() -> None:
    async def scenario(pool: WarmPool) -> None:
        (old,) = pool.pods()
        await pool.comes_up(old)
        await pool.submitted()
        await pool.claims()
        await pool.edited(image="flows:2")
        (new,) = set(pool.pods()) - {old}
        lease = pool.lease(old)
        assert lease is not None
        assert lease["metadata"]["annotations"][labels.DRAIN] == "true"
        await pool.comes_up(new)
        await pool.submitted("next")
        assert pool.worker("next")["name"] == new
        await pool.ends()
        await pool.until(lambda: pool.pods() == [new], "the deletion of the old worker")

    played(scenario, **ONE)


def test_a_new_operator_finds_workers_and_runs_as_they_are() -> None:
    async def scenario() -> None:
        pool = WarmPool(**ONE)
        async with pool.running():
            (pod,) = pool.pods()
            await pool.comes_up(pod)
            await pool.submitted()
            await pool.claims()
            await pool.submitted("next")
        async with pool.running():
            await pool.quiet()
            assert pool.pods() == [pod]
            assert pool.stage.state() == ("Running", "Started")
            assert not pool.worker("next")
            await pool.ends()
            await pool.until(lambda: pool.worker("next"))

    asyncio.run(scenario())


def ready(pool: WarmPool) -> tuple[str, str, str]:
    """The pool's condition."""
    body = pool.stage.get("WorkPool", "default") or {}
    (found,) = (c for c in body["status"]["conditions"] if c["type"] == "Ready")
    return found["status"], found["reason"], found["message"]
