"""Writes to a run's status: each is there once, whatever is lost on the way, and none by an attempt that is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import builders
from loopback import Request, answer
from loopback_api import Fault, Lost
from loopback_pod import Pod, launched
from penstock.api.bounds import MAX_HISTORY
from penstock.api.runstatus import FlowRunStatus
from penstock.api.states import StateType
from penstock.runner import status as module
from penstock.runner.status import Fenced, RunStatus, timestamp

S = StateType
FORBIDDEN = answer(403, {"kind": "Status", "reason": "Forbidden", "message": "RBAC: role not found"})
CONFLICT = answer(409, {"reason": "Conflict", "message": "the object has been modified"})
NO_SUCH_KIND = answer(404, "404 page not found")
FAULTS: dict[str, Fault] = {
    "the request is lost": Lost.REQUEST,
    "the answer is lost": Lost.ANSWER,
    "the server is busy": answer(429, "Too many requests", "Retry-After: 1"),
    "etcd is away": answer(500, {"message": "etcdserver: request timed out"}),
    "the server shuts down": answer(503, "apiserver is shutting down"),
    "the token is not known yet": answer(401, {"message": "Unauthorized"}),
    "roles are not known yet": FORBIDDEN,
    "somebody else wrote meanwhile": CONFLICT,
}


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What was waited for between tries; no test waits."""
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits


@pytest.fixture
def claimed(pod: Pod) -> RunStatus:
    """The status of a run that its pod has claimed."""
    status = RunStatus(pod.api(), pod.assignment())
    assert status.claim() is not None
    pod.server.requests.clear()
    return status


def first(*faults: Fault) -> Callable[[Request], Fault]:
    """These faults, in turn, and none after them."""
    left = list(faults)

    def fault(request: Request) -> Fault:
        found = left.pop(0) if left else None
        return None if found is CONFLICT and request.method == "GET" else found  # which no reads meet

    return fault


def on(method: str, fault: Fault) -> Callable[[Request], Fault]:
    """This fault, of every request by this method."""
    return lambda request: fault if request.method == method else None


def enter(status: RunStatus, type_: StateType = S.COMPLETED, message: str = "", **more: Any) -> None:
    status.enter(type_, str(type_), "Why", message, 1_000_000_000.5, **{"extra": [], **more})


def valid(pod: Pod) -> None:
    """The status is one that the API takes, and its history tells each change once."""
    FlowRunStatus.model_validate(pod.status)
    seqs = [entry["seq"] for entry in pod.status["history"]]
    assert seqs == sorted(set(seqs))
    assert pod.status["history"][-1]["seq"] == pod.status["state"]["seq"]


