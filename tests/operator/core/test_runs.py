"""The next step of a run in every situation, as a table; the laws that hold in all of them are in `test_core`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from builders import flow_run, held, resolved, run_job, run_pod, run_state
from penstock.api import reasons
from penstock.api.states import StateName, StateType
from penstock_operator.core import runs
from penstock_operator.core.attempts import Attempt, Doomed
from penstock_operator.core.decisions import LINGER, Decision
from penstock_operator.core.diagnosis import Diagnosis
from penstock_operator.core.nodes import OVERDUE, Silence
from penstock_operator.core.policy import DEFAULT_PENDING_DEADLINE, InfraRetries, Policy
from penstock_operator.core.resolve import Displaced, Outcome, Refused, Resolution, Waiting
from penstock_operator.core.views import JobView, PodView, RunView
from penstock_operator.core.watching import GIVE_UP_AFTER

Json = dict[str, Any]
S = StateType

SIX = datetime(2026, 1, 1, 6, tzinfo=UTC)  # the runs of the builders were created an hour before
CLAIM = {"name": "etl-1-1", "uid": "pod-uid"}
FOUND = Resolution(resolved(), {"spec": {"type": "Pod"}}, {"spec": {}}, (), {})
NO_FLOW = Waiting(reasons.FLOW_NOT_FOUND, "Flow etl is not there", "Flow", "etl")
UNFIT = Refused(reasons.INVALID_PARAMETERS, "n: 'x' is not of type 'integer'")
DEFAULT = Policy()
AT_SIX = {"scheduledTime": "2026-01-01T06:00:00Z"}
CANCEL = {"spec": {"cancel": True}}
RETRY = Policy(infra_retries=InfraRetries(limit=2, backoff_seconds=30))
STUCK = 30 + OVERDUE  # when a pod that is being deleted ought to have ended
POD, JOB = Doomed("Pod", "etl-1-1", "pod-uid"), Doomed("Job", "etl-1-1", "job-uid")


def after_six(seconds: float) -> datetime:
    """An instant by its distance from the time at which the run entered its state."""
    return SIX + timedelta(seconds=seconds)


def running(**more: Any) -> Json:
    """A claimed run, whose user code started at six."""
    return flow_run("Running", pod=CLAIM, startTime="2026-01-01T06:00:00Z", **more)


def waits(reason: str, **more: Any) -> Json:
    """A pod that the kubelet cannot start."""
    return run_pod("Pending", container={"waiting": {"reason": reason, "message": "said so"}}, **more)


def exited(code: int = 1, reason: str = "Error", **more: Any) -> Json:
    """A pod whose container has ended."""
    phase = "Failed" if code else "Succeeded"
    return run_pod(phase, container={"terminated": {"exitCode": code, "reason": reason}}, **more)


def retrying(used: int = 1, **more: Any) -> Json:
    """A run that awaits its second attempt since six."""
    state = run_state("Scheduled") | {"name": StateName.AWAITING_RETRY}
    return flow_run("Scheduled", attempt=1, resolved=resolved(), infraRetries=used, **{"state": state, **more})


HELD_BACK = run_state(
    "Scheduled",
    5,
    name=StateName.AWAITING_RETRY,
    reason=reasons.SUSPEND_REQUESTED,
    time="2026-01-01T06:00:20Z",
)


def waiting(reason: str = reasons.FLOW_NOT_FOUND, name: str = "Scheduled", spec: Json | None = None) -> Json:
    """A run that was told what it waits for."""
    return flow_run("Scheduled", spec=spec, state=run_state("Scheduled", reason=reason) | {"name": name})


def told(reason: str, status: bool = False, since: str = "2026-01-01T06:00:00Z") -> Json:
    """What the run says of its pod."""
    return {"conditions": [held(reasons.POD_READY, status, reason, "what was told", since)]}


FAILED_JOB = held("Failed", True, "BackoffLimitExceeded", "Job has reached the specified backoff limit")
COMPLETE_JOB = held("Complete", True, "")


@dataclass(frozen=True)
class Case:
    """A situation `at` seconds after six, and all that is to be done: what is not named here must not happen."""

    run: Json
    pods: tuple[Json, ...] = ()
    job: Json | None = None
    lost_nodes: frozenset[str] = frozenset()
    silent: float | None = None  # since when node-1 says nothing
    told: Diagnosis | None = None
    departed: Json | None = None
    outcome: Outcome | None = None
    policy: Policy = DEFAULT
    at: float = 5
    confirmed: bool = True

    states: tuple[tuple[str, str], ...] = ()  # name and reason of the states that are entered
    conditions: tuple[tuple[str, bool, str], ...] = ()
    fields: Json = field(default_factory=dict)
    remove: tuple[str, ...] = ()
    create: bool = False
    delete: tuple[Doomed, ...] = ()
    due: float | None = None
    confirm: bool = False
    waits_for: tuple[str, str] | None = None
    says: tuple[str, ...] = ()  # parts of the last message

    def decide(self) -> Decision:
        quiet = {} if self.silent is None else {"node-1": Silence(after_six(self.silent), "node node-1 is not ready")}
        attempt = Attempt(
            tuple(PodView(pod) for pod in self.pods),
            JobView(self.job) if self.job else None,
            self.lost_nodes,
            quiet,
            self.told,
            PodView(self.departed) if self.departed else None,
        )
        now = after_six(self.at)
        return runs.decide(RunView(self.run), attempt, self.outcome, self.policy, now, confirmed=self.confirmed)


ENDED = {"endTime": "2026-01-01T06:00:05.000000Z"}
SETTLED = {"settled": True, "observedSeq": 1}

ACCEPTANCE = {
    "a new run whose references are found is accepted and launched in one step": Case(
        flow_run(),
        outcome=FOUND,
        states=(("Scheduled", reasons.ACCEPTED), ("Pending", reasons.LAUNCHED)),
        fields={"attempt": 1, "resolved": resolved(), "acceptedTime": "2026-01-01T06:00:05.000000Z"},
        remove=("pod",),
        create=True,
        says=("attempt 1",),
    ),
    "parameters that are not the run's own alone are written down": Case(
        flow_run(spec={"parameters": {"n": 1}}),
        outcome=replace(FOUND, parameters={"n": 1, "m": 2}),
        states=(("Scheduled", reasons.ACCEPTED), ("Pending", reasons.LAUNCHED)),
        fields={
            "attempt": 1,
            "resolved": resolved(),
            "acceptedTime": "2026-01-01T06:00:05.000000Z",
            "parameters": {"n": 1, "m": 2},
        },
        remove=("pod",),
        create=True,
    ),
    "parameters that are the run's own are not written twice": Case(
        flow_run(spec={"parameters": {"n": 1}}),
        outcome=replace(FOUND, parameters={"n": 1}),
        states=(("Scheduled", reasons.ACCEPTED), ("Pending", reasons.LAUNCHED)),
        fields={"attempt": 1, "resolved": resolved(), "acceptedTime": "2026-01-01T06:00:05.000000Z"},
        remove=("pod",),
        create=True,
    ),
    "a new run that misses something says so and waits for it": Case(
        flow_run(spec=AT_SIX),
        outcome=NO_FLOW,
        due=15,
        states=(("Scheduled", reasons.FLOW_NOT_FOUND),),
        conditions=((reasons.RESOLVED, False, reasons.FLOW_NOT_FOUND),),
        waits_for=("Flow", "etl"),
    ),
    "a run that was told what it misses goes on waiting": Case(
        waiting(spec=AT_SIX),
        outcome=NO_FLOW,
        due=15,
        conditions=((reasons.RESOLVED, False, reasons.FLOW_NOT_FOUND),),
        waits_for=("Flow", "etl"),
    ),
    "a run that waits for something else says so": Case(
        waiting(reasons.POOL_SUSPENDED, spec=AT_SIX),
        outcome=NO_FLOW,
        states=(("Scheduled", reasons.FLOW_NOT_FOUND),),
        conditions=((reasons.RESOLVED, False, reasons.FLOW_NOT_FOUND),),
        waits_for=("Flow", "etl"),
        due=15,
    ),
    "a run that could not start for a while is late": Case(
        waiting(spec=AT_SIX),
        outcome=NO_FLOW,
        at=15,
        states=((StateName.LATE, reasons.FLOW_NOT_FOUND),),
        conditions=((reasons.RESOLVED, False, reasons.FLOW_NOT_FOUND),),
        waits_for=("Flow", "etl"),
        says=("due since 2026-01-01T06:00:00Z", "Flow etl is not there"),
    ),
    "how long a while is, the operator's settings say": Case(
        waiting(spec=AT_SIX),
        outcome=NO_FLOW,
        policy=Policy(late_after=60),
        at=15,
        conditions=((reasons.RESOLVED, False, reasons.FLOW_NOT_FOUND),),
        waits_for=("Flow", "etl"),
        due=60,
    ),
    "a run without a time is late from its creation": Case(
        waiting(),
        outcome=NO_FLOW,
        policy=Policy(late_after=3605),
        states=((StateName.LATE, reasons.FLOW_NOT_FOUND),),
        conditions=((reasons.RESOLVED, False, reasons.FLOW_NOT_FOUND),),
        waits_for=("Flow", "etl"),
    ),
    "a late run that was told so goes on waiting": Case(
        waiting(name=StateName.LATE),
        outcome=NO_FLOW,
        conditions=((reasons.RESOLVED, False, reasons.FLOW_NOT_FOUND),),
        waits_for=("Flow", "etl"),
    ),
    "a late run that waits for something else is late still": Case(
        waiting(reasons.POOL_SUSPENDED, name=StateName.LATE),
        outcome=NO_FLOW,
        states=((StateName.LATE, reasons.FLOW_NOT_FOUND),),
        conditions=((reasons.RESOLVED, False, reasons.FLOW_NOT_FOUND),),
        waits_for=("Flow", "etl"),
    ),
    "a late run may start": Case(
        waiting(name=StateName.LATE),
        outcome=FOUND,
        states=(("Pending", reasons.LAUNCHED),),
        fields={"attempt": 1, "resolved": resolved(), "acceptedTime": "2026-01-01T06:00:05.000000Z"},
        remove=("pod",),
        create=True,
    ),
    "a run that misses something before its time is not late": Case(
        flow_run(spec={"scheduledTime": "2026-01-01T06:10:00Z"}),
        outcome=NO_FLOW,
        states=(("Scheduled", reasons.FLOW_NOT_FOUND),),
        conditions=((reasons.RESOLVED, False, reasons.FLOW_NOT_FOUND),),
        waits_for=("Flow", "etl"),
        due=615,
    ),
    "a run that awaits a retry is not late": Case(
        retrying(),
        outcome=NO_FLOW,
        policy=RETRY,
        at=500,
        conditions=((reasons.RESOLVED, False, reasons.FLOW_NOT_FOUND),),
        waits_for=("Flow", "etl"),
    ),
    "a run that misses something waits no longer than its starting deadline": Case(
        flow_run(),
        outcome=NO_FLOW,
        policy=Policy(starting_deadline=3700),
        states=((StateName.LATE, reasons.FLOW_NOT_FOUND),),
        conditions=((reasons.RESOLVED, False, reasons.FLOW_NOT_FOUND),),
        waits_for=("Flow", "etl"),
        due=100,
    ),
    "what was missing is there": Case(
        flow_run("Scheduled", conditions=[held(reasons.RESOLVED, False, reasons.FLOW_NOT_FOUND)]),
        outcome=FOUND,
        states=(("Pending", reasons.LAUNCHED),),
        conditions=((reasons.RESOLVED, True, reasons.ACCEPTED),),
        fields={"attempt": 1, "resolved": resolved(), "acceptedTime": "2026-01-01T06:00:05.000000Z"},
        remove=("pod",),
        create=True,
    ),
    "a run that cannot be started as it is asked for fails": Case(
        flow_run(),
        outcome=UNFIT,
        states=(("Failed", reasons.INVALID_PARAMETERS),),
        fields=ENDED,
        says=("not of type",),
    ),
    "a waiting run that turns out to be unfit fails": Case(
        flow_run("Scheduled"), outcome=UNFIT, states=(("Failed", reasons.INVALID_PARAMETERS),), fields=ENDED
    ),
    "a run that is not due says when it starts": Case(
        flow_run(spec={"scheduledTime": "2026-01-01T06:10:00Z"}),
        outcome=FOUND,
        states=(("Scheduled", reasons.NOT_DUE),),
        due=600,
        says=("2026-01-01T06:10:00",),
    ),
    "a run that is not due and has said so does nothing": Case(
        flow_run("Scheduled", spec={"scheduledTime": "2026-01-01T06:10:00Z"}), outcome=FOUND, due=600
    ),
    "a run that is not due still says that what it missed is there": Case(
        flow_run(
            "Scheduled",
            spec={"scheduledTime": "2026-01-01T06:10:00Z"},
            conditions=[held(reasons.RESOLVED, False, reasons.FLOW_NOT_FOUND)],
        ),
        outcome=FOUND,
        conditions=((reasons.RESOLVED, True, reasons.ACCEPTED),),
        due=600,
    ),
    "a run is launched at the instant it is due": Case(
        flow_run("Scheduled", spec={"scheduledTime": "2026-01-01T06:00:05Z"}),
        outcome=FOUND,
        states=(("Pending", reasons.LAUNCHED),),
        fields={"attempt": 1, "resolved": resolved(), "acceptedTime": "2026-01-01T06:00:05.000000Z"},
        remove=("pod",),
        create=True,
    ),
    "a run that could not start in time of its creation fails": Case(
        flow_run("Scheduled"),
        outcome=NO_FLOW,
        policy=Policy(starting_deadline=3605),
        states=(("Failed", reasons.STARTING_DEADLINE_EXCEEDED),),
        fields=ENDED,
        says=("startingDeadlineSeconds (3605)", "2026-01-01T05:00:00"),
    ),
    "a run that could not start in time of its slot fails": Case(
        flow_run(spec={"scheduledTime": "2026-01-01T05:59:00Z"}),
        outcome=FOUND,
        policy=Policy(starting_deadline=60),
        states=(("Failed", reasons.STARTING_DEADLINE_EXCEEDED),),
        fields=ENDED,
        says=("2026-01-01T05:59:00",),
    ),
    "lateness counts from the slot, not from the creation": Case(
        flow_run("Scheduled", spec={"scheduledTime": "2026-01-01T06:10:00Z"}),
        outcome=FOUND,
        policy=Policy(starting_deadline=60),
        due=600,
    ),
}

RETRIES = {
    "a run whose attempt was lost waits out its backoff": Case(retrying(), outcome=FOUND, policy=RETRY, due=30),
    "the backoff doubles with each retry": Case(retrying(2), outcome=FOUND, policy=RETRY, due=60),
    "after its backoff a run is launched again, as it was resolved": Case(
        retrying(conditions=told(reasons.IMAGE_PULL_FAILED)["conditions"]),
        outcome=FOUND,
        policy=RETRY,
        at=30,
        states=(("Pending", reasons.LAUNCHED),),
        conditions=((reasons.POD_READY, True, reasons.LAUNCHED),),
        fields={"attempt": 2},
        remove=("pod",),
        create=True,
        says=("attempt 2",),
    ),
    "a retry that was held back by suspend counts its backoff from the loss": Case(
        retrying(
            state=HELD_BACK,
            history=[
                run_state("Scheduled", 1, name=StateName.AWAITING_RETRY, time="2026-01-01T04:00:00Z"),
                run_state("Running", 3, time="2026-01-01T05:00:00Z"),
                run_state("Scheduled", 4, name=StateName.AWAITING_RETRY),
                HELD_BACK,
            ],
        ),
        outcome=FOUND,
        policy=RETRY,
        at=21,
        due=30,
    ),
    "a run that waited for something else has no backoff": Case(
        flow_run("Scheduled"),
        outcome=FOUND,
        policy=RETRY,
        states=(("Pending", reasons.LAUNCHED),),
        fields={"attempt": 1, "resolved": resolved(), "acceptedTime": "2026-01-01T06:00:05.000000Z"},
        remove=("pod",),
        create=True,
    ),
    "a lost attempt whose Job could still make a pod is waited for": Case(
        retrying(), job=run_job(), outcome=FOUND, policy=RETRY, at=31, due=31 + LINGER
    ),
    "a run whose revisions are gone is launched as it is resolved anew": Case(
        retrying(),
        outcome=replace(FOUND, status=resolved(entrypoint="flow:later")),
        policy=RETRY,
        at=30,
        states=(("Pending", reasons.LAUNCHED),),
        fields={"attempt": 2, "resolved": resolved(entrypoint="flow:later")},
        remove=("pod",),
        create=True,
    ),
    "the starting deadline is no matter once an attempt was launched": Case(
        retrying(), outcome=FOUND, policy=replace(RETRY, starting_deadline=60), due=30
    ),
    "a lost attempt whose pod comes back with its node is left a while to end by itself": Case(
        retrying(), (run_pod("Running"),), outcome=FOUND, policy=RETRY, due=LINGER
    ),
    "then it is ended before another follows": Case(
        retrying(), (run_pod("Running"),), outcome=FOUND, policy=RETRY, at=31, delete=(POD,), due=31 + LINGER
    ),
    "and before the run is cancelled": Case(
        retrying(**CANCEL), (run_pod("Running"),), at=31, delete=(POD,), due=31 + LINGER
    ),
}

STARTING = {
    "nothing is known of the pod yet": Case(flow_run("Pending"), (run_pod("Pending"),), due=DEFAULT_PENDING_DEADLINE),
    "the pod runs and has not claimed the run yet": Case(
        flow_run("Pending"), (run_pod("Running"),), due=DEFAULT_PENDING_DEADLINE
    ),
    "the Job has made no pod yet": Case(flow_run("Pending"), job=run_job(), due=DEFAULT_PENDING_DEADLINE),
    "the pod is not to be seen": Case(flow_run("Pending"), confirmed=False, confirm=True, due=DEFAULT_PENDING_DEADLINE),
    "there is no pod": Case(flow_run("Pending"), create=True, due=DEFAULT_PENDING_DEADLINE),
    "only Events tell why the pod is not set up": Case(
        flow_run("Pending"),
        (run_pod("Pending"),),
        told=Diagnosis(reasons.MOUNT_FAILED, "no such secret"),
        conditions=((reasons.POD_READY, False, reasons.MOUNT_FAILED),),
        due=DEFAULT_PENDING_DEADLINE,
    ),
    "what the pod says itself comes before its Events": Case(
        flow_run("Pending"),
        (waits("ErrImagePull"),),
        told=Diagnosis(reasons.MOUNT_FAILED, "no such secret"),
        conditions=((reasons.POD_READY, False, reasons.IMAGE_PULL_FAILED),),
        due=5 + GIVE_UP_AFTER[reasons.IMAGE_PULL_FAILED],
    ),
    "the Job may not create its pod": Case(
        flow_run("Pending"),
        job=run_job(),
        told=Diagnosis(reasons.POD_CREATE_FORBIDDEN, "exceeded quota"),
        conditions=((reasons.POD_READY, False, reasons.POD_CREATE_FORBIDDEN),),
        due=DEFAULT_PENDING_DEADLINE,
    ),
    "no node takes the pod, which may change": Case(
        flow_run("Pending"),
        (run_pod("Pending", conditions=[held("PodScheduled", False, "Unschedulable", "0/3 nodes")]),),
        conditions=((reasons.POD_READY, False, reasons.UNSCHEDULABLE),),
        due=DEFAULT_PENDING_DEADLINE,
    ),
    "the image cannot be pulled": Case(
        flow_run("Pending"),
        (waits("ErrImagePull"),),
        conditions=((reasons.POD_READY, False, reasons.IMAGE_PULL_FAILED),),
        due=5 + GIVE_UP_AFTER[reasons.IMAGE_PULL_FAILED],
    ),
    "the image could not be pulled before either": Case(
        flow_run("Pending", **told(reasons.IMAGE_PULL_FAILED)),
        (waits("ImagePullBackOff"),),
        conditions=((reasons.POD_READY, False, reasons.IMAGE_PULL_FAILED),),
        due=GIVE_UP_AFTER[reasons.IMAGE_PULL_FAILED],
    ),
    "another cause has its own patience": Case(
        flow_run("Pending", **told(reasons.IMAGE_PULL_FAILED)),
        (waits("CreateContainerConfigError"),),
        at=50,
        conditions=((reasons.POD_READY, False, reasons.CONTAINER_CONFIG_ERROR),),
        due=50 + GIVE_UP_AFTER[reasons.CONTAINER_CONFIG_ERROR],
    ),
    "a cause that had passed and is back has its patience anew": Case(
        flow_run("Pending", **told(reasons.IMAGE_PULL_FAILED, status=True)),
        (waits("ErrImagePull"),),
        conditions=((reasons.POD_READY, False, reasons.IMAGE_PULL_FAILED),),
        due=5 + GIVE_UP_AFTER[reasons.IMAGE_PULL_FAILED],
    ),
    "no patience outlasts the pending deadline": Case(
        flow_run("Pending"),
        (waits("ErrImagePull"),),
        policy=Policy(pending_deadline=10),
        conditions=((reasons.POD_READY, False, reasons.IMAGE_PULL_FAILED),),
        due=10,
    ),
    "the kubelet tries again, and its cause stands until the pod runs": Case(
        flow_run("Pending", **told(reasons.IMAGE_PULL_FAILED)), (run_pod("Pending"),), due=DEFAULT_PENDING_DEADLINE
    ),
    "the pod runs, and its cause has passed": Case(
        flow_run("Pending", **told(reasons.IMAGE_PULL_FAILED)),
        (run_pod("Running"),),
        conditions=((reasons.POD_READY, True, reasons.LAUNCHED),),
        due=DEFAULT_PENDING_DEADLINE,
    ),
    "one of two pods of a Job runs, and the cause has passed": Case(
        flow_run("Pending", **told(reasons.UNSCHEDULABLE)),
        (run_pod("Pending", uid="first", deleting=True), run_pod("Running", uid="second")),
        run_job(),
        conditions=((reasons.POD_READY, True, reasons.LAUNCHED),),
        due=STUCK,
    ),
    "a node takes the pod at last": Case(
        flow_run("Pending", **told(reasons.UNSCHEDULABLE)),
        (run_pod("Pending"),),
        conditions=((reasons.POD_READY, True, reasons.LAUNCHED),),
        due=DEFAULT_PENDING_DEADLINE,
    ),
}

GIVEN_UP = {
    "the image cannot be pulled for too long": Case(
        flow_run("Pending", **told(reasons.IMAGE_PULL_FAILED)),
        (waits("ErrImagePull"),),
        at=60,
        conditions=((reasons.POD_READY, False, reasons.IMAGE_PULL_FAILED),),
        delete=(POD,),
    ),
    "the pod that is given up is being deleted": Case(
        flow_run("Pending", **told(reasons.IMAGE_PULL_FAILED)),
        (waits("ErrImagePull", deleting=True),),
        policy=Policy(pending_deadline=50),
        at=50,
        conditions=((reasons.POD_READY, False, reasons.IMAGE_PULL_FAILED),),
        due=STUCK,
    ),
    "the pod that was given up is not to be seen": Case(
        flow_run("Pending", **told(reasons.IMAGE_PULL_FAILED)), at=70, confirmed=False, confirm=True
    ),
    "the pod that was given up is gone": Case(
        flow_run("Pending", **told(reasons.IMAGE_PULL_FAILED)),
        at=70,
        states=(("Crashed", reasons.IMAGE_PULL_FAILED),),
        fields={"endTime": "2026-01-01T06:01:10.000000Z"},
        says=("what was told",),
    ),
    "the pod that was given up is gone, and there are retries": Case(
        flow_run("Pending", **told(reasons.IMAGE_PULL_FAILED)),
        at=70,
        policy=RETRY,
        states=((StateName.AWAITING_RETRY, reasons.IMAGE_PULL_FAILED),),
        fields={"infraRetries": 1},
        remove=("pod",),
        due=70,
        says=("attempt 1 was lost", "what was told"),
    ),
    "the API server will never take the pod": Case(
        flow_run("Pending", **told(reasons.POD_INVALID)),
        at=0,
        states=(("Crashed", reasons.POD_INVALID),),
        fields={"endTime": "2026-01-01T06:00:00.000000Z"},
    ),
    "a quota refuses the pod, which may change": Case(
        flow_run("Pending", **told(reasons.POD_CREATE_FORBIDDEN)), create=True, due=DEFAULT_PENDING_DEADLINE
    ),
    "a quota refused the pod until the pending deadline": Case(
        flow_run("Pending", **told(reasons.POD_CREATE_FORBIDDEN)),
        at=DEFAULT_PENDING_DEADLINE,
        states=(("Crashed", reasons.POD_CREATE_FORBIDDEN),),
        fields={"endTime": "2026-01-01T06:10:00.000000Z"},
    ),
    "a pod that runs does not claim the run in time": Case(
        flow_run("Pending"),
        (run_pod("Running"),),
        policy=Policy(pending_deadline=60),
        at=60,
        conditions=((reasons.POD_READY, False, reasons.PENDING_DEADLINE_EXCEEDED),),
        delete=(POD,),
    ),
    "a Job makes no pod in time": Case(
        flow_run("Pending"),
        job=run_job(),
        policy=Policy(pending_deadline=60),
        at=60,
        conditions=((reasons.POD_READY, False, reasons.PENDING_DEADLINE_EXCEEDED),),
        delete=(JOB,),
    ),
    "no pod could be made in time": Case(
        flow_run("Pending"),
        policy=Policy(pending_deadline=60),
        at=60,
        states=(("Crashed", reasons.PENDING_DEADLINE_EXCEEDED),),
        fields={"endTime": "2026-01-01T06:01:00.000000Z"},
        says=("pendingDeadlineSeconds",),
    ),
}

NEVER_CLAIMED = {
    "a pod that ended without a claim is read afresh": Case(
        flow_run("Pending"), (exited(),), confirmed=False, confirm=True
    ),
    "a pod that ended without a claim": Case(
        flow_run("Pending"),
        (exited(3),),
        states=(("Crashed", reasons.NEVER_CLAIMED),),
        fields=ENDED,
        says=("exit code 3", "penstock.runner"),
    ),
    "a pod that ended without a claim is told as it ended, however late that is seen": Case(
        flow_run("Pending"),
        (exited(137, "OOMKilled"),),
        at=9999,
        states=(("Crashed", reasons.OOM_KILLED),),
        fields={"endTime": "2026-01-01T08:46:39.000000Z"},
    ),
    "a Job that failed without a pod that tells why": Case(
        flow_run("Pending"),
        job=run_job(FAILED_JOB),
        states=(("Crashed", reasons.JOB_FAILED),),
        fields=ENDED,
        says=("BackoffLimitExceeded",),
    ),
    "a pod that was deleted before it claimed the run": Case(
        flow_run("Pending"),
        (exited(deleting=True),),
        states=(("Crashed", reasons.POD_DELETED),),
        fields=ENDED,
    ),
    "of two pods of a Job the later one tells how it ended": Case(
        flow_run("Pending"),
        (
            exited(1, uid="first", created="2026-01-01T06:00:00Z"),
            exited(137, "OOMKilled", uid="second", created="2026-01-01T06:00:02Z"),
        ),
        run_job(FAILED_JOB),
        states=(("Crashed", reasons.OOM_KILLED),),
        fields=ENDED,
    ),
    "one of two pods of a Job goes on": Case(
        flow_run("Pending"),
        (exited(uid="first"), run_pod("Running", uid="second")),
        run_job(),
        due=DEFAULT_PENDING_DEADLINE,
    ),
}

OVERDUE_POD = (reasons.POD_READY, False, reasons.ACTIVE_DEADLINE_EXCEEDED)

UNDER_WAY = {
    "its pod runs": Case(running(), (run_pod(),)),
    "its pod runs within its deadline": Case(running(), (run_pod(),), policy=Policy(active_deadline=60), due=60),
    "its pod runs, and what had kept it from starting has passed": Case(
        running(**told(reasons.UNSCHEDULABLE)),
        (run_pod(),),
        conditions=((reasons.POD_READY, True, reasons.LAUNCHED),),
    ),
    "its pod is being deleted": Case(running(), (run_pod(deleting=True),), due=STUCK),
    "its node is silent, which is no end": Case(running(), (run_pod("Unknown"),)),
    "it is paused in its process": Case(flow_run("Paused", pod=CLAIM), (run_pod(),)),
    "a second pod of its Job, which lost the claim": Case(running(), (run_pod(), run_pod(uid="second")), run_job()),
    "only a second pod of its Job is left": Case(
        running(), (exited(), run_pod(uid="second")), run_job(), delete=(JOB,)
    ),
    "its pod has ended, and its Job has yet to notice": Case(running(), (exited(),), run_job()),
    "its deadline has passed": Case(
        running(),
        (run_pod(),),
        policy=Policy(active_deadline=60),
        at=60,
        delete=(POD,),
        conditions=(OVERDUE_POD,),
    ),
    "the Job of a run whose deadline has passed is deleted, not its pod": Case(
        running(),
        (run_pod(),),
        run_job(),
        policy=Policy(active_deadline=60),
        at=60,
        delete=(JOB,),
        conditions=(OVERDUE_POD,),
    ),
    "its deadline has passed, and its pod is being deleted": Case(
        running(),
        (run_pod(deleting=True),),
        policy=Policy(active_deadline=40),
        at=40,
        due=STUCK,
        conditions=(OVERDUE_POD,),
    ),
    "the deadline counts from the claim where no start is told": Case(
        flow_run("Running", pod=CLAIM), (run_pod(),), policy=Policy(active_deadline=60), due=60
    ),
    "the deadline counts from the start of user code, whatever came since": Case(
        flow_run("Running", pod=CLAIM, startTime="2026-01-01T05:59:30Z"),
        (run_pod(),),
        policy=Policy(active_deadline=60),
        due=30,
    ),
}

LOST = {
    "its pod has ended, as far as can be seen": Case(running(), (exited(),), confirmed=False, confirm=True),
    "its pod is not to be seen": Case(running(), confirmed=False, confirm=True),
    "its container ended before the run had an end": Case(
        running(),
        (exited(3),),
        states=(("Crashed", reasons.EXITED),),
        fields=ENDED | {"duration": "5s"},
        says=("exit code 3",),
    ),
    "its container left with success before the run had an end": Case(
        running(), (exited(0, "Completed"),), states=(("Crashed", reasons.EXITED),), fields=ENDED | {"duration": "5s"}
    ),
    "it used too much memory": Case(
        running(),
        (exited(137, "OOMKilled"),),
        states=(("Crashed", reasons.OOM_KILLED),),
        fields=ENDED | {"duration": "5s"},
    ),
    "its Job has noticed": Case(
        running(),
        (exited(3),),
        run_job(FAILED_JOB),
        states=(("Crashed", reasons.EXITED),),
        fields=ENDED | {"duration": "5s"},
    ),
    "its Job is deleted, and its pod is left to tell": Case(
        running(), (exited(3),), states=(("Crashed", reasons.EXITED),), fields=ENDED | {"duration": "5s"}
    ),
    "its pod was deleted": Case(
        running(),
        states=(("Crashed", reasons.POD_DELETED),),
        fields=ENDED | {"duration": "5s"},
        says=("etl-1-1",),
    ),
    "its pod was evicted and is deleted, and somebody has seen that": Case(
        running(),
        departed=run_pod(
            deleting=True, conditions=[held("DisruptionTarget", True, "EvictionByEvictionAPI", "drained")]
        ),
        states=(("Crashed", reasons.EVICTED),),
        fields=ENDED | {"duration": "5s"},
        says=("drained",),
    ),
    "its pod ended and was deleted, and somebody has seen how": Case(
        running(),
        departed=exited(137, "OOMKilled", deleting=True),
        states=(("Crashed", reasons.OOM_KILLED),),
        fields=ENDED | {"duration": "5s"},
    ),
    "its pod was deleted, and nobody has seen more of it": Case(
        running(),
        departed=run_pod(deleting=True),
        states=(("Crashed", reasons.POD_DELETED),),
        fields=ENDED | {"duration": "5s"},
        says=("nothing of it is left",),
    ),
    "its Job was deleted": Case(
        running(resolved=resolved("Job")),
        states=(("Crashed", reasons.JOB_DELETED),),
        fields=ENDED | {"duration": "5s"},
        says=("etl-1-1",),
    ),
    "its pod was deleted under its Job, which has failed for that": Case(
        running(resolved=resolved("Job")),
        job=run_job(FAILED_JOB),
        states=(("Crashed", reasons.POD_DELETED),),
        fields=ENDED | {"duration": "5s"},
    ),
    "its pod was deleted, and ended by that": Case(
        running(),
        (exited(143, deleting=True),),
        states=(("Crashed", reasons.POD_DELETED),),
        fields=ENDED | {"duration": "5s"},
        says=("exit code 143",),
    ),
    "its node is gone": Case(
        running(),
        (run_pod(node="node-1"),),
        lost_nodes=frozenset({"node-1"}),
        states=(("Crashed", reasons.NODE_LOST),),
        fields=ENDED | {"duration": "5s"},
        says=("node-1",),
    ),
    "its node is gone after it had ended": Case(
        running(),
        (exited(137, "OOMKilled"),),
        lost_nodes=frozenset({"node-1"}),
        states=(("Crashed", reasons.OOM_KILLED),),
        fields=ENDED | {"duration": "5s"},
    ),
    "another node is gone": Case(running(), (run_pod(node="node-1"),), lost_nodes=frozenset({"node-2"})),
    "of its Job's pods the one that had claimed it tells how it ended": Case(
        running(),
        (exited(3), exited(1, uid="later", created="2026-01-01T06:00:03Z")),
        run_job(FAILED_JOB),
        states=(("Crashed", reasons.EXITED),),
        fields=ENDED | {"duration": "5s"},
        says=("exit code 3",),
    ),
    "another pod tells nothing of the one that had claimed it": Case(
        running(),
        (exited(3, uid="other"),),
        states=(("Crashed", reasons.POD_DELETED),),
        fields=ENDED | {"duration": "5s"},
    ),
    "there are retries": Case(
        running(),
        (exited(3),),
        policy=RETRY,
        states=((StateName.AWAITING_RETRY, reasons.EXITED),),
        fields={"infraRetries": 1},
        remove=("pod",),
        due=5,
        says=("attempt 1 was lost", "exit code 3"),
    ),
    "the retries are spent": Case(
        running(infraRetries=2),
        (exited(3),),
        policy=RETRY,
        states=(("Crashed", reasons.EXITED),),
        fields=ENDED | {"duration": "5s"},
        says=("exit code 3", "after 2 of 2 infrastructure retries"),
    ),
    "an eviction that costs nothing": Case(
        running(infraRetries=2),
        (exited(137) | {"status": {"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."}},),
        policy=Policy(infra_retries=InfraRetries(2, on_preemption="Ignore")),
        states=((StateName.AWAITING_RETRY, reasons.EVICTED),),
        remove=("pod",),
        due=5,
    ),
    "a paused run whose process is gone": Case(
        flow_run("Paused", pod=CLAIM), (exited(),), states=(("Crashed", reasons.EXITED),), fields=ENDED
    ),
    "its pod was ended by its deadline": Case(
        running(**told(reasons.ACTIVE_DEADLINE_EXCEEDED)),
        (exited(143, deleting=True),),
        policy=replace(RETRY, active_deadline=60),
        at=70,
        states=((StateName.TIMED_OUT, reasons.ACTIVE_DEADLINE_EXCEEDED),),
        fields={"endTime": "2026-01-01T06:01:10.000000Z", "duration": "1m10s"},
        says=("activeDeadlineSeconds (60)",),
    ),
    "its pod was gone before its deadline, and nobody was there to see it": Case(
        running(),
        policy=Policy(active_deadline=60),
        at=9999,
        states=(("Crashed", reasons.POD_DELETED),),
        fields={"endTime": "2026-01-01T08:46:39.000000Z", "duration": "2h46m"},
    ),
    "a rule excludes the cause": Case(
        running(),
        (exited(3),),
        policy=Policy(infra_retries=InfraRetries(3, reasons=(reasons.NODE_LOST,))),
        states=(("Crashed", reasons.EXITED),),
        fields=ENDED | {"duration": "5s"},
        says=("exit code 3", "infraRetries.reasons does not list ContainerExited"),
    ),
    "its pod was ended by its deadline and is gone": Case(
        running(**told(reasons.ACTIVE_DEADLINE_EXCEEDED)),
        policy=replace(RETRY, active_deadline=60),
        at=70,
        states=((StateName.TIMED_OUT, reasons.ACTIVE_DEADLINE_EXCEEDED),),
        fields={"endTime": "2026-01-01T06:01:10.000000Z", "duration": "1m10s"},
    ),
    "a pod that ended by itself is told as it ended, however late that is seen": Case(
        running(),
        (exited(137, "OOMKilled"),),
        policy=Policy(active_deadline=60),
        at=9999,
        states=(("Crashed", reasons.OOM_KILLED),),
        fields={"endTime": "2026-01-01T08:46:39.000000Z", "duration": "2h46m"},
    ),
}

LOST_NODE = (reasons.NODE_LOST, False, reasons.NODE_READY)
SILENT_NODE = (reasons.NODE_LOST, True, reasons.NODE_SILENT)
FORCE = Policy(force_after=60)
FORCED = replace(POD, force=True)


def told_silent(status: bool = True) -> Json:
    """What the run says of its node."""
    return {"conditions": [held(reasons.NODE_LOST, status, reasons.NODE_SILENT, "node node-1 is not ready")]}


SILENT = {
    "the run says so and waits": Case(running(), (run_pod(),), silent=0, conditions=(SILENT_NODE,)),
    "another node is silent": Case(running(), (run_pod(node="node-2"),), silent=0),
    "its pod has ended before": Case(
        running(),
        (exited(3),),
        silent=0,
        states=(("Crashed", reasons.EXITED),),
        fields=ENDED | {"duration": "5s"},
    ),
    "its pod had not started": Case(
        flow_run("Pending"), (run_pod("Pending"),), silent=0, conditions=(SILENT_NODE,), due=DEFAULT_PENDING_DEADLINE
    ),
    "it is paused": Case(flow_run("Paused", pod=CLAIM), (run_pod(),), silent=0, conditions=(SILENT_NODE,)),
    "it is being cancelled": Case(
        flow_run("Cancelling"), (run_pod(deleting=True),), silent=0, conditions=(SILENT_NODE,)
    ),
    "it has an end, and its pod is not seen to end": Case(
        flow_run("Completed"), (run_pod(),), silent=0, conditions=(SILENT_NODE,), due=LINGER
    ),
    "the node is back": Case(running(**told_silent()), (run_pod(),), conditions=(LOST_NODE,)),
    "the node was told to be back": Case(running(**told_silent(False)), (run_pod(),)),
    "the pod is to be given up later": Case(
        running(), (run_pod(),), silent=-10, policy=FORCE, conditions=(SILENT_NODE,), due=50
    ),
    "the pod is to be given up, as far as can be seen": Case(
        running(), (run_pod(),), silent=-60, policy=FORCE, confirmed=False, confirm=True
    ),
    "the pod is given up": Case(
        running(), (run_pod(),), silent=-60, policy=FORCE, conditions=(SILENT_NODE,), delete=(FORCED,)
    ),
    "the pod is given up though somebody has deleted it": Case(
        running(), (run_pod(deleting=True),), silent=-60, policy=FORCE, conditions=(SILENT_NODE,), delete=(FORCED,)
    ),
    "a cancelled run's pod is given up": Case(
        flow_run("Cancelling"), (run_pod(),), silent=-60, policy=FORCE, conditions=(SILENT_NODE,), delete=(FORCED,)
    ),
    "the pod of a run that has an end is given up": Case(
        flow_run("Completed"),
        (run_pod(),),
        silent=-60,
        policy=FORCE,
        conditions=(SILENT_NODE,),
        delete=(FORCED,),
        due=LINGER,
    ),
    "a pod is given up with its Job, which would make another": Case(
        running(),
        (run_pod(),),
        run_job(),
        silent=-60,
        policy=FORCE,
        conditions=(SILENT_NODE,),
        delete=(JOB, FORCED),
    ),
    "the pod was given up, and its Job has yet to go": Case(running(**told_silent()), job=run_job(deleting=True)),
    "a run that has an end is settled, and its pod is gone": Case(
        flow_run("Completed", endTime="2026-01-01T06:00:00Z", duration="4s", **told_silent()),
        conditions=(LOST_NODE,),
        fields=SETTLED,
    ),
    "the pod was given up": Case(
        running(**told_silent()),
        states=(("Crashed", reasons.NODE_LOST),),
        conditions=(LOST_NODE,),
        fields=ENDED | {"duration": "5s"},
        says=("its pod is deleted", "node-1 is not ready"),
    ),
    "the pod was given up, and there are retries": Case(
        running(**told_silent()),
        policy=RETRY,
        states=((StateName.AWAITING_RETRY, reasons.NODE_LOST),),
        conditions=(LOST_NODE,),
        fields={"infraRetries": 1},
        remove=("pod",),
        due=5,
    ),
    "the pod of a cancelled run was given up": Case(
        flow_run("Cancelling", **told_silent()),
        states=(("Cancelled", reasons.CANCEL_REQUESTED),),
        conditions=(LOST_NODE,),
        fields=ENDED,
    ),
    "nobody may read Nodes, and a deleted pod has time to end": Case(running(), (run_pod(deleting=True),), due=STUCK),
    "nobody may read Nodes, and a deleted pod does not end": Case(
        running(), (run_pod(deleting=True),), at=STUCK, conditions=(SILENT_NODE,)
    ),
    "nobody may read Nodes, and a pod that does not end is given up": Case(
        running(),
        (run_pod(deleting=True),),
        at=90,
        policy=FORCE,
        conditions=(SILENT_NODE,),
        delete=(FORCED,),
    ),
}

CANCELLED = {
    "it is new": Case(
        flow_run(**CANCEL), states=(("Cancelled", reasons.CANCEL_REQUESTED),), fields=ENDED, says=("had not started",)
    ),
    "it waits": Case(flow_run("Scheduled", **CANCEL), states=(("Cancelled", reasons.CANCEL_REQUESTED),), fields=ENDED),
    "it awaits a retry": Case(
        retrying(**CANCEL),
        states=(("Cancelled", reasons.CANCEL_REQUESTED),),
        fields=ENDED,
    ),
    "its pod has not started": Case(
        flow_run("Pending", **CANCEL),
        (run_pod("Pending"),),
        states=(("Cancelling", reasons.CANCEL_REQUESTED),),
        delete=(POD,),
    ),
    "its pod is not made yet": Case(flow_run("Pending", **CANCEL), states=(("Cancelling", reasons.CANCEL_REQUESTED),)),
    "it runs in a Pod": Case(
        running(**CANCEL),
        (run_pod(),),
        states=(("Cancelling", reasons.CANCEL_REQUESTED),),
        delete=(POD,),
        says=("waiting for the pod to end",),
    ),
    "it runs in a Job": Case(
        running(**CANCEL),
        (run_pod(),),
        run_job(),
        states=(("Cancelling", reasons.CANCEL_REQUESTED),),
        delete=(JOB,),
    ),
    "it is paused": Case(
        flow_run("Paused", pod=CLAIM, **CANCEL),
        (run_pod(),),
        states=(("Cancelling", reasons.CANCEL_REQUESTED),),
        delete=(POD,),
    ),
    "its pod is not deleted yet": Case(flow_run("Cancelling"), (run_pod(),), delete=(POD,)),
    "its Job is not deleted yet": Case(flow_run("Cancelling"), (run_pod(),), run_job(), delete=(JOB,)),
    "its Job is not deleted yet, and has no pod": Case(flow_run("Cancelling"), job=run_job(), delete=(JOB,)),
    "its pod is being deleted": Case(flow_run("Cancelling"), (run_pod(deleting=True),), due=STUCK),
    "its Job is being deleted": Case(
        flow_run("Cancelling"), (run_pod(deleting=True),), run_job(deleting=True), due=STUCK
    ),
    "its Job is being deleted, and its pod is not": Case(
        flow_run("Cancelling"), (run_pod(),), run_job(deleting=True), delete=(POD,)
    ),
    "its pod is not to be seen": Case(flow_run("Cancelling"), confirmed=False, confirm=True),
    "its pod is gone": Case(
        flow_run("Cancelling", startTime="2026-01-01T05:59:00Z"),
        states=(("Cancelled", reasons.CANCEL_REQUESTED),),
        fields=ENDED | {"duration": "1m05s"},
        says=("its pod has ended",),
    ),
    "its pod has ended": Case(
        flow_run("Cancelling"), (exited(),), states=(("Cancelled", reasons.CANCEL_REQUESTED),), fields=ENDED
    ),
    "its node is gone": Case(
        flow_run("Cancelling"),
        (run_pod(deleting=True),),
        lost_nodes=frozenset({"node-1"}),
        states=(("Cancelled", reasons.CANCEL_REQUESTED),),
        fields=ENDED,
    ),
    "a retry is not for a cancelled run": Case(
        flow_run("Cancelling"),
        (exited(),),
        policy=RETRY,
        states=(("Cancelled", reasons.CANCEL_REQUESTED),),
        fields=ENDED,
    ),
}

FINISHED = {
    "its pod has ended": Case(
        flow_run("Completed", endTime="2026-01-01T06:00:00Z", duration="4s"), (exited(0, "Completed"),), fields=SETTLED
    ),
    "its runner had no time to write the end": Case(
        flow_run("Completed", startTime="2026-01-01T05:59:00Z"),
        (exited(0, "Completed"),),
        fields=SETTLED | {"endTime": "2026-01-01T06:00:00Z", "duration": "1m00s"},
    ),
    "its pod is about to end": Case(flow_run("Completed"), (run_pod(),), due=LINGER),
    "its pod lingers": Case(flow_run("Completed"), (run_pod(),), at=LINGER, delete=(POD,), due=2 * LINGER),
    "its pod lingers and is being deleted": Case(
        flow_run("Completed"), (run_pod(deleting=True),), at=LINGER, due=2 * LINGER
    ),
    "its Job has yet to notice": Case(flow_run("Completed"), (exited(0, "Completed"),), run_job(), due=LINGER),
    "its Job has still to notice": Case(
        flow_run("Completed"), (exited(0, "Completed"),), run_job(), at=LINGER, due=2 * LINGER
    ),
    "its Job has noticed": Case(
        flow_run("Completed", endTime="2026-01-01T06:00:00Z", duration="4s"),
        (exited(0, "Completed"),),
        run_job(COMPLETE_JOB),
        fields=SETTLED,
    ),
    "its pod is not to be seen": Case(flow_run("Completed"), confirmed=False, confirm=True),
    "its pod is gone": Case(flow_run("Completed", endTime="2026-01-01T06:00:00Z", duration="4s"), fields=SETTLED),
    "it never had a pod": Case(
        flow_run("Failed", attempt=0, endTime="2026-01-01T06:00:00Z"), confirmed=False, fields=SETTLED
    ),
    "the operator ended it": Case(flow_run("Crashed", endTime="2026-01-01T06:00:00Z"), (exited(),), fields=SETTLED),
    "it was asked to end, too late": Case(
        flow_run("Completed", endTime="2026-01-01T06:00:00Z", **CANCEL), (exited(0, "Completed"),), fields=SETTLED
    ),
}

BEING_DELETED = {
    "a run that is new": Case(flow_run(deleting=True)),
    "a run that is launched": Case(flow_run("Pending", deleting=True)),
    "a run under way": Case(flow_run("Running", deleting=True, pod=CLAIM), (run_pod(),), delete=(POD,)),
    "a run under way in a Job": Case(
        flow_run("Running", deleting=True, pod=CLAIM), (run_pod(),), run_job(), delete=(JOB,)
    ),
    "a run whose pod is being deleted, too": Case(
        flow_run("Running", deleting=True, pod=CLAIM), (run_pod(deleting=True),)
    ),
    "a run whose pod is gone": Case(flow_run("Running", deleting=True, pod=CLAIM)),
    "a run that has an end": Case(flow_run("Completed", deleting=True), (exited(0),)),
}

SETTLED_RUNS = {
    "its pod has ended": Case(flow_run("Completed", settled=True), (exited(0),)),
    "its pod is deleted": Case(flow_run("Completed", settled=True)),
    "it was asked to end": Case(flow_run("Completed", settled=True, **CANCEL), (exited(0),)),
}


KUEUE = {"kueue.x-k8s.io/queue-name": "team-a"}
FULL = Waiting(reasons.POOL_FULL, "WorkPool default is full: 1 of 1", slot=True)
CLOSED = Waiting(reasons.POOL_SUSPENDED, "WorkPool default is suspended")
SLOT = (StateName.AWAITING_CONCURRENCY_SLOT, reasons.POOL_FULL)
WAITS = {"type": "Scheduled", "name": StateName.AWAITING_CONCURRENCY_SLOT}


def suspended_job(*conditions: Json, kueue: bool = True, deleting: bool = False) -> Json:
    """A Job that makes no pods for now."""
    job = run_job(*conditions, deleting=deleting)
    job["spec"]["suspend"] = True
    if kueue:
        job["metadata"]["labels"] |= KUEUE
    return job


def gated(gate: str = "kueue.x-k8s.io/admission") -> Json:
    """A pod that the scheduler does not look at."""
    pod = run_pod("Pending", node=None, spec={}, conditions=[held("PodScheduled", False, "SchedulingGated", "gated")])
    pod["metadata"]["labels"] |= KUEUE
    pod["spec"]["schedulingGates"] = [{"name": gate}]
    return pod


def withheld(status: bool = False, reason: str = reasons.AWAITING_KUEUE, since: str = "2026-01-01T06:00:00Z") -> Json:
    """What the run says of who decides on its start."""
    return {"conditions": [held(reasons.ADMITTED, status, reason, "Kueue (LocalQueue team-a)", since)]}


KEPT_BACK = (reasons.ADMITTED, False, reasons.AWAITING_KUEUE)

WITHHELD = {
    "Kueue keeps its Job suspended": Case(flow_run("Pending"), job=suspended_job(), conditions=(KEPT_BACK,)),
    "however long it does": Case(flow_run("Pending"), job=suspended_job(), at=86_400, conditions=(KEPT_BACK,)),
    "somebody else does": Case(
        flow_run("Pending"),
        job=suspended_job(kueue=False),
        at=86_400,
        conditions=((reasons.ADMITTED, False, reasons.JOB_SUSPENDED),),
    ),
    "Kueue keeps its Pod gated": Case(flow_run("Pending"), (gated(),), at=86_400, conditions=(KEPT_BACK,)),
    "somebody else does that": Case(
        flow_run("Pending"),
        (gated("example.com/gate"),),
        at=86_400,
        conditions=((reasons.ADMITTED, False, reasons.SCHEDULING_GATED),),
    ),
    "Kueue has let its Job go, and what is over counts no more": Case(
        flow_run("Pending", **withheld()),
        job=run_job(),
        at=86_400,
        conditions=((reasons.ADMITTED, True, reasons.LAUNCHED),),
        due=86_400,
    ),
    "from then on the pending deadline counts": Case(
        flow_run("Pending", **withheld(True, reasons.LAUNCHED, "2026-01-01T07:00:00Z")),
        job=run_job(),
        at=3600 + 10,
        due=3600 + DEFAULT_PENDING_DEADLINE,
    ),
    "and passes": Case(
        flow_run("Pending", **withheld(True, reasons.LAUNCHED, "2026-01-01T07:00:00Z")),
        job=run_job(),
        at=3600 + DEFAULT_PENDING_DEADLINE,
        conditions=((reasons.POD_READY, False, reasons.PENDING_DEADLINE_EXCEEDED),),
        delete=(JOB,),
    ),
    "it is cancelled while Kueue keeps it": Case(flow_run("Cancelling"), job=suspended_job(), delete=(JOB,), at=100),
    "its Job is suspended under its pod, which is being ended": Case(running(), (run_pod(),), suspended_job()),
    "its Job is suspended and its pod is gone": Case(
        running(),
        job=suspended_job(),
        conditions=((reasons.ADMITTED, False, reasons.PREEMPTED),),
        delete=(JOB,),
    ),
    "it was preempted by Kueue": Case(
        running(**withheld(reason=reasons.PREEMPTED)),
        states=(("Crashed", reasons.PREEMPTED),),
        fields={**ENDED, "duration": "5s"},
        says=("Kueue (LocalQueue team-a)",),
    ),
    "it was preempted, and there are retries": Case(
        running(**withheld(reason=reasons.PREEMPTED)),
        policy=RETRY,
        states=((StateName.AWAITING_RETRY, reasons.PREEMPTED),),
        fields={"infraRetries": 1},
        remove=("pod",),
        due=5,
    ),
    "a new attempt is not what an old one waited for": Case(
        retrying(**withheld(reason=reasons.PREEMPTED)),
        outcome=FOUND,
        policy=RETRY,
        at=30,
        states=(("Pending", reasons.LAUNCHED),),
        fields={"attempt": 2},
        remove=("pod",),
        conditions=((reasons.ADMITTED, True, reasons.LAUNCHED),),
        create=True,
    ),
    "a run that has an end leaves no suspended Job": Case(
        flow_run("Completed"), job=suspended_job(), at=LINGER, delete=(JOB,), due=2 * LINGER
    ),
}

SLOTS = {
    "a new run for which there is no slot": Case(flow_run(), outcome=FULL, states=(SLOT,)),
    "it was told so": Case(
        flow_run("Scheduled", state={**run_state(reason=SLOT[1], message=FULL.message), **WAITS}),
        outcome=FULL,
    ),
    "it waits for another limit than it was told": Case(
        flow_run("Scheduled", state={**run_state(reason=reasons.TAG_FULL), **WAITS}),
        outcome=FULL,
        states=(SLOT,),
    ),
    "it is not late, for others are before it": Case(flow_run(), outcome=FULL, at=86_400, states=(SLOT,)),
    "its starting deadline holds": Case(
        flow_run(spec=AT_SIX), outcome=FULL, policy=Policy(starting_deadline=60), states=(SLOT,), due=60
    ),
    "and passes": Case(
        flow_run(spec=AT_SIX),
        outcome=FULL,
        policy=Policy(starting_deadline=60),
        at=60,
        states=(("Failed", reasons.STARTING_DEADLINE_EXCEEDED),),
        fields={"endTime": "2026-01-01T06:01:00.000000Z"},
    ),
    "a later attempt waits, too": Case(retrying(), outcome=FULL, policy=RETRY, at=30, states=(SLOT,)),
    "what is closed makes it late": Case(
        flow_run(spec=AT_SIX),
        outcome=CLOSED,
        at=15,
        states=((StateName.LATE, reasons.POOL_SUSPENDED),),
        conditions=((reasons.RESOLVED, False, reasons.POOL_SUSPENDED),),
    ),
    "it gives way before it has started": Case(
        flow_run(),
        outcome=Displaced(reasons.CONCURRENCY_FORBIDDEN, "FlowDeployment etl has as many runs as it may"),
        states=(("Cancelled", reasons.CONCURRENCY_FORBIDDEN),),
        fields=ENDED,
        says=("as many runs as it may; the run had not started",),
    ),
}


def check(case: Case) -> None:
    """The decision is what the case says, and nothing else."""
    found = case.decide()
    change = found.change
    assert tuple((entry.name or str(entry.type), entry.reason) for entry in change.entries) == case.states
    assert tuple((c.type, c.status, c.reason) for c in change.conditions) == case.conditions
    assert change.fields == case.fields
    assert change.remove == case.remove
    assert (found.create, found.delete, found.confirm) == (case.create, case.delete, case.confirm)
    assert found.due == (None if case.due is None else after_six(case.due))
    assert found.waits_for == case.waits_for
    assert found.launches is (case.outcome if case.states and case.states[-1][0] == "Pending" else None)
    for part in case.says:
        assert part in change.entries[-1].message


def cases(table: dict[str, Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", table.values(), ids=table)


@cases(ACCEPTANCE)
def test_a_run_is_accepted_when_it_can_be_launched(case: Case) -> None:
    check(case)


@cases(SLOTS)
def test_a_run_waits_for_its_slots(case: Case) -> None:
    check(case)


@cases(WITHHELD)
def test_whoever_decides_when_the_attempt_starts_has_time(case: Case) -> None:
    check(case)


def test_a_run_under_way_gives_way_to_a_newer_one() -> None:
    displaced = Displaced(reasons.REPLACED, "FlowDeployment etl has a newer run")
    attempt = Attempt((PodView(run_pod()),))
    found = runs.decide(RunView(running()), attempt, None, DEFAULT, SIX, confirmed=True, displaced=displaced)
    assert [(str(e.type), e.reason) for e in found.change.entries] == [("Cancelling", reasons.REPLACED)]
    assert found.delete == (POD,)
    state = run_state("Cancelling", reason=reasons.REPLACED)
    gone = runs.decide(RunView(running(state=state)), Attempt(), None, DEFAULT, SIX, confirmed=True)
    assert [(str(e.type), e.reason) for e in gone.change.entries] == [("Cancelled", reasons.REPLACED)]
    ended = runs.decide(
        RunView(flow_run("Completed")), attempt, None, DEFAULT, SIX, confirmed=True, displaced=displaced
    )
    assert not ended.change.entries


@cases(RETRIES)
def test_a_lost_attempt_is_followed_by_another(case: Case) -> None:
    check(case)


@cases(STARTING)
def test_a_launched_run_waits_for_its_pod_to_claim_it(case: Case) -> None:
    check(case)


@cases(GIVEN_UP)
def test_a_pod_that_does_not_start_is_given_up(case: Case) -> None:
    check(case)


@cases(NEVER_CLAIMED)
def test_a_pod_may_end_without_a_claim(case: Case) -> None:
    check(case)


@cases(UNDER_WAY)
def test_a_claimed_run_is_watched(case: Case) -> None:
    check(case)


@cases(LOST)
def test_a_claimed_run_may_lose_its_pod(case: Case) -> None:
    check(case)


@cases(SILENT)
def test_a_silent_node_is_told_and_takes_nothing_unless_it_is_forced(case: Case) -> None:
    check(case)


@cases(CANCELLED)
def test_a_cancelled_run_ends_once_nothing_of_it_runs(case: Case) -> None:
    check(case)


@cases(FINISHED)
def test_a_run_that_has_an_end_is_settled_once_nothing_of_it_runs(case: Case) -> None:
    check(case)


@cases(BEING_DELETED)
def test_of_a_run_that_is_being_deleted_only_the_pod_is_ended(case: Case) -> None:
    check(case)


@cases(SETTLED_RUNS)
def test_nothing_follows_a_settled_run(case: Case) -> None:
    check(case)


@pytest.mark.parametrize(
    ("run", "wanted"),
    [
        pytest.param(flow_run(), True, id="new"),
        pytest.param(flow_run("Scheduled"), True, id="waiting"),
        pytest.param(retrying(), True, id="awaits a retry"),
        pytest.param(flow_run(**CANCEL), False, id="cancelled while new"),
        pytest.param(flow_run("Scheduled", deleting=True), False, id="being deleted"),
        *(pytest.param(flow_run(state), False, id=state) for state in S if state is not S.SCHEDULED),
    ],
)
def test_references_are_looked_up_only_for_runs_that_are_to_start(run: Json, wanted: bool) -> None:
    assert runs.needs_resolution(RunView(run)) is wanted


@pytest.mark.parametrize(
    ("pods", "job", "doomed"),
    [
        pytest.param((), None, (), id="nothing is there"),
        pytest.param((run_pod(),), None, (POD,), id="a pod"),
        pytest.param((run_pod(deleting=True),), None, (), id="a pod that is being deleted"),
        pytest.param((exited(),), None, (), id="a pod that has ended keeps its logs"),
        pytest.param((run_pod(), run_pod(uid="b")), None, (POD, replace(POD, uid="b")), id="two pods"),
        pytest.param((run_pod(),), run_job(), (JOB,), id="a Job takes its pods along"),
        pytest.param((run_pod(),), run_job(deleting=True), (POD,), id="a Job that is being deleted"),
    ],
)
def test_an_attempt_is_ended_by_its_job_or_else_by_its_pods(
    pods: tuple[Json, ...], job: Json | None, doomed: tuple[Doomed, ...]
) -> None:
    attempt = Attempt(tuple(PodView(pod) for pod in pods), JobView(job) if job else None)
    assert attempt.doomed() == doomed


def test_only_the_last_decision_settles() -> None:
    assert FINISHED["its pod has ended"].decide().settles
    assert not FINISHED["its pod is about to end"].decide().settles
    assert not LOST["its pod was deleted"].decide().settles
