"""Runs that wait without a process, or are asked to stop: what resumes them, and what does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import builders
from penstock.api import reasons
from penstock.api.bounds import MAX_ANSWERS
from penstock_operator.core import pauses
from penstock_operator.core.attempts import Attempt
from penstock_operator.core.decisions import Decision
from penstock_operator.core.policy import Policy
from penstock_operator.core.runs import decide
from penstock_operator.core.views import PodView, RunView

Json = dict[str, Any]
NOW = datetime(2026, 1, 1, 7, tzinfo=UTC)
SCHEMA = {"type": "object", "properties": {"approved": {"type": "boolean"}}, "required": ["approved"]}
PAUSE = {"id": "abc-1", "schema": SCHEMA, "deadline": "2026-01-01T08:00:00.000000Z"}
POD = {"name": "run-1", "uid": "pod-uid"}
SHARED = Policy(shared_results=True)


def run(state: str = "Paused", reason: str = "Suspended", name: str = "Suspended", /, **more: Any) -> RunView:
    """A run that is suspended by its code; `spec` is added to its spec."""
    spec = {"flowRef": {"name": "etl"}, **more.pop("spec", {})}
    held = builders.run_state(state, 3, reason=reason, name=name)
    status = {"state": held, "attempt": 1, "pause": PAUSE, "pod": POD, "resolved": builders.resolved(), **more}
    return RunView(builders.flow_run(state, spec=spec, **{k: v for k, v in status.items() if v is not None}))


def resume(pause: str = "abc-1", **given: Any) -> Json:
    return {"resume": {"pause": pause, "input": given}}


def decided(run: RunView, *pods: Json, policy: Policy = SHARED, now: datetime = NOW) -> Decision:
    return decide(run, Attempt(tuple(PodView(pod) for pod in pods)), None, policy, now, confirmed=True)


def states(decision: Decision) -> list[tuple[str, str, str]]:
    return [(str(entry.type), entry.name, entry.reason) for entry in decision.change.entries]


def conditions(decision: Decision) -> list[tuple[str, bool, str]]:
    return [(c.type, c.status, c.reason) for c in decision.change.conditions]


def test_an_answer_that_fits_starts_a_new_attempt_and_is_kept() -> None:
    """Free of the budget of infrastructure retries."""
    decision = decided(run(spec=resume(approved=True), infraRetries=0))
    assert states(decision) == [("Scheduled", "Resuming", "Resumed")]
    assert decision.change.remove == ("pod", "pause")
    assert decision.change.fields == {
        "answers": [{"pause": "abc-1", "time": "2026-01-01T07:00:00.000000Z", "input": {"approved": True}}]
    }


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        ({"approved": "perhaps"}, "approved: 'perhaps' is not of type 'boolean'"),
        ({}, "approved: it must be given"),
        ({"approved": True, "no": 1}, "no: there is no such name; there are approved"),
        ({"approved": "x" * 5000}, "input: 5016 bytes of JSON, at most 4096; pass a reference to large data instead"),
    ],
)
def test_a_wrong_answer_is_told_by_its_path_and_the_run_waits_on(given_: Json, says: str) -> None:
    decision = decided(run(spec={"resume": {"pause": "abc-1", "input": given_}}))
    assert states(decision) == []
    (condition,) = decision.change.conditions
    assert (condition.type, condition.status, condition.reason) == ("Answered", False, "InvalidInput")
    assert condition.message == says
    assert decision.due == datetime(2026, 1, 1, 8, tzinfo=UTC)


def test_an_answer_to_another_pause_answers_nothing_and_is_told() -> None:
    decision = decided(run(spec=resume("old-1", approved=True)))
    assert (states(decision), conditions(decision)) == ([], [("Answered", False, "StaleAnswer")])
    taken = [{"pause": "old-1", "time": "2026-01-01T06:00:00Z"}]
    assert not decided(run(spec=resume("old-1", approved=True), answers=taken)).change


def test_nobodys_answer_in_time_fails_the_run() -> None:
    late = NOW + timedelta(hours=1)
    decision = decided(run(), now=late)
    assert states(decision) == [("Failed", "", "PauseTimedOut")]
    assert states(decided(run(spec=resume(approved=True)), now=late)) == [("Failed", "", "PauseTimedOut")]


def test_a_pod_that_has_written_its_suspension_may_end_before_anything_follows() -> None:
    assert not decided(run(spec=resume(approved=True)), builders.run_pod()).change


def test_a_run_waits_whatever_is_answered_while_suspend_is_set() -> None:
    decision = decided(run(spec={"suspend": True, **resume(approved=True)}))
    assert (states(decision), conditions(decision)) == ([], [("Answered", False, "SuspendRequested")])


def test_a_run_that_was_stopped_from_outside_goes_on_when_suspend_is_unset() -> None:
    stopped = {"pause": {"id": "suspend-4"}}
    assert not decided(run("Paused", "SuspendRequested", spec={"suspend": True}, **stopped)).change
    decision = decided(run("Paused", "SuspendRequested", **stopped))
    assert states(decision) == [("Scheduled", "Resuming", "Resumed")]
    assert "answers" not in decision.change.fields


def test_a_run_that_goes_on_is_stopped_and_its_end_known_for_what_it_is() -> None:
    """Also when spec.suspend was unset again before its pod had ended."""
    going = run("Running", "Started", "Running", pause=None, spec={"suspend": True})
    first = decided(going, builders.run_pod())
    assert conditions(first) == [("Suspendable", False, "SuspendRequested")]
    assert [doomed.name for doomed in first.delete] == [builders.run_pod()["metadata"]["name"]]
    told = [builders.held("Suspendable", False, "SuspendRequested")]
    for spec in ({"suspend": True}, {}):
        second = decided(run("Running", "Started", "Running", pause=None, spec=spec, conditions=told))
        assert states(second) == [("Paused", "Suspended", "SuspendRequested")]
        assert second.change.fields == {"pause": {"id": "suspend-4"}}
        assert conditions(second) == [("Suspendable", True, "Suspended")]


def test_a_paused_process_is_stopped_and_what_it_asked_for_stays() -> None:
    told = [builders.held("Suspendable", False, "SuspendRequested")]
    decision = decided(run("Paused", "Paused", "Paused", spec={"suspend": True}, conditions=told))
    assert states(decision) == [("Paused", "Suspended", "SuspendRequested")]
    assert decision.change.fields == {"pause": PAUSE}


@pytest.mark.parametrize("end", ["Completed", "Failed", "Crashed", "Cancelled"])
def test_a_run_that_ends_in_its_grace_is_not_told_to_be_stopping(end: str) -> None:
    told = [builders.held("Suspendable", False, "SuspendRequested"), builders.held("Answered", False, "StaleAnswer")]
    ended = run(end, end, end, spec={"suspend": True}, conditions=told)
    decision = decided(ended)
    assert decision.settles
    assert conditions(decision) == [("Suspendable", True, end), ("Answered", True, "Resumed")]
    assert conditions(decided(run(end, end, end, spec={"suspend": True}))) == []


def test_without_shared_results_a_run_goes_on_and_says_why() -> None:
    going = run("Running", "Started", "Running", pause=None, spec={"suspend": True})
    decision = decided(going, builders.run_pod(), policy=Policy())
    assert (decision.delete, conditions(decision)) == ((), [("Suspendable", False, "NotSuspendable")])
    assert "set spec.results.url of the WorkPool" in decision.change.conditions[0].message
    told = [builders.held("Suspendable", False, "NotSuspendable")]
    again = run("Running", "Started", "Running", pause=None, conditions=told)
    assert conditions(decided(again, builders.run_pod(), policy=Policy())) == [("Suspendable", True, "Started")]


def test_an_attempt_that_has_not_started_is_taken_back() -> None:
    """Results are not asked about: there are none."""
    pending = {"pause": None, "pod": None, "spec": {"suspend": True}}
    first = decided(run("Pending", "Launched", "Pending", **pending), builders.run_pod("Pending"), policy=Policy())
    assert conditions(first) == [("Suspendable", False, "SuspendRequested")]
    assert first.delete
    told = [builders.held("Suspendable", False, "SuspendRequested")]
    second = decided(run("Pending", "Launched", "Pending", conditions=told, **pending), policy=Policy())
    assert states(second) == [("Scheduled", "", "SuspendRequested")]


@pytest.mark.parametrize("name", ["Scheduled", "AwaitingRetry", "Resuming"])
def test_nothing_starts_while_suspend_is_set(name: str) -> None:
    decision = decided(run("Scheduled", "OOMKilled", name, pause=None, pod=None, spec={"suspend": True}))
    assert states(decision) == [("Scheduled", "" if name == "Scheduled" else name, "SuspendRequested")]
    assert not decision.create
    again = run("Scheduled", "SuspendRequested", name, pause=None, pod=None, spec={"suspend": True})
    assert not decided(again).change


def test_a_suspended_run_is_cancelled_at_once() -> None:
    decision = decided(run(spec={"cancel": True}))
    assert states(decision) == [("Cancelled", "", "CancelRequested")]
    assert decision.change.remove == ("pause",)


def test_an_attempt_that_is_lost_while_it_waits_leaves_no_pause() -> None:
    decision = decided(run("Paused", "Paused", "Paused"))
    assert states(decision) == [("Crashed", "", "PodDeleted")]
    assert decision.change.remove == ("pause",)


def test_active_seconds_count_from_where_a_suspended_run_was_resumed() -> None:
    def entry(state: str, name: str, minute: int) -> Json:
        reason = "Started" if state == "Running" else "x"
        return {"type": state, "name": name, "reason": reason, "time": f"2026-01-01T06:{minute:02}:00Z", "seq": minute}

    before = [entry("Running", "Running", 1), entry("Paused", "Suspended", 2)]
    after = [entry("Scheduled", "Resuming", 30), entry("Running", "Running", 31), entry("Running", "Running", 40)]
    start = "2026-01-01T06:01:00Z"
    for history, minute in ((before, 1), (before + after, 31)):
        since = pauses.active_since(run(history=history, startTime=start))
        assert since == datetime(2026, 1, 1, 6, minute, tzinfo=UTC)


@given(
    answer=st.none()
    | st.builds(
        lambda p, i: {"pause": p, "input": i},
        st.sampled_from(["abc-1", "old-1"]),
        st.fixed_dictionaries(
            {}, optional={"approved": st.sampled_from([True, False, "perhaps", 1, None]), "x": st.integers()}
        ),
    ),
    suspend=st.booleans(),
    asked=st.booleans(),
    minutes=st.integers(0, 120),
    answers=st.integers(0, MAX_ANSWERS),
)
def test_only_a_fitting_answer_to_this_pause_resumes_what_asked_for_it(
    answer: Json | None, suspend: bool, asked: bool, minutes: int, answers: int
) -> None:
    spec: Json = {"suspend": suspend, **({"resume": answer} if answer else {})}
    before = [{"pause": f"p-{n}", "time": "2026-01-01T06:00:00Z"} for n in range(answers)]
    reason = reasons.SUSPEND_REQUESTED if asked else reasons.SUSPENDED
    verdict = pauses.judge(run("Paused", reason, spec=spec, answers=before), NOW + timedelta(minutes=minutes))
    given = (answer or {}).get("input") or {}
    fits = (answer or {}).get("pause") == "abc-1" and list(given) == ["approved"] and type(given["approved"]) is bool
    late = minutes >= 60 and not asked
    if suspend or (late and not asked):
        assert verdict.entry is None or verdict.entry.reason == reasons.PAUSE_TIMED_OUT
    elif asked:
        assert verdict.entry is not None
    else:
        assert (verdict.entry is not None) == fits
    if verdict.answers is not None:
        assert fits
        assert len(verdict.answers) <= MAX_ANSWERS


@pytest.mark.parametrize(("state", "settled"), [("Running", False), ("Completed", True)])
def test_a_refusal_does_not_stand_in_a_run_that_got_the_right_answer_from_its_runner(state: str, settled: bool) -> None:
    refused = builders.held("Answered", False, "InvalidInput")
    pods = () if settled else (builders.run_pod(),)
    decision = decided(run(state, "Resumed", state, pause=None, conditions=[refused]), *pods)
    assert ("Answered", True, "Resumed") in conditions(decision)
    assert decision.settles is settled
