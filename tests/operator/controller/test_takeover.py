"""Who begins to act finds what happened while nobody did."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from controller_stage import Play
from penstock.api import reasons
from penstock_operator.cluster import NODES, PODS


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
