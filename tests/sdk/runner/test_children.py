"""Subflows as FlowRuns, seen from the pod: how they are created, and how one that has completed is answered.

Their lives on a real API server are in `tests/integration/test_subflows.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from loopback import Request, answer
from loopback_api import Fault, LoopbackApi, Lost
from loopback_pod import Pod
from penstock.engine.records import FlowRunInfo
from penstock.engine.runs import FlowRun
from penstock.results import ResultStore
from penstock.runner.children import Child, Children, recalled
from penstock.runner.connections import CONNECTIONS
from penstock.runner.pages import Pages
from penstock.states import State, StateType


class Created:
    """Gives runs what the API server gives them; other faults come first."""

    def __init__(self, server: LoopbackApi) -> None:
        self.names: list[str] = []
        self.first: list[Fault] = []
        server.fault = self

    def __call__(self, request: Request) -> Fault:
        if self.first:
            return self.first.pop(0)
        if request.method != "POST" or not request.path.endswith("/flowruns"):
            return None
        body = request.json
        name = body["metadata"]["name"]
        self.names.append(name)
        body["metadata"].update(uid=f"uid-of-{name}", resourceVersion="1")
        return answer(201, body)


@pytest.fixture
def created(pod: Pod) -> Created:
    return Created(pod.server)


@pytest.fixture
def paused(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses that were made, and took no time."""
    found: list[float] = []
    monkeypatch.setattr("penstock.runner.children.time.sleep", found.append)
    return found


@pytest.fixture
def children(pod: Pod) -> Iterator[Children]:
    assignment, api = pod.assignment(), pod.api()
    children = Children(api, assignment, Pages(api, assignment), lambda: False)
    children.restart()
    yield children
    children.connections.close()


def call(children: Children, n: int) -> tuple[FlowRun, Child, State[Any] | None]:
    """Open the subflow `leaf(n)`."""
    info = FlowRunInfo(id=f"local-{n}", name=f"leaf-{n}", flow_name="leaf")
    run = FlowRun("leaf", info, {"n": n})
    child = children.child(info)
    return run, child, child.open(run)


class TestCreation:
    def test_subflows_that_start_together_are_created_together(
        self, pod: Pod, created: Created, children: Children
    ) -> None:
        """On a bounded number of connections."""
        met = threading.Barrier(CONNECTIONS, timeout=30)
        pod.server.before = lambda request: met.wait() if request.method == "POST" else None
        with ThreadPoolExecutor(2 * CONNECTIONS) as threads:
            opened = list(threads.map(lambda n: call(children, n), range(2 * CONNECTIONS)))
        assert len(set(created.names)) == 2 * CONNECTIONS
        assert sorted(run.info.name for run, _, _ in opened) == sorted(created.names)
        assert pod.server.connections <= CONNECTIONS

    def test_a_name_that_is_taken_and_free_again_is_tried_after_a_pause(
        self, created: Created, children: Children, paused: list[float]
    ) -> None:
        taken = [answer(409, {"message": "exists"}), answer(404, {"message": "not found"})]
        created.first = taken * 3
        run, _, known = call(children, 1)
        assert (run.info.id, known) == (f"uid-of-{created.names[0]}", None)
        assert len(paused) == 3
        assert paused[0] < paused[2]

    def test_a_run_in_its_place_that_may_not_be_read_is_told(
        self, created: Created, children: Children, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The subflow runs all the same."""
        created.first = [answer(409, {"message": "exists"}), answer(403, {"message": "a policy forbids it"})]
        _, child, known = call(children, 1)
        assert (known, child.over) == (None, True)
        assert "stands in the task records only: a policy forbids it" in capsys.readouterr().err

    def test_user_code_waits_for_an_answer_only_where_the_call_may_have_been_made(
        self, created: Created, children: Children, paused: list[float]
    ) -> None:
        created.first = [Lost.REQUEST]
        call(children, 1)
        assert (created.names, paused) == ([], [])
        children.restart()  # the flow is retried
        created.first = [Lost.REQUEST, Lost.REQUEST]
        call(children, 2)
        assert (len(created.names), len(paused)) == (1, 2)


@dataclass(frozen=True)
class Report:
    """A value that is no JSON."""

    total: int


def completed(value: Any, store: ResultStore | None) -> State[Any]:
    state: State[Any] = State(StateType.COMPLETED, data=value)
    if store is not None:
        store.write("k", value)
        state.stored = store.reference("k")
    return state


class TestResults:
    @pytest.fixture
    def store(self, tmp_path: Path) -> ResultStore:
        return ResultStore.from_url(str(tmp_path / "results"))

    @pytest.mark.parametrize("value", [Report(7), (1, 2), "x" * 5000, {1: 2}], ids=["object", "tuple", "large", "keys"])
    def test_a_value_that_was_kept_is_answered_from_the_store(
        self, created: Created, children: Children, store: ResultStore, value: Any
    ) -> None:
        run, child, _ = call(children, 1)
        child.flow_changed(State(StateType.RUNNING))
        child.flow_changed(completed(value, store))
        children.restart()
        again, _, known = call(children, 1)
        assert known is not None
        assert (known.result(), known.stored is not None) == (value, True)
        assert again.info.id == run.info.id
        assert len(created.names) == 1

    def test_what_was_not_kept_runs_again(self, created: Created, children: Children) -> None:
        _, child, _ = call(children, 1)
        child.flow_changed(State(StateType.RUNNING))
        child.flow_changed(completed(Report(7), None))
        children.restart()
        assert call(children, 1)[2] is None
        assert len(created.names) == 2

    def test_a_small_value_stands_in_the_run_and_in_the_store(
        self, pod: Pod, created: Created, children: Children, store: ResultStore
    ) -> None:
        _, child, _ = call(children, 1)
        state = completed({"total": 7}, store)
        child.flow_changed(state)
        assert child._result == {"inline": {"total": 7}, "reference": store.url_of("k")}

    def test_a_record_that_is_gone_runs_again_and_says_so(
        self, store: ResultStore, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert recalled({"reference": store.url_of("gone")}, "uid") is None
        said = capsys.readouterr().err
        assert "it runs again: there is no result at" in said
        assert "gone" in said

    def test_the_recorded_state_is_what_it_was(self, store: ResultStore) -> None:
        store.write("k", Report(7))
        known = recalled({"reference": store.url_of("k")}, "uid", {"name": "Done", "reason": "Fine", "message": "so"})
        assert known is not None
        assert (known.name, known.reason, known.message, known.run_id) == ("Done", "Fine", "so", "uid")
        assert known.data == Report(7)
