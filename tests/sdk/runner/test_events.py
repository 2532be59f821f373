"""The queue of emitted events: what happens when the API server does not take them."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import pytest

from penstock.api import labels
from penstock.events import Event
from penstock.runner.assignment import Assignment
from penstock.runner.connection import Answer, Unreachable
from penstock.runner.events import EmittedEvents
from penstock.settings import temporary_settings

AT = Assignment(
    {
        labels.ENV_NAMESPACE: "team",
        labels.ENV_RUN: "etl-1",
        labels.ENV_RUN_UID: "run-uid",
        labels.ENV_ATTEMPT: "1",
        labels.ENV_SEQ: "2",
        labels.ENV_ENTRYPOINT: "flow:etl",
        labels.ENV_POD_NAME: "etl-1-1",
        labels.ENV_POD_UID: "pod-uid",
    }
)


class Server:
    """Answers in turn, the last answer for ever; an exception is raised. Notes what it was asked."""

    def __init__(self, *answers: int | Exception) -> None:
        self._answers = list(answers)
        self.reasons: list[str] = []
        self.names: list[str] = []

    def request(self, method: str, path: str, body: Any) -> Answer:
        assert (method, path) == ("POST", "/apis/events.k8s.io/v1/namespaces/team/events")
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        self.reasons.append(body["reason"])
        self.names.append(body["metadata"]["name"])
        return Answer(answer, {"message": "no"})


def queue(server: Server, *names: str) -> EmittedEvents:
    events = EmittedEvents(server, AT)  # type: ignore[arg-type]
    for name in names:
        assert events.put(Event(name, {"penstock.resource.id": "x"}, datetime(2026, 1, 1, tzinfo=UTC), id=name))
    return events


@pytest.mark.parametrize("answer", [429, 500, 503, 401, Unreachable("away")])
def test_what_was_not_taken_is_kept_and_sent_again_in_order(answer: int | Exception) -> None:
    server = Server(201, answer, 201)
    events = queue(server, "a", "b", "c")
    with pytest.raises(Unreachable):
        events.write()
    server.reasons.clear()
    events.write()
    assert server.reasons == ["b", "c"]
    events.write(final=True)
    assert server.reasons == ["b", "c"]


def test_sent_before_is_sent() -> None:
    server = Server(409)
    events = queue(server, "a")
    events.write()
    assert (events.refused, server.reasons) == (0, ["a"])


def test_the_name_follows_from_run_and_id() -> None:
    one, other = Server(201), Server(201)
    queue(one, "a", "b").write()
    queue(other, "a").write()
    assert one.names[0] == other.names[0] != one.names[1]
    assert one.names[0].startswith("etl-1.e")


def test_refused_events_are_let_go_and_told_of(caplog: pytest.LogCaptureFixture) -> None:
    events = queue(Server(403), "a", "b")
    with caplog.at_level(logging.WARNING):
        events.write()
        events.write(final=True)
        events.write(final=True)
    assert caplog.messages == [
        "event a was refused: no",
        "2 events of this run were not sent (0 dropped, 2 refused)",
    ]


def test_past_its_bound_events_are_dropped(caplog: pytest.LogCaptureFixture) -> None:
    with temporary_settings(events_queue_size=2):
        events = queue(Server(201), "a", "b")
        more = Event("c", {"penstock.resource.id": "x"}, datetime(2026, 1, 1, tzinfo=UTC))
        assert [events.put(more), events.put(more)] == [False, False]
        assert events.dropped == 2
        assert len(caplog.messages) == 1
        events.write()
        assert events.put(more)
