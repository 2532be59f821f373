"""Reports of a run while it goes on, and its end: everything is told, in order, and user code never waits."""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventually import until
from loopback import Request, answer
from loopback_api import Fault, Json, Lost
from loopback_pod import Pod, launched
from penstock.api import taskrecords
from penstock.api.runstatus import FlowRunStatus
from penstock.engine.records import TaskRecord
from penstock.runner import reports
from penstock.runner.children import Children
from penstock.runner.events import EmittedEvents
from penstock.runner.pages import Pages
from penstock.runner.pauses import Pauses
from penstock.runner.reports import Reports, end, result
from penstock.runner.slots_when_asked import SlotsWhenAsked
from penstock.runner.status import Fenced, RunStatus
from penstock.states import (
    AwaitingRetry,
    Cancelled,
    Completed,
    Crashed,
    Failed,
    Paused,
    Pending,
    Retrying,
    Running,
    Scheduled,
    State,
    StateType,
)

FORBIDDEN = answer(403, {"kind": "Status", "reason": "Forbidden", "message": "RBAC: role not found"})
LIVENESS = 20.0


def record(number: int, state: str = "Completed") -> TaskRecord:
    over = state != "Running"
    ended = 12.0 if over else None
    name = f"load-{number}"
    return TaskRecord(f"id-{number}", "load", "load-1a2b", name, state, state, 1, 10.0, 11.0, ended, (), None, None)


class Run:
    """A claimed run and its reports; what it is given is what its thread does not do by itself."""

    def __init__(self, pod: Pod, **more: Any) -> None:
        self.pod = pod
        api, assignment = pod.api(), pod.assignment()
        status = RunStatus(api, assignment)
        run = status.claim()
        assert run is not None
        pod.server.requests.clear()
        self.fences: list[Fenced | None] = []
        began = datetime.fromisoformat(pod.status["startTime"].replace("Z", "+00:00")).timestamp()
        options = {"started": began, "entered": 0, "fenced": lambda: self.fences.append(self.reports.fenced), **more}
        pages = Pages(api, assignment)
        children = Children(api, assignment, pages, lambda: False)
        self.slots = SlotsWhenAsked(api, assignment)

        def held(wake: Callable[[], object]) -> Pauses:
            return Pauses(api, assignment, pod.run, wake)

        self.reports = Reports(status, pages, children, EmittedEvents(api, assignment), held, self.slots, **options)

    def finish(self, state: State[Any]) -> None:
        self.reports.finish(state)

    @property
    def written(self) -> list[str]:
        """What the writes so far were: a page, counts, or the name of a state."""
        found = []
        for request in self.pod.server.writes():
            if "taskrunpages" in request.path:
                found.append("page")
            else:
                values = {op["path"]: op.get("value") for op in request.json}
                found.append(values.get("/status/state", {"name": "counts"})["name"])
        return found


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread of reports does nothing before it is woken."""
    monkeypatch.setattr(reports, "FIRST_FLUSH", 3600.0)
    monkeypatch.setattr(Reports, "interval", lambda *_: 3600.0)
    monkeypatch.setattr(reports, "MIN_INTERVAL", 0.0)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread of reports flushes all the time."""
    monkeypatch.setattr(reports, "FIRST_FLUSH", 0.0)
    monkeypatch.setattr(Reports, "interval", lambda *_: 0.01)
    monkeypatch.setattr(reports, "MIN_INTERVAL", 0.0)


@pytest.fixture
def run(pod: Pod) -> Iterator[Run]:
    run = Run(pod)
    yield run
    pod.server.fault = lambda _: None
    run.reports.abandon(LIVENESS)


