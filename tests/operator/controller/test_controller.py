"""The controller as a whole, on a cluster in memory: runs come to their end, and no single object stops the others."""

from __future__ import annotations

import asyncio
import copy
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import builders
from builders import run_pod
from memory_cluster import PodLog, Write
from penstock.api import labels, names, reasons
from penstock.archive.reading import Archive
from penstock.errors import StorageUnavailable
from penstock.results.storage import open_storage
from penstock.results.urls import parse
from penstock_operator.cluster import EVENTS, FLOW_RUNS, NODES, PODS, ApiError, ResourceType, Unavailable, WatchEvent
from penstock_operator.controller import controller as module
from penstock_operator.controller import informer, queue
from penstock_operator.controller.controller import (
    MAX_STILLNESS,
    MAX_WORK,
    REMEMBERED_TOUCHES,
    SAFETY,
    Controller,
    pod_deadline,
)
from penstock_operator.controller.leadership import Leadership
from penstock_operator.core.leadership import DURATION, GIVE_UP
from penstock_operator.core.policy import DEFAULT_LATE_AFTER
from penstock_operator.core.views import PodView
from penstock_operator.launch.pods import DEFAULT_POD_TTL, TTL, Defaults
from penstock_operator.reconcile import podlogs
from penstock_operator.reconcile.flowdeployments import FlowDeployments
from penstock_operator.reconcile.sources import Key, Requeue
from run_stage import NAMESPACE, Stage, at_once

Json = dict[str, Any]
PATIENCE = 20.0
SIX = datetime(2026, 1, 1, 6, tzinfo=UTC)
NODE: Json = {"metadata": {"name": "node-1"}, "spec": {}}


class Play:
    """A stage whose operator is a whole controller."""

    def __init__(self, **stage: Any) -> None:
        self.stage = Stage(**stage)
        self.cluster, self.clock = self.stage.cluster, self.stage.clock
        at_once(self.cluster.create(NODES, None, NODE))

    def begin(self, **options: Any) -> Controller:
        options = {"clock": self.clock, **options}
        self.controller = Controller(self.cluster, Defaults("registry.example/penstock:1"), **options)
        return self.controller

    @asynccontextmanager
    async def running(self, **options: Any) -> AsyncIterator[Controller]:
        """An operator process; leaving it kills it."""
        controller = self.begin(**options)
        task = asyncio.create_task(controller.run())
        try:
            for informer in controller.informers:
                await asyncio.wait_for(informer.synced.wait(), PATIENCE)
            yield controller
            assert not task.done(), task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def until(self, condition: Callable[[], object], what: str = "it") -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                while not condition():
                    await asyncio.sleep(0.001)
        except TimeoutError:
            raise AssertionError(f"{what} did not happen: {self.cluster.kinds('FlowRun')}") from None

    async def state(self, type_: str, reason: str | None = None, run: str = "run") -> None:
        """The run enters a state."""

        def entered() -> bool:
            found = self.stage.state(run)
            return found is not None and found[0] == type_ and reason in (None, found[1])

        await self.until(entered, f"{type_} {reason}")

    async def settled(self, run: str = "run") -> None:
        await self.until(lambda: self.stage.run(run).get("settled"), "its settling")

    async def quiet(self) -> None:
        """Nothing is left to do for now."""
        controller, still = self.controller, 0
        async with asyncio.timeout(PATIENCE):
            while still < 20:
                busy = len(controller.queue) or controller.queue.working
                still = 0 if busy else still + 1
                await asyncio.sleep(0)

    async def time_passes(self, seconds: float) -> None:
        """The clock goes on, and what is due comes."""
        self.clock.advance(seconds)
        self.controller.due.fire(self.clock())
        await self.quiet()

    async def launched(self) -> None:
        self.stage.submit()
        await self.until(lambda: self.stage.get("Pod", "run-1"), "the launch")

    async def claimed(self) -> None:
        await self.launched()
        self.stage.start_pod()
        self.stage.claim()
        await self.state("Running")


def played(scenario: Callable[[Play], Awaitable[None]], **stage: Any) -> None:
    """Play a scenario with an operator that runs from the beginning."""

    async def whole() -> None:
        play = Play(**stage)
        async with play.running():
            await scenario(play)

    asyncio.run(whole())


# Runs come to their end.


