"""The keeper of logs, on a cluster in memory: pods that ended, pods that are deleted, places that are away."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from typing import Any

import pytest

import builders
from crash_points import Killed
from memory_cluster import MemoryCluster, PodLog
from penstock.api import labels
from penstock.archive.reading import Archive as Reading
from penstock.errors import StorageUnavailable
from penstock.results.storage import open_storage
from penstock.results.urls import parse
from penstock_operator.cluster import Unavailable
from penstock_operator.controller.cache import ObjectCache
from penstock_operator.core.podlogs import GIVE_UP
from penstock_operator.core.views import PodView
from penstock_operator.reconcile import podlogs as module
from penstock_operator.reconcile.podlogs import FIRST_BACKOFF, MAX_BACKOFF, PodLogs
from penstock_operator.reconcile.sources import Key
from run_stage import Clock

Json = dict[str, Any]
UID = "0a1b2c3d-0000-4000-8000-000000000001"
ENDED = {"terminated": {"exitCode": 0, "finishedAt": "2026-01-01T06:00:00Z"}}
LINE = b"2026-01-01T06:00:00Z %s\n"


class Scene:
    """Pods, their logs and an archive."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.versions = count(1)
        self.clock = Clock()
        self.cluster = MemoryCluster(self.clock)
        self.url = f"memory://{uuid.uuid4().hex}"
        self.place = parse(self.url)
        self.storage = open_storage(self.place)
        self.away, self.puts = False, 0
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None
        self.kept: list[str] = []
        monkeypatch.setattr(module, "open_storage", lambda _: self)
        self.restart()

    def restart(self) -> None:
        """A new process: nothing of the old one's memory is left."""
        self.cache = ObjectCache()
        self.logs = PodLogs(self.cluster, self.cache, (self.place,), self.clock, lambda pod: self.kept.append(pod.name))

    # The place, which can be out of reach.

    def get(self, path: str, at_most: int | None = None) -> bytes | None:
        with self._asked():
            return self.storage.get(path, at_most)

    def put(self, path: str, data: bytes) -> None:
        with self._asked():
            self.puts += 1
            self.storage.put(path, data)

    @contextmanager
    def _asked(self) -> Iterator[None]:
        self.before()
        if self.away:
            raise StorageUnavailable("connection refused")
        yield
        self.after()

    # Pods.

    def pod(self, phase: str = "Succeeded", *, attempt: int = 1, url: str | None = None, **more: Any) -> Json:
        more.setdefault("container", ENDED if phase in ("Succeeded", "Failed") else {"running": {}})
        spec = {"env": [{"name": labels.ENV_RUN_UID, "value": UID}]}
        body = builders.run_pod(phase, attempt=attempt, uid=f"pod-{attempt}", spec=spec, **more)
        version = str(next(self.versions))
        body["metadata"] |= {"annotations": {labels.LOGS_ARCHIVE: url or self.url}, "resourceVersion": version}
        self.cache.put("Pod", body)
        return body

    def says(self, *chunks: bytes | Exception, attempt: int = 1) -> PodLog:
        log = PodLog(*chunks)
        self.cluster.pod_logs[("team", f"etl-1-{attempt}")] = log
        return log

    def archived(self, attempt: int | None = None) -> list[str]:
        """Texts of the last attempt's lines."""
        archive = Reading(self.storage)
        found = archive.logs("team", "etl-1", UID, attempt)
        return [line["text"] for address in found for line in archive.log(address)]


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


def look(scene: Scene, name: str = "team/etl-1-1") -> Any:
    return asyncio.run(scene.logs.reconcile(name))


def test_the_log_of_a_pod_that_ended_is_kept_once(scene: Scene) -> None:
    pod = PodView(scene.pod())
    scene.says(LINE % b"one", LINE % b"two")
    assert scene.logs.awaited(pod)
    assert scene.logs.runs("team") == {"etl-1"}
    assert look(scene) is None
    assert (scene.archived(), scene.kept) == (["one", "two"], ["etl-1-1"])
    assert not scene.logs.awaited(pod)
    assert scene.logs.runs("team") == set()
    assert look(scene) is None
    scene.restart()
    scene.pod()
    assert look(scene) is None, "a restarted operator finds it there"
    assert scene.puts == 1
    assert not scene.logs.awaited(pod)


