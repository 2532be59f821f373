"""An attempt in being: until it has claimed the run, and then until its end. Called by `runs` for runs that have one.

Pods, pods of Jobs and processes in workers; that the attempt is gone is seen here, and what follows from it decided.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import takewhile

from penstock.api import reasons
from penstock.api.states import StateName, StateType

from . import diagnosis, endings, nodes, pauses
from .attempts import Assigned, Attempt
from .changes import Change, Condition, Entry
from .decisions import LINGER, Decision, claim, end, lost
from .diagnosis import Diagnosis
from .policy import InfraRetries, Policy
from .views import Body, JobView, PodView, RunView, parse_time

S = StateType

# How long a cause that rarely mends itself is watched before the attempt is given up; the pending deadline still holds.
GIVE_UP_AFTER = {
    reasons.IMAGE_PULL_FAILED: 60,
    reasons.START_FAILED: 20,
    reasons.CONTAINER_CONFIG_ERROR: 60,
    reasons.POD_INVALID: 0,
}
FREE_LOSSES = 3  # attempts that a worker may take with it before they started, at no cost
BEFORE_START = (S.SCHEDULED, StateName.LATE, S.PENDING)  # names of states of a run in which nothing has begun


def await_claim(run: RunView, attempt: Attempt, policy: Policy, now: datetime, *, confirmed: bool) -> Decision:
    """An attempt whose pod has yet to claim the run: what keeps it from that is told, and bounded in time."""
    withheld = diagnosis.withheld(attempt.live, attempt.job)
    if withheld is not None and not (attempt.job and attempt.job.deleting):
        return Decision(Change(conditions=(Condition(reasons.ADMITTED, False, withheld.reason, withheld.message),)))
    admission = run.condition(reasons.ADMITTED)
    if admission and admission["status"] == "False" and not attempt.absent:
        told = Condition(reasons.ADMITTED, True, reasons.LAUNCHED, "nothing keeps the attempt back any more")
        return Decision(Change(conditions=(told,)), due=now)
    # What kept it back is not counted.
    entered = max(filter(None, (run.entered, parse_time((admission or {}).get("lastTransitionTime")))), default=now)
    deadline = entered + timedelta(seconds=policy.pending_deadline)
    known = run.condition(reasons.POD_READY)
    cause = next((found for pod in attempt.live if (found := diagnosis.starting(pod))), attempt.told)
    ended = attempt.over and not attempt.absent
    alone = _ended_beside_others(run, attempt, attempt.live, claimed=False)
    if alone is not None:
        return alone
    how = endings.told_before(run)
    if how is not None and not attempt.live and (attempt.over or attempt.absent):
        return lost(run, how, policy, now) if confirmed else Decision(confirm=True)
    # A pod that is being deleted, or is absent, says nothing more: what was last known of it stays the cause.
    if cause is None and all(pod.deleting for pod in attempt.pods) and known and known["status"] == "False":
        cause = Diagnosis(known["reason"], known.get("message") or "")
    if cause and cause.reason in GIVE_UP_AFTER:
        same = known if known and known["reason"] == cause.reason and known["status"] == "False" else None
        since = (parse_time(same["lastTransitionTime"]) if same else None) or now
        deadline = min(deadline, since + timedelta(seconds=GIVE_UP_AFTER[cause.reason]))
    # A pod that ended by itself is told as it ended, however late that is seen.
    if now >= deadline and (cause or not ended):
        why = cause or Diagnosis(
            reasons.PENDING_DEADLINE_EXCEEDED,
            "the pod did not run user code within pendingDeadlineSeconds; see its events with kubectl describe pod",
        )
        if not attempt.over:
            condition = Condition(reasons.POD_READY, False, why.reason, why.message)
            return Decision(Change(conditions=(condition,)), delete=attempt.doomed())
        if not confirmed:
            return Decision(confirm=True)
        return lost(run, why, policy, now)
    if attempt.absent:
        return Decision(create=True, due=deadline) if confirmed else Decision(confirm=True, due=deadline)
    if ended:
        if not confirmed:
            return Decision(confirm=True)
        return lost(run, endings.how_it_ended(run, attempt, claimed=False), policy, now)
    if cause:
        conditions: tuple[Condition, ...] = (Condition(reasons.POD_READY, False, cause.reason, cause.message),)
    else:
        conditions = _mended(known, attempt)
    return Decision(Change(conditions=conditions), due=deadline)


def watch(run: RunView, attempt: Attempt, policy: Policy, now: datetime, *, confirmed: bool) -> Decision:
    """A claimed attempt: user code runs, until the runner reports its end or the pod is gone without one."""
    mine = tuple(pod for pod in attempt.pods if pod.uid == run.claimed_uid)
    running = any(not attempt.gone(pod) for pod in mine)
    limit = policy.active_deadline
    start = pauses.active_since(run) or run.entered or now
    deadline = start + timedelta(seconds=limit) if limit else None
    exceeded = deadline is not None and now >= deadline
    alone = _ended_beside_others(run, attempt, mine, claimed=True)
    if alone is not None:
        return alone
    if running:
        if exceeded:
            # Written down, since the pod takes it along: of one that is gone nobody could say who has ended it.
            overdue = Condition(reasons.POD_READY, False, reasons.ACTIVE_DEADLINE_EXCEEDED, _overdue(limit))
            return Decision(Change(conditions=(overdue,)), delete=attempt.doomed())
        conditions = _mended(run.condition(reasons.POD_READY), replace(attempt, pods=mine))
        return Decision(Change(conditions=conditions), due=deadline)
    if attempt.live:  # a second pod of the Job, which lost the claim
        return Decision(delete=attempt.doomed())
    if not attempt.over and attempt.job is not None and attempt.job.suspended:
        return _preempted(attempt, attempt.job)
    if not attempt.over:  # the Job has yet to notice; deleting it would take the pod's last words with it
        return Decision()
    if not confirmed:
        return Decision(confirm=True)
    # A pod that ended by itself, or was gone before its deadline, is told as it ended, however late that is seen.
    told = run.condition(reasons.POD_READY) or {}
    ended_by_deadline = (told.get("status"), told.get("reason")) == ("False", reasons.ACTIVE_DEADLINE_EXCEEDED)
    if ended_by_deadline and all(pod.deleting for pod in mine):
        return _timed_out(run, limit, now)
    if mine:
        return lost(run, endings.how_it_ended(run, replace(attempt, pods=mine), claimed=True), policy, now)
    silent = nodes.told_lost(run)
    if silent:
        return lost(run, Diagnosis(reasons.NODE_LOST, f"its pod is deleted: {silent['message']}"), policy, now)
    return lost(run, endings.how_it_vanished(run, attempt), policy, now)


def watch_process(run: RunView, attempt: Assigned, policy: Policy, now: datetime, *, confirmed: bool) -> Decision:
    """An attempt in a worker: claimed it runs user code; before that the worker has yet to start it."""
    claimed = run.type is not S.PENDING
    limit = policy.active_deadline if claimed else policy.pending_deadline
    start = (pauses.active_since(run) if claimed else None) or run.entered or now
    deadline = start + timedelta(seconds=limit) if limit else None
    exceeded = deadline is not None and now >= deadline
    patience = deadline + timedelta(seconds=LINGER) if deadline else None
    # What has not claimed the run never will once the run has gone on, so nobody has to wait for a worker that is mute.
    mute = not claimed and attempt.ending and patience is not None and now >= patience
    if not attempt.over and not mute:
        due = patience if exceeded and not claimed else None if exceeded else deadline
        decision = Decision(delete=attempt.doomed() if exceeded else (), due=due)
        told = Change(conditions=pauses.told(run, shared=policy.shared_results))
        return replace(decision, change=told) if claimed else decision
    if not confirmed:
        return Decision(confirm=True)
    if exceeded and attempt.ending and claimed:
        return _timed_out(run, limit, now)
    if exceeded and attempt.ending:
        message = f"worker {attempt.worker} did not run user code within pendingDeadlineSeconds"
        return lost(run, Diagnosis(reasons.PENDING_DEADLINE_EXCEEDED, message), policy, now)
    why = attempt.how_it_ended(claimed=claimed)
    gone = attempt.exited is None or why.reason == reasons.WORKER_STOPPED
    if gone and not claimed and _lost_before(run) < FREE_LOSSES:
        message = f"attempt {run.attempt} was taken back before it started: {why.message}"
        return Decision(Change((Entry(S.SCHEDULED, reasons.WORKER_LOST, message),), remove=claim(run)), due=now)
    final = attempt.exited is None and attempt.loss is not None and attempt.loss.silent and not policy.retry_silent
    return lost(run, why, replace(policy, infra_retries=InfraRetries()) if final else policy, now)


def _lost_before(run: RunView) -> int:
    """How many attempts in a row a lost worker took with it before they had started."""
    # In between it may have said what it waits for.
    backwards = takewhile(lambda entry: entry["name"] in BEFORE_START, reversed(run.history))
    return sum(entry["reason"] == reasons.WORKER_LOST for entry in backwards)


def _mended(known: Body | None, attempt: Attempt) -> tuple[Condition, ...]:
    """What to say once the cause that was told has passed: an old one must not be blamed for a later end."""
    if known is None or known["status"] != "False":
        return ()
    # The kubelet alternates between trying and waiting; only a pod that runs has left such a cause behind.
    stubborn = known["reason"] in GIVE_UP_AFTER
    if any(not pod.deleting and (pod.phase == "Running" or not stubborn) for pod in attempt.live):
        return (Condition(reasons.POD_READY, True, reasons.LAUNCHED, "what kept the pod from starting has passed"),)
    return ()


def _preempted(attempt: Attempt, job: JobView) -> Decision:
    """Its Job was suspended under its pod, as Kueue does to make room: let go on, it would start code a second time."""
    who = f"Kueue (LocalQueue {job.kueue})" if job.kueue else "somebody"
    message = f"{who} suspended Job {job.name} while the run was going on, which ended its pod"
    condition = Condition(reasons.ADMITTED, False, reasons.PREEMPTED, message)
    return Decision(Change(conditions=(condition,)), delete=attempt.doomed())


def _overdue(limit: int | None) -> str:
    return f"the run was active for longer than activeDeadlineSeconds ({limit})"


def _timed_out(run: RunView, limit: int | None, now: datetime) -> Decision:
    entry = Entry(S.FAILED, reasons.ACTIVE_DEADLINE_EXCEEDED, _overdue(limit), StateName.TIMED_OUT)
    return Decision(end(run, entry, now))


def _ended_beside_others(run: RunView, attempt: Attempt, pods: Iterable[PodView], *, claimed: bool) -> Decision | None:
    """User code is over, and other containers keep the pod alive (a proxy, an agent): it is deleted.

    How it ended is told first, for the pod may be the only one that knows.
    """
    pod = next((pod for pod in pods if not attempt.gone(pod) and not pod.deleting and pod.flow_ended), None)
    if pod is None:
        return None
    how = endings.told_before(run)
    if how is None:
        how = diagnosis.ended(pod) if claimed else diagnosis.never_claimed(diagnosis.ended(pod))
    return Decision(
        Change(conditions=(Condition(reasons.POD_READY, False, how.reason, how.message),)), delete=attempt.doomed()
    )
