"""Each change of state becomes one Event, however often it is posted, and nothing waits for Events for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import flow_run, resolved, run_state
from memory_cluster import MemoryCluster, Write
from penstock.api import names
from penstock.api.states import StateType
from penstock_operator.cluster import Forbidden, Unavailable
from penstock_operator.controller import events as module
from penstock_operator.controller.events import KEPT, OVERLAP, TRIES, EventPoster, event, untold_since

Json = dict[str, Any]
PATIENCE = 20.0
BUSY = Unavailable(429, "", "busy", 0.001)


def entry(state: str = "Completed", seq: int = 3, **more: Any) -> Json:
    """A history entry."""
    return {**run_state(state, seq), "reason": "Completed", "message": "", "attempt": 1, "writer": "u", **more}


def test_a_whole_event() -> None:
    run = flow_run("Running", resolved=resolved())
    assert event(run, entry("Crashed", 4, reason="OOMKilled", message="it used too much memory"), "operator-1") == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": names.event("etl-1", "run-uid", 4),
            "namespace": "team",
            "labels": {
                "app.kubernetes.io/managed-by": "penstock",
                "penstock.dev/run": "etl-1",
                "penstock.dev/flow": "etl",
                "penstock.dev/deployment": "etl",
                "penstock.dev/pool": "default",
            },
        },
        "eventTime": "2026-01-01T06:00:00.000000Z",
        "type": "Warning",
        "reason": "FlowRunCrashed",
        "action": "OOMKilled",
        "note": "Crashed: it used too much memory",
        "reportingController": "penstock.dev/operator",
        "reportingInstance": "operator-1",
        "regarding": {
            "apiVersion": "penstock.dev/v1alpha1",
            "kind": "FlowRun",
            "name": "etl-1",
            "namespace": "team",
            "uid": "run-uid",
        },
    }


def test_the_name_says_which_change_of_which_run_it_is() -> None:
    one = event(flow_run("Running"), entry(seq=1), "a")["metadata"]["name"]
    assert one == event(flow_run("Completed", attempt=9), entry("Failed", seq=1), "b")["metadata"]["name"]
    namesake = flow_run("Running")
    namesake["metadata"]["uid"] = "other-uid"
    assert (
        len(
            {
                one,
                event(flow_run(), entry(seq=2), "a")["metadata"]["name"],
                event(namesake, entry(seq=1), "a")["metadata"]["name"],
            }
        )
        == 3
    )


@pytest.mark.parametrize("state", StateType)
def test_only_what_went_wrong_is_a_warning(state: StateType) -> None:
    assert event(flow_run(), entry(state), "a")["type"] == ("Warning" if state in ("Failed", "Crashed") else "Normal")


@pytest.mark.parametrize(
    ("more", "note"),
    [
        pytest.param({"message": "all is well"}, "Scheduled: all is well", id="the message"),
        pytest.param({"message": "", "reason": "Accepted"}, "Scheduled: Accepted", id="or else the reason"),
        pytest.param({"message": "", "reason": ""}, "Scheduled: Scheduled", id="or else the state"),
        pytest.param({"name": "AwaitingRetry", "message": "m"}, "Scheduled (AwaitingRetry): m", id="a refined state"),
    ],
)
def test_the_note_is_for_people(more: Json, note: str) -> None:
    assert event(flow_run(), entry("Scheduled", **more), "a")["note"] == note


def test_a_run_that_is_not_resolved_has_no_labels_of_what_it_was_resolved_to() -> None:
    assert set(event(flow_run(), entry(), "a")["metadata"]["labels"]) == {
        "app.kubernetes.io/managed-by",
        "penstock.dev/run",
    }


def test_the_note_of_an_end_says_how_long_the_run_was() -> None:
    run = flow_run("Completed", startTime="2026-01-01T05:56:40Z")
    assert event(run, entry(message="all is well"), "a")["note"] == "Completed after 3m20s: all is well"
    late = event(run, entry("Failed", name="TimedOut", message="too long"), "a")
    assert late["note"] == "Failed (TimedOut) after 3m20s: too long"
    assert event(run, entry("Running", message="claimed"), "a")["note"] == "Running: claimed"


texts = st.text(st.sampled_from("aé€😀"), min_size=1, max_size=40).map(lambda text: text * 30)


@given(texts, texts, texts)
def test_no_text_is_longer_than_the_api_takes(message: str, reason: str, instance: str) -> None:
    """The API server counts bytes."""
    found = event(flow_run(), entry(message=message, reason=reason), instance)
    assert len(found["note"].encode()) <= 1024
    assert len(found["action"].encode()) <= 128
    assert len(found["reportingInstance"].encode()) <= 128
    assert found["note"]
    assert found["action"]


def lived(*history: Json) -> Json:
    """A run with that history."""
    return flow_run("Running", history=list(history))


class Desk:
    """A poster at work, and the Events that arrived."""

    def __init__(self) -> None:
        self.cluster = MemoryCluster()
        self.poster = EventPoster(self.cluster, "operator")
        self.tried: list[str] = []

    def post(self, *seqs: int, run: str = "etl-1", uid: str = "run-uid") -> None:
        """Tell of a run's ends with these seqs, which are posted at once."""
        self.tell(*(entry(seq=seq) for seq in seqs), run=run, uid=uid)

    def tell(self, *history: Json, run: str = "etl-1", uid: str = "run-uid") -> None:
        body = lived(*history)
        body["metadata"] |= {"name": run, "uid": uid}
        self.poster.tell(body)

    @property
    def arrived(self) -> list[str]:
        return sorted(body["metadata"]["name"] for body in self.cluster.kinds("Event"))

    def failing(self, error: Exception, times: int = 10_000) -> None:
        """The next writes fail."""
        left = iter(range(times))

        def before(write: Write) -> None:
            self.tried.append(write.name)
            if next(left, None) is not None:
                raise error

        self.cluster.before = before

    async def flush(self, uid: str = "run-uid") -> None:
        async with asyncio.timeout(PATIENCE):
            await self.poster.flush(uid)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Desk]:
        task = asyncio.create_task(self.poster.run())
        try:
            yield self
            assert not task.done(), task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def at_desk(scenario: Callable[[Desk], Any]) -> None:
    async def opened() -> None:
        async with Desk().open() as desk:
            await scenario(desk)

    asyncio.run(opened())


