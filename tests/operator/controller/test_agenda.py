"""What waits for an object is looked at when the object is heard of, and in the end in any case."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from controller_stage import THING, Play, played, recorded
from penstock.api import reasons
from penstock_operator.controller.agenda import REMEMBERED_TOUCHES, SAFETY
from penstock_operator.core.policy import DEFAULT_LATE_AFTER
from penstock_operator.reconcile.sources import Key, Requeue
from run_stage import NAMESPACE


def test_a_run_waits_for_an_object_and_goes_on_when_it_is_heard_of() -> None:
    async def scenario(play: Play) -> None:
        flow = (play.stage.get("Flow", "etl") or {})["spec"]
        play.stage.remove("Flow", "etl")
        play.stage.submit()
        await play.state("Scheduled", reasons.FLOW_NOT_FOUND)
        await play.quiet()
        play.stage.apply("Flow", "etl", flow)
        await play.quiet()
        assert play.stage.state() == ("Scheduled", reasons.FLOW_NOT_FOUND)
        play.controller.touch("Flow", Key("other", "etl"))
        play.controller.touch("WorkPool", Key(NAMESPACE, "etl"))
        await play.quiet()
        assert play.stage.state() == ("Scheduled", reasons.FLOW_NOT_FOUND)
        play.controller.touch("Flow", Key(NAMESPACE, "etl"))
        await play.state("Pending")

    played(scenario)


def test_a_run_goes_on_when_its_deployment_is_there() -> None:
    async def scenario(play: Play) -> None:
        play.stage.remove("FlowDeployment", "etl")
        play.stage.submit()
        await play.state("Scheduled", reasons.DEPLOYMENT_NOT_FOUND)
        play.stage.apply("FlowDeployment", "etl", {"flowRef": {"name": "etl"}, "parameters": {"n": 1}})
        await play.state("Pending")

    played(scenario)


def test_a_run_goes_on_in_the_end_though_nobody_told() -> None:
    async def scenario(play: Play) -> None:
        flow = (play.stage.get("Flow", "etl") or {})["spec"]
        play.stage.remove("Flow", "etl")
        play.stage.submit()
        await play.state("Scheduled", reasons.FLOW_NOT_FOUND)
        await play.quiet()
        await play.time_passes(DEFAULT_LATE_AFTER)
        await play.until(lambda: play.stage.run()["state"]["name"] == "Late")
        await play.quiet()
        play.stage.apply("Flow", "etl", flow)
        await play.time_passes(SAFETY.total_seconds() - 1)
        assert play.stage.state() == ("Scheduled", reasons.FLOW_NOT_FOUND)
        await play.time_passes(1)
        await play.state("Pending")

    played(scenario)


def test_what_comes_while_one_looks_for_it_is_not_missed() -> None:
    async def scenario(play: Play) -> None:
        def during() -> None:
            play.controller.touch("Flow", Key(NAMESPACE, "wanted"))

        came = recorded(play, [Requeue(waits_for=("Flow", "wanted")), None], during)
        play.controller.touch("Thing", THING)
        await play.until(lambda: len(came) == 2)

    played(scenario)


def test_what_was_touched_last_is_remembered_however_much_is_touched() -> None:
    async def scenario(play: Play) -> None:
        def touch(name: str) -> None:
            play.controller.touch("Flow", Key(NAMESPACE, name))

        def during() -> None:
            touch("wanted")
            touch("one-more")

        touch("wanted")
        for number in range(2, REMEMBERED_TOUCHES):  # which the thing itself makes full
            touch(f"flow-{number}")
        came = recorded(play, [Requeue(waits_for=("Flow", "wanted")), None], during)
        play.controller.touch("Thing", THING)
        await play.until(lambda: len(came) == 2)
        assert len(play.controller.agenda._touched) == REMEMBERED_TOUCHES

    played(scenario)


def test_a_touch_that_came_before_the_look_does_not_call_for_another() -> None:
    async def scenario(play: Play) -> None:
        play.controller.touch("Flow", Key(NAMESPACE, "wanted"))
        await asyncio.sleep(0.001)
        came = recorded(play, [Requeue(waits_for=("Flow", "wanted"))])
        play.controller.touch("Thing", THING)
        await play.quiet()
        assert came == [THING]
        play.controller.touch("Flow", Key(NAMESPACE, "wanted"))
        await play.until(lambda: len(came) == 2)

    played(scenario)


def test_what_came_between_the_naming_of_a_key_and_the_look_at_it_is_looked_for_again() -> None:
    """For the look may rest on a read that began before, which it shares with another."""

    async def scenario(play: Play) -> None:
        came = recorded(play, [Requeue(waits_for=("Flow", "wanted")), None])
        play.controller.touch("Thing", THING)
        play.controller.touch("Flow", Key(NAMESPACE, "wanted"))
        await play.until(lambda: len(came) == 2)

    played(scenario)


def test_a_key_comes_again_at_the_time_its_reconciler_names() -> None:
    async def scenario(play: Play) -> None:
        came = recorded(play, [Requeue(play.clock() + timedelta(seconds=40)), None])
        play.controller.touch("Thing", THING)
        await play.quiet()
        await play.time_passes(39)
        assert len(came) == 1
        await play.time_passes(1)
        assert len(came) == 2

    played(scenario)


def test_who_waited_and_was_deleted_is_forgotten() -> None:
    async def scenario(play: Play) -> None:
        play.stage.remove("FlowDeployment", "etl")
        play.stage.submit()
        await play.state("Scheduled", reasons.DEPLOYMENT_NOT_FOUND)
        await play.quiet()
        assert len(play.controller.agenda.waiting) == 1
        play.stage.remove("FlowRun", "run")
        await play.until(lambda: not len(play.controller.agenda.waiting))

    played(scenario)