def test_each_attempt_has_its_own(scene: Scene) -> None:
    for attempt in (1, 2):
        scene.pod(attempt=attempt)
        scene.says(LINE % b"attempt %d" % attempt, attempt=attempt)
        look(scene, f"team/etl-1-{attempt}")
    assert scene.archived() == ["attempt 2"]
    assert scene.archived(1) == ["attempt 1"]


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param({"url": "s3://elsewhere/logs"}, id="a place that is not allowed"),
        pytest.param({"container": {"waiting": {}}, "phase": "Failed"}, id="nothing of it has run"),
    ],
)
def test_nothing_waits_for_what_will_not_be(scene: Scene, pod: Json) -> None:
    body = PodView(scene.pod(**pod))
    scene.says(LINE % b"x")
    assert not scene.logs.awaited(body)
    assert look(scene) is None
    assert scene.puts == 0


def test_without_places_no_log_is_asked_for(scene: Scene) -> None:
    pod = PodView(scene.pod())
    logs = PodLogs(scene.cluster, scene.cache, (), scene.clock)
    assert not logs.awaited(pod)
    assert logs.runs("team") == set()


def test_a_log_that_the_node_has_no_more_keeps_no_pod(scene: Scene) -> None:
    pod = PodView(scene.pod())
    assert look(scene) is None
    assert not scene.logs.awaited(pod)
    assert scene.puts == 0


def test_a_node_that_does_not_answer_is_asked_again(scene: Scene) -> None:
    pod = PodView(scene.pod())
    scene.says(LINE % b"half", Unavailable(502, "", "no answer"))
    with pytest.raises(Unavailable):
        look(scene)
    assert scene.logs.awaited(pod)
    assert scene.puts == 0, "half a log is none while there is hope for all of it"


def test_an_archive_that_is_away_is_told_of_and_tried_again_ever_less_often(scene: Scene) -> None:
    pod = PodView(scene.pod())
    scene.says(LINE % b"x")
    scene.away = True
    waits = []
    for _ in range(9):
        again = look(scene)
        waits.append((again.at - scene.clock()).total_seconds())
        assert look(scene).at == again.at, "and not before"
        scene.clock.now = again.at
    assert waits == [min(FIRST_BACKOFF * 2**n, MAX_BACKOFF) for n in range(9)]
    assert scene.logs.awaited(pod)
    (event,) = scene.cluster.kinds("Event")
    assert (event["reason"], event["regarding"]["uid"]) == ("FlowRunLogNotArchived", UID)
    assert "connection refused" in event["note"]
    scene.away = False
    assert look(scene) is None
    assert scene.archived() == ["x"]


def test_a_pod_waits_for_a_day_at_most(scene: Scene) -> None:
    pod = PodView(scene.pod())
    scene.away = True
    scene.clock.advance(GIVE_UP.total_seconds())
    assert not scene.logs.awaited(pod)