def test_a_run_is_launched_watched_and_settled() -> None:
    async def scenario(play: Play) -> None:
        await play.launched()
        assert play.stage.state() == ("Pending", reasons.LAUNCHED)
        play.stage.start_pod()
        play.stage.claim()
        play.stage.enter("Completed", "Completed")
        play.stage.end_pod()
        await play.settled()
        await play.quiet()
        assert play.controller.cache.count("FlowRun") == 0
        run = play.stage.get("FlowRun", "run")
        assert run is not None
        told = {body["metadata"]["name"]: body["reason"] for body in play.cluster.kinds("Event")}
        assert [told[names.event("run", run["metadata"]["uid"], seq)] for seq in (1, 2, 3, 4)] == [
            "FlowRunScheduled",
            "FlowRunPending",
            "FlowRunRunning",
            "FlowRunCompleted",
        ]
        assert len(told) == 4

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
        await play.until(lambda: len(controller.queue), "the run's key")
        for _ in range(20):
            await asyncio.sleep(0)
        assert (len(controller.queue), controller.queue.working) == (2, 0)  # with the schedules of its deployment
        gate.set()
        await play.until(lambda: not len(controller.queue) and not controller.queue.working)
        assert play.stage.state() == ("Running", "Started")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())


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
        assert len(play.controller.due) == 1
        play.stage.remove("FlowRun", "run")
        await play.until(lambda: play.controller.cache.count("FlowRun") == 0)
        assert len(play.controller.due) == 0
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


# What is waited for.


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


