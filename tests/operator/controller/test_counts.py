"""The counts of pools, queues and limits in their status: written where they changed."""

from __future__ import annotations

import asyncio
from typing import Any

from memory_cluster import Write
from penstock_operator.cluster import FLOW_DEPLOYMENTS, WORK_POOLS, Unavailable
from penstock_operator.controller.counts import CALM, DEPLOYMENTS_AT_ONCE, Counts
from penstock_operator.core.admission import Limit
from penstock_operator.core.places import DEPLOYMENT
from run_stage import NAMESPACE, Stage

Json = dict[str, Any]


def counted(stage: Stage, kind: str, name: str) -> tuple[int, int]:
    """Queued and active."""
    status = (stage.get(kind, name) or {})["status"]
    return status["queued"], status["active"]


def test_counts_are_written_once_for_each_change() -> None:
    stage = Stage(pool={"concurrencyLimit": 1}, deployment={"tags": ["db"]})
    stage.apply("WorkQueue", "q", {"workPoolRef": {"name": "default"}, "selector": {}})
    stage.apply("ConcurrencyLimit", "database", {"limit": 5, "tag": "db"})
    counts = Counts(stage.cluster, stage.slots, stage.cache)
    for number in range(3):
        stage.submit(f"r{number}")
        stage.reconcile(f"r{number}")
    asyncio.run(counts.write())
    assert counted(stage, "WorkPool", "default") == (2, 1)
    assert counted(stage, "WorkQueue", "q") == (2, 1)
    assert counted(stage, "ConcurrencyLimit", "database") == (2, 1)
    written = len(stage.cluster.writes)
    stage.reconcile("r2")
    asyncio.run(counts.write())
    assert len(stage.cluster.writes) == written


def test_a_condition_that_stands_there_stays() -> None:
    stage = Stage(pool={"concurrencyLimit": 1})
    stage.cluster.set_status(WORK_POOLS, NAMESPACE, "default", conditions=[{"type": "Ready", "status": "True"}])
    stage.submit()
    stage.reconcile()
    asyncio.run(Counts(stage.cluster, stage.slots, stage.cache).write())
    assert counted(stage, "WorkPool", "default") == (0, 1)
    assert (stage.get("WorkPool", "default") or {})["status"]["conditions"]


def test_runs_that_come_one_by_one_cost_their_pool_few_writes() -> None:
    stage, now = Stage(), [0.0]
    counts = Counts(stage.cluster, stage.slots, stage.cache, lambda: now[0])
    stage.hear()
    stage.slots.close()
    stage.slots.open()
    asyncio.run(counts.write())
    assert counted(stage, "WorkPool", "default") == (0, 0), "what an earlier term has left is mended"
    written = len([write for write in stage.cluster.writes if write.kind == "WorkPool"])
    for name in ("r1", "r2"):
        stage.submit(name)
        stage.reconcile(name)
        now[0] += 1
        asyncio.run(counts.write())
    assert counted(stage, "WorkPool", "default") == (0, 0)
    now[0] += CALM
    asyncio.run(counts.write())
    assert counted(stage, "WorkPool", "default") == (0, 2)
    assert len([write for write in stage.cluster.writes if write.kind == "WorkPool"]) == written + 1


def test_a_deployment_says_how_many_of_its_runs_are_active_after_a_while() -> None:
    stage, now = Stage(), [0.0]
    stage.cluster.set_status(FLOW_DEPLOYMENTS, NAMESPACE, "etl", conditions=[])
    counts = Counts(stage.cluster, stage.slots, stage.cache, lambda: now[0])

    def said() -> int | None:
        found = stage.get("FlowDeployment", "etl") or {}
        stage.cache.put("FlowDeployment", found)
        active: int | None = (found.get("status") or {}).get("active")
        return active

    def later() -> int:
        """The number of writes that counting costs, though time passes."""
        before = len([write for write in stage.cluster.writes if write.kind == "FlowDeployment"])
        for _ in range(3):
            said()
            asyncio.run(counts.write())
            now[0] += CALM
        return len([write for write in stage.cluster.writes if write.kind == "FlowDeployment"]) - before

    assert said() is None
    assert later() == 0, "it has said nothing, which is right"
    for name in ("r1", "r2"):
        stage.submit(name)
        stage.reconcile(name)
        asyncio.run(counts.write())
    assert said() is None
    assert later() == 1
    assert said() == 2
    counts = Counts(stage.cluster, stage.slots, stage.cache, lambda: now[0])
    stage.slots.recount(Limit(DEPLOYMENT, NAMESPACE, "etl"))
    assert later() == 0, "another term reads what is there"


def test_many_deployments_are_counted_some_at_a_time() -> None:
    stage, now = Stage(), [0.0]
    counts = Counts(stage.cluster, stage.slots, stage.cache, lambda: now[0])
    names = [f"d{number}" for number in range(DEPLOYMENTS_AT_ONCE + 2)]
    for name in names:
        stage.apply("FlowDeployment", name, {"flowRef": {"name": "etl"}, "parameters": {"n": 1}})
        stage.cache.put("FlowDeployment", stage.get("FlowDeployment", name) or {})
        stage.submit(f"run-of-{name}", deploymentRef={"name": name})
        stage.reconcile(f"run-of-{name}")

    def shown() -> int:
        asyncio.run(counts.write())
        return len(
            [name for name in names if ((stage.get("FlowDeployment", name) or {}).get("status") or {}).get("active")]
        )

    assert shown() == 0
    now[0] += CALM
    assert shown() == DEPLOYMENTS_AT_ONCE
    assert shown() == len(names)


def test_what_could_not_be_written_comes_the_next_time_and_what_is_gone_does_not() -> None:
    stage = Stage(pool={"concurrencyLimit": 1})
    stage.submit()
    stage.reconcile()
    counts = Counts(stage.cluster, stage.slots, stage.cache)

    def away(_: Write) -> None:
        raise Unavailable(503, "ServiceUnavailable", "away")

    stage.cluster.before = away
    asyncio.run(counts.write())
    stage.cluster.before = lambda _: None
    asyncio.run(counts.write())
    assert counted(stage, "WorkPool", "default") == (0, 1)
    stage.remove("WorkPool", "default")
    stage.edit("FlowRun", "run", cancel=True)
    stage.slots.recount(next(iter(stage.slots.books.holders)))
    asyncio.run(counts.write())
