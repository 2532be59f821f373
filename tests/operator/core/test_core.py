"""Laws that hold for whatever is decided about a run: in any situation by itself, and through whole lives."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import json_patches
from builders import flow_run, held, resolved, run_job, run_pod, run_state
from penstock.api import reasons
from penstock.api.flowrun import FlowRun
from penstock.api.states import TERMINAL, StateName, StateType, is_legal
from penstock_operator.core import changes, runs
from penstock_operator.core.attempts import Assigned, Attempt, Loss
from penstock_operator.core.decisions import Decision
from penstock_operator.core.diagnosis import Diagnosis
from penstock_operator.core.nodes import Silence
from penstock_operator.core.policy import InfraRetries, Policy
from penstock_operator.core.resolve import Outcome, Refused, Resolution, Waiting
from penstock_operator.core.views import JobView, PodView, RunView, format_time
from penstock_operator.core.watching import GIVE_UP_AFTER

Json = dict[str, Any]
S = StateType

SIX = datetime(2026, 1, 1, 6, tzinfo=UTC)
FOUND = Resolution(resolved(), {"spec": {"type": "Pod"}}, {"spec": {}}, (), {})
OUTCOMES = (
    FOUND,
    Waiting(reasons.FLOW_NOT_FOUND, "Flow etl is not there", "Flow", "etl"),
    Refused(reasons.INVALID_PARAMETERS, "n: 'x' is not of type 'integer'"),
)


@dataclass(frozen=True)
class Situation:
    """All that a decision rests on."""

    body: Json
    attempt: Attempt
    outcome: Outcome | None
    policy: Policy
    now: datetime
    confirmed: bool

    @property
    def run(self) -> RunView:
        return RunView(self.body)

    def decide(self) -> Decision:
        return runs.decide(self.run, self.attempt, self.outcome, self.policy, self.now, confirmed=self.confirmed)

    def patch(self) -> list[Json]:
        """What would be written."""
        return changes.patch(self.run, self.decide().change, self.now)

    @property
    def alive(self) -> bool:
        """Whether anything of the attempt runs, or may start yet."""
        if isinstance(self.attempt, Assigned):
            return not self.attempt.over
        return bool(self.attempt.live) or (self.attempt.job is not None and not self.attempt.job.finished)

    @property
    def mute(self) -> bool:
        """Whether it has not started, and its worker was asked long ago to end it: the fence is enough then."""
        return self.run.type is S.PENDING and isinstance(self.attempt, Assigned) and self.attempt.ending


rarely = st.sampled_from([False] * 7 + [True])
times = st.integers(-100, 1000).map(lambda seconds: format_time(SIX + timedelta(seconds=seconds)))
told = st.builds(
    lambda type_, status, reason, since: held(type_, status, reason, "m", since),
    st.sampled_from([reasons.POD_READY, reasons.RESOLVED, reasons.NODE_LOST]),
    st.booleans(),
    st.sampled_from([*GIVE_UP_AFTER, reasons.UNSCHEDULABLE, reasons.POD_CREATE_FORBIDDEN, reasons.FLOW_NOT_FOUND]),
    times,
)
containers = st.one_of(
    st.none(),
    st.just({"running": {}}),
    st.sampled_from(["ErrImagePull", "CreateContainerConfigError", "RunContainerError", "ContainerCreating"]).map(
        lambda reason: {"waiting": {"reason": reason}}
    ),
    st.builds(
        lambda code, reason: {"terminated": {"exitCode": code, "reason": reason}},
        st.sampled_from([0, 1, 137]),
        st.sampled_from(["Error", "OOMKilled", "Completed"]),
    ),
)
pods = st.builds(
    lambda phase, uid, deleting, node, container, created: run_pod(
        phase, uid=uid, deleting=deleting, node=node, container=container, created=created
    ),
    st.sampled_from(["Pending", "Running", "Unknown", "Succeeded", "Failed"]),
    st.sampled_from(["pod-uid", "other-uid"]),
    st.booleans(),
    st.sampled_from([None, "node-1", "node-2"]),
    containers,
    times,
)
jobs = st.builds(
    lambda end, deleting: run_job(*end, deleting=deleting),
    st.sampled_from([(), (held("Failed", True, "BackoffLimitExceeded"),), (held("Complete", True, ""),)]),
    st.booleans(),
)
attempts = st.builds(
    lambda pods, job, lost, silent: Attempt(
        tuple(PodView(pod) for pod in pods), JobView(job) if job else None, frozenset(lost), silent
    ),
    st.lists(pods, max_size=2, unique_by=lambda pod: pod["metadata"]["uid"]),
    st.none() | jobs,
    st.sets(st.sampled_from(["node-1", "node-2"])),
    st.dictionaries(
        st.sampled_from(["node-1", "node-2"]),
        st.integers(-100, 1000).map(lambda seconds: Silence(SIX + timedelta(seconds=seconds), "is silent")),
        max_size=2,
    ),
)
losses = st.builds(
    lambda reason, silent: Loss(Diagnosis(reason, "it is lost"), silent),
    st.sampled_from([reasons.WORKER_LOST, reasons.NODE_LOST, reasons.EVICTED]),
    st.booleans(),
)
exits = st.builds(
    lambda code, reason: {"attempt": 1, "exitCode": code, "reason": reason},
    st.sampled_from([None, 0, 1, 137]),
    st.sampled_from(["", "OOMKilled"]),
)
seconds = st.none() | st.integers(1, 5000)
retries = st.builds(
    InfraRetries,
    limit=st.integers(0, 2),
    backoff_seconds=st.integers(0, 100),
    on_preemption=st.sampled_from(["Retry", "Fail", "Ignore"]),
)
policies = st.builds(
    Policy,
    pending_deadline=st.integers(1, 2000),
    active_deadline=seconds,
    starting_deadline=seconds,
    infra_retries=retries,
    force_after=seconds,
)
patient_policies = st.builds(
    Policy,
    pending_deadline=st.just(600),
    active_deadline=st.sampled_from([None, 100, 1000]),
    starting_deadline=st.sampled_from([None, None, 4000]),
    infra_retries=retries,
)


@st.composite
def bodies(draw: st.DrawFn) -> Json:
    """A FlowRun in any state that it may have been written in."""
    state: StateType | None = draw(st.sampled_from([None, *S]))
    spec: Json = {}
    if draw(st.booleans()):
        spec["cancel"] = True
    if draw(st.booleans()):
        spec["scheduledTime"] = draw(times)
    deleting = draw(rarely)
    if state is None:
        return flow_run(spec=spec, deleting=deleting)
    status: Json = {"state": run_state(state, draw(st.integers(1, 9)), time=draw(times))}
    if state is S.SCHEDULED and draw(st.booleans()):
        status |= {"attempt": 1, "resolved": resolved()}
        status["state"]["name"] = StateName.AWAITING_RETRY
    elif state is not S.SCHEDULED:
        status["attempt"] = draw(st.integers(1, 2))
    if state not in (S.SCHEDULED, S.PENDING) and draw(st.booleans()):
        status["pod"] = {"name": "etl-1-1", "uid": "pod-uid"}
    if state.terminal and draw(rarely):
        status["settled"] = True
    for name in ("startTime", "endTime"):
        if draw(st.booleans()):
            status[name] = draw(times)
    status["infraRetries"] = draw(st.integers(0, 2))
    status["conditions"] = draw(st.lists(told, max_size=2, unique_by=lambda condition: condition["type"]))
    return flow_run(state, spec=spec, deleting=deleting, **status)


@st.composite
def assigned(draw: st.DrawFn, body: Json, seen: Attempt) -> Assigned:
    """The run is in a warm worker, whose pod is among those that were seen, or outside of the cluster."""
    worker: Json = {"name": "w", "uid": "pod-uid", "attempt": body["status"]["attempt"]}
    if draw(st.booleans()):
        worker["end"] = True
    body["status"]["worker"] = worker
    return Assigned(
        pods=seen.pods[:1],
        lost_nodes=seen.lost_nodes,
        silent_nodes=seen.silent_nodes,
        worker="w",
        uid="pod-uid",
        ending="end" in worker,
        ended=RunView(body).type in TERMINAL,
        exited=draw(st.none() | exits),
        loss=draw(st.none() | losses),
    )


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Anything that may be seen of a run and its attempt."""
    body = draw(bodies())
    attempt = draw(attempts) if RunView(body).attempt else Attempt()
    if RunView(body).type not in (None, S.SCHEDULED) and draw(st.booleans()):
        attempt = draw(assigned(body, attempt))
    outcome = draw(st.sampled_from(OUTCOMES)) if runs.needs_resolution(RunView(body)) else None
    now = SIX + timedelta(seconds=draw(st.integers(-100, 3000)))
    return Situation(body, attempt, outcome, draw(policies), now, draw(st.booleans()))


