"""Writes to a subflow's status: what happens when answers are lost, or somebody else has written."""

from __future__ import annotations

from typing import Any, cast

import jsonpatch
import pytest

from penstock.api.states import StateType
from penstock.runner.assignment import Assignment
from penstock.runner.child_status import ChildStatus, Entry
from penstock.runner.connection import Answer, Api, Unreachable
from penstock.runner.status import Fenced

RUNNING = Entry(StateType.RUNNING, "Running", "Started", "", 1.0)
COMPLETED = Entry(StateType.COMPLETED, "Completed", "Completed", "", 2.0)
ENVIRONMENT = {
    "PENSTOCK_NAMESPACE": "team",
    "PENSTOCK_RUN": "run",
    "PENSTOCK_RUN_UID": "run-uid",
    "PENSTOCK_ATTEMPT": "1",
    "PENSTOCK_SEQ": "2",
    "PENSTOCK_ENTRYPOINT": "f:main",
    "PENSTOCK_POD_NAME": "run-1",
    "PENSTOCK_POD_UID": "pod-uid",
}


class Server:
    """One child on a server that may lose answers and refuse what is too much."""

    def __init__(self) -> None:
        self.body: dict[str, Any] = {"metadata": {"uid": "child-uid", "resourceVersion": "7"}}
        self.lose = 0  # answers that are lost after the write
        self.refused: set[str] = set()  # fields of status that are refused
        self.writes = 0

    def request(self, method: str, path: str, body: Any = None, content_type: str = "") -> Answer:
        if method == "GET":
            return Answer(200, self.body)
        self.writes += 1
        try:
            after = jsonpatch.apply_patch(self.body, body)
        except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
            return Answer(422, {"message": str(error)})
        if self.refused & after["status"].keys():
            return Answer(422, {"message": "too much"})
        self.body = after
        self.body["metadata"]["resourceVersion"] = str(int(self.body["metadata"]["resourceVersion"]) + 1)
        if self.lose:
            self.lose -= 1
            raise Unreachable("the answer was lost")
        return Answer(200, self.body)

    @property
    def api(self) -> Api:
        return cast(Api, self)

    def states(self) -> list[str]:
        return [entry["type"] for entry in self.body["status"]["history"]]


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def status() -> ChildStatus:
    return ChildStatus(Assignment(ENVIRONMENT), "child", "child-uid", "7")


def test_all_that_happened_is_one_write(server: Server, status: ChildStatus) -> None:
    status.enter_all(server.api, [RUNNING, COMPLETED], {"runCount": 1})
    assert server.states() == ["Running", "Completed"]
    assert server.body["status"]["state"]["seq"] == 2
    assert server.body["status"]["pod"] == {"name": "run-1", "uid": "pod-uid"}
    assert server.writes == 1


def test_later_writes_follow_the_first(server: Server, status: ChildStatus) -> None:
    status.enter_all(server.api, [RUNNING], {})
    status.progress_on(server.api, {"tasks": {"total": 1}})
    status.enter_all(server.api, [COMPLETED], {"runCount": 1})
    assert server.states() == ["Running", "Completed"]
    assert server.body["status"]["tasks"] == {"total": 1}


@pytest.mark.parametrize("begun", [False, True])
def test_a_lost_answer_is_found_out_and_nothing_is_written_twice(
    begun: bool, server: Server, status: ChildStatus
) -> None:
    if begun:
        status.enter_all(server.api, [RUNNING], {})
    left = [COMPLETED] if begun else [RUNNING, COMPLETED]
    server.lose = 1
    with pytest.raises(Unreachable):
        status.enter_all(server.api, left, {})
    status.enter_all(server.api, left, {})
    assert server.states() == ["Running", "Completed"]


def test_what_came_after_a_lost_answer_is_written_then(server: Server, status: ChildStatus) -> None:
    """The first try wrote that it runs; by the second it has ended."""
    server.lose = 1
    with pytest.raises(Unreachable):
        status.enter_all(server.api, [RUNNING], {})
    status.enter_all(server.api, [RUNNING, COMPLETED], {"result": {"inline": 1}})
    assert server.states() == ["Running", "Completed"]
    assert server.body["status"]["result"] == {"inline": 1}


def test_a_write_that_is_too_large_goes_without_its_result(server: Server, status: ChildStatus) -> None:
    server.refused = {"result"}
    status.enter_all(server.api, [RUNNING, COMPLETED], {"runCount": 1, "result": {"inline": 1}, "tasks": {"total": 1}})
    assert server.body["status"]["tasks"] == {"total": 1}
    assert "result" not in server.body["status"]
    assert server.states() == ["Running", "Completed"]


def test_a_write_that_is_refused_whatever_is_left_out_is_given_up(server: Server, status: ChildStatus) -> None:
    server.refused = {"runCount"}
    with pytest.raises(Fenced, match="too much"):
        status.enter_all(server.api, [RUNNING], {"runCount": 1})


def test_the_operators_end_is_the_last_word(server: Server, status: ChildStatus) -> None:
    status.enter_all(server.api, [RUNNING], {})
    ended = {"type": "Crashed", "name": "Crashed", "reason": "ParentEnded", "seq": 2, "writer": "operator"}
    server.body["status"] |= {"state": ended, "history": [*server.body["status"]["history"], ended]}
    with pytest.raises(Fenced, match=r"it is Crashed \(ParentEnded\)"):
        status.enter_all(server.api, [COMPLETED], {})
    assert server.states() == ["Running", "Crashed"]


def test_a_deleted_child_is_given_up(server: Server, status: ChildStatus) -> None:
    status.enter_all(server.api, [RUNNING], {})
    server.body["metadata"]["uid"] = "another"
    with pytest.raises(Fenced, match="it was deleted"):
        status.enter_all(server.api, [COMPLETED], {})
