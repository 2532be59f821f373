"""What may not change once it is written: transition rules of the CRDs on a real API server, tried by patches."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

import builders
from api_client import ApiClient, Refused
from builders import changed, good
from penstock.api.states import StateType, is_legal

Json = dict[str, Any]

# What somebody tries, the kind, a merge patch of a good object, what the message must say.
FORBIDDEN: list[tuple[str, str, Json, str]] = [
    ("run another deployment", "FlowRun", {"deploymentRef": {"name": "other"}}, "deploymentRef is immutable"),
    ("run a flow instead", "FlowRun", {"deploymentRef": None, "flowRef": {"name": "etl"}}, "flowRef is immutable"),
    ("change a parameter", "FlowRun", {"parameters": {"n": 2}}, "parameters is immutable"),
    ("change a nested parameter", "FlowRun", {"parameters": {"nested": {"list": [1]}}}, "parameters is immutable"),
    ("add a parameter", "FlowRun", {"parameters": {"m": 1}}, "parameters is immutable"),
    ("drop a parameter", "FlowRun", {"parameters": {"n": None}}, "parameters is immutable"),
    ("drop the parameters", "FlowRun", {"parameters": None}, "parameters is immutable"),
    ("move a run in time", "FlowRun", {"scheduledTime": "2027-01-01T00:00:00Z"}, "scheduledTime is immutable"),
    ("drop the time", "FlowRun", {"scheduledTime": None}, "scheduledTime is immutable"),
    ("move a run to another pool", "FlowRun", {"workPool": "gpu"}, "workPool is immutable"),
    ("give a run another parent", "FlowRun", {"parent": {"uid": "other"}}, "parent is immutable"),
    ("make a run an orphan", "FlowRun", {"parent": None}, "parent is immutable"),
    ("move a run into its parent", "FlowRun", {"infrastructure": "Parent"}, "infrastructure is immutable"),
    ("run another task", "FlowRun", {"task": {"entrypoint": "flow:other"}}, "task is immutable"),
    ("give a run another pod", "FlowRun", {"pod": {"image": "registry.example/other:1"}}, "pod is immutable"),
    ("change the type of a pool", "WorkPool", {"type": "Job", "worker": None}, "type is immutable"),
    ("move a queue to another pool", "WorkQueue", {"workPoolRef": {"name": "gpu"}}, "workPoolRef is immutable"),
    ("backfill another deployment", "Backfill", {"deploymentRef": {"name": "x"}}, "deploymentRef is immutable"),
    ("backfill another schedule", "Backfill", {"schedule": "often"}, "schedule is immutable"),
    ("begin a backfill earlier", "Backfill", {"from": "2025-01-01T00:00:00Z"}, "from is immutable"),
    ("end a backfill later", "Backfill", {"to": "2027-01-01T00:00:00Z"}, "to is immutable"),
    ("change what a backfill makes", "Backfill", {"mode": "Missing"}, "mode is immutable"),
    ("turn a backfill around", "Backfill", {"order": "Ascending"}, "order is immutable"),
    ("change a backfill's parameters", "Backfill", {"parameters": {"n": 4}}, "parameters is immutable"),
    ("make a table a link", "Artifact", {"type": "link"}, "type is immutable"),
]

# What a run is made of, each with a value that it could have.
MADE_OF: Json = {
    "deploymentRef": {"name": "etl"},
    "flowRef": {"name": "etl"},
    "parameters": {"n": 1},
    "scheduledTime": "2026-01-01T06:00:00Z",
    "workPool": "default",
    "parent": {"name": "parent", "uid": "0b8c"},
    "infrastructure": "Pool",
    "task": {"entrypoint": "flow:work"},
    "retryOf": {"name": "other", "uid": "u"},
    "pod": {"image": "registry.example/flows:1"},
}

# What a person may do with a run under way.
ALLOWED: list[tuple[str, Json]] = [
    ("cancel it", {"cancel": True}),
    ("suspend it", {"suspend": True}),
    ("answer another pause", {"resume": {"pause": "p2", "input": {"approved": False}}}),
    ("hurry it", {"priority": 1}),
    ("keep it longer", {"ttlSecondsAfterFinished": 86400}),
    ("write the same parameters again", {"parameters": {"n": 1, "nested": {"list": [1, "two", None]}}}),
]


@pytest.mark.parametrize(("kind", "patch", "message"), [f[1:] for f in FORBIDDEN], ids=[f[0] for f in FORBIDDEN])
def test_nobody_may(kind: str, patch: Json, message: str, admin: ApiClient, namespace: str) -> None:
    admin.create(good(kind, namespace=namespace))
    with pytest.raises(Refused, match=message):
        admin.merge(kind, namespace, "sample", {"spec": patch})


@pytest.mark.parametrize("field", MADE_OF)
def test_nothing_that_a_run_is_made_of_appears_or_goes(field: str, admin: ApiClient, namespace: str) -> None:
    """Also where as many fields stand in the spec as before; the answer names it, and says what to do."""
    without = {"flowRef" if field == "deploymentRef" else "deploymentRef": {"name": "etl"}, "priority": 3}
    run_of = (
        {field: MADE_OF[field]} if field == "flowRef" else {"deploymentRef": {"name": "etl"}, field: MADE_OF[field]}
    )
    for name, spec in {"without": without, "with": run_of}.items():
        admin.create({**good("FlowRun", name, namespace), "spec": spec})
    for name, value, others in product(("without", "with"), (MADE_OF[field],), ({}, {"queue": "fast"})):
        change = {field: value, "priority": None, **others} if name == "without" else {field: None, **others}
        with pytest.raises(Refused, match=f": {field} is immutable, create a new object to change it"):
            admin.merge("FlowRun", namespace, name, {"spec": change})


def test_all_that_somebody_tries_to_change_is_named(admin: ApiClient, namespace: str) -> None:
    admin.create(good("FlowRun", namespace=namespace))
    named = "workPool is immutable, pod is immutable, create a new object to change it"
    with pytest.raises(Refused, match=named):
        admin.merge("FlowRun", namespace, "sample", {"spec": {"pod": None, "workPool": "gpu", "cancel": True}})


@pytest.mark.parametrize("patch", [a[1] for a in ALLOWED], ids=[a[0] for a in ALLOWED])
def test_a_person_may(patch: Json, admin: ApiClient, namespace: str) -> None:
    admin.create(good("FlowRun", namespace=namespace))
    kept = admin.merge("FlowRun", namespace, "sample", {"spec": patch})["spec"]
    assert {field: kept[field] for field in patch} == patch


@pytest.mark.parametrize("kind", ["FlowRun", "Backfill"])
@pytest.mark.parametrize("retreat", [False, None])
def test_a_cancellation_cannot_be_taken_back(kind: str, retreat: bool | None, admin: ApiClient, namespace: str) -> None:
    admin.create(changed(good(kind, namespace=namespace), {"spec.cancel": True}))
    with pytest.raises(Refused, match="cancel: a cancellation cannot be taken back"):
        admin.merge(kind, namespace, "sample", {"spec": {"cancel": retreat}})


def run(admin: ApiClient, namespace: str, status: Json, name: str = "sample") -> None:
    """A FlowRun with this status."""
    admin.create(good("FlowRun", name, namespace))
    admin.merge("FlowRun", namespace, name, {"status": status}, "status")


def replace_state(admin: ApiClient, namespace: str, state: Json, name: str = "sample") -> None:
    """The write of a new state, tried without effect."""
    operations = [{"op": "replace", "path": "/status/state", "value": state}]
    admin.patch("FlowRun", namespace, name, operations, "status", dry_run=True)


def test_a_single_step_of_a_run_is_legal_exactly_where_the_table_says_so(admin: ApiClient, namespace: str) -> None:
    """Every pair of states, on the real API server."""
    for current in StateType:
        run(admin, namespace, {"state": builders.run_state(current.value)}, f"from-{current.lower()}")
    allowed = set()
    for current, proposed in product(StateType, StateType):
        try:
            replace_state(admin, namespace, builders.run_state(proposed.value, 2), f"from-{current.lower()}")
        except Refused as refused:
            if "state" not in refused.message:
                raise
        else:
            allowed.add((current, proposed))
    assert allowed == {pair for pair in product(StateType, StateType) if is_legal(*pair)}


def test_two_steps_may_be_one_write(admin: ApiClient, namespace: str) -> None:
    """An attempt that died becomes Scheduled and Pending again at once; each step has its seq."""
    run(admin, namespace, {"state": builders.run_state("Running", 3)})
    replace_state(admin, namespace, builders.run_state("Pending", 5))
    with pytest.raises(Refused, match="no run moves so"):
        replace_state(admin, namespace, builders.run_state("Pending", 4))


def test_a_run_that_is_being_cancelled_only_becomes_cancelled(admin: ApiClient, namespace: str) -> None:
    """Whatever number of steps somebody says it took."""
    run(admin, namespace, {"state": builders.run_state("Cancelling", 3)})
    for seq in (4, 5):
        with pytest.raises(Refused, match="a run that is being cancelled can only become Cancelled"):
            replace_state(admin, namespace, builders.run_state("Running", seq))
        replace_state(admin, namespace, builders.run_state("Cancelled", seq))


def test_a_terminal_state_is_not_left_in_several_steps(admin: ApiClient, namespace: str) -> None:
    run(admin, namespace, {"state": builders.run_state("Crashed", 3)})
    with pytest.raises(Refused, match="state: a terminal state cannot be changed"):
        replace_state(admin, namespace, builders.run_state("Pending", 5))


@pytest.mark.parametrize("terminal", ["Completed", "Failed", "Crashed", "Cancelled"])
@pytest.mark.parametrize(
    "change",
    [{"type": "Running"}, {"type": "Failed", "seq": 7}, {"seq": 8}, {"message": "Nothing happened."}, {"name": "x"}],
    ids=str,
)
def test_a_terminal_state_is_frozen(terminal: str, change: Json, admin: ApiClient, namespace: str) -> None:
    state = builders.run_state(terminal, 6)
    run(admin, namespace, {"state": state})
    with pytest.raises(Refused, match="state: a terminal state cannot be changed"):
        replace_state(admin, namespace, {**state, **change})


def test_the_operator_may_do_its_bookkeeping_on_a_terminal_run(admin: ApiClient, namespace: str) -> None:
    state = builders.run_state("Completed", 3)
    run(admin, namespace, {"state": state, "attempt": 1, "observedSeq": 2})
    books = {"settled": True, "observedSeq": 3, "pod": None, "state": state}
    written = admin.merge("FlowRun", namespace, "sample", {"status": books}, "status")
    assert written["status"]["settled"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": {"type": "Running", "seq": 4}}, "state.seq cannot go back"),
        ({"state": {"type": "Failed"}}, "state.seq must grow with each change of state"),
        ({"state": None}, "state cannot be removed"),
        ({"attempt": 1}, "attempt cannot go back"),
        ({"attempt": None}, "attempt cannot go back"),
        ({"settled": True}, "settled: only a run in a terminal state can be settled"),
        ({"history": [{"type": "Running", "name": "Running"}]}, "status.history"),
        ({"state": {"type": "Dreaming", "seq": 6}}, "status.state.type"),
        ({"tasks": {"total": -1}}, "status.tasks.total"),
    ],
    ids=str,
)
def test_a_running_run_may_not_be_written_so(change: Json, message: str, admin: ApiClient, namespace: str) -> None:
    run(admin, namespace, {"state": builders.run_state("Running", 5), "attempt": 2})
    with pytest.raises(Refused, match=message):
        admin.merge("FlowRun", namespace, "sample", {"status": change}, "status")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attempt": 3}, "attempt grows by one, with the state Pending"),
        ({"attempt": 4, "state": {"type": "Pending", "seq": 7}}, "attempt grows by one, with the state Pending"),
        ({"pod": {"name": "sample-2", "uid": "other"}}, "an attempt stays with the pod that has claimed it"),
        ({"pod": None}, "a claim cannot be taken from code that runs"),
        ({"observedSeq": 3}, "observedSeq cannot go back"),
        ({"observedSeq": None}, "observedSeq cannot go back"),
        ({"observedSeq": 6}, "there is no such change of state yet"),
        ({"infraRetries": 0}, "infraRetries cannot go back"),
        ({"infraRetries": None}, "infraRetries cannot go back"),
        ({"startTime": "2026-01-01T07:00:00Z"}, "startTime cannot be changed"),
        ({"startTime": None}, "startTime cannot be changed"),
        ({"code": {"commit": "b" * 40}}, "code cannot be changed"),
        ({"code": None}, "code cannot be changed"),
        ({"code": None, "duration": "1s", "runCount": 1}, "code cannot be changed"),
        ({"state": None}, "state cannot be removed"),
        ({"attempt": None}, "attempt cannot go back"),
        ({"endTime": "2026-01-01T07:00:00Z"}, "endTime: the run has no end yet"),
    ],
    ids=str,
)
def test_nobody_breaks_a_claimed_run_by_an_edit(change: Json, message: str, admin: ApiClient, namespace: str) -> None:
    """What fencing, budgets and Events rest on holds also against those who may write any status."""
    claimed = {
        "state": builders.run_state("Running", 5),
        "attempt": 2,
        "pod": {"name": "sample-2", "uid": "u"},
        "observedSeq": 4,
        "infraRetries": 1,
        "startTime": "2026-01-01T06:00:00Z",
        "code": {"commit": "a" * 40},
    }
    run(admin, namespace, claimed)
    with pytest.raises(Refused, match=message):
        admin.merge("FlowRun", namespace, "sample", {"status": change}, "status")


def test_a_first_status_is_held_to_what_needs_no_earlier_one(admin: ApiClient, namespace: str) -> None:
    admin.create(good("FlowRun", namespace=namespace))
    running = {"state": builders.run_state("Running", 3)}
    for status, message in (
        ({**running, "observedSeq": 4}, "observedSeq: there is no such change of state yet"),
        ({"observedSeq": 0}, "observedSeq: there is no such change of state yet"),
        ({**running, "endTime": "2026-01-01T06:00:00Z"}, "endTime: the run has no end yet"),
        ({**running, "settled": True}, "settled: only a run in a terminal state can be settled"),
        ({"settled": True}, "settled: only a run in a terminal state can be settled"),
    ):
        with pytest.raises(Refused, match=message):
            admin.merge("FlowRun", namespace, "sample", {"status": status}, "status")


@pytest.mark.parametrize("field", ["claims", "grants"])
def test_an_older_write_about_slots_is_refused(field: str, admin: ApiClient, namespace: str) -> None:
    written = {"attempt": 2, "number": 3, field: []}
    run(admin, namespace, {"state": builders.run_state("Running", 5), "attempt": 2, field: written})
    for older in ({"number": 2}, {"attempt": 1, "number": 4}):
        with pytest.raises(Refused, match=f"{field}: a later write is there; number cannot go back"):
            admin.merge("FlowRun", namespace, "sample", {"status": {field: older}}, "status")


_EXITED = {"attempt": 2, "exitCode": 137, "reason": "OOMKilled", "time": "2026-01-01T06:00:00Z"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "other"}, "worker: an attempt stays with its worker"),
        ({"uid": "other"}, "worker: an attempt stays with its worker"),
        ({"end": False}, "worker.end cannot be taken back"),
        ({"exited": {"exitCode": 0}}, "worker.exited cannot be changed"),
        ({"exited": None}, "worker.exited cannot be changed"),
    ],
    ids=str,
)
def test_what_is_agreed_with_a_worker_stays(change: Json, message: str, admin: ApiClient, namespace: str) -> None:
    worker = {"name": "w", "uid": "u", "attempt": 2, "end": True, "exited": _EXITED}
    run(admin, namespace, {"state": builders.run_state("Running", 5), "attempt": 2, "worker": worker})
    with pytest.raises(Refused, match=message):
        admin.merge("FlowRun", namespace, "sample", {"status": {"worker": change}}, "status")


def test_another_attempt_may_be_given_to_another_worker(admin: ApiClient, namespace: str) -> None:
    worker = {"name": "w", "uid": "u", "attempt": 1, "end": True, "exited": {**_EXITED, "attempt": 1}}
    run(admin, namespace, {"state": builders.run_state("Scheduled", 5), "attempt": 1, "worker": worker})
    again = {"state": builders.run_state("Pending", 6), "attempt": 2, "worker": {"name": "v", "uid": "x", "attempt": 2}}
    operations = [{"op": "add", "path": f"/status/{name}", "value": value} for name, value in again.items()]
    admin.patch("FlowRun", namespace, "sample", operations, "status")


def test_a_lost_claim_makes_room_for_the_next_attempt(admin: ApiClient, namespace: str) -> None:
    claimed = {"state": builders.run_state("Running", 3), "attempt": 1, "pod": {"name": "sample-1", "uid": "u"}}
    run(admin, namespace, claimed)
    lost = {"state": builders.run_state("Scheduled", 4), "pod": None, "infraRetries": 1}
    admin.merge("FlowRun", namespace, "sample", {"status": lost}, "status")
    again = {"state": builders.run_state("Pending", 5), "attempt": 2}
    admin.merge("FlowRun", namespace, "sample", {"status": again}, "status")
    claim = {"state": builders.run_state("Running", 6), "pod": {"name": "sample-2", "uid": "v"}}
    admin.merge("FlowRun", namespace, "sample", {"status": claim}, "status")


def test_an_end_keeps_its_time(admin: ApiClient, namespace: str) -> None:
    ended = {"state": builders.run_state("Completed", 3), "endTime": "2026-01-01T06:00:00Z"}
    run(admin, namespace, ended)
    for change in ("2026-01-01T07:00:00Z", None):
        with pytest.raises(Refused, match="endTime cannot be changed"):
            admin.merge("FlowRun", namespace, "sample", {"status": {"endTime": change}}, "status")


def test_a_status_cannot_be_removed_to_begin_anew(admin: ApiClient, namespace: str) -> None:
    run(admin, namespace, {"state": builders.run_state("Completed")})
    with pytest.raises(Refused, match="status: a run's status cannot be removed"):
        admin.patch("FlowRun", namespace, "sample", [{"op": "remove", "path": "/status"}], "status")


@pytest.mark.parametrize("retreat", [False, None])
def test_settled_cannot_be_taken_back(retreat: bool | None, admin: ApiClient, namespace: str) -> None:
    run(admin, namespace, {"state": builders.run_state("Completed"), "settled": True})
    with pytest.raises(Refused, match="settled cannot be taken back"):
        admin.merge("FlowRun", namespace, "sample", {"status": {"settled": retreat}}, "status")


def test_history_is_bounded(admin: ApiClient, namespace: str) -> None:
    entry = {**builders.run_state(), "writer": "operator"}
    run(admin, namespace, {"state": builders.run_state(), "history": [entry] * 64})
    with pytest.raises(Refused, match=r"status\.history: Too many"):
        admin.patch(
            "FlowRun", namespace, "sample", [{"op": "add", "path": "/status/history/-", "value": entry}], "status"
        )


def test_a_write_that_tests_attempt_and_seq_is_fenced(admin: ApiClient, namespace: str) -> None:
    """The protocol of every writer: one JSON patch that tests what it knows."""
    run(admin, namespace, {"state": builders.run_state("Pending", 2), "attempt": 1, "history": []})

    def claim(attempt: int, seq: int) -> Json:
        operations = [
            {"op": "test", "path": "/status/attempt", "value": attempt},
            {"op": "test", "path": "/status/state/seq", "value": seq},
            {"op": "replace", "path": "/status/state", "value": builders.run_state("Running", seq + 1)},
            {"op": "add", "path": "/status/pod", "value": {"name": f"sample-{attempt}", "uid": "u"}},
        ]
        return admin.patch("FlowRun", namespace, "sample", operations, "status")

    for attempt, seq in ((2, 2), (1, 1)):
        with pytest.raises(Refused) as refusal:
            claim(attempt, seq)
        assert refusal.value.code == 422
    assert claim(1, 2)["status"]["pod"]["name"] == "sample-1"


def test_a_schedules_cursor_only_moves_forward(admin: ApiClient, namespace: str) -> None:
    admin.create(good("FlowDeployment", namespace=namespace))

    def handled(time: str) -> None:
        cursor = [{"slug": "often", "time": "2026-01-01T00:00:00Z"}, {"slug": "morning", "time": time}]
        admin.merge("FlowDeployment", namespace, "sample", {"status": {"lastScheduled": cursor}}, "status")

    handled("2026-02-01T06:00:00Z")
    handled("2026-02-02T06:00:00Z")
    with pytest.raises(Refused, match=r"lastScheduled\.time only moves forward"):
        handled("2026-02-01T06:00:00Z")


def test_a_page_stays_that_of_its_run_and_a_sealed_one_stays_as_it_is(admin: ApiClient, namespace: str) -> None:
    admin.create(good("TaskRunPage", namespace=namespace))
    with pytest.raises(Refused, match="a page stays that of its run"):
        admin.merge("TaskRunPage", namespace, "sample", {"run": {"name": "other"}})
    admin.merge("TaskRunPage", namespace, "sample", {"data": "eJwE", "sealed": True})
    with pytest.raises(Refused, match="a sealed page is not written again"):
        admin.merge("TaskRunPage", namespace, "sample", {"data": "eJwF"})
    with pytest.raises(Refused, match="a sealed page is not written again"):
        admin.merge("TaskRunPage", namespace, "sample", {"sealed": False})