class TestEnd:
    def test_a_short_run_is_two_writes_after_its_claim(self, run: Run) -> None:
        """Its task records, and its end with all that there is to say."""
        run.reports.flow_changed(Running())
        for number in range(3):
            run.reports.task_changed(record(number, "Running"))
            run.reports.task_changed(record(number))
        run.finish(Completed(data={"sum": 12}))
        assert run.written == ["page", "Completed"]
        status = run.pod.status
        assert status["state"]["type"] == "Completed"
        assert status["result"] == {"inline": {"sum": 12}}
        assert status["tasks"] == {"total": 3, "completed": 3, "summary": "3/3"}
        assert status["runCount"] == 1
        assert status["endTime"] == status["state"]["time"] >= status["startTime"]
        assert status["duration"] == "0s"
        FlowRunStatus.model_validate(status)

    def test_a_run_without_tasks_is_one(self, run: Run) -> None:
        run.reports.flow_changed(Running())
        run.finish(Failed(message="ValueError: 3"))
        assert run.written == ["Failed"]
        assert "tasks" not in run.pod.status
        assert "result" not in run.pod.status
        assert run.pod.status["state"]["message"] == "ValueError: 3"

    def test_a_flow_that_was_never_entered_says_so(self, run: Run) -> None:
        """Its code could not be loaded."""
        run.finish(Failed(message="no such module", reason="ImportFailed"))
        assert run.pod.status["runCount"] == 0
        assert run.pod.status["state"]["reason"] == "ImportFailed"

    def test_a_later_attempt_counts_on(self, pod: Pod) -> None:
        pod.put(launched(attempt=2, runCount=2, startTime="2026-01-01T06:00:00Z"))
        run = Run(pod, entered=2)
        for state in (Running(), AwaitingRetry(), Retrying()):
            run.reports.flow_changed(state)
        run.finish(Completed())
        assert pod.status["runCount"] == 4

    def test_a_run_that_no_attempt_has_started_gets_its_start(self, pod: Pod) -> None:
        """The first attempts never claimed it, and only the first claim writes when it began."""
        pod.put(launched(startTime="2026-01-01T06:00:00Z"))
        run = Run(pod, started=None)
        del pod.status["startTime"]
        run.finish(Completed())
        assert pod.status["startTime"] <= pod.status["endTime"]

    def test_the_end_is_when_the_flow_ended_and_not_when_that_could_be_told(self, run: Run) -> None:
        arrivals: list[float] = []
        run.pod.server.before = lambda _: arrivals.append(time.time())
        run.pod.server.fault = lambda _: Lost.REQUEST if len(arrivals) < 4 else None
        run.reports.task_changed(record(0))
        run.finish(Completed())
        ended = datetime.fromisoformat(run.pod.status["endTime"].replace("Z", "+00:00")).timestamp()
        assert len(arrivals) > 4
        assert ended <= arrivals[0]
        assert run.pod.status["history"][-1]["time"] == run.pod.status["endTime"]

    def test_what_was_not_delivered_before_is_delivered_with_the_end(self, run: Run, patient: None) -> None:
        """In order, each with the time at which it was."""
        run.pod.server.fault = lambda request: answer(503, "away") if request.method != "GET" else None
        waits = AwaitingRetry(message="ValueError: 3", reason="Exception")
        again = Retrying()
        for state in (Running(), waits, again):
            run.reports.flow_changed(state)
        run.reports.task_changed(record(0))
        until(lambda: run.pod.server.requests, LIVENESS)
        run.pod.server.fault = lambda _: None
        run.finish(Completed())
        history = run.pod.status["history"]
        names = ["Running", "AwaitingRetry", "Retrying", "Completed"]
        assert [entry["name"] for entry in history] == names
        assert [entry["type"] for entry in history] == ["Running", "Running", "Running", "Completed"]
        times = [datetime.fromisoformat(entry["time"].replace("Z", "+00:00")).timestamp() for entry in history]
        assert times[1:3] == pytest.approx([waits.time, again.time], abs=1e-5)
        assert history[1]["message"] == "ValueError: 3"
        assert [page["records"] for page in run.pod.server.pages] == [1]

    @pytest.mark.parametrize("fault", [Lost.REQUEST, Lost.ANSWER, answer(503, "away"), FORBIDDEN], ids=str)
    def test_an_api_server_that_comes_back_gets_everything(self, run: Run, fault: Fault) -> None:
        """Records and end, each once; a moment of refusals is part of a start."""
        left = [fault] * 3
        run.pod.server.fault = lambda request: left.pop() if left and request.method != "GET" else None
        run.reports.task_changed(record(0))
        run.finish(Completed())
        assert [page["records"] for page in run.pod.server.pages] == [1]
        assert [name for name, _, _ in run.pod.history] == ["Running", "Completed"]

    def test_records_that_stay_refused_hold_up_no_end(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """An account that may not write pages."""
        monkeypatch.setattr(reports, "REFUSED_AT_END", 0.0)
        run.pod.server.fault = lambda request: FORBIDDEN if "taskrunpages" in request.path else None
        run.reports.task_changed(record(0))
        run.finish(Completed())
        assert run.pod.status["state"]["type"] == "Completed"
        assert run.pod.status["tasks"]["summary"] == "1/1"
        assert "task records are lost: page etl-1-" in capsys.readouterr().err

    def test_a_result_that_is_refused_is_told_and_the_rest_is_kept(
        self, run: Run, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def refuse(request: Request) -> Fault:
            return answer(422, {"message": "result: no"}) if b'"inline"' in request.body else None

        run.pod.server.fault = refuse
        run.reports.task_changed(record(0))
        run.finish(Completed(data=5))
        assert run.pod.status["state"]["type"] == "Completed"
        assert list(run.pod.status["result"]) == ["omitted"]
        assert run.pod.status["tasks"]["summary"] == "1/1"
        assert "result: no" in capsys.readouterr().err

    def test_an_attempt_that_is_over_ends_nothing(self, run: Run) -> None:
        run.pod.operator("Running", attempt=2, pod={"name": "etl-1-2", "uid": "other"})
        before = run.pod.status
        with pytest.raises(Fenced, match="attempt 2 has the run"):
            run.finish(Completed())
        assert run.pod.status == before

    def test_an_attempt_that_is_over_does_not_wait_for_its_records(self, run: Run) -> None:
        """A fenced pod's page is forbidden: a look at the run says whether that passes."""
        run.pod.operator("Pending", attempt=2, pod=None)
        run.pod.server.fault = lambda request: FORBIDDEN if request.method != "GET" else None
        run.reports.task_changed(record(0))
        with pytest.raises(Fenced, match="attempt 2 has the run"):
            run.finish(Completed())

    def test_an_end_never_waits_for_the_next_flush(self, pod: Pod, patient: None) -> None:
        """Wherever the thread is at that moment."""
        for number in range(40):
            pod.put(launched())
            run = Run(pod)
            for name in ("one", "two")[: number % 3]:
                run.reports.flow_changed(Scheduled(name=name))
            run.finish(Completed())
            assert pod.history[-1][0] == "Completed"


class TestWhileItGoesOn:
    def test_counts_are_told(self, pod: Pod, hasty: None) -> None:
        """As soon as there are any, and only when they have changed."""
        run = Run(pod)
        run.reports.task_changed(record(0, "Running"))
        until(lambda: pod.status.get("tasks") == {"total": 1, "running": 1, "summary": "0/1"}, LIVENESS)
        for name in ("a", "b", "c"):  # three flushes, by what each of them writes
            run.reports.flow_changed(Scheduled(name=name))
            until(lambda name=name: pod.history[-1][0] == name, LIVENESS)
        assert run.written.count("counts") == 1
        run.reports.task_changed(record(0))
        until(lambda: pod.status["tasks"]["summary"] == "1/1", LIVENESS)
        run.finish(Completed())

    def test_a_flush_is_not_followed_by_another_for_the_same_cause(
        self, pod: Pod, patient: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        flushes: list[Reports] = []
        flush = Reports._flush
        monkeypatch.setattr(Reports, "_flush", lambda self: (flushes.append(self), flush(self)))
        run = Run(pod)
        run.reports.flow_changed(AwaitingRetry())
        run.reports.flow_changed(AwaitingRetry())
        until(lambda: len(pod.history) == 3, LIVENESS)
        time.sleep(0.1)
        assert len(flushes) <= 2
        run.finish(Completed())

    def test_counts_that_did_not_arrive_are_told_again(self, pod: Pod, hasty: None) -> None:
        pod.server.fault = lambda request: Lost.REQUEST if len(pod.server.writes("/status")) < 4 else None
        run = Run(pod)
        run.reports.task_changed(record(0, "Running"))
        until(lambda: pod.status.get("tasks"), LIVENESS)
        run.finish(Completed())

    def test_a_failure_is_told_at_once(self, pod: Pod, patient: None) -> None:
        """Its page and the counts, without waiting for the next flush."""
        run = Run(pod)
        run.reports.task_changed(record(0))
        run.reports.task_changed(record(1, "Failed"))
        until(lambda: pod.server.pages and "tasks" in pod.status, LIVENESS)
        assert pod.server.pages[0]["failures"][0]["name"] == "load-1"
        assert pod.status["tasks"]["failed"] == 1
        run.finish(Failed())

    def test_the_first_entry_of_the_flow_is_the_claims(self, pod: Pod, patient: None) -> None:
        """No write says a second time that it runs."""
        run = Run(pod)
        run.reports.flow_changed(Running())
        run.reports.flow_changed(AwaitingRetry(message="in 5 s"))
        until(lambda: pod.history[-1][0] == "AwaitingRetry", LIVENESS)
        assert (pod.status["state"]["type"], pod.status["state"]["message"]) == ("Running", "in 5 s")
        assert pod.status["runCount"] == 1
        run.reports.flow_changed(Retrying())
        until(lambda: pod.history[-1][0] == "Retrying", LIVENESS)
        assert pod.status["runCount"] == 2
        run.finish(Completed())

    def test_an_attempt_that_is_over_is_told_once(self, pod: Pod, hasty: None) -> None:
        """So that user code can be interrupted; nothing of it is written any more."""
        run = Run(pod)
        pod.operator("Running", attempt=2, pod={"name": "etl-1-2", "uid": "other"})
        before = pod.status
        run.reports.task_changed(record(0))
        until(lambda: run.fences, LIVENESS)
        run.reports._thread.join(LIVENESS)
        assert [str(fence) for fence in run.fences] == ["attempt 2 has the run, by pod other"]
        assert pod.status == before

    @pytest.mark.parametrize("fault", [Lost.REQUEST, answer(500, "etcd"), FORBIDDEN, answer(401, "")], ids=str)
    def test_an_api_server_that_is_away_fences_nobody(self, pod: Pod, hasty: None, fault: Fault) -> None:
        """Reports go on when it is back."""
        run = Run(pod)
        pod.server.fault = lambda _: fault
        run.reports.task_changed(record(0))
        asked = len(pod.server.requests)
        until(lambda: len(pod.server.requests) > asked + 5, LIVENESS)
        assert run.reports.fenced is None
        pod.server.fault = lambda _: None
        until(lambda: pod.server.pages and "tasks" in pod.status, LIVENESS)
        run.finish(Completed())

    def test_user_code_does_not_wait_for_the_api_server(self, pod: Pod, hasty: None) -> None:
        """Not even while a request hangs."""
        hangs, on = threading.Event(), threading.Event()

        def hang(_: Request) -> None:
            hangs.set()
            on.wait(LIVENESS)

        run = Run(pod)
        pod.server.before = hang
        run.reports.task_changed(record(0))
        assert hangs.wait(LIVENESS)
        for number in range(1, 100):
            run.reports.task_changed(record(number))
            run.reports.flow_changed(AwaitingRetry())
        assert not on.is_set()
        on.set()
        run.finish(Completed())
        assert sum(page["records"] for page in pod.server.pages) == 100

    @pytest.mark.parametrize(
        ("elapsed", "seconds"), [(0, 1.0), (19.9, 1.0), (20, 1.0), (100, 5.0), (600, 30.0), (86_400, 30.0)]
    )
    def test_the_interval_grows_with_the_run(self, run: Run, elapsed: float, seconds: float) -> None:
        """A twentieth of what it has taken, between 1 s and 30 s."""
        assert run.reports.interval(elapsed) == seconds


class TestAbandon:
    def test_what_was_done_is_told_and_no_end_is(self, run: Run) -> None:
        run.reports.flow_changed(Running())
        run.reports.task_changed(record(0))
        run.reports.task_changed(record(1, "Running"))
        run.reports.flow_changed(AwaitingRetry())
        run.reports.abandon(LIVENESS)
        assert [row["id"] for page in run.pod.server.pages for row in taskrecords.decode(page["data"])] == ["id-0"]
        assert run.pod.status["tasks"] == {"total": 2, "completed": 1, "running": 1, "summary": "1/2"}
        assert [name for name, _, _ in run.pod.history] == ["Running", "AwaitingRetry"]
        assert "endTime" not in run.pod.status

    def test_it_is_tried_until_the_time_is_over(self, run: Run) -> None:
        left: list[Fault] = [Lost.REQUEST, answer(503, "away"), FORBIDDEN]
        run.pod.server.fault = lambda request: left.pop() if left and request.method != "GET" else None
        run.reports.task_changed(record(0))
        run.reports.abandon(LIVENESS)
        assert len(run.pod.server.pages) == 1

    @pytest.mark.parametrize("state", [None, AwaitingRetry()], ids=["records", "a change of state"])
    def test_an_api_server_that_is_away_holds_no_pod(self, run: Run, state: State[Any] | None) -> None:
        """Whatever the thread of reports hangs in."""
        run.pod.server.fault = lambda _: answer(503, "away")
        run.reports.task_changed(record(0, "Failed"))
        if state is not None:
            run.reports.flow_changed(state)
        until(lambda: run.pod.server.requests, LIVENESS)
        run.reports.abandon(0.2)
        assert run.pod.server.pages == []

    def test_an_attempt_that_is_over_writes_nothing_more(self, run: Run) -> None:
        run.pod.operator("Running", attempt=2, pod={"name": "etl-1-2", "uid": "other"})
        before = run.pod.status
        run.reports.flow_changed(AwaitingRetry())
        run.reports.abandon(LIVENESS)
        assert run.pod.status == before


class Colour(enum.Enum):
    RED = 1


class Broken(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        raise RuntimeError("user code")


RESULTS: dict[str, tuple[Any, Json]] = {
    "nothing": (None, {}),
    "false": (False, {"inline": False}),
    "zero": (0, {"inline": 0}),
    "text": ("ü", {"inline": "ü"}),
    "nested": ({"a": [1, 2.5, None, {"b": "c"}]}, {"inline": {"a": [1, 2.5, None, {"b": "c"}]}}),
    "the largest of 64 bits": (2**63 - 1, {"inline": 2**63 - 1}),
    "as long as may be": ("x" * 2046, {"inline": "x" * 2046}),
    "too long": ("x" * 2047, {"omitted": "2049 bytes of JSON, of which at most 2048 are kept here"}),
    "no JSON": (
        {1, 2},
        {"omitted": "a set is no JSON (Object of type set is not JSON serializable); return JSON values"},
    ),
    "no JSON within": (
        {"a": Colour.RED},
        {"omitted": "a dict is no JSON (Object of type Colour is not JSON serializable); return JSON values"},
    ),
    "not a number": (
        [float("nan")],
        {"omitted": "a list is no JSON (Out of range float values are not JSON compliant); return JSON values"},
    ),
    "a class that raises": (Broken(a=1), {"omitted": "a Broken is no JSON (user code); return JSON values"}),
    "beyond 64 bits": (
        {"hash": [2**64]},
        {
            "omitted": "18446744073709551616 is beyond 64 bits, which Kubernetes would round; return it as a string",
        },
    ),
}


@pytest.mark.parametrize(("value", "expected"), RESULTS.values(), ids=RESULTS)
def test_a_result_is_inline_or_says_why_not(value: Any, expected: Json) -> None:
    found = result(value)
    assert found == expected
    FlowRunStatus.model_validate({"result": found})


def test_a_result_that_contains_itself_says_why_not() -> None:
    value: list[Any] = []
    value.append(value)
    assert result(value) == {"omitted": "a list is no JSON (Circular reference detected); return JSON values"}


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(), st.lists))
def test_every_result_is_one_that_the_api_takes(value: Any) -> None:
    found = result(value)
    assert found == ({} if value is None else {"inline": value}) or list(found) == ["omitted"]
    FlowRunStatus.model_validate({"result": found})


ENDS: dict[str, tuple[State[Any], tuple[str, str, str, str]]] = {
    "completed": (Completed(data=1, reason="Completed"), ("Completed", "Completed", "Completed", "")),
    "of user code's own": (
        Completed(name="Skipped", message="no data"),
        ("Completed", "Skipped", "Completed", "no data"),
    ),
    "failed": (Failed(message="ValueError: 3", reason="Exception"), ("Failed", "Failed", "Exception", "ValueError: 3")),
    "crashed": (Crashed(reason="SystemExit"), ("Crashed", "Crashed", "SystemExit", "")),
    "cancelled": (Cancelled(), ("Cancelled", "Cancelled", "Cancelled", "")),
}


@pytest.mark.parametrize(("state", "expected"), ENDS.values(), ids=ENDS)
def test_the_end_is_the_flows_final_state(state: State[Any], expected: tuple[str, ...]) -> None:
    assert end(state) == expected


@pytest.mark.parametrize(
    "state", [Paused(message="1 of 2 states are Paused"), Scheduled(), Pending(), Running()], ids=repr
)
def test_a_state_that_is_no_end_is_a_failure_that_says_so(state: State[Any]) -> None:
    """Returned by user code: a run left in it would be started again, or be looked after by nobody."""
    type_, name, reason, message = end(state)
    assert (type_, name, reason) == (StateType.FAILED, "Failed", "NotCompleted")
    assert f"the flow ended in the state {state.name}, which is none to end in" in message
    assert (state.message or "") in message
