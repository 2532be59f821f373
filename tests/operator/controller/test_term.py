"""A standby knows everything and does nothing; a leader lists before it acts, and stops with its lease."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import builders
from controller_stage import PATIENCE, THING, Kept, Office, Play, standby
from penstock.api import labels, reasons
from penstock_operator.cluster import FLOW_RUNS, PODS, WatchEvent
from penstock_operator.core.leadership import DURATION, GIVE_UP
from penstock_operator.reconcile.sources import Key
from run_stage import NAMESPACE


def test_a_standby_knows_everything_and_does_nothing() -> None:
    async def scenario() -> None:
        async with standby() as (play, _):
            play.stage.submit()
            await play.until(lambda: play.controller.cache.count("FlowRun") == 1)
            play.controller.touch("FlowDeployment", Key(NAMESPACE, "etl"))
            await play.time_passes(3600)
            assert [write.kind for write in play.cluster.writes] == ["FlowRun"]  # the user's
            assert (len(play.controller.agenda.queue), len(play.controller.agenda.due)) == (0, 0)
            assert play.controller.health()["leads"] == 0.0

    asyncio.run(scenario())


def test_a_standby_that_comes_to_lead_does_what_is_to_be_done() -> None:
    async def scenario() -> None:
        async with standby() as (play, office):
            play.stage.submit()
            await play.until(lambda: play.controller.cache.count("FlowRun") == 1)
            await office.look(DURATION)
            await play.state("Pending")
            await play.until(lambda: (play.stage.get("FlowDeployment", "etl") or {}).get("status"), "its condition")
            assert play.controller.health()["leads"] == 1.0

    asyncio.run(scenario())


def test_a_standby_counts_settled_runs_and_deletes_them_only_when_it_leads() -> None:
    async def scenario() -> None:
        async with standby() as (play, office):
            play.stage.submit()
            play.cluster.set_status(
                FLOW_RUNS, NAMESPACE, "run", **builders.flow_run("Completed", settled=True)["status"]
            )
            play.controller.settled._changed(NAMESPACE)
            await play.until(lambda: len(play.controller.settled) == 1, "that it is counted")
            play.clock.advance(365 * 86_400)
            play.controller.housekeeping.due.fire(play.clock())
            await play.quiet()
            assert play.stage.get("FlowRun", "run") is not None
            await office.look(DURATION)
            await play.until(lambda: play.controller.cache.count("FlowRun") == 0)

            def gone() -> bool:
                play.clock.advance(1)
                play.controller.housekeeping.due.fire(play.clock())
                return play.stage.get("FlowRun", "run") is None

            await play.until(gone, "its deletion")

    asyncio.run(scenario())


def test_runs_under_way_do_not_wait_for_the_list_of_those_that_have_ended() -> None:
    """It is the longest, and nothing that is under way rests on it; retention waits for it, for it counts."""

    async def scenario() -> None:
        play = Play()
        play.stage.submit()
        controller = play.begin()
        never = asyncio.Event()

        async def endless(_: str | None) -> str:
            await never.wait()
            return "0"

        controller.settled_informer._list = endless  # type: ignore[method-assign]
        looked: list[str] = []
        controller.housekeeping.run = lambda: looked.append("looked")  # type: ignore[assignment,return-value]
        task = asyncio.create_task(controller.run())
        await play.until(lambda: play.stage.get("Pod", "run-1"), "the launch")
        assert not looked
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())


def test_who_comes_to_lead_lists_before_it_acts_whatever_its_watches_told() -> None:
    """Its watches may lag behind what the last leader did and saw."""

    async def scenario() -> None:
        play = Play()
        async with play.running():
            await play.claimed()
        await Office(play, "another").look()
        office = Office(play)
        await office.look()

        async def silent(*_: Any, **__: Any) -> AsyncIterator[WatchEvent]:
            await asyncio.Event().wait()
            yield WatchEvent("BOOKMARK", {})

        play.cluster.watch = silent  # type: ignore[method-assign]
        async with play.running(leadership=office) as controller:
            play.stage.remove("Pod", "run-1")
            await asyncio.sleep(0.01)
            assert controller.cache.count("Pod") == 1
            await office.look(DURATION)
            await play.until(lambda: controller.cache.count("Pod") == 0)
            await play.state("Crashed", reasons.POD_DELETED)

    asyncio.run(scenario())


def test_a_standby_that_comes_to_lead_knows_the_last_words_of_pods_that_went_while_nobody_led() -> None:
    async def scenario() -> None:
        play = Play()
        async with play.running():
            await play.claimed()
        async with standby(play) as (_, office):
            known = play.controller.cache
            play.stage.end_pod(code=137, reason="OOMKilled")
            play.stage.remove("Pod", "run-1")
            await play.until(lambda: known.count("Pod") == 0)
            await office.look(DURATION)
            await play.state("Crashed", reasons.OOM_KILLED)

    asyncio.run(scenario())


def test_who_loses_the_lease_stops_at_once_and_begins_anew_when_it_leads_again() -> None:
    async def scenario() -> None:
        async with standby() as (play, office):
            await office.look(DURATION)
            await play.launched()
            hung = asyncio.Event()

            async def hangs(_: Key) -> None:
                hung.set()
                await asyncio.Event().wait()

            play.controller.register("Thing", hangs)
            play.controller.touch("Thing", THING)
            await asyncio.wait_for(hung.wait(), PATIENCE)
            office.time += GIVE_UP
            await office.look()
            await play.until(lambda: play.controller.agenda.queue.working == 0)
            play.stage.submit("later")
            await play.until(lambda: play.controller.cache.count("FlowRun") == 2)
            assert (len(play.controller.agenda.queue), play.stage.get("Pod", "later-1")) == (0, None)
            await office.look(1.0)
            await play.until(lambda: play.stage.get("Pod", "later-1"), "the launch")
            await play.until(lambda: len(play.cluster.kinds("Event")) == 2, "the Events of what lasts")
            told = {event["regarding"]["name"]: event["reason"] for event in play.cluster.kinds("Event")}
            assert told == {"run": "FlowRunPending", "later": "FlowRunPending"}

    asyncio.run(scenario())


def test_who_leads_from_the_start_lists_but_once() -> None:
    async def scenario() -> None:
        play = Play()
        office = Office(play)
        await office.look()
        listed: list[str] = []
        list_pages = play.cluster.list_pages

        def counting(resource: Any, namespace: str | None = None, **how: Any) -> Any:
            listed.append(resource.kind)
            return list_pages(resource, namespace, **how)

        play.cluster.list_pages = counting  # type: ignore[method-assign]
        async with play.running(leadership=office):
            await play.launched()
        assert [kind for kind in listed if kind in ("FlowRun", "Pod", "Job", "Node")] == [
            "Pod",
            "Job",
            "FlowRun",
            "FlowRun",  # those under way, and those that have ended
            "Node",
        ]

    asyncio.run(scenario())


def test_a_standby_keeps_no_logs_until_it_leads() -> None:
    async def scenario() -> None:
        scene = Kept()
        async with standby(scene.play, log_archives=scene.places) as (play, office):
            run = play.stage.submit()
            body = builders.run_pod("Succeeded", container={"terminated": {"exitCode": 0}})
            owner = {"kind": "FlowRun", "uid": run["metadata"]["uid"], "name": "run", "controller": True}
            environment = [{"name": labels.ENV_RUN_UID, "value": run["metadata"]["uid"]}]
            meta = {
                "name": "run-1",
                "labels": {labels.MANAGED_BY: labels.MANAGED_BY_VALUE, labels.RUN: "run", labels.ATTEMPT: "1"},
                "annotations": {labels.LOGS_ARCHIVE: str(scene.places[0])},
                "ownerReferences": [owner],
            }
            scene.says(b"2026-01-01T06:00:00Z hello\n")
            spec = {"containers": [{"name": "flow", "env": environment}]}
            await play.cluster.create(PODS, NAMESPACE, {"metadata": meta, "spec": spec})
            play.cluster.set_status(PODS, NAMESPACE, "run-1", **body["status"])
            await play.until(lambda: play.controller.cache.get("Pod", Key(NAMESPACE, "run-1")), "that it is known")
            await play.quiet()
            assert len(play.controller.log_keeping.queue) == 0
            assert scene.archived() == []
            await office.look(DURATION)
            await play.until(scene.archived, "its log")

    asyncio.run(scenario())
