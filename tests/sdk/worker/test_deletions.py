"""What a worker says of runs that were deleted while they had a process there."""

from __future__ import annotations

from typing import Any

import pytest

from builders import flow_run
from penstock.api.workers import DeletedRun
from penstock.worker.deletions import TOLD_SECONDS, Deletions

Json = dict[str, Any]
ADMITTED = {"queue": "fast", "tags": ["gpu"]}
AWAITED = {"task": {"name": "t"}, "parent": {"name": "p", "uid": "p-uid", "awaited": True}}


def told(last: Json | None) -> list[DeletedRun] | None:
    deletions = Deletions()
    deletions.deleted("run-uid/1", "etl-1", "run-uid", last)
    return deletions.said(0.0)


@pytest.mark.parametrize(
    ("last", "wanted"),
    [
        pytest.param(flow_run("Running"), {"deployment": "etl", "admitted": {}}, id="its pool's and its deployment's"),
        pytest.param(
            flow_run("Cancelling", admitted=ADMITTED),
            {"deployment": "etl", "admitted": ADMITTED},
            id="those of its queue and its tags",
        ),
        pytest.param(flow_run("Running", spec=AWAITED), {"deployment": "etl"}, id="none, for its parent waits for it"),
        pytest.param(None, {"admitted": {}}, id="its pool's, of one whom an agent before this one knew"),
    ],
)
def test_what_a_process_holds_is_said_with_it(last: Json | None, wanted: Json) -> None:
    assert told(last) == [DeletedRun(name="etl-1", uid="run-uid", **wanted)]


def test_a_run_that_has_ended_was_not_deleted_but_settled() -> None:
    assert told(flow_run("Completed")) is None


def test_an_end_is_said_for_a_while_and_then_that_there_is_nothing() -> None:
    deletions = Deletions()
    assert deletions.said(0.0) is None, "nothing was ever said"
    assert deletions.deleted("run-uid/1", "etl-1", "run-uid", None)
    assert not deletions.deleted("run-uid/1", "etl-1", "run-uid", None), "that is no news"
    assert deletions.ended("run-uid/1")
    assert not deletions.ended("run-uid/1")
    ended = DeletedRun(name="etl-1", uid="run-uid", ended=True)
    assert deletions.said(1000.0) == [ended], "however long nobody could be told"
    deletions.heard([ended], 1005.0)
    assert deletions.said(1004.9 + TOLD_SECONDS) == [ended]
    assert deletions.said(1005.0 + TOLD_SECONDS) == []
    assert deletions.said(1005.0 + TOLD_SECONDS) == [], "until that is heard, the Lease says otherwise"
    deletions.heard([], 1006.0 + TOLD_SECONDS)
    assert deletions.said(1006.0 + TOLD_SECONDS) is None


def test_a_process_of_a_run_that_is_there_says_nothing_by_its_end() -> None:
    deletions = Deletions()
    assert not deletions.ended("run-uid/1")
    assert deletions.said(0.0) is None


def test_what_is_there_is_said_before_what_has_ended() -> None:
    deletions = Deletions()
    for name in ("a", "b", "c"):
        deletions.deleted(f"{name}/1", name, name, None)
    for name in ("a", "c"):
        deletions.ended(f"{name}/1")
    assert [run.name for run in deletions.said(0.0) or ()] == ["b", "c", "a"]
