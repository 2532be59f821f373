"""Pausing, suspending and resuming flow runs."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from penstock import flow, pause_flow_run, resume_flow_run, suspend_flow_run, task
from penstock.errors import (
    Abort,
    FlowPauseTimeout,
    InvalidRunInput,
    MissingContext,
    NotPausedError,
    PausedRun,
    UnsupportedHere,
)
from penstock.input import RunInput
from penstock.pauses import LOCAL, Answer, PauseRequest
from penstock.runtime import flow_run
from penstock.waiting import Once


class Approval(RunInput):
    approved: bool
    note: str = ""


@pytest.fixture(autouse=True)
def nothing_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of these tests have one id, and no memory of each other."""
    monkeypatch.setattr(LOCAL, "_answers", {})
    monkeypatch.setenv("KUBECONFIG", "/nowhere")


def resume_when_paused(recorder: Any, *answers: Any) -> list[BaseException]:
    """Answer each pause of the recorder's run in turn, from another thread."""
    raised: list[BaseException] = []
    left = list(answers)
    changed = recorder.flow_changed

    def note(state: Any) -> None:
        changed(state)
        if state.is_paused():
            threading.Thread(target=answer).start()

    def answer() -> None:
        try:
            resume_flow_run("run-1", left.pop(0))
        except BaseException as error:
            raised.append(error)
            resume_flow_run("run-1", left.pop(0))

    recorder.flow_changed = note
    return raised


def test_a_paused_run_goes_on_when_it_is_resumed(recorder: Any) -> None:
    @flow
    def f() -> int:
        assert pause_flow_run() is None
        return 1

    resume_when_paused(recorder, None)
    assert recorder.run(f).result() == 1
    assert [state.name for state in recorder.flow_states] == ["Running", "Paused", "Running"]
    assert recorder.flow_states[1].message == "waits to be resumed"


def test_async_flows_pause_without_blocking_their_loop(recorder: Any) -> None:
    turns: list[int] = []

    @flow
    async def f() -> Any:
        async def count() -> None:
            while True:
                turns.append(1)
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        paused: Any = pause_flow_run(wait_for_input=Approval)
        answer = await paused
        counting.cancel()
        return answer

    resume_when_paused(recorder, {"approved": True})
    assert recorder.run(f).result() == Approval(approved=True)
    assert turns


def test_input_is_validated_and_the_run_waits_on(recorder: Any) -> None:
    @flow
    def f() -> Any:
        return pause_flow_run(wait_for_input=Approval), pause_flow_run(wait_for_input=int)

    raised = resume_when_paused(recorder, {"approved": "perhaps"}, {"approved": "yes", "note": "fine"}, 3)
    assert recorder.run(f).result() == (Approval(approved=True, note="fine"), 3)
    (error,) = raised
    assert isinstance(error, InvalidRunInput)
    assert "approved: Input should be a valid boolean" in str(error)


def test_initial_data_are_defaults(recorder: Any) -> None:
    @flow
    def f() -> Any:
        return pause_flow_run(wait_for_input=Approval.with_initial_data("Ship it?", note="as you said"))

    resume_when_paused(recorder, {"approved": False})
    answer = recorder.run(f).result()
    assert (answer.approved, answer.note, type(answer).__doc__) == (False, "as you said", "Ship it?")


def test_nobodys_answer_fails_the_run_and_says_why(recorder: Any) -> None:
    @flow
    def f() -> None:
        pause_flow_run(timeout=0.01, key="approval")

    state = recorder.run(f)
    assert (state.type.value, state.reason) == ("Failed", "PauseTimedOut")
    assert "run-1 was paused (key approval) and nobody resumed it within 0.01 s" in state.message
    with pytest.raises(FlowPauseTimeout):
        state.result()
    with pytest.raises(NotPausedError):
        resume_flow_run("run-uid")
    assert LOCAL.waiting() == []


def test_a_key_pauses_a_run_once(recorder: Any) -> None:
    @flow(retries=1)
    def f() -> Any:
        answer = pause_flow_run(wait_for_input=int, key="once")
        if flow_run.run_count == 1:
            raise ValueError("again")
        return answer

    resume_when_paused(recorder, 7)
    assert recorder.run(f, id="of-the-key").result() == 7
    assert [state.name for state in recorder.flow_states].count("Paused") == 1


def test_where_it_cannot_be_it_is_refused(recorder: Any) -> None:
    for function in (pause_flow_run, suspend_flow_run):
        with pytest.raises(MissingContext, match="inside of a flow run"):
            function()

    @task
    def inner() -> None:
        pause_flow_run()

    @flow
    def f() -> None:
        inner()

    state = recorder.run(f)
    assert state.reason == "UnsupportedHere"
    assert "not in a task" in state.message


