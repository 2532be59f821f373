"""The controller as a whole, on a cluster in memory: runs come to their end."""

from __future__ import annotations

import asyncio
import copy
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from controller_stage import NODE, PATIENCE, THING, Json, Kept, Play, kept, played
from penstock.api import names, reasons
from penstock_operator.cluster import EVENTS, FLOW_RUNS, NODES, ResourceType
from penstock_operator.reconcile.sources import Key
from run_stage import NAMESPACE, PARAMETERS


def test_a_run_is_launched_watched_and_settled() -> None:
    async def scenario(play: Play) -> None:
        await play.launched()
        assert play.stage.state() == ("Pending", reasons.LAUNCHED)
        play.clock.advance(1)
        play.stage.start_pod()
        play.stage.claim()
        play.clock.advance(1)
        play.stage.enter("Completed", "Completed")
        play.stage.end_pod()
        await play.settled()
        await play.quiet()
        assert play.controller.cache.count("FlowRun") == 0
        run = play.stage.get("FlowRun", "run")
        assert run is not None
        told = {body["metadata"]["name"]: body["reason"] for body in play.cluster.kinds("Event")}
        assert [told[names.event("run", run["metadata"]["uid"], seq)] for seq in (2, 3, 4)] == [
            "FlowRunPending",
            "FlowRunRunning",
            "FlowRunCompleted",
        ]
        assert len(told) == 3  # it was launched as it was accepted

    played(scenario)


def test_the_events_of_a_job_and_its_pod_are_heard_by_their_run() -> None:
    async def scenario(play: Play) -> None:
        play.stage.submit()
        await play.until(lambda: play.stage.get("Job", "run-1"), "the launch")
        pod = play.stage.make_pod_of_job()
        play.stage.start_pod(pod)
        play.stage.claim(pod)
        await play.state("Running")
        play.stage.end_pod(pod, 137, "OOMKilled")
        await play.quiet()
        assert play.stage.state() == ("Running", "Started")
        play.stage.end_job("run-1", "Failed", reason="BackoffLimitExceeded")
        await play.state("Crashed", reasons.OOM_KILLED)
        await play.settled()

    played(scenario, pool_type="Job")


def test_a_cancellation_ends_the_pod_and_then_the_run() -> None:
    async def scenario(play: Play) -> None:
        await play.claimed()
        play.stage.edit("FlowRun", "run", cancel=True)
        await play.until(lambda: "deletionTimestamp" in (play.stage.get("Pod", "run-1") or {})["metadata"])
        await play.state("Cancelling")
        play.stage.remove("Pod", "run-1")
        await play.state("Cancelled", reasons.CANCEL_REQUESTED)
        await play.settled()

    played(scenario)


def test_many_runs_are_brought_to_their_end_together() -> None:
    async def scenario(play: Play) -> None:
        runs = [f"run-{number}" for number in range(40)]
        for run in runs:
            play.stage.submit(run)
        for run in runs:
            await play.until(lambda run=run: play.stage.get("Pod", f"{run}-1"), f"the launch of {run}")  # type: ignore[misc]
            play.stage.start_pod(f"{run}-1")
            play.stage.claim(f"{run}-1", run)
            play.stage.enter("Completed", "Completed", run)
            play.stage.end_pod(f"{run}-1")
        for run in runs:
            await play.settled(run)
        assert len(play.cluster.kinds("Pod")) == len(runs)

    played(scenario)


def test_a_backoff_and_a_deadline_come_when_they_are_due() -> None:
    async def scenario(play: Play) -> None:
        await play.claimed()
        play.stage.end_pod(code=1)
        await play.state("Scheduled", reasons.EXITED)
        await play.quiet()
        assert play.stage.get("Pod", "run-2") is None
        await play.time_passes(19)
        assert play.stage.get("Pod", "run-2") is None
        await play.time_passes(1)
        assert play.stage.get("Pod", "run-2") is not None
        await play.time_passes(599)
        assert play.stage.get("Pod", "run-2") is not None
        await play.time_passes(1)
        await play.state("Crashed", reasons.PENDING_DEADLINE_EXCEEDED)
        assert play.stage.get("Pod", "run-2") is None

    played(scenario, deployment={"infraRetries": {"limit": 1, "backoffSeconds": 20}})