def name(seq: int, run: str = "etl-1", uid: str = "run-uid") -> str:
    return names.event(run, uid, seq)


def test_what_is_posted_arrives() -> None:
    async def scenario(desk: Desk) -> None:
        desk.post(1, 2, 3)
        await desk.flush()
        assert desk.arrived == [name(1), name(2), name(3)]
        assert desk.poster.dropped == 0

    at_desk(scenario)


def test_what_is_posted_again_is_sent_once() -> None:
    """Every pass posts all that the run does not remember as told."""

    async def scenario(desk: Desk) -> None:
        desk.post(1, 2)
        desk.post(1, 2, 3)
        await desk.flush()
        assert sorted(write.name for write in desk.cluster.writes) == [name(1), name(2), name(3)]

    at_desk(scenario)


def test_what_an_earlier_operator_has_sent_is_done() -> None:
    async def scenario(desk: Desk) -> None:
        desk.post(1, 2)
        await desk.flush()
        desk.failing(BUSY, 0)
        desk.poster = EventPoster(desk.cluster, "another")
        async with desk.open():
            desk.post(1, 2, 3)
            await desk.flush()
        assert sorted(desk.tried) == [name(1), name(2), name(3)]
        assert desk.arrived == [name(1), name(2), name(3)]
        assert desk.poster.dropped == 0

    at_desk(scenario)


