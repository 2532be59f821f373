"""The reconciler of settled runs, on a cluster in memory: what it deletes, in which order, and what keeps it."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import builders
from crash_points import Killed
from memory_cluster import MemoryCluster, Write
from penstock.archive.reading import Archive as Reading
from penstock.errors import StorageUnavailable
from penstock.results.storage import Storage, open_storage
from penstock.results.urls import parse
from penstock_operator.cluster import EVENTS, FLOW_DEPLOYMENTS, FLOW_RUNS, TASK_RUN_PAGES, Unavailable
from penstock_operator.controller.cache import ObjectCache
from penstock_operator.controller.settled import SettledRuns
from penstock_operator.core.retention import Ceiling
from penstock_operator.core.views import format_time
from penstock_operator.reconcile import retention as module
from penstock_operator.reconcile.archive import Archive
from penstock_operator.reconcile.retention import AGAIN, BATCH, MAX_BACKOFF, PAUSE, Retention
from penstock_operator.reconcile.sources import Requeue
from run_stage import Clock, at_once

Json = dict[str, Any]
TEAM = "team"
OPEN = Ceiling(None, None)


class Shaky:
    """A place that can be out of reach."""

    def __init__(self, storage: Storage) -> None:
        self.storage, self.away, self.asked = storage, False, 0
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> Any:
            self.asked += 1
            self.before()
            if self.away:
                raise StorageUnavailable("connection refused")
            answer = getattr(self.storage, name)(*args)
            self.after()
            return answer

        return call


class Scene:
    """A namespace with settled runs, and the operator's memory of them."""

    def __init__(self, ceiling: Ceiling = OPEN, *, archived: bool = False) -> None:
        self.clock = Clock()
        self.cluster = MemoryCluster(self.clock)
        self.place = Shaky(open_storage(parse(f"memory://{uuid.uuid4().hex}")))
        self.archive = Archive(self.cluster, self.place) if archived else None  # type: ignore[arg-type]
        self.restart(ceiling)

    def restart(self, ceiling: Ceiling) -> None:
        """A new process: nothing of the old one's memory is left."""
        self.cache = ObjectCache()
        self.runs = SettledRuns(self.cache, self.clock)
        self.retention = Retention(self.cluster, self.runs, ceiling, self.archive, self.clock)

    def ended(self, name: str, ago: float = 60, state: str = "Completed", **spec: Any) -> Json:
        """A run that ended so many seconds ago and is settled."""
        end = format_time(self.clock() - timedelta(seconds=ago))
        body = builders.flow_run(state, spec=spec, endTime=end, settled=True)
        body["metadata"]["name"] = name
        at_once(self.cluster.create(FLOW_RUNS, TEAM, body))
        self.cluster.objects[("flowruns", TEAM, name)]["metadata"]["uid"] = str(uuid.uuid4())  # as the API server's are
        stored = self.cluster.set_status(FLOW_RUNS, TEAM, name, **body["status"])
        self.runs.put(stored)
        return stored

    def hear(self) -> None:
        """What the informers of a new process list."""
        for body in self.cluster.kinds("FlowDeployment"):
            self.cache.put("FlowDeployment", body)
        for body in self.cluster.kinds("FlowRun"):
            self.runs.put(body)

    def deployment(self, **spec: Any) -> None:
        body = {"metadata": {"name": "etl"}, "spec": {"flowRef": {"name": "etl"}, **spec}}
        self.cache.put("FlowDeployment", at_once(self.cluster.create(FLOW_DEPLOYMENTS, TEAM, body)))

    def look(self) -> Requeue | None:
        return asyncio.run(self.retention.reconcile(TEAM))

    def left(self) -> list[str]:
        return sorted(body["metadata"]["name"] for body in self.cluster.kinds("FlowRun"))

    def deleted(self) -> list[str]:
        """Names, in the order in which they were deleted."""
        return [write.name for write in self.cluster.writes if write.verb == "delete"]

    def records(self) -> list[Json]:
        return Reading(self.place.storage).runs(TEAM, lambda _: True, 1000)


def within(again: Requeue | None, clock: Clock) -> float:
    assert again is not None
    assert again.at is not None
    return (again.at - clock()).total_seconds()


def test_a_namespace_without_settled_runs_costs_nothing() -> None:
    scene = Scene()
    assert scene.look() is None


def test_runs_go_when_their_time_has_come_and_are_looked_at_again_when_the_next_one_has() -> None:
    scene = Scene()
    scene.deployment(ttlSecondsAfterFinished=100)
    scene.ended("a", ago=100)
    scene.ended("b", ago=40)
    again = scene.look()
    assert (scene.left(), within(again, scene.clock)) == (["b"], 60)
    scene.clock.advance(60)
    scene.look()
    assert (scene.left(), len(scene.runs)) == ([], 0)


