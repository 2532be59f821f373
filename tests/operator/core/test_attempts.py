"""An attempt in a warm worker: what its Lease and its pod say of it, and how its end is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

import json_patches
from builders import flow_run, resolved, run_pod, run_state
from penstock.api import labels, names, reasons
from penstock.api.flowrun import FlowRun
from penstock.api.states import StateName, StateType
from penstock.api.workers import WorkerFacts, WorkerPod
from penstock_operator.core import changes, runs
from penstock_operator.core.attempts import Assigned, Attempt, Doomed, in_worker
from penstock_operator.core.decisions import LINGER, Decision
from penstock_operator.core.nodes import Silence
from penstock_operator.core.policy import InfraRetries, Policy
from penstock_operator.core.resolve import Resolution
from penstock_operator.core.views import LeaseView, PodView, RunView, format_time
from penstock_operator.core.watching import FREE_LOSSES

Json = dict[str, Any]
SIX = datetime(2026, 1, 1, 6, tzinfo=UTC)
RETRY = Policy(infra_retries=InfraRetries(limit=1))
PROCESS = Doomed("Worker", "w", "w-uid")


def lease(uid: str = "w-uid", *, pod: bool = False) -> LeaseView:
    facts = WorkerFacts(uid=uid, slots=1, pod=WorkerPod(name="w", uid=uid) if pod else None)
    meta = {"name": names.worker_lease("w"), "annotations": {labels.WORKER_FACTS: facts.annotation()}}
    return LeaseView({"metadata": meta, "spec": {"holderIdentity": uid, "renewTime": "2026-01-01T06:00:00Z"}})


def run(state: str = "Running", *, exited: Json | None = None, end: bool = False, **more: Any) -> RunView:
    worker: Json = {"name": "w", "uid": "w-uid", "attempt": 1}
    if end:
        worker["end"] = True
    if exited is not None:
        worker["exited"] = {"attempt": 1, "time": "2026-01-01T06:00:01Z", **exited}
    status: Json = {"worker": worker, "resolved": resolved("Process"), **more}
    if state != "Pending":
        status["pod"] = {"name": "w", "uid": "w-uid"}
    return RunView(flow_run(state, **status))


def at(run: RunView, lease: LeaseView | None = None, pod: Json | None = None, **more: Any) -> Assigned:
    departed = more.pop("departed", None)
    view = PodView(pod) if pod else None
    gone = PodView(departed) if departed else None
    return in_worker(run, lease, view, departed=gone, **{"silent": False, **more})


def pod(phase: str = "Running", **more: Any) -> Json:
    return run_pod(phase, uid="w-uid", **more)


EVICTED = {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]}

# What is seen of the worker -> the reason for which it is lost, None while it lives.
LIVES: dict[str, tuple[Json, str | None]] = {
    "a worker outside that renews its Lease": ({"lease": lease()}, None),
    "a worker outside that has fallen silent": ({"lease": lease(), "silent": True}, reasons.WORKER_LOST),
    "a worker outside that was started anew": ({"lease": lease("other")}, reasons.WORKER_LOST),
    "a worker outside whose Lease is deleted": ({}, reasons.WORKER_LOST),
    "a pod that runs": ({"lease": lease(pod=True), "pod": pod()}, None),
    "a pod that runs, whose Lease is silent": ({"lease": lease(pod=True), "pod": pod(), "silent": True}, None),
    "a pod that runs, whose Lease is deleted": ({"pod": pod()}, None),
    "a pod that is being deleted still runs": ({"lease": lease(pod=True), "pod": pod(deleting=True)}, None),
    "a pod that has failed": ({"lease": lease(pod=True), "pod": pod("Failed")}, reasons.WORKER_LOST),
    "a pod that was evicted": ({"pod": pod("Failed", reason="Evicted")}, reasons.EVICTED),
    "a namesake of its pod": ({"pod": run_pod(uid="other")}, reasons.WORKER_LOST),
    "no pod, of a worker that has one": ({"lease": lease(pod=True)}, reasons.WORKER_LOST),
    "a pod that was deleted": ({"lease": lease(pod=True), "departed": pod()}, reasons.WORKER_LOST),
    "a pod that was evicted and deleted": ({"departed": pod(**EVICTED)}, reasons.EVICTED),
    "a pod on a node that is gone": ({"pod": pod(), "lost_nodes": frozenset({"node-1"})}, reasons.NODE_LOST),
}


@pytest.mark.parametrize(("seen", "reason"), LIVES.values(), ids=LIVES)
def test_a_worker_lives_by_its_pod_or_else_by_its_lease(seen: Json, reason: str | None) -> None:
    found = at(run(), **seen)
    assert found.over is (reason is not None)
    if reason:
        assert found.how_it_ended(claimed=True).reason == reason
        assert found.doomed() == ()
    else:
        assert found.doomed() == (PROCESS,)


@pytest.mark.parametrize(
    ("exited", "claimed", "reason", "says"),
    [
        ({"exitCode": 1}, True, reasons.EXITED, "exit code 1"),
        ({"exitCode": 139, "message": "Segmentation fault"}, True, reasons.EXITED, "SIGSEGV"),
        ({"exitCode": 1}, False, reasons.NEVER_CLAIMED, "did not claim the run"),
        ({"message": "fork: no memory"}, False, reasons.NEVER_CLAIMED, "before it could be started"),
        ({"exitCode": 137, "reason": "OOMKilled"}, True, reasons.OOM_KILLED, "worker.concurrency"),
        ({"exitCode": 1, "reason": "StartFailed"}, False, reasons.START_FAILED, "exit code 1"),
        ({"exitCode": 1, "reason": "Anything"}, True, reasons.EXITED, "exit code 1"),
    ],
)
def test_an_end_is_told_as_the_worker_says_it(exited: Json, claimed: bool, reason: str, says: str) -> None:
    found = at(run("Running" if claimed else "Pending", exited=exited), lease())
    assert found.over
    how = found.how_it_ended(claimed=claimed)
    assert (how.reason, how.exit_code) == (reason, exited.get("exitCode"))
    assert says in how.message


def test_the_end_of_an_earlier_attempt_is_not_that_of_this_one() -> None:
    assert not at(run(exited={"attempt": 0, "exitCode": 1}), lease()).over


def test_what_has_its_end_is_over_though_its_process_may_linger() -> None:
    found = at(run("Completed"), lease())
    assert found.over
    assert found.live == ()


def decide(run: RunView, attempt: Assigned, policy: Policy = RETRY, seconds: float = 5) -> Decision:
    return runs.decide(run, attempt, None, policy, SIX + timedelta(seconds=seconds), confirmed=True)


def states(found: Decision) -> list[tuple[str, str, str]]:
    return [(str(e.type), e.name, e.reason) for e in found.change.entries]


def test_a_run_in_a_worker_is_left_alone_until_its_deadline() -> None:
    late = Policy(active_deadline=100)
    assert decide(run(), at(run(), lease()), late) == Decision(due=SIX + timedelta(seconds=100))
    found = decide(run(), at(run(), lease()), late, 100)
    assert found.change.fields["worker/end"] is True
    assert (found.delete, states(found)) == ((), [])
    ended = run(end=True, exited={"exitCode": 143})
    assert states(decide(ended, at(ended, lease()), late, 105)) == [("Failed", "TimedOut", "ActiveDeadlineExceeded")]


def test_a_lost_worker_is_followed_by_an_attempt_elsewhere_within_the_budget() -> None:
    found = decide(run(), at(run()))
    assert states(found) == [("Scheduled", StateName.AWAITING_RETRY, reasons.WORKER_LOST)]
    assert set(found.change.remove) >= {"pod", "worker"}
    spent = run(infraRetries=1)
    assert states(decide(spent, at(spent))) == [("Crashed", "", reasons.WORKER_LOST)]


def test_the_budget_is_for_silent_workers_only_where_the_pool_says_so() -> None:
    silent = at(run(), lease(), silent=True)
    assert states(decide(run(), silent)) == [("Crashed", "", reasons.WORKER_LOST)]
    retry = Policy(infra_retries=InfraRetries(limit=1), retry_silent=True)
    assert states(decide(run(), silent, retry)) == [("Scheduled", StateName.AWAITING_RETRY, reasons.WORKER_LOST)]


def test_what_never_began_begins_elsewhere_at_no_cost_but_not_for_ever() -> None:
    found = decide(run("Pending"), at(run("Pending")), Policy())
    assert states(found) == [("Scheduled", "", reasons.WORKER_LOST)]
    assert "infraRetries" not in found.change.fields
    loss = {"type": "Scheduled", "name": "Scheduled", "reason": reasons.WORKER_LOST}
    step = {"type": "Pending", "name": "Pending", "reason": reasons.LAUNCHED}
    full = {"type": "Scheduled", "name": "Scheduled", "reason": reasons.WORKERS_FULL}
    for round_ in ([step, loss], [full, step, loss]):
        history = [{**entry, "seq": n} for n, entry in enumerate(round_ * FREE_LOSSES)]
        often = run("Pending", history=history)
        assert states(decide(often, at(often), Policy())) == [("Crashed", "", reasons.WORKER_LOST)]


def test_a_process_that_claims_nothing_in_time_is_ended_and_a_mute_worker_not_waited_for() -> None:
    hasty = Policy(pending_deadline=60)
    pending, asked = run("Pending"), run("Pending", end=True)
    assert decide(pending, at(pending, lease()), hasty).due == SIX + timedelta(seconds=60)
    assert decide(pending, at(pending, lease()), hasty, 60).change.fields["worker/end"] is True
    assert states(decide(asked, at(asked, lease()), hasty, 61)) == []
    assert states(decide(asked, at(asked, lease()), hasty, 60 + LINGER)) == [
        ("Crashed", "", reasons.PENDING_DEADLINE_EXCEEDED)
    ]


def test_a_cancelled_run_ends_once_its_process_has() -> None:
    asked = run()
    asked.spec["cancel"] = True
    found = decide(asked, at(asked, lease()))
    assert states(found) == [("Cancelling", "", reasons.CANCEL_REQUESTED)]
    assert found.change.fields["worker/end"] is True
    ending = run("Cancelling", end=True)
    assert decide(ending, at(ending, lease())) == Decision()
    ended = run("Cancelling", end=True, exited={"exitCode": 143})
    assert states(decide(ended, at(ended, lease()))) == [("Cancelled", "", reasons.CANCEL_REQUESTED)]


def test_a_run_that_is_deleted_has_its_process_ended() -> None:
    body = flow_run("Running", deleting=True, worker={"name": "w", "uid": "w-uid", "attempt": 1})
    found = decide(RunView(body), at(RunView(body), lease()))
    assert found.change.fields == {"worker/end": True}


def test_a_silent_node_is_told_of_its_workers_runs_and_forced_where_the_pool_says_so() -> None:
    quiet = {"node-1": Silence(SIX, "node node-1 is not ready")}
    attempt = at(run(), lease(pod=True), pod(), silent_nodes=quiet)
    found = decide(run(), attempt, Policy(), 60)
    assert [(c.type, c.status) for c in found.change.conditions] == [(reasons.NODE_LOST, True)]
    forced = decide(run(), attempt, Policy(force_after=30), 60)
    assert forced.delete == (Doomed("Pod", "etl-1-1", "w-uid", force=True),)


def test_a_new_attempt_says_who_has_it() -> None:
    launched = Resolution(resolved("Process"), {"spec": {"type": "Process"}}, None, None, {})
    body = RunView(flow_run("Scheduled", state=run_state("Scheduled")))
    found = runs.decide(body, Attempt(), launched, Policy(), SIX, confirmed=True)
    assert not found.create
    given = runs.assigned(found, {"name": "w", "uid": "w-uid", "env": [{"name": "A", "value": "1"}]})
    assert given.change.fields["worker"] == {
        "name": "w",
        "uid": "w-uid",
        "attempt": 1,
        "env": [{"name": "A", "value": "1"}],
    }
    assert given.change.entries[-1].message == "attempt 1: given to worker w"


def test_what_a_worker_that_was_stopped_had_not_begun_begins_elsewhere() -> None:
    stopped = {"exitCode": 143, "reason": reasons.WORKER_STOPPED}
    body = run("Pending", exited=stopped)
    assert states(decide(body, at(body, lease()), Policy())) == [("Scheduled", "", reasons.WORKER_LOST)]
    body = run(exited=stopped)
    assert states(decide(body, at(body, lease()), Policy())) == [("Crashed", "", reasons.WORKER_STOPPED)]


class Life(RuleBasedStateMachine):
    """A run in warm workers that come and go. Whatever happens in which order, it comes to an end and is settled, and
    no end is written while user code of its attempt may run."""

    def __init__(self) -> None:
        super().__init__()
        self.now = SIX
        self.body: Json = flow_run()
        self.uid = "w-0"  # of the worker that is there; it may be another than the run was given to
        self.alive = True
        self.process: str | None = None  # uid of the worker and the attempt whose user code runs
        self.policy = Policy(pending_deadline=60, active_deadline=300, infra_retries=InfraRetries(limit=1))
        self.number = 0
        self.troubles: set[str] = set()

    @initialize(troubles=st.sets(st.sampled_from(["cancel", "dies", "hours"]), max_size=2))
    def begin(self, troubles: set[str]) -> None:
        """What may go wrong in this life; where everything may, little gets far."""
        self.troubles = troubles
        self.reconcile()

    @property
    def run(self) -> RunView:
        return RunView(self.body)

    def attempt(self) -> Attempt:
        if "worker" not in self.run.status:
            return Attempt()
        return at(self.run, lease(self.uid) if self.alive else None)

    @rule()
    def the_operator_looks(self) -> None:
        self.reconcile()

    def reconcile(self) -> bool:
        """One pass; whether anything was written."""
        found = Resolution(resolved("Process"), {"spec": {"type": "Process"}}, None, None, {})
        outcome = found if runs.needs_resolution(self.run) else None
        decision = runs.decide(self.run, self.attempt(), outcome, self.policy, self.now, confirmed=True)
        if decision.launches:
            if not self.alive:
                return False
            assert self.process is None, "an attempt was launched while user code of another runs"
            decision = runs.assigned(decision, {"name": "w", "uid": self.uid})
        ops = changes.patch(self.run, decision.change, self.now)
        self.body = json_patches.applied(self.body, ops)
        if self.run.type is not None and self.run.type.terminal:
            assert self.process is None, "an end was written while user code runs"
        FlowRun.model_validate(self.body)
        return bool(ops)

    def mine(self) -> bool:
        """Whether the run is this worker's."""
        return self.alive and (self.run.status.get("worker") or {}).get("uid") == self.uid

    @precondition(lambda self: self.mine() and self.run.type is StateType.PENDING)
    @rule()
    def the_process_claims(self) -> None:
        if not self.run.status["worker"].get("end"):
            self.process = self.uid
            self.enter("Running", pod={"name": "w", "uid": self.uid})

    @precondition(lambda self: self.process is not None)
    @rule(ends=st.booleans())
    def user_code_ends(self, ends: bool) -> None:
        self.process = None
        if ends and self.run.type is StateType.RUNNING:
            self.enter("Completed")
        else:
            self.tell()

    @precondition(lambda self: self.mine() and (self.run.type is StateType.CANCELLING or self.asked()))
    @rule()
    def the_worker_ends_what_it_is_asked_to(self) -> None:
        self.process = None
        self.tell()

    def asked(self) -> bool:
        return bool((self.run.status.get("worker") or {}).get("end"))

    @precondition(lambda self: "dies" in self.troubles)
    @rule()
    def the_worker_dies(self) -> None:
        self.alive, self.process = False, None

    @precondition(lambda self: not self.alive)
    @rule()
    def another_worker_comes(self) -> None:
        self.number += 1
        self.alive, self.uid = True, f"w-{self.number}"

    @precondition(lambda self: "cancel" in self.troubles and self.run.seq > 2)
    @rule()
    def a_user_cancels(self) -> None:
        if not (self.run.type and self.run.type.terminal):
            self.body = {**self.body, "spec": {**self.body["spec"], "cancel": True}}

    @precondition(lambda self: "hours" in self.troubles)
    @rule(seconds=st.sampled_from([1, 40, 400]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    def enter(self, state: str, **fields: Any) -> None:
        seq = self.run.seq + 1
        new = run_state(state, seq, time=format_time(self.now))
        self.body = {**self.body, "status": {**self.run.status, "state": new, **fields}}

    def tell(self) -> None:
        told = {"attempt": self.run.attempt, "exitCode": 143, "time": format_time(self.now)}
        if self.run.type is not None and not self.run.type.terminal and self.mine():
            worker = {**self.run.status["worker"], "exited": told}
            self.body = {**self.body, "status": {**self.run.status, "worker": worker}}

    def teardown(self) -> None:
        """Left alone with a worker that does what it is asked, the run is settled."""
        for _ in range(60):
            if self.run.settled:
                return
            if not self.alive:
                self.another_worker_comes()
            if not self.reconcile():
                if self.mine() and (self.run.type is StateType.CANCELLING or self.asked()):
                    self.the_worker_ends_what_it_is_asked_to()
                elif self.mine() and self.run.type is StateType.PENDING:
                    self.the_process_claims()
                elif self.process is not None:
                    self.user_code_ends(True)
                else:
                    self.now += timedelta(seconds=60)
        raise AssertionError(f"not settled: {self.run.status}")


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
