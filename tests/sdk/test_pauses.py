"""Pauses of this process: opened, answered once, remembered by key."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.errors import InvalidRunInput, NotPausedError
from penstock.input import RunInput
from penstock.pauses import LocalPauses, PauseRequest


class Approval(RunInput):
    yes: bool


def request(run: str = "id", key: str | None = None, model: type[Any] | None = None) -> PauseRequest:
    return PauseRequest("pause", run, f"name-of-{run}", key, model, None)


@pytest.mark.parametrize("run", ["id", "name-of-id"])
def test_a_pause_is_answered_by_id_or_name(run: str) -> None:
    pauses = LocalPauses()
    answer = pauses.pause(request())
    assert [waiting.run_id for waiting in pauses.waiting()] == ["id"]
    pauses.resume(run)
    assert answer.happened()
    assert pauses.waiting() == []
    with pytest.raises(NotPausedError, match="no run id waits in this process"):
        pauses.resume("id")


def test_an_answer_that_does_not_fit_leaves_the_run_waiting() -> None:
    pauses = LocalPauses()
    answer = pauses.pause(request(model=Approval))
    for wrong in ({"yes": "perhaps"}, {}, {"yes": True, "no": 1}, None):
        with pytest.raises(InvalidRunInput, match="the input is no Approval: "):
            pauses.resume("id", wrong)
    assert not answer.happened()
    pauses.resume("id", {"yes": "true"})
    assert answer.value == Approval(yes=True)


def test_each_pause_of_a_run_is_answered_once() -> None:
    pauses = LocalPauses()
    pauses.pause(request(model=Approval))
    assert pauses.answered("id", "pause") == (False, None)
    pauses.resume("id", {"yes": False})
    assert pauses.answered("id", "pause") == (True, Approval(yes=False))
    assert pauses.answered("id", "another") == (False, None)
    assert pauses.answered("other", "pause") == (False, None)


def test_a_closed_pause_is_not_waiting() -> None:
    pauses, first = LocalPauses(), request()
    pauses.pause(first)
    pauses.close(request())
    assert pauses.waiting() == [first]
    pauses.close(first)
    assert pauses.waiting() == []


def test_a_request_says_what_it_waits_for() -> None:
    schema = request(model=Approval).json_schema
    assert schema is not None
    assert schema["properties"]["yes"]["type"] == "boolean"
    assert request().json_schema is None