def recorded(
    play: Play, answers: list[Requeue | Exception | None], during: Callable[[], object] | None = None
) -> list[Key]:
    """Have keys of a kind of the test's own reconciled: the keys that came; the last answer stands for all others."""
    came: list[Key] = []

    async def reconcile(key: Key) -> Requeue | None:
        came.append(key)
        if during and len(came) == 1:
            during()
        answer = answers[min(len(came), len(answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    play.controller.register("Thing", reconcile)
    return came


THING = Key(NAMESPACE, "thing")


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
        assert len(play.controller._touched) == REMEMBERED_TOUCHES

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
            await play.until(lambda: len(play.cluster.kinds("Event")) == 3)
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


def test_a_key_comes_again_at_the_time_its_reconciler_names() -> None:
    async def scenario(play: Play) -> None:
        came = recorded(play, [Requeue(SIX + timedelta(seconds=40)), None])
        play.controller.touch("Thing", THING)
        await play.quiet()
        await play.time_passes(39)
        assert len(came) == 1
        await play.time_passes(1)
        assert len(came) == 2

    played(scenario)


def test_a_kind_that_nobody_reconciles_is_not_queued() -> None:
    async def scenario(play: Play) -> None:
        play.controller.touch("Automation", THING)
        assert len(play.controller.queue) == 0

    played(scenario)


# No single object stops the others.


@pytest.mark.parametrize("error", [Unavailable(503, "", "away"), ApiError(401, "", "who?"), ValueError("a bug")])
def test_a_key_that_fails_comes_again_with_a_growing_delay_and_stops_no_other(error: Exception) -> None:
    async def scenario(play: Play) -> None:
        came = recorded(play, [error, error, error, None])
        play.controller.touch("Thing", THING)
        await play.quiet()
        await play.launched()
        for number, seconds in ((1, 0.25), (2, 0.5), (3, 1.0)):
            assert len(came) == number
            await play.time_passes(seconds)
        assert len(came) == 4
        await play.time_passes(3600)
        assert len(came) == 4

    played(scenario)


def test_a_run_that_breaks_its_reconciler_says_so_until_it_goes_on() -> None:
    async def scenario(play: Play) -> None:
        reconcile, broken = play.controller._reconcilers["FlowRun"], [True]

        async def breaks(key: Key) -> Requeue | None:
            if key.name == "bad" and broken[0]:
                raise KeyError("poolType")
            return await reconcile(key)

        play.controller.register("FlowRun", breaks)
        play.stage.submit("bad")
        await play.quiet()
        assert play.stage.condition("Reconciled", "bad") is None  # once may be by chance
        await play.time_passes(1)
        assert play.stage.condition("Reconciled", "bad") == ("False", reasons.RECONCILE_FAILED)
        await play.launched()
        broken[0] = False
        await play.time_passes(60)
        assert play.stage.condition("Reconciled", "bad") == ("True", "Reconciled")
        assert play.stage.state("bad") == ("Pending", reasons.LAUNCHED)

    played(scenario)


def test_an_object_that_cannot_even_be_kept_is_told_of_and_stops_no_other() -> None:
    async def scenario(play: Play) -> None:
        put = play.controller.cache.put

        def picky(kind: str, body: Json) -> bool:
            if body["metadata"]["name"] == "bad" and not body["spec"].get("cancel"):
                raise TypeError("nonsense")
            return put(kind, body)

        play.controller.cache.put = picky  # type: ignore[method-assign]
        play.stage.submit("bad")
        await play.launched()
        await play.time_passes(1)
        assert play.stage.condition("Reconciled", "bad") == ("False", reasons.RECONCILE_FAILED)
        play.stage.edit("FlowRun", "bad", cancel=True)
        await play.until(lambda: play.stage.run("bad").get("state"))
        await play.quiet()
        assert play.stage.condition("Reconciled", "bad") == ("True", "Reconciled")

    played(scenario)


def test_a_server_that_is_away_is_no_ones_fault() -> None:
    async def scenario(play: Play) -> None:
        recorded(play, [Unavailable(503, "", "away")])
        play.controller.register("FlowRun", play.controller._reconcilers["Thing"])
        play.stage.submit()
        await play.quiet()
        await play.time_passes(60)
        await play.time_passes(60)
        assert play.stage.condition("Reconciled") is None

    played(scenario)


def test_whatever_is_written_on_a_pod_the_operator_goes_on() -> None:
    """Annotations are everybody's."""

    async def scenario(play: Play) -> None:
        for number, text in enumerate(["soon", "", "-1", "9" * 40, "1e3"]):
            pod = run_pod("Pending")
            meta = {"name": f"pod-{number}", "labels": {labels.MANAGED_BY: labels.MANAGED_BY_VALUE, labels.RUN: "x"}}
            await play.cluster.create(PODS, NAMESPACE, {**pod, "metadata": {**meta, "annotations": {TTL: text}}})
            play.cluster.set_status(PODS, NAMESPACE, f"pod-{number}", phase="Succeeded")
        await play.launched()

    played(scenario)


def test_a_cancellation_that_a_library_lets_through_ends_no_worker() -> None:
    async def scenario(play: Play) -> None:
        came: list[Key] = []

        async def reconcile(key: Key) -> None:
            came.append(key)
            raise asyncio.CancelledError

        play.controller.register("Thing", reconcile)
        for number in range(40):  # more than there are workers
            play.controller.touch("Thing", Key(NAMESPACE, str(number)))
        await play.quiet()
        assert len(came) == 40
        await play.launched()

    played(scenario)


def test_who_waited_and_was_deleted_is_forgotten() -> None:
    async def scenario(play: Play) -> None:
        play.stage.remove("FlowDeployment", "etl")
        play.stage.submit()
        await play.state("Scheduled", reasons.DEPLOYMENT_NOT_FOUND)
        await play.quiet()
        assert len(play.controller.waiting) == 1
        play.stage.remove("FlowRun", "run")
        await play.until(lambda: not len(play.controller.waiting))

    played(scenario)


def test_a_deletion_that_kopf_did_not_tell_of_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SWEEP", 0.01)

    async def scenario(play: Play) -> None:
        came: list[Key] = []

        async def reconcile(key: Key) -> None:
            came.append(key)

        play.controller.register("Flow", reconcile)
        await asyncio.sleep(0.05)
        assert came == []  # it was there at the start, before anybody asked for this kind
        play.stage.remove("Flow", "etl")
        await play.until(lambda: came == [Key(NAMESPACE, "etl")])
        await asyncio.sleep(0.05)
        assert len(came) == 1

    played(scenario)


# One of several.


class Office(Leadership):
    """The Lease, on the stage's cluster; a test says when to look at it."""

    def __init__(self, play: Play, name: str = "me") -> None:
        self.time = 0.0
        super().__init__(play.cluster, "system", "operator", name, now=play.clock, clock=lambda: self.time)

    async def look(self, seconds: float = 0.0) -> None:
        self.time += seconds
        await self._once()
        self.looked.set()


@asynccontextmanager
async def standby(play: Play | None = None, **options: Any) -> AsyncIterator[tuple[Play, Office]]:
    """An operator that stands by, for another holds the Lease."""
    play = play or Play()
    await Office(play, "another").look()
    office = Office(play)
    await office.look()
    async with play.running(leadership=office, **options) as controller:
        controller.register("FlowDeployment", FlowDeployments(play.cluster, play.clock, controller.revisions).reconcile)
        play.cluster.writes.clear()
        yield play, office


def test_a_standby_knows_everything_and_does_nothing() -> None:
    async def scenario() -> None:
        async with standby() as (play, _):
            play.stage.submit()
            await play.until(lambda: play.controller.cache.count("FlowRun") == 1)
            play.controller.touch("FlowDeployment", Key(NAMESPACE, "etl"))
            await play.time_passes(3600)
            assert [write.kind for write in play.cluster.writes] == ["FlowRun"]  # the user's
            assert (len(play.controller.queue), len(play.controller.due)) == (0, 0)
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

        controller._settled_informer._list = endless  # type: ignore[method-assign]
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
            await play.until(lambda: play.controller.queue.working == 0)
            play.stage.submit("later")
            await play.until(lambda: play.controller.cache.count("FlowRun") == 2)
            assert (len(play.controller.queue), play.stage.get("Pod", "later-1")) == (0, None)
            await office.look(1.0)
            await play.until(lambda: play.stage.get("Pod", "later-1"), "the launch")
            await play.until(lambda: not len(play.controller.events._open))
            told = [event["metadata"]["name"] for event in play.cluster.kinds("Event")]
            assert len(told) == 4

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


# Finished pods.


def finished(at: str | None = "2026-01-01T06:10:00Z", ttl: str | None = "60", phase: str = "Succeeded") -> Json:
    container = {"terminated": {"exitCode": 0, "finishedAt": at}} if at else {"terminated": {"exitCode": 0}}
    pod = run_pod(phase, container=container, created="2026-01-01T06:00:00Z")
    if ttl is not None:
        pod["metadata"]["annotations"] = {TTL: ttl}
    return pod


@pytest.mark.parametrize(
    ("pod", "deadline"),
    [
        pytest.param(finished(), SIX + timedelta(seconds=660), id="from the end of its container"),
        pytest.param(finished(phase="Failed"), SIX + timedelta(seconds=660), id="failed or not"),
        pytest.param(finished(ttl="0"), SIX + timedelta(seconds=600), id="at once"),
        pytest.param(finished(at=None), SIX + timedelta(seconds=60), id="from its creation, where no end is told"),
        pytest.param(finished(ttl=None), SIX + timedelta(seconds=600 + DEFAULT_POD_TTL), id="by default"),
        pytest.param(finished(ttl="never"), SIX + timedelta(seconds=600 + DEFAULT_POD_TTL), id="no number"),
        pytest.param(finished(phase="Running"), None, id="while it runs, there is none"),
        pytest.param(run_pod("Pending"), None, id="nor before it starts"),
    ],
)
def test_when_a_pod_may_be_deleted(pod: Json, deadline: datetime | None) -> None:
    assert pod_deadline(PodView(pod)) == deadline


def test_the_last_of_its_containers_counts() -> None:
    pod = finished()
    later = {"name": "proxy", "state": {"terminated": {"exitCode": 0, "finishedAt": "2026-01-01T06:11:00Z"}}}
    pod["status"]["containerStatuses"].append(later)
    pod["status"]["containerStatuses"].append({"name": "third", "state": {}})
    assert pod_deadline(PodView(pod)) == SIX + timedelta(seconds=720)


@given(st.text(max_size=40) | st.integers().map(str))
def test_any_annotation_gives_a_deadline(text: str) -> None:
    found = pod_deadline(PodView(finished(ttl=text)))
    assert found is not None
    assert found >= SIX + timedelta(seconds=600)


async def ended(play: Play) -> None:
    """A run completes at six, and its pod with it."""
    await play.claimed()
    play.stage.enter("Completed", "Completed")
    play.stage.end_pod()
    await play.settled()
    await play.quiet()


def test_the_pod_of_a_settled_run_is_deleted_after_its_time() -> None:
    async def scenario(play: Play) -> None:
        await ended(play)
        await play.time_passes(59)
        assert play.stage.names("Pod") == ["run-1"]
        await play.time_passes(1)
        assert play.stage.names("Pod") == []
        assert len(play.controller.due) == 0

    played(scenario, pool={"podTTLSecondsAfterFinished": 60})


def test_a_pod_stays_until_its_run_is_settled() -> None:
    """Its end is not told yet: the pod is the evidence."""

    async def scenario(play: Play) -> None:
        def no_status(write: Write) -> None:
            if write.subresource == "status":
                raise Unavailable(503, "", "away")

        await play.claimed()
        play.stage.end_pod(code=1)
        undisturbed, play.cluster.before = play.cluster.before, no_status
        await play.quiet()
        await play.time_passes(3600)
        assert play.stage.names("Pod") == ["run-1"]
        play.cluster.before = undisturbed
        await play.time_passes(120)
        await play.state("Crashed", reasons.EXITED)
        await play.settled()
        await play.quiet()
        await play.time_passes(30)
        assert play.stage.names("Pod") == []

    played(scenario, pool={"podTTLSecondsAfterFinished": 60})


def test_the_pods_of_jobs_are_left_to_their_jobs() -> None:
    async def scenario(play: Play) -> None:
        play.stage.submit()
        await play.until(lambda: play.stage.get("Job", "run-1"), "the launch")
        pod = play.stage.make_pod_of_job()
        play.stage.start_pod(pod)
        play.stage.claim(pod)
        play.stage.enter("Completed", "Completed")
        play.stage.end_pod(pod)
        play.stage.end_job()
        await play.settled()
        await play.quiet()
        await play.time_passes(999_999)
        assert play.stage.names("Pod") == [pod]

    played(scenario, pool_type="Job")


# Logs that are to be kept.


class Kept:
    """A stage whose pool has its logs kept in memory, and what it needs for that."""

    def __init__(self, pool_type: str = "Pod") -> None:
        url = f"memory://{uuid.uuid4().hex}"
        place = parse(url)
        self.storage = open_storage(place)
        self.play = Play(
            pool_type=pool_type, pool={"podTTLSecondsAfterFinished": 60, "logs": {"archive": {"url": url}}}
        )
        self.play.cluster.new_uid = "0a1b2c3d-0000-4000-8000-{:012x}".format  # as the API server's are
        self.places = (place,)

    def says(self, *chunks: bytes, pod: str = "run-1") -> PodLog:
        log = PodLog(*chunks)
        self.play.cluster.pod_logs[(NAMESPACE, pod)] = log
        return log

    def archived(self) -> list[str]:
        archive = Archive(self.storage)
        found = archive.logs(NAMESPACE, "run")
        return [line["text"] for address in found for line in archive.log(address)]


def kept(scenario: Callable[[Kept, Play], Awaitable[None]], pool_type: str = "Pod") -> None:
    async def whole() -> None:
        scene = Kept(pool_type)
        async with scene.play.running(log_archives=scene.places):
            await scenario(scene, scene.play)

    asyncio.run(whole())


def test_a_pod_is_not_deleted_before_its_log_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(scene: Kept, play: Play) -> None:
        def away(_: object) -> Any:
            raise StorageUnavailable("connection refused")

        monkeypatch.setattr(podlogs, "open_storage", away)
        scene.says(b"2026-01-01T06:00:00Z hello\n")
        await ended(play)
        await play.until(lambda: play.controller.logs._failures, "that the archive was asked")
        await play.time_passes(3600)
        assert play.stage.names("Pod") == ["run-1"]
        await play.until(lambda: play.controller.settled.held(NAMESPACE), "that its run is held, too")
        monkeypatch.setattr(podlogs, "open_storage", open_storage)
        play.controller._log_keeping.due.fire(play.clock())
        await play.until(lambda: play.stage.names("Pod") == [], "its deletion, at once")
        assert scene.archived() == ["hello"]

    kept(scenario)


def test_a_pod_is_not_kept_for_its_log_for_more_than_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(scene: Kept, play: Play) -> None:
        def away(_: object) -> Any:
            raise StorageUnavailable("connection refused")

        monkeypatch.setattr(podlogs, "open_storage", away)
        scene.says(b"2026-01-01T06:00:00Z hello\n")
        await ended(play)
        await play.time_passes(86_390)
        assert play.stage.names("Pod") == ["run-1"]
        await play.time_passes(60)
        assert play.stage.names("Pod") == []

    kept(scenario)


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


def test_a_job_whose_log_is_kept_is_deleted_by_the_operator() -> None:
    async def scenario(scene: Kept, play: Play) -> None:
        play.stage.submit()
        await play.until(lambda: play.stage.get("Job", "run-1"), "the launch")
        pod = play.stage.make_pod_of_job()
        scene.says(b"2026-01-01T06:00:00Z hello\n", pod=pod)
        play.stage.start_pod(pod)
        play.stage.claim(pod)
        play.stage.enter("Completed", "Completed")
        play.stage.end_pod(pod)
        play.stage.end_job()
        await play.settled()
        await play.until(scene.archived, "its log")
        await play.quiet()
        assert play.stage.names("Job") == ["run-1"]
        await play.time_passes(60)
        assert (play.stage.names("Job"), play.stage.names("Pod")) == ([], [])

    kept(scenario, "Job")


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
            assert len(play.controller._log_keeping.queue) == 0
            assert scene.archived() == []
            await office.look(DURATION)
            await play.until(scene.archived, "its log")

    asyncio.run(scenario())


def test_a_pod_that_is_no_runs_is_left_alone_though_it_carries_our_label() -> None:
    async def scenario(play: Play) -> None:
        pod = finished()
        pod["metadata"] = {"name": "stranger", "labels": {labels.MANAGED_BY: labels.MANAGED_BY_VALUE}}
        await play.cluster.create(PODS, NAMESPACE, pod)
        play.cluster.set_status(PODS, NAMESPACE, "stranger", phase="Succeeded")
        await play.quiet()
        await play.time_passes(999_999)
        assert play.stage.names("Pod") == ["stranger"]

    played(scenario)


def test_a_namesake_of_a_deleted_pod_is_not_deleted_in_its_place() -> None:
    async def scenario(play: Play) -> None:
        await ended(play)
        first = play.stage.get("Pod", "run-1")
        assert first is not None
        play.stage.remove("Pod", "run-1")
        play.stage.create({**first, "status": {}})
        await play.quiet()
        await play.time_passes(999_999)
        assert play.stage.names("Pod") == ["run-1"]

    played(scenario, pool={"podTTLSecondsAfterFinished": 60})


# Health.


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time by which silence and progress are told."""

    def to(seconds: float) -> None:
        for user in (module, informer, queue):
            monkeypatch.setattr(user, "time", SimpleNamespace(monotonic=lambda: seconds))

    to(0)
    return to


def moved(controller: Controller, at: float) -> None:
    """Each watch took a step."""
    for each in controller.informers:
        each._moved = dict.fromkeys(each._moved, at)


def test_an_operator_whose_api_server_is_away_is_alive_and_says_how_long_it_heard_nothing(
    now: Callable[[float], None],
) -> None:
    """A restart would bring nothing back, and cost what is in memory."""
    controller = Play().begin()
    now(1000)
    moved(controller, 990)
    assert controller.health() == {"silence": 1000.0, "queued": 0.0, "leads": 1.0}


def test_a_watch_that_takes_no_step_for_too_long_is_no_health(now: Callable[[float], None]) -> None:
    controller = Play().begin()
    now(MAX_STILLNESS + 1)
    moved(controller, MAX_STILLNESS)
    controller.informers[0]._moved = {None: 0.0}
    with pytest.raises(RuntimeError, match="a watch took no step for 181 s"):
        controller.health()


def test_keys_that_nobody_takes_are_no_health(now: Callable[[float], None]) -> None:
    controller = Play().begin()
    controller._acts = True
    controller.queue.add(("FlowRun", THING))
    now(MAX_STILLNESS + 1)
    moved(controller, MAX_STILLNESS + 1)
    with pytest.raises(RuntimeError, match="nothing was done for 181 s"):
        controller.health()


def test_a_key_that_was_just_named_after_a_long_rest_is_no_alarm(now: Callable[[float], None]) -> None:
    controller = Play().begin()
    now(10 * MAX_STILLNESS)
    moved(controller, 10 * MAX_STILLNESS)
    controller.queue.add(("FlowRun", THING))
    assert controller.health()["queued"] == 1.0


def test_work_that_never_ends_is_no_health(now: Callable[[float], None]) -> None:
    async def scenario() -> None:
        controller = Play().begin()
        controller.queue.add(("FlowRun", THING))
        await controller.queue.take()
        now(MAX_WORK + 1)
        moved(controller, MAX_WORK + 1)
        with pytest.raises(RuntimeError, match="worked on for 601 s"):
            controller.health()

    asyncio.run(scenario())


def test_a_backlog_is_no_alarm_while_work_goes_on(now: Callable[[float], None]) -> None:
    async def scenario() -> None:
        controller = Play().begin()
        for number in range(1000):
            controller.queue.add(("FlowRun", Key(NAMESPACE, str(number))))
        await controller.queue.take()
        now(2 * MAX_STILLNESS)
        moved(controller, 2 * MAX_STILLNESS)
        assert controller.health()["queued"] == 999.0

    asyncio.run(scenario())