LAWS: list[Callable[[Situation], None]] = []


def law(holds: Callable[[Situation], None]) -> Callable[[Situation], None]:
    """A law, which raises AssertionError in a situation that breaks it."""
    LAWS.append(holds)
    return holds


@law
def no_end_is_decided_while_anything_of_the_attempt_is_alive(at: Situation) -> None:
    if at.alive and not at.mute:
        assert not any(entry.type.terminal for entry in at.decide().change.entries)
        assert not at.decide().settles


@law
def no_attempt_is_launched_while_anything_of_the_last_one_is_alive(at: Situation) -> None:
    if at.alive:
        assert not at.decide().create
        assert "attempt" not in at.decide().change.fields


@law
def whatever_is_decided_can_be_written(at: Situation) -> None:
    """Every state follows legally on the one before, and the status is one that the API takes."""
    ops = at.patch()
    if ops:
        FlowRun.model_validate(json_patches.applied(at.body, ops))


@law
def a_decision_depends_on_its_arguments_alone_and_leaves_them_as_they_are(at: Situation) -> None:
    before = copy.deepcopy(at)
    assert at.decide() == at.decide() == before.decide()
    assert at == before


@law
def nobody_is_stranded(at: Situation) -> None:
    """A run that is not over is changed, or acted upon, or waits for something that is named or will be heard of."""
    if at.run.settled or at.run.deleting:
        return
    found = at.decide()
    acts = found.create or found.confirm or at.patch()
    assert acts or found.due or found.waits_for or at.alive


