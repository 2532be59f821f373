"""The one patch of a change: it tests what it rests on, keeps the history bounded, and writes nothing for nothing."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import json_patches
from builders import flow_run, held, run_state
from penstock.api.bounds import HISTORY_AT_LAUNCH, MAX_HISTORY, MAX_HISTORY_MESSAGE, MAX_MESSAGE
from penstock.api.flowrun import FlowRun
from penstock.api.states import IllegalTransition, StateType, is_legal
from penstock_operator.core import changes
from penstock_operator.core.changes import Change, Condition, Entry
from penstock_operator.core.views import RunView

Json = dict[str, Any]
S = StateType
NOW = datetime(2026, 1, 1, 6, 0, 30, tzinfo=UTC)
STAMP = "2026-01-01T06:00:30.000000Z"
LAUNCH = Change((Entry(S.PENDING, "Launched", "attempt 1"),), {"attempt": 1})


def after(body: Json, change: Change, now: datetime = NOW) -> Json:
    """The run's status once the API server has applied the change's patch."""
    status: Json = json_patches.applied(body, changes.patch(RunView(body), change, now))["status"]
    return status


def past(count: int, seen: int = 0, state: str = "Scheduled") -> Json:
    """A run with a history of `count` entries, of which Events tell up to `seen`."""
    history = [{**run_state(state, seq), "attempt": 0, "writer": "operator"} for seq in range(1, count + 1)]
    return flow_run(state, history=history, observedSeq=seen, state=run_state(state, count))


def test_no_change_is_no_patch() -> None:
    assert not Change()
    assert changes.patch(RunView(flow_run("Running")), Change(), NOW) == []
    assert changes.patch(RunView(flow_run()), Change(), NOW) == []


@pytest.mark.parametrize(
    "change",
    [
        Change((Entry(S.RUNNING, "Started"),)),
        Change(fields={"settled": True}),
        Change(remove=("pod",)),
        Change(conditions=(Condition("PodReady", False, "x", ""),)),
    ],
)
def test_any_part_makes_a_change(change: Change) -> None:
    assert change


def test_the_first_write_tests_the_version_for_there_is_nothing_else_yet() -> None:
    test, add = changes.patch(RunView(flow_run()), Change((Entry(S.SCHEDULED, "Accepted"),)), NOW)
    assert test == {"op": "test", "path": "/metadata/resourceVersion", "value": "7"}
    assert (add["op"], add["path"]) == ("add", "/status")
    state = {"type": "Scheduled", "name": "Scheduled", "reason": "Accepted", "message": "", "time": STAMP, "seq": 1}
    assert add["value"] == {
        "attempt": 0,
        "observedGeneration": 1,
        "state": state,
        "history": [{**state, "attempt": 0, "writer": "operator"}],
    }


def test_later_writes_test_uid_attempt_and_seq() -> None:
    ops = changes.patch(RunView(flow_run("Running", attempt=3)), Change(fields={"settled": True}), NOW)
    assert (
        [op for op in ops if op["op"] == "test"]
        == ops[:3]
        == [
            {"op": "test", "path": "/metadata/uid", "value": "run-uid"},
            {"op": "test", "path": "/status/attempt", "value": 3},
            {"op": "test", "path": "/status/state/seq", "value": 1},
        ]
    )


@pytest.mark.parametrize(
    "between",
    [
        pytest.param(lambda body: body["metadata"].update(uid="namesake"), id="deleted and made again"),
        pytest.param(lambda body: body["status"].update(attempt=2), id="another attempt"),
        pytest.param(lambda body: body["status"]["state"].update(seq=2), id="another state"),
    ],
)
def test_whoever_wrote_in_between_wins(between: Any) -> None:
    body = flow_run("Pending")
    ops = changes.patch(RunView(copy.deepcopy(body)), Change((Entry(S.CRASHED, "x"),)), NOW)
    between(body)
    with pytest.raises(json_patches.Refused):
        json_patches.applied(body, ops)


def test_progress_in_between_does_no_harm() -> None:
    body = flow_run("Pending")
    ops = changes.patch(RunView(copy.deepcopy(body)), Change((Entry(S.CRASHED, "x"),)), NOW)
    body["status"]["tasks"] = {"total": 3}
    body["metadata"]["resourceVersion"] = "8"
    status = json_patches.applied(body, ops)["status"]
    assert (status["state"]["type"], status["tasks"]) == ("Crashed", {"total": 3})


@pytest.mark.parametrize(("current", "proposed"), list(product([None, *S], S)))
def test_a_patch_is_made_exactly_for_legal_moves(current: StateType | None, proposed: StateType) -> None:
    body = flow_run(current)
    change = Change((Entry(proposed, "x"),))
    if not is_legal(current, proposed):
        with pytest.raises(IllegalTransition):
            changes.patch(RunView(body), change, NOW)
        return
    assert after(body, change)["state"]["type"] == proposed


def test_each_of_several_states_gets_its_number_and_the_last_one_stays() -> None:
    status = after(flow_run(), Change((Entry(S.SCHEDULED, "Accepted"), Entry(S.PENDING, "Launched")), {"attempt": 1}))
    assert [(entry["type"], entry["seq"]) for entry in status["history"]] == [("Scheduled", 1), ("Pending", 2)]
    assert (status["state"]["type"], status["state"]["seq"], status["attempt"]) == ("Pending", 2, 1)


def test_a_step_through_an_illegal_state_is_refused_as_a_whole() -> None:
    with pytest.raises(IllegalTransition):
        changes.patch(RunView(flow_run()), Change((Entry(S.CANCELLED, "x"), Entry(S.PENDING, "x"))), NOW)


def test_a_state_is_named_by_its_type_unless_it_says_otherwise() -> None:
    status = after(flow_run("Running"), Change((Entry(S.FAILED, "x", name="TimedOut"),)))
    assert (status["state"]["type"], status["state"]["name"]) == ("Failed", "TimedOut")


def test_long_messages_are_cut_and_say_so() -> None:
    status = after(flow_run("Running"), Change((Entry(S.CRASHED, "x", "m" * 5000),)))
    assert len(status["state"]["message"]) == MAX_MESSAGE
    assert len(status["history"][-1]["message"]) == MAX_HISTORY_MESSAGE
    assert status["state"]["message"].endswith("logs)")


def test_fields_are_set_and_removed_beside_what_stays() -> None:
    body = flow_run("Pending", pod={"uid": "old"}, startTime="t")
    status = after(body, Change(fields={"infraRetries": 1}, remove=("pod", "absent")))
    assert "pod" not in status
    assert (status["infraRetries"], status["startTime"], status["observedGeneration"]) == (1, "t", 1)


def test_removing_what_is_not_there_is_no_patch() -> None:
    assert changes.patch(RunView(flow_run("Pending")), Change(remove=("pod",)), NOW) == []


WANTED = Condition("PodReady", False, "Unschedulable", "no node")


@pytest.mark.parametrize(
    ("old", "written", "since"),
    [
        pytest.param(None, True, STAMP, id="new"),
        pytest.param(held("PodReady", False, "Unschedulable", "no node"), False, None, id="the same is not written"),
        pytest.param(
            held("PodReady", False, "Unschedulable", "0/3"), True, "2026-01-01T06:00:00Z", id="another message"
        ),
        pytest.param(held("PodReady", False, "ImagePullFailed", "no node"), True, STAMP, id="another reason"),
        pytest.param(held("PodReady", True, "Unschedulable", "no node"), True, STAMP, id="another status"),
    ],
)
def test_a_condition_is_written_when_it_differs_and_keeps_its_time_while_its_cause_lasts(
    old: Json | None, written: bool, since: str | None
) -> None:
    other = held("Resolved", True, "Accepted")
    body = flow_run("Pending", conditions=[other, *([old] if old else [])])
    ops = changes.patch(RunView(body), Change(conditions=(WANTED,)), NOW)
    assert bool(ops) is written
    if written:
        status = json_patches.applied(body, ops)["status"]
        assert status["conditions"] == [
            other,
            {
                "type": "PodReady",
                "status": "False",
                "reason": "Unschedulable",
                "message": "no node",
                "observedGeneration": 1,
                "lastTransitionTime": since,
            },
        ]


@pytest.mark.parametrize("known", [None, [], [{"type": "NodeLost", "status": "True", "reason": "x", "message": ""}]])
def test_a_condition_that_the_runner_has_told_meanwhile_is_kept(known: list[Json] | None) -> None:
    """The operator decides on what it has heard, which may be older; it decides again where its write is refused."""
    answered = {"type": "Answered", "status": "False", "reason": "InvalidInput", "message": "n: é"}
    body = flow_run("Running", **({} if known is None else {"conditions": known}))
    ops = changes.patch(RunView(copy.deepcopy(body)), Change(conditions=(WANTED,)), NOW)
    body["status"]["conditions"] = [*(known or []), answered]
    if known is None:
        with pytest.raises(json_patches.Refused):
            json_patches.applied(body, ops)
        ops = changes.patch(RunView(copy.deepcopy(body)), Change(conditions=(WANTED,)), NOW)
    types = [condition["type"] for condition in json_patches.applied(body, ops)["status"]["conditions"]]
    assert types == [*(c["type"] for c in known or []), "Answered", WANTED.type]


def test_a_condition_is_written_once_even_when_its_message_must_be_cut() -> None:
    change = Change(conditions=(Condition("PodReady", False, "x", "m" * 5000),))
    body = flow_run("Pending")
    again = {**body, "status": after(body, change)}
    assert changes.patch(RunView(again), change, NOW + timedelta(minutes=1)) == []


def test_every_write_fits_the_api() -> None:
    change = Change((Entry(S.PENDING, "Launched", "m" * 5000),), {"attempt": 1}, conditions=(WANTED,))
    FlowRun.model_validate({**flow_run(), "status": after(flow_run(), change)})


def test_a_full_history_drops_its_oldest_entry() -> None:
    history = after(past(MAX_HISTORY), Change((Entry(S.SCHEDULED, "x"),)))["history"]
    assert [entry["seq"] for entry in history] == list(range(2, MAX_HISTORY + 2))


def test_a_launch_leaves_room_by_dropping_what_events_have_told() -> None:
    history = after(past(60, seen=60), LAUNCH)["history"]
    assert [entry["seq"] for entry in history] == list(range(61 - HISTORY_AT_LAUNCH + 1, 62))


def test_a_launch_keeps_what_events_have_not_told() -> None:
    history = after(past(60, seen=5), LAUNCH)["history"]
    assert [entry["seq"] for entry in history] == list(range(6, 62))


def test_a_launch_always_leaves_room_for_the_claim() -> None:
    history = after(past(MAX_HISTORY), LAUNCH)["history"]
    assert len(history) == MAX_HISTORY - 1


@given(
    st.integers(0, MAX_HISTORY).flatmap(lambda count: st.tuples(st.just(count), st.integers(0, count))),
    st.sampled_from([LAUNCH, Change((Entry(S.SCHEDULED, "x"),)), Change((Entry(S.SCHEDULED, "x"),) * 3)]),
)
def test_a_history_is_bounded_in_order_and_ends_with_what_was_added(sizes: tuple[int, int], change: Change) -> None:
    count, seen = sizes
    seqs = [entry["seq"] for entry in after(past(count, seen), change)["history"]]
    assert len(seqs) <= (MAX_HISTORY - 1 if change is LAUNCH else MAX_HISTORY)
    assert seqs[-1] == count + len(change.entries)
    assert all(later == earlier + 1 for earlier, later in pairwise(seqs))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m00s"),
        (200, "3m20s"),
        (3599, "59m59s"),
        (3600, "1h00m"),
        (7500, "2h05m"),
        (360000, "100h00m"),
        (-5, "0s"),
    ],
)
def test_a_duration_is_told_for_people(seconds: float, text: str) -> None:
    run = RunView(flow_run("Running", startTime="2026-01-01T06:00:00Z"))
    start = datetime(2026, 1, 1, 6, tzinfo=UTC)
    assert changes.duration(run, start + timedelta(seconds=seconds)) == text


def test_a_run_that_never_started_has_no_duration() -> None:
    assert changes.duration(RunView(flow_run("Pending")), NOW) is None