class TestFollowed:
    """Pods that are deleted while they run."""

    def test_what_it_says_until_its_end_is_kept(self, scene: Scene) -> None:
        async def scenario() -> None:
            body, log = scene.pod("Running"), scene.says(LINE % b"first")
            await scene.logs.follow([body])
            scene.cache.drop("Pod", ("team", "etl-1-1"))
            log.write(LINE % b"last")
            log.end()
            await until(lambda: scene.kept)

        asyncio.run(scenario())
        assert scene.archived() == ["first", "last"]

    def test_one_that_somebody_deletes_is_followed_when_that_is_seen(self, scene: Scene) -> None:
        async def scenario() -> None:
            scene.pod("Running", deleting=True)
            log = scene.says(LINE % b"first")
            assert await scene.logs.reconcile("team/etl-1-1") is None
            assert await scene.logs.reconcile("team/etl-1-1") is None, "once"
            log.end()
            await until(lambda: scene.kept)

        asyncio.run(scenario())
        assert (scene.archived(), scene.puts) == (["first"], 1)

    def test_one_that_runs_and_is_not_deleted_is_left_alone(self, scene: Scene) -> None:
        scene.pod("Running")
        scene.says(LINE % b"first").end()
        assert look(scene) is None
        assert scene.puts == 0

    def test_one_that_ends_meanwhile_is_not_read_twice(self, scene: Scene) -> None:
        async def scenario() -> None:
            log = scene.says(LINE % b"first")
            await scene.logs.follow([scene.pod("Running")])
            scene.pod("Succeeded", deleting=True)
            again = await scene.logs.reconcile("team/etl-1-1")
            assert again is not None
            assert again.at == scene.clock() + timedelta(seconds=FIRST_BACKOFF)
            log.end()
            await until(lambda: scene.kept)
            assert await scene.logs.reconcile("team/etl-1-1") is None

        asyncio.run(scenario())
        assert scene.puts == 1

    def test_a_log_that_breaks_off_is_begun_again(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        async def scenario() -> None:
            log = scene.says(LINE % b"first", Unavailable(0, "", "reset"))
            monkeypatch.setattr(module, "RETRY_READING", 0.0)
            await scene.logs.follow([scene.pod("Running")])
            log.chunks = [LINE % b"first", LINE % b"last"]
            log.end()
            await until(lambda: scene.kept)

        asyncio.run(scenario())
        assert scene.archived() == ["first", "last"]

    def test_what_was_read_of_a_log_that_is_gone_is_kept_and_says_so(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def scenario() -> None:
            scene.says(LINE % b"first", Unavailable(0, "", "reset"))
            monkeypatch.setattr(module, "RETRY_READING", 0.0)
            await scene.logs.follow([scene.pod("Running")])
            await until(lambda: scene.kept)

        asyncio.run(scenario())
        assert scene.archived() == ["the log broke off: 0: reset", "first"]

    def test_a_log_that_does_not_open_holds_up_no_deletion(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        async def never(*_: Any, **__: Any) -> Any:
            await asyncio.Event().wait()
            yield b""

        async def scenario() -> None:
            monkeypatch.setattr(module, "OPENING", 0.01)
            monkeypatch.setattr(scene.cluster, "logs", never)
            async with asyncio.timeout(20):
                await scene.logs.follow([scene.pod("Running")])
            await scene.logs.close()

        asyncio.run(scenario())
        assert scene.puts == 0

    def test_no_more_are_followed_than_fit(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        async def scenario() -> None:
            monkeypatch.setattr(module, "MAX_FOLLOWED", 1)
            pods = [scene.pod("Running", attempt=attempt) for attempt in (1, 2)]
            logs = [scene.says(LINE % b"x", attempt=attempt) for attempt in (1, 2)]
            await scene.logs.follow(pods)
            for log in logs:
                log.end()
            await until(lambda: scene.kept)

        asyncio.run(scenario())
        assert scene.kept == ["etl-1-1"]

    def test_together_they_hold_no_more_than_they_may(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        async def scenario() -> None:
            monkeypatch.setattr(module, "MAX_HELD", 1)
            chunk = LINE % (b"x" * 1000) * 300
            log = scene.says(chunk, chunk, chunk)
            await scene.logs.follow([scene.pod("Running")])
            log.end()
            await until(lambda: scene.kept)

        asyncio.run(scenario())
        assert scene.archived()[0].startswith("the first ")

    def test_it_waits_for_an_archive_that_is_away_but_not_for_ever(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def scenario() -> None:
            monkeypatch.setattr(module, "PATIENCE", timedelta(seconds=1))
            scene.away = True
            scene.says(LINE % b"x").end()
            await scene.logs.follow([scene.pod("Running")])
            await until(lambda: not scene.logs._followed)

        asyncio.run(scenario())
        assert scene.kept == []

    def test_whoever_stops_leaves_nothing_behind(self, scene: Scene) -> None:
        async def scenario() -> None:
            scene.says(LINE % b"first")
            await scene.logs.follow([scene.pod("Running")])
            await scene.logs.close()
            assert len(asyncio.all_tasks()) == 1

        asyncio.run(scenario())
        assert scene.puts == 0


def test_a_key_of_a_pod_that_is_gone_is_nothing(scene: Scene) -> None:
    assert look(scene, "team/none") is None
    assert scene.cache.get("Pod", Key("team", "none")) is None


def lived(monkeypatch: pytest.MonkeyPatch, number: int | None, hook: str, *, killed: bool) -> tuple[Scene, int]:
    """The logs of two attempts whose pods ended, and how often the place was asked for something.

    At that `number` the operator is killed, before or after it; or what it asks does not arrive, or is not answered.
    """
    scene, counted = Scene(monkeypatch), count()

    def ask() -> None:
        if next(counted) == number:
            raise Killed if killed else StorageUnavailable("no answer")

    setattr(scene, hook, ask)
    for attempt in (1, 2):
        scene.says(LINE % b"attempt %d" % attempt, attempt=attempt)
        scene.pod(attempt=attempt)
    for _ in range(4):
        for attempt in (1, 2):
            try:
                look(scene, f"team/etl-1-{attempt}")
            except Killed:
                scene.restart()
                for known in (1, 2):
                    scene.pod(attempt=known)
        scene.clock.advance(MAX_BACKOFF)
    return scene, next(counted)


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "not answered"])
@pytest.mark.parametrize("hook", ["before", "after"])
def test_wherever_the_operator_is_disturbed_every_log_is_kept(
    monkeypatch: pytest.MonkeyPatch, hook: str, killed: bool
) -> None:
    _, times = lived(monkeypatch, None, hook, killed=killed)
    assert times == 4, "each place is read, and written"
    for number in range(times):
        scene, _ = lived(monkeypatch, number, hook, killed=killed)
        assert (scene.archived(1), scene.archived(2)) == (["attempt 1"], ["attempt 2"]), number
        assert scene.logs.runs("team") == set(), number