@pytest.mark.parametrize("function", [pause_flow_run, suspend_flow_run])
def test_where_nobody_holds_the_pause_it_says_so_instead_of_hanging(function: Any, recorder: Any) -> None:
    @flow
    def f() -> None:
        function()

    state = recorder.run(f, namespace="team")
    assert (state.type.value, state.reason) == ("Failed", "UnsupportedHere")
    assert "not in its subflows" in state.message


def test_a_run_on_a_machine_is_not_suspended() -> None:
    @flow
    def f() -> None:
        suspend_flow_run()

    with pytest.raises(UnsupportedHere, match=r"nothing starts the run again; use pause_flow_run"):
        f()


class Holder:
    """What a pod's reporter will do: hold pauses."""

    def __init__(self, recorder: Any) -> None:
        self.task_changed, self.flow_changed = recorder.task_changed, recorder.flow_changed
        self.requests: list[PauseRequest] = []
        self.known: dict[str, Any] = {}

    def answered(self, pause: str) -> tuple[bool, Any]:
        return pause in self.known, self.known.get(pause)

    def pause_requested(self, request: PauseRequest) -> Answer:
        self.requests.append(request)
        answer = Answer()
        answer.value = request.validated({"approved": True})
        answer.happen()
        return answer

    def answer(self, request: PauseRequest) -> Answer:
        """By what is asked for; remembered."""
        self.requests.append(request)
        answer = Answer()
        self.known[request.id] = {"approved": True} if request.model is Approval else {"value": 3}
        answer.value = request.validated(self.known[request.id])
        answer.happen()
        return answer

    def suspend_requested(self, request: PauseRequest) -> None:
        self.requests.append(request)


def test_a_reporter_may_hold_the_pause(recorder: Any) -> None:
    @flow
    def f() -> Any:
        return pause_flow_run(wait_for_input=Approval, key="k")

    holder = Holder(recorder)
    recorder_run = type(recorder).run
    assert recorder_run(holder, f, namespace="team").result() == Approval(approved=True)
    (request,) = holder.requests
    assert (request.run_id, request.key, request.model) == ("run-uid", "k", Approval)
    assert request.deadline is not None


def test_what_was_answered_in_an_earlier_attempt_is_not_asked_again(recorder: Any) -> None:
    """Each pause has an id of its own that is the same the next time; what does not fit is asked for again."""

    @flow
    def f() -> Any:
        return [
            suspend_flow_run(wait_for_input=Approval),
            pause_flow_run(wait_for_input=Approval),
            pause_flow_run(wait_for_input=int),
            pause_flow_run(wait_for_input=Approval, key="k"),
            pause_flow_run(wait_for_input=Approval, key="k"),
        ]

    first = Holder(recorder)
    type(recorder).run(first, f)
    (suspended,) = first.requests
    second = Holder(recorder)
    second.known = {suspended.id: {"approved": "maybe"}}
    type(recorder).run(second, f)
    (again,) = second.requests
    assert again.id != suspended.id
    third = Holder(recorder)
    third.known = {**second.known, again.id: {"approved": False}}
    third.pause_requested = lambda request: third.answer(request)  # type: ignore[method-assign]
    assert type(recorder).run(third, f).result() == [
        Approval(approved=False),
        Approval(approved=True),
        3,
        Approval(approved=True),
        Approval(approved=True),
    ]
    ids = [request.id for request in third.requests]
    assert len({*ids, suspended.id, again.id}) == 5
    assert [request.key for request in third.requests] == [None, None, "k"]


def test_a_flow_that_outlives_its_pause_goes_on_running(recorder: Any) -> None:
    @flow
    def f() -> int:
        try:
            pause_flow_run(timeout=0.01)
        except FlowPauseTimeout:
            return 1
        return 2

    assert recorder.run(f).result() == 1
    assert [(state.name, state.reason) for state in recorder.flow_states] == [
        ("Running", None),
        ("Paused", "Paused"),
        ("Running", "PauseTimedOut"),
    ]


def test_a_suspended_run_stops_where_it_is_and_lets_its_tasks_end(recorder: Any, caplog: Any) -> None:
    ended, go = [], Once()

    @task
    def slow() -> None:
        go.wait(60)
        ended.append(1)

    @flow
    def f() -> None:
        slow.submit()
        threading.Timer(0.01, go.happen).start()
        try:
            suspend_flow_run(timeout=None)
        except Exception:
            ended.append(2)

    state = type(recorder).run(Holder(recorder), f)
    assert (state.type.value, state.name, state.reason) == ("Paused", "Suspended", "Suspended")
    assert ended == [1]
    assert not caplog.records
    with pytest.raises(PausedRun):
        state.result()


def test_an_abort_ends_the_run_cancelled(recorder: Any) -> None:
    @flow
    def f() -> None:
        try:
            raise Abort("no need any more")
        except Exception:
            pytest.fail("a signal is no exception")

    state = recorder.run(f)
    assert (state.type.value, state.reason, state.message) == ("Cancelled", "Aborted", "no need any more")