def test_a_namespace_is_looked_at_now_and_then_whatever_is_heard() -> None:
    scene = Scene()
    scene.ended("a")
    assert within(scene.look(), scene.clock) == AGAIN.total_seconds()
    scene.deployment(historyLimits={"successful": 0})
    scene.look()
    assert scene.left() == []


def test_many_runs_go_in_batches_the_oldest_first() -> None:
    scene = Scene(Ceiling(5, None))
    for n in range(BATCH + 25):
        scene.ended(f"r{n:03}", ago=1000 - n)
    assert within(scene.look(), scene.clock) == PAUSE.total_seconds()
    assert scene.deleted() == [f"r{n:03}" for n in range(BATCH)]
    assert within(scene.look(), scene.clock) == AGAIN.total_seconds()
    assert scene.left() == [f"r{n:03}" for n in range(BATCH + 20, BATCH + 25)]


def test_what_a_run_owns_goes_first_and_in_the_next_pass_its_owner() -> None:
    scene = Scene()
    owner = scene.ended("owner", ttlSecondsAfterFinished=0)
    parent = {"name": "owner", "uid": owner["metadata"]["uid"], "awaited": True}
    scene.ended("kid", parent=parent)
    assert within(scene.look(), scene.clock) == PAUSE.total_seconds()
    scene.look()
    assert scene.deleted() == ["kid", "owner"]


def test_a_run_made_anew_under_the_same_name_stays() -> None:
    """The name is freed while the operator decides."""
    scene = Scene()
    scene.ended("a", ttlSecondsAfterFinished=0)
    scene.cluster.remove(FLOW_RUNS, TEAM, "a")
    fresh = {"metadata": {"name": "a"}, "spec": {"deploymentRef": {"name": "etl"}}}
    at_once(scene.cluster.create(FLOW_RUNS, TEAM, fresh))
    scene.look()
    assert scene.left() == ["a"]


def test_a_deletion_that_fails_keeps_no_other_and_is_tried_again() -> None:
    scene = Scene()
    for name in ("a", "b", "c"):
        scene.ended(name, ttlSecondsAfterFinished=0)

    def refuse(write: Write) -> None:
        if (write.verb, write.name) == ("delete", "b"):
            raise Unavailable(503, "Busy", "later")

    scene.cluster.before = refuse
    try:
        scene.look()
        raise AssertionError("the failure is not told")
    except Unavailable:
        assert scene.left() == ["b"]
    scene.cluster.before = lambda _: None
    scene.look()
    assert scene.left() == []


# With an archive.


def page(run: Json, uid: str | None = None) -> Json:
    name, about = run["metadata"]["name"], {"name": run["metadata"]["name"], "uid": uid or run["metadata"]["uid"]}
    return {"metadata": {"name": f"{name}-{uid}"}, "run": about, "attempt": 1, "number": 0, "records": 0}


def test_a_run_is_archived_with_its_pages_and_events_before_it_is_deleted() -> None:
    scene = Scene(archived=True)
    run = scene.ended("a", ttlSecondsAfterFinished=0)
    at_once(scene.cluster.create(TASK_RUN_PAGES, TEAM, page(run)))
    at_once(scene.cluster.create(TASK_RUN_PAGES, TEAM, page(run, "of a namesake")))
    for name, uid in (("e", run["metadata"]["uid"]), ("f", "of a namesake")):
        meta = {"name": name, "labels": {"penstock.dev/run": "a"}}
        at_once(scene.cluster.create(EVENTS, TEAM, {"metadata": meta, "regarding": {"uid": uid}}))
    written: list[bool] = []
    scene.cluster.before = lambda write: written.append(bool(scene.records())) if write.verb == "delete" else None
    scene.look()
    assert (written, scene.left()) == ([True], [])
    reading = Reading(scene.place.storage)
    address = reading.find(TEAM, "a")
    assert address is not None
    lines = reading.lines(address)
    assert [line["kind"] for line in lines] == ["FlowRun", "TaskRunPage", "Event"]
    assert lines[0]["object"]["metadata"]["uid"] == run["metadata"]["uid"]
    assert lines[2]["object"]["metadata"]["name"] == "e"


def test_a_run_that_has_just_ended_is_archived_while_its_events_are_there() -> None:
    scene = Scene(archived=True)
    scene.ended("fresh", ago=60)
    scene.ended("old", ago=2 * 3600)
    scene.look()
    assert [head["run"] for head in scene.records()] == ["fresh"]
    assert scene.left() == ["fresh", "old"]


