"""Updates are apart by the interval, the newest wins, and none of the last is lost."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pytest

from penstock.errors import ResourceNotFound, ResourceRefused
from penstock.progress import Updates


class Sink:
    """Where updates go: remembers them, can be stopped, and can refuse."""

    def __init__(self) -> None:
        self.written: list[tuple[str, Any]] = []
        self.arrived = threading.Condition()
        self.open = threading.Event()
        self.open.set()
        self.error: Exception | None = None

    def write(self, name: str, fields: Mapping[str, Any]) -> None:
        self.open.wait(30)
        if self.error is not None:
            raise self.error
        with self.arrived:
            self.written.append((name, dict(fields)))
            self.arrived.notify_all()

    def until(self, count: int) -> list[tuple[str, Any]]:
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.written) >= count, 30), self.written
            return list(self.written)


@pytest.fixture
def sink() -> Sink:
    return Sink()


def test_without_an_interval_every_update_is_written(sink: Sink) -> None:
    updates = Updates(sink.write, 0.0)
    for n in range(3):
        updates.put("a", {"n": n}, last=False)
    assert sink.written == [("a", {"n": n}) for n in range(3)]


def test_within_the_interval_only_the_newest_is_written_when_it_is_flushed(sink: Sink) -> None:
    updates = Updates(sink.write, 3600.0)
    for n in range(100):
        updates.put("a", {"n": n}, last=False)
    updates.put("b", {"n": 0}, last=False)
    assert sink.written == [("a", {"n": 0}), ("b", {"n": 0})]
    assert updates.flush(30)
    assert sink.written[2:] == [("a", {"n": 99})]
    assert updates.flush(30)
    assert len(sink.written) == 3


def test_fields_that_an_update_does_not_name_are_kept(sink: Sink) -> None:
    updates = Updates(sink.write, 3600.0)
    updates.made("a")
    updates.put("a", {"n": 1, "text": "x"}, last=False)
    updates.put("a", {"n": 2}, last=False)
    updates.flush(30)
    assert sink.written == [("a", {"n": 2, "text": "x"})]


def test_an_artifact_just_made_waits_for_its_turn(sink: Sink) -> None:
    updates = Updates(sink.write, 3600.0)
    updates.made("a")
    updates.put("a", {"n": 1}, last=False)
    assert sink.written == []
    assert updates.flush(30)
    assert sink.written == [("a", {"n": 1})]


def test_the_last_is_written_at_once(sink: Sink) -> None:
    updates = Updates(sink.write, 3600.0)
    updates.made("a")
    updates.put("a", {"n": 1}, last=False)
    updates.put("a", {"n": 100}, last=True)
    assert sink.written == [("a", {"n": 100})]
    assert updates.flush(30)
    assert len(sink.written) == 1


def test_after_the_interval_the_thread_writes_it(sink: Sink) -> None:
    updates = Updates(sink.write, 0.05)
    updates.put("a", {"n": 0}, last=False)
    updates.put("a", {"n": 1}, last=False)
    assert sink.until(2) == [("a", {"n": 0}), ("a", {"n": 1})]
    updates.put("a", {"n": 2}, last=False)
    assert sink.until(3)[2] == ("a", {"n": 2})


def test_user_code_does_not_wait_for_what_is_put_off(sink: Sink) -> None:
    updates = Updates(sink.write, 0.01)
    updates.made("a")
    sink.open.clear()
    for n in range(50):
        updates.put("a", {"n": n}, last=False)
    assert not updates.flush(0.05)
    sink.open.set()
    assert updates.flush(30)
    assert sink.written[-1] == ("a", {"n": 49})


def test_the_first_update_says_what_is_wrong(sink: Sink) -> None:
    sink.error = ResourceNotFound("no such artifact")
    updates = Updates(sink.write, 3600.0)
    for _ in range(2):
        with pytest.raises(ResourceNotFound):
            updates.put("a", {"n": 0}, last=False)
    sink.error = None
    updates.put("a", {"n": 1}, last=False)
    assert sink.written == [("a", {"n": 1})]


def test_a_later_refusal_is_told_and_ends_nothing(sink: Sink, capsys: pytest.CaptureFixture[str]) -> None:
    updates = Updates(sink.write, 3600.0)
    updates.made("a")
    updates.made("b")
    sink.error = ResourceRefused("no")
    updates.put("a", {"n": 1}, last=False)
    assert updates.flush(30)
    assert "progress of artifact a is lost: no" in capsys.readouterr().err
    sink.error = None
    updates.put("b", {"n": 1}, last=False)
    assert updates.flush(30)
    assert sink.written == [("b", {"n": 1})]