@pytest.mark.parametrize(
    ("error", "times"),
    [
        pytest.param(BUSY, TRIES - 1, id="it says when"),
        pytest.param(Unavailable(0, "ServerDisconnectedError", ""), 1, id="it says nothing"),
    ],
)
def test_a_busy_server_is_asked_again(error: Unavailable, times: int) -> None:
    async def scenario(desk: Desk) -> None:
        desk.failing(error, times)
        desk.post(1)
        await desk.flush()
        assert desk.tried == [name(1)] * (times + 1)
        assert desk.arrived == [name(1)]
        assert desk.poster.dropped == 0

    at_desk(scenario)


def test_nothing_is_remembered_of_a_run_that_was_flushed() -> None:
    """It is settled: its Events are all told."""

    async def scenario(desk: Desk) -> None:
        desk.post(1)
        await desk.flush()
        assert (dict(desk.poster._decided), dict(desk.poster._open), desk.poster._idle) == ({}, {}, {})

    at_desk(scenario)


def test_a_server_that_stays_busy_costs_the_event_and_nothing_else() -> None:
    async def scenario(desk: Desk) -> None:
        desk.failing(BUSY, TRIES)
        desk.post(1)
        await desk.flush()
        desk.post(2)
        await desk.flush()
        assert desk.arrived == [name(2)]
        assert desk.poster.dropped == 1

    at_desk(scenario)


def test_what_is_refused_is_not_tried_again() -> None:
    async def scenario(desk: Desk) -> None:
        desk.failing(Forbidden(403, "Forbidden", "no events here"), 1)
        desk.post(1)
        await desk.flush()
        desk.post(2)
        await desk.flush()
        assert desk.tried == [name(1), name(2)]
        assert desk.arrived == [name(2)]
        assert desk.poster.dropped == 1

    at_desk(scenario)


def test_a_flood_is_bounded_and_what_is_dropped_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE", 3)

    async def scenario() -> None:
        desk = Desk()
        desk.post(*range(1, 11))
        assert desk.poster.dropped == 7
        async with desk.open():
            await desk.flush()
        assert desk.arrived == [name(1), name(2), name(3)]

    asyncio.run(scenario())


def test_a_flush_waits_for_its_own_run_alone() -> None:
    async def scenario(desk: Desk) -> None:
        stuck = asyncio.Event()
        create = desk.cluster.create

        async def slow(resource: Any, namespace: str | None, body: Json, **how: Any) -> Json:
            if body["metadata"]["name"] == name(1, "other", "other-uid"):
                await stuck.wait()
            return await create(resource, namespace, body, **how)

        desk.cluster.create = slow  # type: ignore[method-assign]
        desk.post(1, run="other", uid="other-uid")
        desk.post(1)
        await desk.flush()
        assert desk.arrived == [name(1)]
        other = asyncio.create_task(desk.flush("other-uid"))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not other.done()
        stuck.set()
        await other
        assert desk.arrived == sorted([name(1), name(1, "other", "other-uid")])

    at_desk(scenario)


def test_a_run_is_not_held_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody sends: the flush gives up, and the run is settled without its Events."""
    monkeypatch.setattr(module, "PATIENCE", 0.01)

    async def scenario() -> None:
        desk = Desk()
        desk.post(1)
        await desk.flush()
        assert desk.arrived == []
        async with desk.open():
            monkeypatch.setattr(module, "PATIENCE", PATIENCE)
            await desk.flush()
        assert desk.arrived == [name(1)]

    asyncio.run(scenario())


def test_a_run_of_which_nothing_was_posted_is_flushed_at_once() -> None:
    async def scenario() -> None:
        await Desk().flush("unknown")

    asyncio.run(scenario())


def test_two_flushes_of_a_run_end_together() -> None:
    async def scenario(desk: Desk) -> None:
        desk.post(1)
        await asyncio.gather(desk.flush(), desk.flush())
        assert desk.arrived == [name(1)]

    at_desk(scenario)


def test_of_runs_without_number_only_the_latest_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is forgotten is sent again, which is harmless."""
    monkeypatch.setattr(module, "REMEMBERED", 5)

    async def scenario(desk: Desk) -> None:
        for number in range(30):
            desk.post(1, uid=f"uid-{number}")
        assert len(desk.poster._decided) <= 6
        desk.post(1, uid="uid-0")
        for number in range(30):
            await desk.flush(f"uid-{number}")
        assert len(desk.arrived) == 30
        assert desk.poster.dropped == 0

    at_desk(scenario)


