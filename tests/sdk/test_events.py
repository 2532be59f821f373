"""Emitted events: what is made of them on this machine, where they go, and what is refused."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from penstock import flow, task
from penstock.errors import InvalidEvent
from penstock.events import Event, RelatedResource, Resource, emit_event, emitted_events
from penstock.task_runners import ProcessPoolTaskRunner

THING = {"penstock.resource.id": "thing"}
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def test_an_event_is_logged_and_kept(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        event = emit_event("a.happened", THING, payload={"n": 1})
    assert caplog.messages == ["Event a.happened: thing"]
    assert emitted_events()[-1] is event
    assert (event.event, event.resource, event.payload, event.related) == ("a.happened", THING, {"n": 1}, ())
    assert event.occurred.tzinfo is UTC
    assert event.id != emit_event("a.happened", THING).id


def test_resources_are_labels_that_are_checked_when_they_are_made() -> None:
    thing = Resource({**THING, "penstock.resource.name": "The thing"})
    other = RelatedResource({**THING, "penstock.resource.role": "owner"})
    assert (thing.id, thing.name, Resource(THING).name, other.role) == ("thing", "The thing", None, "owner")
    event = emit_event("a.happened", thing, related=[other])
    assert (event.resource, event.related) == (thing, (other,))
    with pytest.raises(InvalidEvent, match=r"resource: needs 'penstock\.resource\.id'"):
        Resource({"a": "b"})
    with pytest.raises(InvalidEvent, match=r"related: needs 'penstock\.resource\.role'"):
        RelatedResource(THING)


def test_an_id_may_be_given() -> None:
    identity = UUID(int=7)
    assert emit_event("a", THING, id=identity).id == str(identity)
    assert emit_event("a", THING, id="mine").id == "mine"


@pytest.mark.parametrize(
    ("after", "linked"),
    [(timedelta(seconds=299), True), (timedelta(seconds=-299), True), (timedelta(seconds=300), False)],
)
def test_an_event_follows_one_that_was_shortly_before(after: timedelta, linked: bool) -> None:
    first = emit_event("a", THING, occurred=NOON)
    second = emit_event("b", THING, occurred=NOON + after, follows=first)
    assert second.follows == (first.id if linked else None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"event": ""}, "event: must be a name of 1 to 128 characters"),
        ({"event": "x" * 129}, "event: must be a name of 1 to 128 characters"),
        ({"resource": {}}, r"resource: needs 'penstock\.resource\.id'"),
        ({"resource": {**THING, "n": 1}}, "resource: labels and their values are strings, and 'n': 1 is not"),
        ({"resource": {**THING, "n": "x" * 1025}}, "resource: 'n' is too long"),
        ({"resource": {**THING, **{str(n): "" for n in range(32)}}}, "resource: at most 32 labels, not 33"),
        ({"resource": {**THING, **{str(n): "x" * 1000 for n in range(9)}}}, "resource: 9.* bytes of JSON"),
        ({"related": [THING, {"a": "b"}]}, r"related\[1\]: needs"),
        ({"related": [THING] * 17}, "related: at most 16 resources, not 17"),
        ({"payload": {"x": object()}}, "payload: must be JSON"),
        ({"payload": {"x": float("nan")}}, "payload: must be JSON"),
        ({"payload": {"x": "y" * 40_000}}, "payload: 4.* bytes of JSON, of which at most 32768 are taken"),
        ({"occurred": datetime(2026, 1, 1)}, "occurred: must be a datetime with a timezone"),  # noqa: DTZ001
        ({"id": "x" * 65}, "id: must have 1 to 64 characters, not 65"),
    ],
)
def test_what_is_too_large_or_incomplete_is_refused_by_its_field(change: dict[str, Any], message: str) -> None:
    before = len(emitted_events())
    with pytest.raises(InvalidEvent, match=message):
        emit_event(**{"event": "a", "resource": THING, **change})
    assert len(emitted_events()) == before


def test_in_a_run_the_reporter_takes_events_if_it_can(recorder: Any) -> None:
    taken: list[Event] = []
    recorder.event_emitted = taken.append
    kept = len(emitted_events())

    @task
    def inner(name: str) -> None:
        emit_event(name, THING)

    @flow
    def child() -> None:
        emit_event("child", THING)

    @flow
    def f() -> None:
        emit_event("flow", THING)
        inner("task")
        inner.submit("submitted").result()
        child()

    recorder.run(f).result()
    assert [event.event for event in taken] == ["flow", "task", "submitted", "child"]
    assert len(emitted_events()) == kept


def test_events_come_back_from_tasks_in_other_processes() -> None:
    @task
    def inner() -> str:
        return emit_event("from.process", THING).id

    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def f() -> str:
        return inner.submit().result()

    assert f() == emitted_events()[-1].id