@law
def no_decision_is_asked_for_again_at_once_for_nothing(at: Situation) -> None:
    found = at.decide()
    if found.due and found.due <= at.now:
        assert found.confirm or at.patch()


@law
def what_is_confirmed_need_not_be_confirmed_again_and_what_is_not_yet_does_nothing(at: Situation) -> None:
    found = at.decide()
    if found.confirm:
        assert not at.confirmed
        assert found == Decision(confirm=True, due=found.due)


@law
def an_attempt_is_given_up_only_on_what_was_read_afresh(at: Situation) -> None:
    """The cache may lag: by it alone no claimed or cancelled attempt is taken for lost, and no pod is made again."""
    found = replace(at, confirmed=False).decide()
    if at.run.type in (S.PENDING, S.RUNNING, S.PAUSED, S.CANCELLING):
        assert not found.create
        assert {entry.type for entry in found.change.entries} <= {S.CANCELLING}


@law
def only_what_is_alive_is_deleted(at: Situation) -> None:
    found = at.decide()
    in_worker = isinstance(at.attempt, Assigned)
    uids = {pod.uid for pod in at.attempt.live if not pod.deleting and not in_worker}
    if at.attempt.job and not at.attempt.job.deleting:
        uids = {at.attempt.job.uid}
    assert {doomed.uid for doomed in found.delete if not doomed.force} <= uids
    forced = {doomed.uid for doomed in found.delete if doomed.force}
    assert forced <= {pod.uid for pod in at.attempt.live}