def test_who_waits_for_all_of_them_waits_until_the_last_is_sent() -> None:
    async def scenario() -> None:
        cluster = MemoryCluster()
        poster = EventPoster(cluster, "operator-1")
        poster.tell(lived(*(entry(seq=seq) for seq in range(1, 31))))
        task = asyncio.create_task(poster.run())
        await asyncio.wait_for(poster.sent(), PATIENCE)
        assert len(cluster.kinds("Event")) == 30
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())


def test_what_was_posted_in_an_earlier_term_is_posted_again() -> None:
    """Whether it was sent, nobody knows; its name makes it the same Event."""

    async def scenario() -> None:
        poster = EventPoster(MemoryCluster(), "operator-1")
        poster.tell(lived(entry(seq=1)))
        poster.clear()
        await asyncio.wait_for(poster.sent(), PATIENCE)  # nothing is queued
        poster.tell(lived(entry(seq=1)))
        assert poster._queue.qsize() == 1

    asyncio.run(scenario())


NINE = datetime(2026, 1, 1, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("led_until", "since"),
    [
        pytest.param(None, NINE - KEPT, id="nobody led: as far back as Events are kept"),
        pytest.param(NINE - timedelta(seconds=15), NINE - timedelta(seconds=15) - OVERLAP, id="from the last renewal"),
        pytest.param(NINE - timedelta(days=1), NINE - KEPT, id="nobody has led for long"),
        pytest.param(NINE + timedelta(days=1), NINE - OVERLAP, id="a Lease that anybody wrote into"),
    ],
)
def test_a_term_tells_of_what_nobody_can_have_told(led_until: datetime | None, since: datetime) -> None:
    assert untold_since(NINE, led_until) == since


def test_a_restart_does_not_post_again_what_was_told_long_ago() -> None:
    async def scenario() -> None:
        poster = EventPoster(MemoryCluster(), "operator-1")
        poster.begin(datetime(2026, 1, 1, 6, 30, tzinfo=UTC))
        old = entry("Scheduled", 2, name="AwaitingRetry", time="2026-01-01T06:29:59.999999Z")
        poster.tell(lived(old))
        assert poster._queue.qsize() == 0
        await asyncio.wait_for(poster.flush("run-uid"), PATIENCE)
        poster.tell(lived(old, entry("Completed", 3, time="2026-01-01T06:30:00Z")))
        assert poster._queue.qsize() == 1

    asyncio.run(scenario())


def test_an_event_that_cannot_be_written_down_stops_no_other() -> None:
    async def scenario() -> None:
        cluster = MemoryCluster()
        poster = EventPoster(cluster, "operator-1")

        def nonsense(write: Write) -> None:
            if write.name.endswith(".1"):
                raise TypeError("not JSON")

        cluster.before = nonsense
        task = asyncio.create_task(poster.run())
        poster.tell(lived(*(entry(seq=seq) for seq in range(1, 20))))
        await asyncio.wait_for(poster.sent(), PATIENCE)
        assert (len(cluster.kinds("Event")), poster.dropped) == (18, 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())


