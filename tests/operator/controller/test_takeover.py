"""Who begins to act finds what happened while nobody did."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controller_stage import Json, Play, ended, standby
from penstock.api import reasons
from penstock_operator.cluster import NODES, PODS
from penstock_operator.core.leadership import DURATION
from run_stage import NAMESPACE


def test_an_operator_that_starts_takes_over_what_it_finds() -> None:
    """In every state, and whatever happened while there was none."""

    async def scenario() -> None:
        play = Play()
        async with play.running():
            await play.launched()
        play.stage.start_pod()
        play.stage.claim()
        async with play.running():
            await play.quiet()
            assert play.stage.state() == ("Running", "Started")
        play.stage.remove("Pod", "run-1")
        async with play.running():
            await play.state("Crashed", reasons.POD_DELETED)
            await play.settled()

    asyncio.run(scenario())


OF_MEMORY: Json = {"infraRetries": {"limit": 1, "reasons": [reasons.OOM_KILLED]}}
OF_ANY: Json = {"infraRetries": {"limit": 1}}
LEFT: dict[str, tuple[str, Json, tuple[str, str, int]]] = {
    # what had happened before, the deployment, then: state, reason and attempt of the run
    "what it had claimed is lost, and nobody knows why": ("claimed", {}, ("Crashed", reasons.POD_DELETED, 1)),
    "another attempt follows where any loss calls for one": ("claimed", OF_ANY, ("Pending", reasons.LAUNCHED, 2)),
    "none where only a reason that is lost does": ("claimed", OF_MEMORY, ("Crashed", reasons.POD_DELETED, 1)),
    "what it had not claimed begins anew at no cost": ("launched", {}, ("Pending", reasons.LAUNCHED, 1)),
    "its own word stands": ("completed", {}, ("Completed", "Completed", 1)),
    "what was asked of it is done": ("cancelled", {}, ("Cancelled", reasons.CANCEL_REQUESTED, 1)),
}


@pytest.mark.parametrize("name", LEFT)
def test_of_a_pod_that_ended_and_was_deleted_while_there_was_no_operator_the_words_are_lost_and_no_more(
    name: str,
) -> None:
    before, deployment, (state, reason, attempt) = LEFT[name]

    async def scenario() -> None:
        play = Play(deployment=deployment)
        async with play.running():
            await (play.launched if before == "launched" else play.claimed)()
            if before == "cancelled":
                play.stage.edit("FlowRun", "run", cancel=True)
                await play.state("Cancelling")
        if before == "completed":
            play.stage.enter("Completed", "Completed")
        play.stage.end_pod(code=137, reason="OOMKilled")
        play.stage.remove("Pod", "run-1")
        async with play.running():
            await play.state(state, reason)
            await play.quiet()
            assert play.stage.run()["attempt"] == attempt

    asyncio.run(scenario())


def test_nothing_is_decided_before_everything_is_known() -> None:
    """A run whose pod is not listed yet is not a run without one."""

    async def scenario() -> None:
        play = Play()
        async with play.running():
            await play.claimed()
        gate = asyncio.Event()
        list_pages = play.cluster.list_pages

        async def slow(resource: Any, namespace: str | None = None, **how: Any) -> Any:
            if resource is PODS:
                await gate.wait()
            async for page in list_pages(resource, namespace, **how):
                yield page

        play.cluster.list_pages = slow  # type: ignore[method-assign]
        controller = play.begin()
        task = asyncio.create_task(controller.run())
        await play.until(lambda: len(controller.agenda.queue), "the run's key")
        for _ in range(20):
            await asyncio.sleep(0)
        assert (len(controller.agenda.queue), controller.agenda.queue.working) == (
            2,
            0,
        )  # with the schedules of its deployment
        gate.set()
        await play.until(lambda: not len(controller.agenda.queue) and not controller.agenda.queue.working)
        assert play.stage.state() == ("Running", "Started")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())


@pytest.mark.parametrize("there", [True, False])
def test_a_node_that_was_deleted_while_there_was_no_operator_is_found_missing(there: bool) -> None:
    async def scenario() -> None:
        play = Play()
        async with play.running():
            await play.claimed()
        if not there:
            play.cluster.remove(NODES, "", "node-1")
        async with play.running():
            await play.quiet()
            assert play.stage.state() == (("Running", "Started") if there else ("Crashed", reasons.NODE_LOST))

    asyncio.run(scenario())


@pytest.mark.parametrize("gone", ["the run", "the run, and one of its name is there"])
def test_the_slots_of_a_run_that_was_deleted_before_are_held_until_its_pod_is_gone(gone: str) -> None:
    async def scenario() -> None:
        play = Play(pool={"concurrencyLimit": 1})
        async with play.running():
            await play.claimed()
        play.stage.remove("FlowRun", "run")  # its pod has its grace
        if gone != "the run":
            play.stage.submit()
        async with play.running() as controller:
            play.stage.submit("next")
            await play.quiet()
            assert play.stage.names("Pod") == ["run-1"]
            assert [name for name in ("run", "next") if play.stage.get("FlowRun", name)][-1] == "next"
            assert play.stage.state("next") == ("Scheduled", reasons.POOL_FULL)
            play.stage.remove("Pod", "run-1")
            first = "next" if gone == "the run" else "run"
            await play.state("Pending", run=first)
            await play.quiet()
            assert len(play.stage.names("Pod")) == 1
            assert not controller.slots._ghosts

    asyncio.run(scenario())


def test_the_pod_of_a_settled_run_holds_nothing() -> None:
    async def scenario() -> None:
        play = Play(pool={"concurrencyLimit": 1})
        async with play.running():
            await ended(play)
        async with play.running():
            play.stage.submit("next")
            await play.state("Pending", run="next")

    asyncio.run(scenario())


HOURLY: Json = {"schedules": [{"slug": "hourly", "cron": {"expression": "0 * * * *"}}]}


def test_a_run_that_came_due_meanwhile_is_made_first() -> None:
    async def scenario() -> None:
        play = Play(deployment=HOURLY)
        async with play.running():
            await play.quiet()
        for number in range(20):
            play.stage.submit(f"run-{number}")
        play.clock.advance(3600)
        play.cluster.writes.clear()
        async with play.running(workers=1):
            await play.until(lambda: play.cluster.writes)
            assert [write.kind for write in play.cluster.writes[:1]] == ["FlowRun"]
            assert play.cluster.writes[0].verb == "create"

    asyncio.run(scenario())


def test_what_a_predecessor_has_made_and_retention_deleted_is_not_made_again() -> None:
    """A standby whose watch lags behind lists before it makes anything."""

    async def scenario() -> None:
        play = Play(deployment=HOURLY)
        async with play.running():
            await play.quiet()
        stale = play.stage.get("FlowDeployment", "etl") or {}
        async with play.running():
            await play.time_passes(3600)
            (run,) = play.stage.names("FlowRun")
            await play.until(lambda: play.stage.get("FlowDeployment", "etl") != stale, "its cursor")
        play.stage.remove("FlowRun", run)
        async with standby(play) as (_, office):
            play.controller.cache.drop("FlowDeployment", (NAMESPACE, "etl"))
            play.controller.cache.put("FlowDeployment", stale)
            await office.look(DURATION)
            await play.until(lambda: play.controller.term.acts, "its term")
            await play.quiet()
            assert play.stage.names("FlowRun") == []

    asyncio.run(scenario())