def test_what_is_archived_is_not_written_again() -> None:
    scene = Scene(archived=True)
    run = scene.ended("a", ago=60)
    scene.look()
    asked = scene.place.asked
    scene.look()
    assert scene.place.asked == asked
    scene.restart(Ceiling(0, None))
    scene.runs.put(run)
    scene.look()
    assert (scene.left(), scene.place.asked - asked) == ([], 1)


def test_while_the_archive_cannot_be_reached_runs_stay_and_it_is_told() -> None:
    scene = Scene(archived=True)
    scene.ended("a", ttlSecondsAfterFinished=0)
    scene.ended("b", ttlSecondsAfterFinished=0)
    scene.place.away = True
    again = scene.look()
    assert (scene.left(), within(again, scene.clock)) == (["a", "b"], 5)
    (told,) = scene.cluster.kinds("Event")  # of two that were tried together, one tells
    assert told["reason"] == "FlowRunNotArchived"
    assert "connection refused" in told["note"]
    asked = scene.place.asked
    scene.look()
    assert scene.place.asked == asked
    for _ in range(12):
        scene.clock.now = (scene.look() or Requeue()).at or scene.clock.now
    assert within(scene.look(), scene.clock) <= MAX_BACKOFF
    scene.place.away = False
    scene.clock.advance(MAX_BACKOFF)
    scene.look()
    assert (scene.left(), len(scene.records())) == ([], 2)


def test_a_run_that_cannot_be_read_keeps_no_other_from_the_archive() -> None:
    scene = Scene(archived=True)
    scene.ended("a", ttlSecondsAfterFinished=0)
    bad = scene.ended("b", ttlSecondsAfterFinished=0)
    scene.cluster.set_status(FLOW_RUNS, TEAM, "b", **{**bad["status"], "endTime": "no time"})
    try:
        scene.look()
        raise AssertionError("the failure is not told")
    except ValueError:
        assert scene.left() == ["b"]
    assert [head["run"] for head in scene.records()] == ["a"]


def test_a_run_that_somebody_deleted_is_not_waited_for() -> None:
    scene = Scene(archived=True)
    scene.ended("a", ttlSecondsAfterFinished=0)
    scene.cluster.remove(FLOW_RUNS, TEAM, "a")
    scene.look()
    assert (scene.records(), len(scene.runs)) == ([], 0)


def test_the_event_of_an_archive_out_of_reach_is_short() -> None:
    scene = Scene()
    (run,) = [scene.ended("a")]
    body = module._not_archived(scene.runs.of(TEAM)[0], "é" * 2000, datetime(2026, 1, 1, tzinfo=UTC))
    assert len(body["note"].encode()) <= 1024
    assert body["regarding"]["uid"] == run["metadata"]["uid"]


def lived(number: int | None, hook: str, *, killed: bool) -> tuple[Scene, int]:
    """A namespace at peace, and how often a server was asked for something.

    At that `number` the operator is killed, before or after it; or what it asks does not arrive, or is not answered.
    """
    scene, counted = Scene(archived=True), itertools.count()
    scene.deployment(historyLimits={"successful": 1, "failed": 0}, ttlSecondsAfterFinished=7200)
    for at, name in enumerate("abcd"):
        scene.ended(name, ago=1000 - at, state="Failed" if name == "c" else "Completed", deploymentRef={"name": "etl"})

    def asked(lost: Exception) -> Callable[..., None]:
        def ask(_: object = None) -> None:
            if next(counted) == number:
                raise Killed if killed else lost

        return ask

    setattr(scene.place, hook, asked(StorageUnavailable("no answer")))
    setattr(scene.cluster, hook, asked(Unavailable(0, "ServerDisconnectedError", "")))
    for _ in range(12):
        try:
            scene.look()
        except Killed:
            scene.restart(OPEN)
            scene.hear()
        except Unavailable:
            assert not killed
        scene.clock.advance(AGAIN.total_seconds())
    return scene, next(counted)


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "not answered"])
@pytest.mark.parametrize("hook", ["before", "after"])
def test_wherever_the_operator_is_disturbed_the_same_is_left_and_archived(hook: str, killed: bool) -> None:
    undisturbed, times = lived(None, hook, killed=killed)
    assert (undisturbed.left(), times > 8) == (["d"], True)
    whole = sorted(record["run"] for record in undisturbed.records())
    assert whole == ["a", "b", "c", "d"]
    for number in range(times):
        disturbed, _ = lived(number, hook, killed=killed)
        assert disturbed.left() == ["d"], number
        assert sorted(record["run"] for record in disturbed.records()) == whole, number