def state(seq: int, type_: str = "Running", at: str = "06:00:00", **more: Any) -> Json:
    """A history entry of that time of the day."""
    return entry(type_, seq, reason="Started", time=f"2026-01-01T{at}Z", **more)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held back has lasted very soon."""
    monkeypatch.setattr(module, "LASTS", timedelta(milliseconds=10))


async def ripe(desk: Desk) -> None:
    """All that is held back by now was looked at again."""
    async with asyncio.timeout(PATIENCE):
        while desk.poster._held or desk.poster._ripens.qsize():
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        await desk.poster.sent()


@pytest.mark.usefixtures("soon")
def test_a_state_that_lasts_is_told_once() -> None:
    async def scenario(desk: Desk) -> None:
        desk.tell(state(1))
        desk.tell(state(1))
        assert desk.poster._queue.qsize() == 0
        await ripe(desk)
        desk.tell(state(1))
        await ripe(desk)
        assert [write.name for write in desk.cluster.writes] == [name(1)]

    at_desk(scenario)


@pytest.mark.usefixtures("soon")
def test_a_state_that_a_run_passes_through_is_never_told() -> None:
    async def scenario(desk: Desk) -> None:
        desk.tell(state(1, "Pending"))
        desk.tell(state(1, "Pending"), state(2, "Running"), state(3, "Completed"))
        await ripe(desk)
        assert desk.arrived == [name(3)]

    at_desk(scenario)


def test_an_end_goes_out_at_once_with_what_had_lasted_before_it() -> None:
    """Nothing of a run that is flushed is held back: it is settled, and nobody would tell of it any more."""

    async def scenario(desk: Desk) -> None:
        desk.tell(state(1, "Pending"))
        desk.tell(state(1, "Pending"), state(2, at="06:00:01"), state(3, "Failed", at="06:00:01.5"))
        await desk.flush()
        assert desk.arrived == [name(1), name(3)]
        assert desk.poster._held == {}

    at_desk(scenario)


@pytest.mark.usefixtures("soon")
@pytest.mark.usefixtures("soon")
def test_a_time_that_is_none_keeps_no_other_from_being_told(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever may write a run's status may write one that is past all times in UTC."""

    async def scenario(desk: Desk) -> None:
        desk.tell(entry("Running", 1, time="9999-12-31T23:59:59-23:59"), run="bad", uid="bad")
        desk.tell(entry("Running", 1))
        await ripe(desk)
        await desk.flush()
        assert desk.arrived == [name(1)]
        assert desk.poster.dropped == 1

    at_desk(scenario)
    assert "no event of run team/bad" in caplog.text


def test_what_an_operator_held_back_when_it_ended_the_next_one_tells() -> None:
    async def scenario(desk: Desk) -> None:
        desk.tell(state(1))
        desk.poster = EventPoster(desk.cluster, "another")
        desk.poster.begin(datetime(2026, 1, 1, 5, 59, tzinfo=UTC))
        async with desk.open():
            desk.tell(state(1))
            await ripe(desk)
        assert desk.arrived == [name(1)]

    asyncio.run(scenario(Desk()))


def test_what_an_operator_held_back_and_has_not_seen_end_the_history_tells() -> None:
    async def scenario(desk: Desk) -> None:
        desk.tell(state(1))
        desk.poster.clear()
        desk.tell(state(1), state(2, "Completed", at="06:00:03"))
        async with desk.open():
            await desk.flush()
        assert desk.arrived == [name(1), name(2)]

    asyncio.run(scenario(Desk()))


def test_no_more_than_so_many_are_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE", 3)

    async def scenario(desk: Desk) -> None:
        for number in range(5):
            desk.tell(state(1), uid=f"uid-{number}")
            desk.tell(state(1), uid=f"uid-{number}")
        assert (len(desk.poster._held), desk.poster._ripens.qsize(), desk.poster._queue.qsize()) == (3, 3, 2)

    asyncio.run(scenario(Desk()))


def test_what_is_older_than_the_term_is_not_held_back() -> None:
    async def scenario(desk: Desk) -> None:
        desk.poster.begin(datetime(2026, 1, 1, 6, 30, tzinfo=UTC))
        desk.tell(state(1))
        assert (desk.poster._held, desk.poster._queue.qsize()) == ({}, 0)

    asyncio.run(scenario(Desk()))