def test_a_pod_that_went_while_no_watch_was_open_is_missed() -> None:
    async def scenario(play: Play) -> None:
        await play.claimed()
        play.stage.remove("Pod", "run-1")
        play.cluster.compact()
        play.cluster.cut()
        await play.state("Crashed", reasons.POD_DELETED)

    played(scenario)


def test_a_run_that_is_deleted_is_forgotten_with_its_timers() -> None:
    async def scenario(play: Play) -> None:
        play.stage.submit(scheduledTime="2026-01-01T07:00:00Z")
        await play.state("Scheduled", reasons.NOT_DUE)
        await play.quiet()
        assert len(play.controller.agenda.due) == 1
        play.stage.remove("FlowRun", "run")
        await play.until(lambda: play.controller.cache.count("FlowRun") == 0)
        assert len(play.controller.agenda.due) == 0
        await play.time_passes(7200)
        assert play.cluster.kinds("Pod") == []

    played(scenario)


# Nodes.


def test_runs_on_a_node_that_is_deleted_are_lost() -> None:
    async def scenario(play: Play) -> None:
        await play.claimed()
        await play.quiet()
        play.cluster.remove(NODES, "", "node-1")
        await play.state("Crashed", reasons.NODE_LOST)
        await play.settled()

    played(scenario)