@law
def only_a_pod_for_which_nobody_answers_is_given_up_and_only_where_the_pool_says_so(at: Situation) -> None:
    """The one case in which code of two attempts may overlap."""
    for doomed in at.decide().delete:
        if doomed.force:
            pod = next(pod for pod in at.attempt.live if pod.uid == doomed.uid)
            assert at.policy.force_after is not None
            assert pod.node in at.attempt.silent_nodes or pod.deleting
            assert at.confirmed


@law
def a_cancelled_run_is_never_launched_and_ends_cancelled(at: Situation) -> None:
    found = at.decide()
    if at.run.cancelled or at.run.type is S.CANCELLING:
        assert not found.create
        assert {entry.type for entry in found.change.entries} <= {S.CANCELLING, S.CANCELLED}
    else:
        assert not {entry.type for entry in found.change.entries} & {S.CANCELLING, S.CANCELLED}


@law
def from_cancelling_leads_only_cancelled(at: Situation) -> None:
    if at.run.type is S.CANCELLING:
        assert {entry.type for entry in at.decide().change.entries} <= {S.CANCELLED}


@law
def nothing_follows_a_terminal_state_but_its_bookkeeping(at: Situation) -> None:
    found = at.decide()
    if at.run.settled and not at.run.deleting:
        assert found == Decision()
    elif at.run.type is not None and at.run.type.terminal:
        assert found.change.entries == ()
        assert not found.create
        assert set(found.change.fields) <= {"settled", "observedSeq", "endTime", "duration"}


@law
def an_end_has_its_time_and_an_attempt_its_number(at: Situation) -> None:
    change = at.decide().change
    types = [entry.type for entry in change.entries]
    assert ("endTime" in change.fields) == any(t.terminal for t in types) or at.decide().settles
    if S.PENDING in types:
        assert change.fields["attempt"] == at.run.attempt + 1
        assert at.decide().create
    else:
        assert "attempt" not in change.fields


@law
def the_budget_of_retries_is_kept(at: Situation) -> None:
    change, used = at.decide().change, at.run.status.get("infraRetries", 0)
    limit = at.policy.infra_retries.limit
    assert change.fields.get("infraRetries", used) <= max(limit, used)
    if change.fields.get("infraRetries", used) == used and at.policy.infra_retries.on_preemption != "Ignore":
        assert not any(entry.name == StateName.AWAITING_RETRY for entry in change.entries)


@law
def a_world_that_stands_still_is_soon_written_down(at: Situation) -> None:
    """Decisions that follow on each other's writes come to rest: nothing is written back and forth."""
    for _ in range(6):
        ops = at.patch()
        if not ops and (at.confirmed or not at.decide().confirm):
            return
        body = json_patches.applied(at.body, ops)
        attempt = at.attempt if RunView(body).attempt == at.run.attempt else Attempt()
        if isinstance(attempt, Assigned):
            told = body["status"].get("worker")
            attempt = (
                replace(attempt, ending="end" in told, ended=RunView(body).type in TERMINAL) if told else Attempt()
            )
        outcome = (at.outcome or FOUND) if runs.needs_resolution(RunView(body)) else None
        at = replace(at, body=body, attempt=attempt, outcome=outcome, confirmed=True)
    raise AssertionError(f"still written: {at.patch()}")