class TestClaim:
    def test_a_pending_run_becomes_running(self, pod: Pod) -> None:
        """By one write, which the answer is taken from."""
        status = RunStatus(pod.api(), pod.assignment())
        run = status.claim()
        assert run == pod.run
        assert [request.method for request in pod.server.requests] == ["PATCH"]
        assert pod.status["pod"] == {"name": "etl-1-1", "uid": "pod-uid"}
        assert (pod.status["state"]["type"], pod.status["state"]["reason"]) == ("Running", "Started")
        assert pod.history == [("Running", 3, "pod-uid")]
        assert pod.status["startTime"] == pod.status["state"]["time"]
        assert status.seq == 3
        valid(pod)

    def test_the_start_is_that_of_the_first_attempt_that_was_claimed(self, pod: Pod) -> None:
        """Whatever became of those whose pods never ran: deadlines count from it."""
        pod.put(launched(attempt=2, seq=6))
        assert RunStatus(pod.api(), pod.assignment()).claim() is not None
        assert pod.status["startTime"] == pod.status["state"]["time"]

    def test_a_later_attempt_leaves_the_first_start_as_it_was(self, pod: Pod) -> None:
        pod.put(launched(attempt=2, seq=6, startTime="2026-01-01T06:00:00Z"))
        assert RunStatus(pod.api(), pod.assignment()).claim() is not None
        assert pod.status["startTime"] == "2026-01-01T06:00:00Z"
        assert pod.status["history"][-1]["attempt"] == 2

    @pytest.mark.parametrize(
        "change",
        {
            "another pod has claimed it": lambda pod: pod.operator("Running", pod={"name": "etl-1-1", "uid": "other"}),
            "another attempt is launched": lambda pod: pod.operator("Pending", attempt=2),
            "another attempt is awaited": lambda pod: pod.operator("Scheduled"),
            "it is being cancelled": lambda pod: pod.operator("Cancelling"),
            "it was given up": lambda pod: pod.operator("Crashed"),
            "it was deleted": lambda pod: pod.server.objects.clear(),
            "it was deleted and made again": lambda pod: pod.run["metadata"].update(uid="another"),
        }.values(),
    )
    @pytest.mark.parametrize("forbidden", [False, True], ids=["refused by its tests", "refused by a policy"])
    def test_what_is_not_this_pods_is_left_alone(self, pod: Pod, change: Any, forbidden: bool) -> None:
        """A loser knows from what the run says, not from the answer's status."""
        status = RunStatus(pod.api(), pod.assignment())
        change(pod)
        before = dict(pod.server.objects)
        if forbidden:
            pod.server.fault = on("PATCH", FORBIDDEN)
        assert status.claim() is None
        assert pod.server.objects == before

    def test_of_two_pods_of_an_attempt_one_claims(self, pod: Pod) -> None:
        """As a Job may start two."""
        first, second = (RunStatus(pod.api(), pod.assignment(uid)) for uid in ("a", "b"))
        assert first.claim() is not None
        assert second.claim() is None
        assert pod.status["pod"]["uid"] == "a"

    def test_a_change_of_the_pending_state_is_followed(self, pod: Pod) -> None:
        """The pod was made before it."""
        assignment = pod.assignment()
        pod.operator("Pending")
        status = RunStatus(pod.api(), assignment)
        assert status.claim() is not None
        assert pod.history[-1] == ("Running", 4, "pod-uid")
        assert status.seq == 4

    @pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
    def test_it_is_claimed_once_whatever_is_lost(self, pod: Pod, fault: Fault) -> None:
        pod.server.fault = first(fault)
        status = RunStatus(pod.api(), pod.assignment())
        run = status.claim()
        assert run is not None
        assert run["status"]["state"]["type"] == "Running"
        assert pod.history == [("Running", 3, "pod-uid")]
        enter(status)
        assert pod.history[1:] == [("Completed", 4, "pod-uid")]

    def test_a_claim_whose_answer_was_lost_counts_for_as_long_as_the_run_runs(self, pod: Pod) -> None:
        """Cancelled since: user code is not started."""
        pod.server.fault = first(Lost.ANSWER)
        pod.server.before = lambda request: pod.operator("Cancelling") if request.method == "GET" else None
        with pytest.raises(Fenced, match="the run is Cancelling"):
            RunStatus(pod.api(), pod.assignment()).claim()

    def test_a_claim_that_is_refused_for_its_content_is_told(self, pod: Pod) -> None:
        """Instead of being tried for ever."""
        pod.server.fault = on("PATCH", answer(422, {"reason": "Invalid", "message": "status.history: too long"}))
        with pytest.raises(Fenced, match=r"the claim was refused: 422 status\.history: too long"):
            RunStatus(pod.api(), pod.assignment()).claim()

    @pytest.mark.parametrize("method", ["PATCH", "GET"])
    def test_an_account_without_rights_is_told_so_in_the_end(
        self, pod: Pod, method: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """An API server that starts forbids everything for a moment; one that goes on with it means it."""
        monkeypatch.setattr(module, "PATIENCE_AT_CLAIM", 0.0)
        pod.server.fault = lambda request: FORBIDDEN if request.method in ("PATCH", method) else None
        with pytest.raises(Fenced, match="403 RBAC: role not found"):
            RunStatus(pod.api(), pod.assignment()).claim()
        assert "403 RBAC: role not found" in capsys.readouterr().err


class TestEnter:
    def test_a_state_with_what_goes_with_it(self, pod: Pod, claimed: RunStatus) -> None:
        """In one write: state, history and further operations."""
        extra = [{"op": "add", "path": "/status/runCount", "value": 3}]
        claimed.enter(S.FAILED, "TimedOut", "TimedOut", "too slow", 1_000_000_000.5, extra)
        state = {"type": "Failed", "name": "TimedOut", "reason": "TimedOut", "message": "too slow", "seq": 4}
        assert pod.status["state"] == {**state, "time": "2001-09-09T01:46:40.500000Z"}
        assert pod.status["history"][-1] == {**pod.status["state"], "attempt": 1, "writer": "pod-uid"}
        assert pod.status["runCount"] == 3
        assert len(pod.server.requests) == 1
        valid(pod)

    def test_a_long_message_is_cut_and_says_where_the_rest_is(self, pod: Pod, claimed: RunStatus) -> None:
        enter(claimed, S.FAILED, "ü" * 5000)
        for text, limit in ((pod.status["state"]["message"], 1024), (pod.status["history"][-1]["message"], 256)):
            assert len(text) == limit
            assert text.endswith("ü … (see the run's logs)")
        valid(pod)

    @pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
    def test_it_is_written_once_whatever_is_lost(self, pod: Pod, claimed: RunStatus, fault: Fault) -> None:
        pod.server.fault = first(fault)
        enter(claimed, options=[[{"op": "add", "path": "/status/runCount", "value": 3}], []])
        assert pod.history == [("Running", 3, "pod-uid"), ("Completed", 4, "pod-uid")]
        assert pod.status["runCount"] == 3, "what can be written is not given up for a failure that passes"
        valid(pod)

    def test_an_end_by_another_writer_stays(self, pod: Pod, claimed: RunStatus) -> None:
        pod.operator("Crashed")
        before = pod.status
        with pytest.raises(Fenced, match="the run is Crashed"):
            enter(claimed)
        assert pod.status == before

    def test_a_run_that_is_being_cancelled_ends_cancelled(self, pod: Pod, claimed: RunStatus) -> None:
        pod.operator("Cancelling")
        with pytest.raises(Fenced, match="the run is Cancelling"):
            enter(claimed)
        assert pod.status["state"]["type"] == "Cancelling"

    @pytest.mark.parametrize(
        ("change", "message"),
        {
            "a newer attempt is launched": (
                lambda pod: pod.operator("Pending", attempt=2, pod=None),
                "attempt 2 has the run, by pod None",
            ),
            "a newer attempt runs": (
                lambda pod: pod.operator("Running", attempt=2, pod={"name": "etl-1-2", "uid": "other"}),
                "attempt 2 has the run, by pod other",
            ),
            "a newer attempt is launched, and the old pod still named": (
                lambda pod: pod.operator("Pending", attempt=2),
                "attempt 2 has the run, by pod pod-uid",
            ),
            "the attempt was given up": (
                lambda pod: pod.operator("Scheduled", pod=None),
                "attempt 1 has the run, by pod None",
            ),
            "it was deleted": (lambda pod: pod.server.objects.clear(), "the run was deleted"),
            "it was made again": (lambda pod: pod.run["metadata"].update(uid="another"), "the run was deleted"),
        }.values(),
        ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
    )
    @pytest.mark.parametrize("forbidden", [False, True], ids=["refused by its tests", "refused by a policy"])
    def test_an_attempt_that_is_over_writes_nothing(
        self, pod: Pod, claimed: RunStatus, change: Any, message: str, forbidden: bool
    ) -> None:
        change(pod)
        before = dict(pod.server.objects)
        if forbidden:
            pod.server.fault = on("PATCH", FORBIDDEN)
        with pytest.raises(Fenced, match=message):
            enter(claimed)
        assert pod.server.objects == before

    def test_what_the_operator_wrote_in_between_is_followed(self, pod: Pod, claimed: RunStatus) -> None:
        """A state that ends nothing."""
        pod.operator("Running")
        enter(claimed)
        assert pod.history[1:] == [("Running", 4, "operator"), ("Completed", 5, "pod-uid")]

    def test_cancelled_by_user_code_is_two_steps_of_one_write(self, pod: Pod, claimed: RunStatus) -> None:
        """No run moves from Running to Cancelled; nobody sees it Cancelling."""
        pod.server.fault = first(Lost.ANSWER)
        claimed.enter(S.CANCELLED, "Cancelled", "Cancelled", "no data today", 0.0, [])
        assert pod.history[1:] == [("Cancelling", 4, "pod-uid"), ("Cancelled", 5, "pod-uid")]
        assert pod.status["state"]["message"] == "no data today"
        assert claimed.seq == 5
        assert [request.method for request in pod.server.requests] == ["PATCH", "PATCH", "GET"]
        valid(pod)

    @pytest.mark.parametrize("type_", [S.COMPLETED, S.CANCELLED])
    @pytest.mark.parametrize("observed", [0, 30, 70])
    def test_a_full_history_makes_room(self, pod: Pod, claimed: RunStatus, type_: StateType, observed: int) -> None:
        """The oldest that were reported go; none of the newest, and never more than it needs where none was."""
        old = [{**pod.status["history"][0], "seq": n} for n in range(3, 3 + MAX_HISTORY)]
        pod.run["status"] = {**pod.status, "history": old, "state": {**pod.status["state"], "seq": old[-1]["seq"]}}
        pod.run["status"]["observedSeq"] = observed
        claimed.seq = old[-1]["seq"]
        enter(claimed, type_)
        seqs = [entry["seq"] for entry in pod.status["history"]]
        assert pod.status["state"]["type"] == str(type_)
        assert len(seqs) <= MAX_HISTORY
        steps = 2 if type_ is S.CANCELLED else 1
        dropped = set(range(3, 3 + MAX_HISTORY)) - set(seqs)
        assert len(dropped) == steps if observed == 0 else all(seq <= max(observed, 3 + steps) for seq in dropped)
        valid(pod)

    def test_the_most_that_is_taken_is_written(
        self, pod: Pod, claimed: RunStatus, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The end gets through without what goes with it, and the log says why that is missing."""
        tasks: dict[str, Any] = {"op": "add", "path": "/status/tasks", "value": {"total": 1, "summary": "1/1"}}
        bad = {"op": "add", "path": "/status/duration", "value": "x" * 99}
        enter(claimed, options=[[tasks, bad], [tasks], []])
        assert pod.status["tasks"] == tasks["value"]
        assert "duration" not in pod.status
        assert "the Completed state is written with less beside it: 422" in capsys.readouterr().err

    def test_what_is_refused_in_every_form_is_told(self, claimed: RunStatus) -> None:
        bad = {"op": "add", "path": "/status/duration", "value": "x" * 99}
        with pytest.raises(Fenced, match="the write was refused: 422"):
            enter(claimed, extra=[bad], options=[[bad], []])

    @pytest.mark.parametrize(
        ("fault", "message"),
        {
            "writes are forbidden": (on("PATCH", FORBIDDEN), "the write was refused: 403"),
            "everything is": (lambda _: FORBIDDEN, "the run cannot be read: 403"),
            "the pod was deleted": (
                lambda _: answer(401, {"message": "Unauthorized"}),
                "the token of this pod is refused: 401",
            ),
            "the kind is gone": (lambda _: NO_SUCH_KIND, "the run cannot be read: 404"),
        }.values(),
    )
    def test_a_refusal_that_stays_is_believed_in_the_end(
        self, claimed: RunStatus, pod: Pod, fault: Any, message: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nobody waits for ever for a pod that can never write again."""
        monkeypatch.setattr(module, "PATIENCE", 0.0)
        pod.server.fault = fault
        with pytest.raises(Fenced, match=message):
            enter(claimed)

    def test_patience_begins_anew_when_the_server_was_away(
        self, claimed: RunStatus, pod: Pod, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each start of it has its moment of refusals."""
        monkeypatch.setattr(module, "PATIENCE", 0.0)
        pod.server.fault = first(FORBIDDEN, None, Lost.REQUEST, FORBIDDEN)
        enter(claimed)
        assert pod.history[-1] == ("Completed", 4, "pod-uid")

    def test_a_server_that_says_when_is_asked_then(self, claimed: RunStatus, pod: Pod, slept: list[float]) -> None:
        """And not later than a minute, whatever it says."""
        busy = [answer(429, "busy", f"Retry-After: {seconds}") for seconds in (7, 86_400)]
        pod.server.fault = first(*busy)
        enter(claimed)
        assert slept == [7.0, 60.0]

    def test_it_is_said_that_the_server_is_away_and_when_it_is_back(
        self, claimed: RunStatus, pod: Pod, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Once, however often it is tried."""
        pod.server.fault = first(*[answer(503, "not ready")] * 5)
        enter(claimed)
        said = capsys.readouterr().err.splitlines()
        assert said == [
            "penstock.runner: the API server does not answer, which is tried until it does: 503 not ready",
            "penstock.runner: the API server answers again",
        ]

    @settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
    @given(
        plan=st.lists(
            st.tuples(
                st.sampled_from([S.RUNNING, S.RUNNING, S.COMPLETED, S.CANCELLED]),
                st.lists(st.sampled_from(list(FAULTS)), max_size=4),
            ),
            min_size=1,
            max_size=4,
        )
    )
    def test_any_losses_in_any_order_leave_one_entry_a_change(
        self, pod: Pod, plan: list[tuple[StateType, list[str]]]
    ) -> None:
        """Exactly the states that were entered, in their order, with seqs that follow one another."""
        pod.put(launched())
        pod.server.fault = lambda _: None
        status = RunStatus(pod.api(), pod.assignment())
        assert status.claim() is not None
        expected = ["Running"]
        for type_, faults in plan:
            pod.server.fault = first(*(FAULTS[name] for name in faults))
            enter(status, type_)
            expected += ["Cancelling", "Cancelled"] if type_ is S.CANCELLED else [str(type_)]
            if type_.terminal:
                break
        assert [entry["type"] for entry in pod.status["history"]] == expected
        assert [entry["seq"] for entry in pod.status["history"]] == list(range(3, 3 + len(expected)))
        assert status.seq == pod.status["state"]["seq"]
        valid(pod)


class TestProgress:
    OPS = [{"op": "add", "path": "/status/tasks", "value": {"total": 5, "summary": "2/5"}}]

    def test_it_is_no_change_of_state(self, pod: Pod, claimed: RunStatus) -> None:
        assert claimed.progress(self.OPS) is True
        assert pod.status["tasks"] == {"total": 5, "summary": "2/5"}
        assert pod.history == [("Running", 3, "pod-uid")]
        assert pod.status["state"]["seq"] == 3

    def test_it_holds_whatever_state_the_operator_wrote(self, pod: Pod, claimed: RunStatus) -> None:
        """It tests no seq."""
        pod.operator("Cancelling")
        assert claimed.progress(self.OPS) is True

    @pytest.mark.parametrize(
        "fault", [Lost.REQUEST, *(fault for name, fault in FAULTS.items() if "lost" not in name)], ids=str
    )
    def test_it_is_tried_once(self, pod: Pod, claimed: RunStatus, fault: Fault) -> None:
        """Newer figures follow."""
        pod.server.fault = lambda request: fault if request.method == "PATCH" else None
        assert claimed.progress(self.OPS) is False
        assert len(pod.server.writes()) == 1
        assert "tasks" not in pod.status

    def test_figures_that_are_refused_fence_nobody(self, pod: Pod, claimed: RunStatus) -> None:
        assert claimed.progress([{"op": "add", "path": "/status/duration", "value": "x" * 99}]) is False

    @pytest.mark.parametrize("forbidden", [False, True], ids=["refused by its tests", "refused by a policy"])
    def test_an_attempt_that_is_over_learns_it(self, pod: Pod, claimed: RunStatus, forbidden: bool) -> None:
        pod.operator("Running", attempt=2, pod={"name": "etl-1-2", "uid": "other"})
        if forbidden:
            pod.server.fault = on("PATCH", FORBIDDEN)
        with pytest.raises(Fenced, match="attempt 2 has the run"):
            claimed.progress(self.OPS)
        assert "tasks" not in pod.status

    def test_a_run_that_was_deleted_ends_its_attempt(self, pod: Pod, claimed: RunStatus) -> None:
        pod.server.objects.clear()
        with pytest.raises(Fenced, match="the run was deleted"):
            claimed.progress(self.OPS)


@given(st.integers(min_value=0, max_value=4_000_000_000), st.integers(min_value=0, max_value=15))
def test_times_are_what_kubernetes_reads(seconds: int, sixteenths: int) -> None:
    moment = seconds + sixteenths / 16
    text = timestamp(moment)
    assert text.endswith("Z")
    assert datetime.fromisoformat(text.replace("Z", "+00:00")) == datetime.fromtimestamp(moment, UTC)
    builders.flow_run("Running", startTime=text)
    FlowRunStatus.model_validate({"startTime": text})