def test_runs_on_a_node_that_is_taken_out_of_service_are_lost_and_others_are_not() -> None:
    async def scenario(play: Play) -> None:
        await play.claimed()
        for taints in ([{"key": "node.kubernetes.io/unreachable"}], None):
            ops = [{"op": "add", "path": "/spec/taints", "value": taints}]
            await play.cluster.patch(NODES, None, "node-1", ops)
            await play.quiet()
            assert play.stage.state() == ("Running", "Started")
        taints = [{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]
        await play.cluster.patch(NODES, None, "node-1", [{"op": "add", "path": "/spec/taints", "value": taints}])
        await play.state("Crashed", reasons.NODE_LOST)

    played(scenario)


def test_a_node_that_is_back_before_that_is_heard_takes_no_run_with_it() -> None:
    """Watches of pods and of nodes are not in step."""

    async def scenario(play: Play) -> None:
        await play.claimed()
        await play.quiet()
        play.controller.cache.forget_node("node-1")
        play.controller.naming.node("node-1")
        await play.quiet()
        assert play.stage.state() == ("Running", "Started")
        assert not play.controller.cache.lost_nodes()

    played(scenario)


def test_that_a_node_answers_again_is_news_to_all_its_runs_though_a_read_for_one_has_told_so() -> None:
    async def scenario(play: Play) -> None:
        def says(ready: str) -> None:
            told = {"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T06:00:00Z"}
            play.cluster.set_status(NODES, "", "node-1", conditions=[told])

        await play.claimed()
        says("Unknown")
        await play.until(lambda: play.stage.condition("NodeLost") == ("True", "NodeSilent"))
        await play.quiet()
        says("True")
        (node,) = play.cluster.kinds("Node")
        play.controller.cache.remember(copy.deepcopy(node))
        await play.until(lambda: play.stage.condition("NodeLost") == ("False", "NodeReady"))

    played(scenario)


def test_a_node_that_is_back_is_no_lost_one() -> None:
    async def scenario(play: Play) -> None:
        play.cluster.remove(NODES, "", "node-1")
        await play.until(lambda: play.controller.cache.lost_nodes())
        await play.cluster.create(NODES, None, NODE)
        await play.until(lambda: not play.controller.cache.lost_nodes())
        await play.claimed()
        await play.quiet()
        assert play.stage.state() == ("Running", "Started")

    played(scenario)


def test_what_only_events_say_of_a_pod_is_told_on_its_run() -> None:
    async def scenario(play: Play) -> None:
        play.stage.submit()
        await play.until(lambda: play.stage.pod())
        pod = play.stage.pod() or {}
        play.cluster.set_node(NAMESPACE, "run-1", "node-1")
        event = {
            "metadata": {"name": "run-1.1"},
            "type": "Warning",
            "reason": "FailedMount",
            "note": 'secret "db" not found',
            "regarding": {"kind": "Pod", "name": "run-1", "uid": pod["metadata"]["uid"]},
        }
        await play.cluster.create(EVENTS, NAMESPACE, event)
        await play.until(lambda: play.stage.condition("PodReady") == ("False", reasons.MOUNT_FAILED))

    played(scenario)


def test_a_silent_node_is_told_on_its_runs() -> None:
    async def scenario(play: Play) -> None:
        await play.claimed()
        for ready in ("Unknown", "True"):
            told = {"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T06:00:00Z"}
            play.cluster.set_status(NODES, "", "node-1", conditions=[told])
            wanted = "True" if ready == "Unknown" else "False"
            await play.until(lambda wanted=wanted: (play.stage.condition("NodeLost") or "")[:1] == (wanted,))  # type: ignore[misc]
        assert play.stage.state() == ("Running", "Started")

    played(scenario)


def test_an_operator_of_some_namespaces_reads_no_nodes() -> None:
    """It has no ClusterRole; a pod whose node is gone is deleted by Kubernetes in the end."""

    async def scenario() -> None:
        play = Play()
        play.stage.submit("elsewhere")
        body = copy.deepcopy(play.stage.get("FlowRun", "elsewhere"))
        assert body is not None
        play.stage.remove("FlowRun", "elsewhere")
        await play.cluster.create(FLOW_RUNS, "other", body)
        async with play.running(namespaces=(NAMESPACE,)) as controller:
            await play.claimed()
            assert "Node" not in {informer.selection.resource.kind for informer in controller.informers}
            assert list(controller.cache.refs("FlowRun", None)) == [(NAMESPACE, "run")]
            assert [body["metadata"]["namespace"] for body in play.cluster.kinds("Pod")] == [NAMESPACE]

    asyncio.run(scenario())


def test_runs_that_come_at_once_share_the_reads_of_what_they_name(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(play: Play) -> None:
        reads: Counter[str] = Counter()
        get = play.cluster.get

        async def counted(resource: ResourceType, namespace: str | None, name: str) -> Json | None:
            reads[resource.kind] += 1
            return await get(resource, namespace, name)

        monkeypatch.setattr(play.cluster, "get", counted)
        runs = [f"run-{number}" for number in range(40)]
        for run in runs:
            play.stage.submit(run)
        await play.until(lambda: all(play.stage.get("Pod", f"{run}-1") for run in runs), "the launches")
        assert all(0 < reads[kind] <= 20 for kind in ("FlowDeployment", "Flow", "WorkPool")), reads

    played(scenario)


def test_a_restart_posts_no_events_of_what_is_older_than_they_are_kept() -> None:
    async def scenario() -> None:
        play = Play()
        async with play.running():
            await play.claimed()
            await play.until(lambda: len(play.cluster.kinds("Event")) == 1, "the Event of the claim, which lasts")
        play.cluster.writes.clear()
        play.clock.advance(3601)
        async with play.running():
            await play.quiet()
            play.stage.enter("Completed", "Completed")
            play.stage.end_pod()
            await play.settled()
            await asyncio.wait_for(play.controller.events.sent(), PATIENCE)
        assert [write.verb for write in play.cluster.writes if write.kind == "Event"] == ["create"]

    asyncio.run(scenario())


def test_a_controller_that_is_drained_ends_what_it_does_and_takes_nothing_more() -> None:
    async def scenario(play: Play) -> None:
        begun, ended, may_end = [], [], asyncio.Event()

        async def slow(key: Key) -> None:
            begun.append(key)
            await may_end.wait()
            ended.append(key)

        play.controller.register("Thing", slow)
        things = [Key(NAMESPACE, str(number)) for number in range(40)]
        for thing in things:
            play.controller.touch("Thing", thing)
        await play.until(lambda: len(begun) == 16)
        drained = asyncio.create_task(play.controller.drain(PATIENCE))
        await asyncio.sleep(0.01)
        assert not drained.done()
        may_end.set()
        await drained
        await asyncio.sleep(0.01)
        assert begun == ended == things[:16]

    played(scenario)


def test_a_drain_waits_no_longer_than_it_is_told() -> None:
    async def scenario(play: Play) -> None:
        hung = asyncio.Event()

        async def hangs(_: Key) -> None:
            hung.set()
            await asyncio.Event().wait()

        play.controller.register("Thing", hangs)
        play.controller.touch("Thing", THING)
        await asyncio.wait_for(hung.wait(), PATIENCE)
        await asyncio.wait_for(play.controller.drain(0.05), PATIENCE)

    played(scenario)


def test_what_a_cancelled_pod_says_is_read_from_before_its_deletion() -> None:
    async def scenario(scene: Kept, play: Play) -> None:
        log, order = scene.says(b"2026-01-01T06:00:00Z first\n"), []
        read = play.cluster.logs

        async def logs(*words: Any, **how: Any) -> AsyncIterator[bytes]:
            order.append("opened")
            async for chunk in read(*words, **how):
                yield chunk

        play.cluster.logs = logs  # type: ignore[method-assign]
        play.cluster.before = lambda write: order.append("deleted") if write.verb == "delete" else None
        await play.claimed()
        play.stage.edit("FlowRun", "run", cancel=True)
        await play.until(lambda: "deleted" in order)
        log.write(b"2026-01-01T06:00:01Z last\n")
        play.stage.end_pod(code=143)
        play.stage.remove("Pod", "run-1")
        log.end()
        await play.state("Cancelled")
        await play.until(scene.archived)
        assert scene.archived() == ["first", "last"]
        assert order[:2] == ["opened", "deleted"]

    kept(scenario)


def counted(play: Play) -> Counter[str]:
    """Reads of single objects from now on, by kind."""
    counts: Counter[str] = Counter()
    get = play.cluster.get

    async def count(resource: ResourceType, namespace: str | None, name: str) -> Json | None:
        counts[resource.kind] += 1
        return await get(resource, namespace, name)

    play.cluster.get = count  # type: ignore[method-assign]
    return counts


async def _crowded(play: Play) -> None:
    """One run has the only slot, and another waits."""
    for name in ("first", "second"):
        play.stage.submit(name)
        await play.until(lambda name=name: play.stage.state(name), name)  # type: ignore[misc]
    assert play.stage.state("second") == ("Scheduled", "WorkPoolFull")


def test_runs_that_come_where_others_wait_read_nothing_anew() -> None:
    async def scenario(play: Play) -> None:
        await _crowded(play)
        reads = counted(play)
        for number in range(5):
            play.stage.submit(f"later-{number}")
            await play.state("Scheduled", "WorkPoolFull", f"later-{number}")
        assert reads == {}

    played(scenario, pool={"concurrencyLimit": 1})


def test_what_was_read_for_others_refuses_no_run() -> None:
    """Nobody has heard yet of the edit that makes the run a good one."""

    async def scenario(play: Play) -> None:
        await _crowded(play)
        properties = {**PARAMETERS["properties"], "new": {"type": "integer"}}
        play.stage.edit("Flow", "etl", parameters={**PARAMETERS, "properties": properties})
        play.stage.submit("later", parameters={"n": 1, "new": 2})
        await play.state("Scheduled", "WorkPoolFull", "later")

    played(scenario, pool={"concurrencyLimit": 1})


def test_what_was_read_for_others_starts_no_run() -> None:
    """A run that comes after an edit starts with what was edited, though others wait in its pool, for another limit."""

    async def scenario(play: Play) -> None:
        play.stage.apply("ConcurrencyLimit", "gpu", {"tag": "gpu", "limit": 1})
        for name, state in (("first", "Pending"), ("second", "Scheduled")):
            play.stage.submit(name, tags=["gpu"])
            await play.state(state, None, name)
        play.stage.edit("Flow", "etl", entrypoint="etl:other")
        play.stage.submit("later")
        await play.state("Pending", None, "later")
        assert play.stage.run("later")["resolved"]["entrypoint"] == "etl:other"

    played(scenario)