@given(situations())
@settings(max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_laws_hold_in_every_situation(at: Situation) -> None:
    """One test for all, for it is the situations that cost time; the traceback names the law that is broken."""
    for holds in LAWS:
        holds(at)


class Life(RuleBasedStateMachine):
    """A run, its operator and its world. Whatever happens in which order, the run comes to an end and is settled.

    The operator sees the world as it is, and acts whenever it is its turn; a rule may come at any time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = SIX
        self.body: Json = flow_run()
        self.pods: dict[str, Json] = {}
        self.job: Json | None = None
        self.lost: set[str] = set()
        self.ever_lost: set[str] = set()
        self.outcome: Outcome = FOUND
        self.due: datetime | None = None
        self.fresh = iter(range(10_000))

    @initialize(
        kind=st.sampled_from(["Pod", "Job"]),
        policy=patient_policies,
        outcome=st.sampled_from(OUTCOMES[:2]),
        troubles=st.sets(st.sampled_from(["cancel", "delete", "node", "image", "exit", "hang", "hours"])),
    )
    def begin(self, kind: str, policy: Policy, outcome: Outcome, troubles: set[str]) -> None:
        """What may go wrong in this life; where everything may, little gets far."""
        self.kind, self.policy, self.outcome, self.troubles = kind, policy, outcome, troubles
        self.found = replace(FOUND, status=resolved(kind))
        if isinstance(outcome, Resolution):
            self.outcome = self.found

    @property
    def run(self) -> RunView:
        return RunView(self.body)

    def attempt(self) -> Attempt:
        mine = [PodView(pod) for pod in self.pods.values()]
        job = JobView(self.job) if self.job else None
        return Attempt(
            tuple(pod for pod in mine if pod.attempt == self.run.attempt),
            job if job and job.attempt == self.run.attempt else None,
            frozenset(self.lost),
        )

    # The operator.

    def decide(self) -> Decision:
        outcome = self.outcome if runs.needs_resolution(self.run) else None
        found = runs.decide(self.run, self.attempt(), outcome, self.policy, self.now, confirmed=False)
        if found.confirm:
            found = runs.decide(self.run, self.attempt(), outcome, self.policy, self.now, confirmed=True)
        return found

    @rule()
    def the_operator_looks_at_the_run(self) -> None:
        self.reconcile()

    def reconcile(self) -> bool:
        """One pass; whether it changed anything."""
        before, found = self.run.type, self.decide()
        ops = changes.patch(self.run, found.change, self.now)
        self.body = json_patches.applied(self.body, ops)
        if self.run.type is not before and self.run.type is not None and self.run.type.terminal:
            assert not self.attempt().live, "an end was written while a pod was alive"
        if found.create:
            self.create()
        for doomed in found.delete:
            self.delete(doomed.uid)
        self.due = found.due
        assert ops or found.due or found.waits_for or self.attempt().live or self.unfinished() or self.run.settled
        return bool(ops or found.create or found.delete)

    def create(self) -> None:
        number = self.run.attempt
        if self.kind == "Pod":
            self.make_pod(number)
        else:
            assert self.job is None or JobView(self.job).attempt < number
            self.job = run_job()
            self.job["metadata"] |= {"uid": f"job-{next(self.fresh)}", "name": f"etl-1-{number}"}
            self.job["metadata"]["labels"]["penstock.dev/attempt"] = str(number)

    def make_pod(self, number: int) -> None:
        uid = f"pod-{next(self.fresh)}"
        self.pods[uid] = run_pod("Pending", attempt=number, uid=uid, node=None, created=format_time(self.now))

    def delete(self, uid: str) -> None:
        if self.job and self.job["metadata"]["uid"] == uid:
            self.job["metadata"]["deletionTimestamp"] = format_time(self.now)
            for pod in list(self.pods.values()):
                if PodView(pod).attempt == JobView(self.job).attempt:
                    self.delete(PodView(pod).uid)
        elif uid in self.pods and PodView(self.pods[uid]).node and not PodView(self.pods[uid]).gone:
            self.pods[uid]["metadata"]["deletionTimestamp"] = format_time(self.now)
        else:
            self.pods.pop(uid, None)

    def unfinished(self) -> bool:
        return self.job is not None and not JobView(self.job).finished

    # The world.

    @rule(steps=st.integers(1, 8))
    def things_take_their_course(self, steps: int) -> None:
        for _ in range(steps):
            self.go_on()

    def go_on(self) -> bool:
        """Somebody does the next thing that is to be done; False when there is nothing."""
        return self.reconcile() or self.kubelet() or self.job_controller() or self.claim()

    @rule(seconds=st.sampled_from([1, 20, 70]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @precondition(lambda self: "hours" in self.troubles)
    @rule()
    def nobody_looks_for_hours(self) -> None:
        self.now += timedelta(hours=2)

    @precondition(lambda self: self.outcome is not self.found)
    @rule()
    def what_was_missing_is_applied(self) -> None:
        self.outcome = self.found

    @precondition(lambda self: "cancel" in self.troubles and not (self.run.type and self.run.type.terminal))
    @rule()
    def a_user_cancels(self) -> None:
        self.body = {**self.body, "spec": {**self.body["spec"], "cancel": True}}

    @precondition(lambda self: "delete" in self.troubles and self.pods)
    @rule(data=st.data())
    def a_user_deletes_a_pod(self, data: st.DataObject) -> None:
        self.delete(data.draw(st.sampled_from(sorted(self.pods))))

    @precondition(lambda self: "node" in self.troubles and any(PodView(pod).node for pod in self.pods.values()))
    @rule(lost=st.booleans())
    def the_node_goes_or_comes(self, lost: bool) -> None:
        self.lost = {"node-1"} if lost else set()
        self.ever_lost |= self.lost

    @precondition(lambda self: self.lost)
    @rule()
    def kubernetes_collects_the_pods_of_lost_nodes(self) -> None:
        self.pod_gc()

    def pod_gc(self) -> bool:
        """Pods of nodes that are gone are failed and deleted."""
        for body in self.pods.values():
            if PodView(body).node in self.lost and not PodView(body).gone:
                body["status"] = {"phase": "Failed", "conditions": [held("DisruptionTarget", True, "DeletionByPodGC")]}
                body["metadata"]["deletionTimestamp"] = format_time(self.now)
                return True
        return False

    @precondition(lambda self: self.pods)
    @rule()
    def the_kubelet_sees_to_its_pods(self) -> None:
        self.kubelet()

    def kubelet(self) -> bool:
        """Pods are scheduled, started, and taken away once they have ended."""
        for uid, body in list(self.pods.items()):
            pod = PodView(body)
            if pod.deleting:
                del self.pods[uid]
            elif pod.phase == "Pending" and not pod.node:
                body["spec"]["nodeName"] = "node-1"
            elif pod.phase == "Pending":
                self.container(body, "Running", {"running": {}})
            else:
                continue
            return True
        return False

    @precondition(lambda self: "image" in self.troubles and self.phases("Pending"))
    @rule(reason=st.sampled_from(["ErrImagePull", "CreateContainerConfigError", "RunContainerError"]))
    def a_container_does_not_start(self, reason: str) -> None:
        body = self.phases("Pending")[0]
        body["spec"]["nodeName"] = "node-1"
        self.container(body, "Pending", {"waiting": {"reason": reason}})

    def phases(self, phase: str) -> list[Json]:
        return [pod for pod in self.pods.values() if PodView(pod).phase == phase]

    def container(self, body: Json, phase: str, state: Json) -> None:
        body["status"] = {"phase": phase, "containerStatuses": [{"name": "flow", "image": "x", "state": state}]}

    @precondition(lambda self: self.job is not None)
    @rule()
    def the_job_controller_sees_to_its_job(self) -> None:
        self.job_controller()

    def job_controller(self) -> bool:
        """A Job has one pod, ends with it, and is gone once it is deleted and its pod is."""
        if self.job is None:
            return False
        job = JobView(self.job)
        mine = [PodView(pod) for pod in self.pods.values() if PodView(pod).attempt == job.attempt]
        if job.deleting:
            if not mine:
                self.job = None
            return not mine
        if job.finished:
            return False
        if not mine and not self.job.get("seen"):
            self.job["seen"] = True
            self.make_pod(job.attempt)
            return True
        if all(pod.gone for pod in mine):
            failed = not mine or any(pod.phase == "Failed" for pod in mine)
            self.job["status"] = {"conditions": [held("Failed" if failed else "Complete", True, "x")]}
            return True
        return False

    @precondition(lambda self: self.pods and self.run.type is S.PENDING)
    @rule()
    def the_runner_claims_its_run(self) -> None:
        self.claim()

    def claim(self) -> bool:
        """As the API server lets it: tested on attempt and state."""
        for pod in (PodView(body) for body in self.pods.values()):
            if pod.phase == "Running" and self.run.type is S.PENDING and pod.attempt == self.run.attempt:
                claim = {"pod": {"name": pod.name, "uid": pod.uid}, "startTime": format_time(self.now)}
                self.runner_writes(S.RUNNING, pod.uid, **claim)
                return True
        return False

    @precondition(lambda self: self.run.type is S.RUNNING)
    @rule(end=st.sampled_from([S.COMPLETED, S.FAILED]))
    def the_runner_reports_the_end(self, end: StateType) -> None:
        self.report(end)

    def report(self, end: StateType) -> bool:
        uid = self.run.claimed_uid
        if self.run.type is not S.RUNNING or uid not in self.pods or PodView(self.pods[uid]).phase != "Running":
            return False
        self.runner_writes(end, uid)
        return True

    def runner_writes(self, state: StateType, uid: str, **fields: Any) -> None:
        assert is_legal(self.run.type, state)
        entry = run_state(state, self.run.seq + 1, time=format_time(self.now))
        history = [*self.run.history, {**entry, "attempt": self.run.attempt, "writer": uid}]
        status = {**self.body["status"], "state": entry, "history": history, **fields}
        self.body = {**self.body, "status": status}

    @precondition(lambda self: "exit" in self.troubles and self.phases("Running"))
    @rule(code=st.sampled_from([0, 1, 137]))
    def a_container_ends(self, code: int) -> None:
        self.end_container(code)

    def end_container(self, code: int) -> None:
        body = self.phases("Running")[0]
        reason = {0: "Completed", 1: "Error", 137: "OOMKilled"}[code]
        self.container(body, "Failed" if code else "Succeeded", {"terminated": {"exitCode": code, "reason": reason}})

    # What holds at all times, and in the end.

    @invariant()
    def states_are_numbered_without_a_gap(self) -> None:
        assert [entry["seq"] for entry in self.run.history] == list(range(1, self.run.seq + 1))

    @invariant()
    def no_attempt_starts_while_one_is_alive(self) -> None:
        alive = [PodView(pod) for pod in self.phases("Running")]
        numbers = {pod.attempt for pod in alive if pod.node not in self.lost}
        assert len(numbers) <= 1 or "node-1" in self.ever_lost

    def teardown(self) -> None:
        """Everyone does what is due to be done, until the run is settled."""
        self.outcome = self.found
        for _ in range(300):
            if self.go_on() or self.report(S.COMPLETED) or self.pod_gc():
                continue
            if self.run.settled:
                break
            if self.phases("Running") and "hang" not in self.troubles:
                self.end_container(0)
                continue
            assert self.due is not None, f"nobody looks at the run again: {self.body['status']}"
            self.now = max(self.now, self.due)
        assert self.run.settled, f"the run is not settled: {self.body['status']}"
        assert not self.attempt().live or self.ever_lost
        if self.run.cancelled and any(entry["type"] == S.CANCELLING for entry in self.run.history):
            assert self.run.type is S.CANCELLED


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
