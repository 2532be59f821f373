"""The life of a run: from what is seen of it and of its attempt, the next step.

`reconcile.flowruns` calls `decide` with a snapshot and carries out the `Decision`; nothing here knows how. The rules
are those of ARCHITECTURE sections 3 and 4, above all: a terminal state that the operator decides is written only once
the attempt is gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from penstock.api import reasons
from penstock.api.states import StateName, StateType

from . import changes, children, diagnosis, nodes, pauses
from .attempts import Assigned, Attempt, Doomed
from .changes import Change, Condition, Entry
from .children import ALONE, Family
from .diagnosis import Diagnosis
from .policy import InfraRetries, Policy
from .resolve import Displaced, Outcome, Refused, Resolution, Waiting
from .views import Body, JobView, PodView, RunView, format_time, parse_time

S = StateType
NOTHING = Change()

# How long a cause that rarely mends itself is watched before the attempt is given up; the pending deadline still holds.
GIVE_UP_AFTER = {
    reasons.IMAGE_PULL_FAILED: 60,
    reasons.START_FAILED: 20,
    reasons.CONTAINER_CONFIG_ERROR: 60,
    reasons.POD_INVALID: 0,
}
ENDED_BY_ITSELF = (reasons.EXITED, reasons.OOM_KILLED, reasons.POD_FAILED, reasons.NEVER_CLAIMED)
CHILDREN_DUE = 10  # seconds after which unfinished subflows of a lost attempt are looked for again
FREE_LOSSES = 3  # attempts that a worker may take with it before they started, at no cost
LINGER = 30  # seconds a pod may outlive the state that ended its attempt, such as its own runner's last


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now: write, then create or delete; `due` is when to look again at the latest.

    `confirm`: look again with a consistent read first, for the cache may lag behind what the decision would rest on.
    """

    change: Change = NOTHING
    create: bool = False
    delete: tuple[Doomed, ...] = ()
    due: datetime | None = None
    confirm: bool = False
    waits_for: tuple[str, str] | None = None
    launches: Resolution | None = None
    awaits_slot: bool = False

    @property
    def settles(self) -> bool:
        return bool(self.change.fields.get("settled"))


def needs_resolution(run: RunView) -> bool:
    """Whether `decide` wants the run's references looked up."""
    return run.type in (None, S.SCHEDULED) and not run.deleting and not run.cancelled and not run.in_parent


def decide(
    run: RunView,
    attempt: Attempt,
    outcome: Outcome | None,
    policy: Policy,
    now: datetime,
    *,
    confirmed: bool,
    family: Family = ALONE,
    displaced: Displaced | None = None,
) -> Decision:
    """The next step of a run. `outcome` is needed where `needs_resolution`; `confirmed`: everything was read afresh.

    `displaced`: it gives way to others of its deployment.
    """
    if run.deleting or run.settled:
        return _through_worker(run, Decision(delete=attempt.doomed() if run.deleting else ()))
    if run.in_parent:
        return _within_parent(run, family.parent, now)
    decision = _next(run, attempt, outcome, policy, now, confirmed=confirmed, family=family, displaced=displaced)
    return _through_worker(run, _upon_nodes(run, attempt, decision, policy, now, confirmed=confirmed))


def _through_worker(run: RunView, decision: Decision) -> Decision:
    """The decision, with the wish to end a process in a worker written where the worker reads it."""
    if not any(doomed.kind == "Worker" for doomed in decision.delete):
        return decision
    change = decision.change
    fields = {**change.fields, "worker": {**run.status["worker"], "end": True}}
    rest = tuple(doomed for doomed in decision.delete if doomed.kind != "Worker")
    return replace(decision, change=replace(change, fields=fields), delete=rest)


def _upon_nodes(
    run: RunView, attempt: Attempt, decision: Decision, policy: Policy, now: datetime, *, confirmed: bool
) -> Decision:
    """The decision, with what follows from nodes that do not answer."""
    if decision.confirm:
        return decision
    verdict = nodes.judge(run, attempt.live, attempt.silent_nodes, policy.force_after, now)
    if verdict.forced and not confirmed:
        return Decision(confirm=True)
    forced = tuple(Doomed("Pod", pod.name, pod.uid, force=True) for pod in verdict.forced)
    gentle = tuple(doomed for doomed in decision.delete if doomed.uid not in {pod.uid for pod in verdict.forced})
    if forced and not gentle:  # a Job would make another pod
        gentle = tuple(doomed for doomed in attempt.doomed() if doomed.kind == "Job")
    # Between a pod that is gone by force and the end that follows, the condition stands: it is what tells why.
    told = bool(attempt.live or decision.change.entries or decision.settles)
    conditions = (*decision.change.conditions, *(verdict.conditions if told else ()))
    change = replace(decision.change, conditions=conditions)
    due = min((time for time in (decision.due, verdict.due) if time), default=None)
    return replace(decision, change=change, delete=(*gentle, *forced), due=due)


def _next(
    run: RunView,
    attempt: Attempt,
    outcome: Outcome | None,
    policy: Policy,
    now: datetime,
    *,
    confirmed: bool,
    family: Family,
    displaced: Displaced | None,
) -> Decision:
    if run.type is not None and run.type.terminal:
        return _after_end(run, attempt, now, confirmed=confirmed)
    # A node that was lost may come back, and its pods with it: the attempt ends before anything follows it.
    if run.type in (None, S.SCHEDULED) and not attempt.over:
        return _linger(run, attempt, now)
    if run.cancelled or run.type is S.CANCELLING:
        return _cancel(run, attempt, now, "spec.cancel is set", confirmed=confirmed)
    if children.outlived(run, family.parent):
        return _cancel(run, attempt, now, f"its parent {run.parent['name']} has ended", confirmed=confirmed)
    if displaced is not None:
        return _cancel(run, attempt, now, displaced.message, displaced.reason, confirmed=confirmed)
    if run.type in (None, S.SCHEDULED):
        if run.attempt and family.unfinished:
            return Decision(due=now + timedelta(seconds=CHILDREN_DUE))
        return _start(run, outcome, policy, now)
    if pauses.suspended(run):
        return _wait_for_resume(run, attempt, now, confirmed=confirmed)
    wanted = run.suspend and not attempt.over and (run.type is S.PENDING or policy.shared_results)
    if wanted or pauses.stopping(run):
        return _stop(run, attempt, confirmed=confirmed)
    if isinstance(attempt, Assigned):
        return _watch_process(run, attempt, policy, now, confirmed=confirmed)
    if run.type is S.PENDING:
        return _await_claim(run, attempt, policy, now, confirmed=confirmed)
    decision = _watch(run, attempt, policy, now, confirmed=confirmed)
    if decision.change.entries:
        return decision
    told = _told(run, policy).conditions
    return replace(decision, change=replace(decision.change, conditions=(*decision.change.conditions, *told)))


def _told(run: RunView, policy: Policy) -> Change:
    """What is said of a wish to suspend a run that goes on."""
    return Change(conditions=pauses.told(run, shared=policy.shared_results))


def _within_parent(run: RunView, parent: RunView | None, now: datetime) -> Decision:
    """A subflow: its parent's runner writes what it does; what is left is to end it with the attempt, and to settle it.

    One that is asked to cancel goes on: it is ended with its parent only.
    """
    if run.type is not None and run.type.terminal:
        return _settle(run, now)
    entries = children.ending(run, parent)
    if not entries:
        return Decision()
    change = _end(run, entries[-1], now)
    return Decision(replace(change, entries=entries))


def _after_end(run: RunView, attempt: Attempt, now: datetime, *, confirmed: bool) -> Decision:
    if not attempt.over:
        return _linger(run, attempt, now)
    if not confirmed and attempt.absent and run.attempt:
        return Decision(confirm=True)
    return _settle(run, now)


def _settle(run: RunView, now: datetime) -> Decision:
    fields: Body = {"settled": True, "observedSeq": run.seq}
    if not run.status.get("endTime"):
        fields["endTime"] = run.state.get("time")
    ended_at = parse_time(run.status.get("endTime")) or run.entered or now
    length = changes.duration(run, ended_at)
    if length and not run.status.get("duration"):
        fields["duration"] = length
    return Decision(Change(fields=fields, remove=_claims(run), conditions=pauses.over(run)))


def _claims(run: RunView) -> tuple[str, ...]:
    """What an attempt that is over has claimed and was granted: nobody counts it any more."""
    return tuple(name for name in ("claims", "grants") if name in run.status)


def _linger(run: RunView, attempt: Attempt, now: datetime) -> Decision:
    """Let the pod of an attempt that is over end by itself for a while, then delete it."""
    again = timedelta(seconds=LINGER)
    patience = (run.entered or now) + again
    if now < patience:
        return Decision(due=patience)
    ends = attempt.live or (attempt.job is not None and attempt.job.suspended)
    return Decision(delete=attempt.doomed() if ends else (), due=now + again)


def _wait_for_resume(run: RunView, attempt: Attempt, now: datetime, *, confirmed: bool) -> Decision:
    """A run without a process: its pod ends, then somebody resumes it, or nobody does in time."""
    if not attempt.over:
        return _linger(run, attempt, now)
    verdict = pauses.judge(run, now)
    if verdict.entry is None:
        return Decision(Change(conditions=verdict.conditions), due=verdict.due)
    if not confirmed:
        return Decision(confirm=True)
    if verdict.entry.type.terminal:
        return Decision(_end(run, verdict.entry, now))
    fields: Body = {} if verdict.answers is None else {"answers": verdict.answers}
    return Decision(Change((verdict.entry,), fields, (*_claim(run), "pause"), verdict.conditions), due=now)


def _stop(run: RunView, attempt: Attempt, *, confirmed: bool) -> Decision:
    """End the attempt because spec.suspend is set: one that has not started is taken back, another is suspended."""
    if not attempt.over:
        return Decision(Change(conditions=(pauses.stops(),)), delete=attempt.doomed())
    if not confirmed:
        return Decision(confirm=True)
    if run.type is S.PENDING:
        message = f"attempt {run.attempt} was taken back before it started: spec.suspend was set; unset, the run starts"
        entry = Entry(S.SCHEDULED, reasons.SUSPEND_REQUESTED, message)
        return Decision(Change((entry,), remove=_claim(run), conditions=(pauses.stopped(),)))
    entry, pause = pauses.stop(run)
    return Decision(Change((entry,), {"pause": pause}, _claim(run), (pauses.stopped(),)))


def _claim(run: RunView) -> tuple[str, ...]:
    """What an attempt leaves in the status, which the next one is not to find."""
    return ("pod", "worker") if "worker" in run.status else ("pod",)


def _end(run: RunView, entry: Entry, now: datetime) -> Change:
    """The change that ends a run; called only when nothing of it runs."""
    fields: Body = {"endTime": format_time(now)}
    length = changes.duration(run, now)
    if length:
        fields["duration"] = length
    return Change((entry,), fields, remove=("pause",) if "pause" in run.status else ())


def _cancel(
    run: RunView,
    attempt: Attempt,
    now: datetime,
    asked: str,
    reason: str = reasons.CANCEL_REQUESTED,
    *,
    confirmed: bool,
) -> Decision:
    if run.type in (None, S.SCHEDULED):
        entry = Entry(S.CANCELLED, reason, f"{asked}; the run had not started")
        return Decision(_end(run, entry, now))
    if pauses.suspended(run) and attempt.over:
        entry = Entry(S.CANCELLED, reason, f"{asked}; the run was suspended")
        return Decision(_end(run, entry, now)) if confirmed else Decision(confirm=True)
    if run.type is not S.CANCELLING:
        entry = Entry(S.CANCELLING, reason, f"{asked}; waiting for the {attempt.what} to end")
        return Decision(Change((entry,)), delete=attempt.doomed())
    if not attempt.over:
        return Decision(delete=attempt.doomed())
    if not confirmed:
        return Decision(confirm=True)
    message = f"the run was cancelled and its {attempt.what} has ended"
    entry = Entry(S.CANCELLED, run.state.get("reason") or reason, message)
    return Decision(_end(run, entry, now))


def _start(run: RunView, outcome: Outcome | None, policy: Policy, now: datetime) -> Decision:
    scheduled = parse_time(run.spec.get("scheduledTime"))
    # The slots of a backfill lie in the past by intent.
    late = None if run.backfill else policy.starting_deadline
    wanted = (None if run.backfill else scheduled) or parse_time(run.metadata.get("creationTimestamp"))
    if late and wanted and run.attempt == 0 and now >= _after(wanted, late):
        message = f"not started within startingDeadlineSeconds ({late}) of {format_time(wanted)}"
        return Decision(_end(run, Entry(S.FAILED, reasons.STARTING_DEADLINE_EXCEEDED, message), now))
    give_up = _after(wanted, late) if late and wanted and run.attempt == 0 else None
    if run.suspend:
        return Decision(Change(pauses.held(run)), due=give_up)
    if isinstance(outcome, Refused):
        return Decision(_end(run, Entry(S.FAILED, outcome.reason, outcome.message), now))
    if isinstance(outcome, Displaced):
        return _cancel(run, Attempt(), now, outcome.message, outcome.reason, confirmed=True)
    if isinstance(outcome, Waiting) and outcome.slot:
        return Decision(Change(_awaiting_slot(run, outcome)), due=give_up, awaits_slot=True)
    if isinstance(outcome, Waiting):
        late_at = _after(wanted or now, policy.late_after) if run.attempt == 0 else None
        late = late_at is not None and now >= late_at
        condition = Condition(reasons.RESOLVED, False, outcome.reason, outcome.message)
        return Decision(
            Change(_waiting(run, outcome, wanted if late else None), conditions=(condition,)),
            due=min((time for time in (give_up, None if late else late_at) if time), default=None),
            waits_for=(outcome.kind, outcome.name) if outcome.kind else None,
            awaits_slot=not outcome.kind,
        )
    assert outcome is not None, "a run that is to start needs its references resolved"
    resolved = _resolved_condition(run)
    if scheduled and scheduled > now:
        message = f"starts at {format_time(scheduled)}"
        entries = () if run.type else (Entry(S.SCHEDULED, reasons.NOT_DUE, message),)
        return Decision(Change(entries, conditions=resolved), due=scheduled)
    retry_at = _retry_time(run, policy)
    if retry_at and retry_at > now:
        return Decision(due=retry_at)
    number = run.attempt + 1
    accepted = () if run.type else (Entry(S.SCHEDULED, reasons.ACCEPTED, outcome.said),)
    warm = outcome.status.get("poolType") == "Process"
    waits = "waiting for a worker" if warm else "waiting for its pod to start"
    pending = Entry(S.PENDING, reasons.LAUNCHED, f"attempt {number}: {waits}")
    fields: Body = {"attempt": number}
    if outcome.status != run.resolved:
        fields["resolved"] = outcome.status
    if not run.resolved:
        fields["acceptedTime"] = format_time(now)
        if outcome.parameters != (run.spec.get("parameters") or {}):
            fields["parameters"] = outcome.parameters
    change = Change(
        (*accepted, pending), fields, remove=("pod", *_claims(run)), conditions=(*resolved, *_pod_condition_reset(run))
    )
    return Decision(change, create=not warm, launches=outcome)


def _after(time: datetime, seconds: float) -> datetime:
    """So long after a time that a user has chosen: the end of all times where it is later than that."""
    try:
        return time + timedelta(seconds=seconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def assigned(decision: Decision, worker: Body) -> Decision:
    """The launching decision of a run in a pool of type Process, with the worker that it is given to: `name`, `uid`,
    and `env` where there is one."""
    change = decision.change
    number = change.fields["attempt"]
    pending = replace(change.entries[-1], message=f"attempt {number}: given to worker {worker['name']}")
    fields = {**change.fields, "worker": {**worker, "attempt": number}}
    remove = tuple(name for name in change.remove if name != "worker")
    change = replace(change, entries=(*change.entries[:-1], pending), fields=fields, remove=remove)
    return replace(decision, change=change)


def _waiting(run: RunView, outcome: Waiting, late_since: datetime | None) -> tuple[Entry, ...]:
    """The state of a run that cannot start, where that says something new: what it waits for, or that it is late."""
    name = StateName.LATE if late_since else ""
    told = (run.state.get("reason"), run.state.get("name"))
    if run.attempt or (run.type and told == (outcome.reason, name or str(S.SCHEDULED))):
        return ()
    since = f"due since {format_time(late_since)[:19]}Z: " if late_since else ""
    return (Entry(S.SCHEDULED, outcome.reason, since + outcome.message, name),)


def _awaiting_slot(run: RunView, outcome: Waiting) -> tuple[Entry, ...]:
    """The state of a run that waits for others to end, where that says something new."""
    name = StateName.AWAITING_CONCURRENCY_SLOT
    told = (run.state.get("name"), run.state.get("reason"), run.state.get("message"))
    if told == (name, outcome.reason, outcome.message):
        return ()
    return (Entry(S.SCHEDULED, outcome.reason, outcome.message, name),)


def admitted(decision: Decision, run: RunView, status: Body) -> Decision:
    """The launching decision, with what the run was admitted by; empty for nothing besides pool and deployment."""
    change = decision.change
    if status == (run.status.get("admitted") or {}):
        return decision
    if status:
        return replace(decision, change=replace(change, fields={**change.fields, "admitted": status}))
    return replace(decision, change=replace(change, remove=(*change.remove, "admitted")))


def _resolved_condition(run: RunView) -> tuple[Condition, ...]:
    """Only where it was told that something is missing: a run that never waited needs no condition."""
    if run.condition(reasons.RESOLVED):
        return (Condition(reasons.RESOLVED, True, reasons.ACCEPTED, "deployment, flow and pool were found"),)
    return ()


def _pod_condition_reset(run: RunView) -> tuple[Condition, ...]:
    types = (reasons.POD_READY, reasons.ADMITTED)
    return tuple(Condition(t, True, reasons.LAUNCHED, "a new attempt was launched") for t in types if run.condition(t))


def _retry_time(run: RunView, policy: Policy) -> datetime | None:
    """When a run that awaits a new attempt may start it; None where it awaits none."""
    if run.state.get("name") != StateName.AWAITING_RETRY or run.entered is None:
        return None
    lost = run.entered
    for entry in reversed(run.history):  # it may have been held back since: that is no loss of its own
        if entry.get("name") != StateName.AWAITING_RETRY:
            break
        lost = parse_time(entry["time"]) or lost
    return policy.infra_retries.next_start(lost, int(run.status.get("infraRetries") or 0))


def _await_claim(run: RunView, attempt: Attempt, policy: Policy, now: datetime, *, confirmed: bool) -> Decision:
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
    how = _told_ended(run)
    if how is not None and not attempt.live and (attempt.over or attempt.absent):
        return _lost(run, how, policy, now) if confirmed else Decision(confirm=True)
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
        return _lost(run, why, policy, now)
    if attempt.absent:
        return Decision(create=True, due=deadline) if confirmed else Decision(confirm=True, due=deadline)
    if ended:
        if not confirmed:
            return Decision(confirm=True)
        return _lost(run, _how_it_ended(run, attempt, claimed=False), policy, now)
    if cause:
        conditions: tuple[Condition, ...] = (Condition(reasons.POD_READY, False, cause.reason, cause.message),)
    else:
        conditions = _mended(known, attempt)
    return Decision(Change(conditions=conditions), due=deadline)


def _watch_process(run: RunView, attempt: Assigned, policy: Policy, now: datetime, *, confirmed: bool) -> Decision:
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
        return replace(decision, change=_told(run, policy)) if claimed else decision
    if not confirmed:
        return Decision(confirm=True)
    if exceeded and attempt.ending and claimed:
        message = f"the run was active for longer than activeDeadlineSeconds ({limit})"
        return Decision(_end(run, Entry(S.FAILED, reasons.ACTIVE_DEADLINE_EXCEEDED, message, StateName.TIMED_OUT), now))
    if exceeded and attempt.ending:
        message = f"worker {attempt.worker} did not run user code within pendingDeadlineSeconds"
        return _lost(run, Diagnosis(reasons.PENDING_DEADLINE_EXCEEDED, message), policy, now)
    why = attempt.how_it_ended(claimed=claimed)
    gone = attempt.exited is None or why.reason == reasons.WORKER_STOPPED
    if gone and not claimed and _lost_before(run) < FREE_LOSSES:
        message = f"attempt {run.attempt} was taken back before it started: {why.message}"
        return Decision(Change((Entry(S.SCHEDULED, reasons.WORKER_LOST, message),), remove=_claim(run)), due=now)
    final = attempt.exited is None and attempt.loss is not None and attempt.loss.silent and not policy.retry_silent
    return _lost(run, why, replace(policy, infra_retries=InfraRetries()) if final else policy, now)


def _lost_before(run: RunView) -> int:
    """How many attempts in a row a lost worker took with it before they had started."""
    steps = [entry for entry in run.history if entry["type"] != S.PENDING]
    backwards = takewhile(lambda entry: entry["reason"] == reasons.WORKER_LOST, reversed(steps))
    return sum(entry["name"] == S.SCHEDULED for entry in backwards)


def _mended(known: Body | None, attempt: Attempt) -> tuple[Condition, ...]:
    """What to say once the cause that was told has passed: an old one must not be blamed for a later end."""
    if known is None or known["status"] != "False":
        return ()
    # The kubelet alternates between trying and waiting; only a pod that runs has left such a cause behind.
    stubborn = known["reason"] in GIVE_UP_AFTER
    if any(not pod.deleting and (pod.phase == "Running" or not stubborn) for pod in attempt.live):
        return (Condition(reasons.POD_READY, True, reasons.LAUNCHED, "what kept the pod from starting has passed"),)
    return ()


def _watch(run: RunView, attempt: Attempt, policy: Policy, now: datetime, *, confirmed: bool) -> Decision:
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
        entry = Entry(S.FAILED, reasons.ACTIVE_DEADLINE_EXCEEDED, _overdue(limit), StateName.TIMED_OUT)
        return Decision(_end(run, entry, now))
    if mine:
        return _lost(run, _how_it_ended(run, replace(attempt, pods=mine), claimed=True), policy, now)
    silent = nodes.told_lost(run)
    if silent:
        return _lost(run, Diagnosis(reasons.NODE_LOST, f"its pod is deleted: {silent['message']}"), policy, now)
    return _lost(run, _how_it_vanished(run, attempt), policy, now)


def _overdue(limit: int | None) -> str:
    return f"the run was active for longer than activeDeadlineSeconds ({limit})"


def _ended_beside_others(run: RunView, attempt: Attempt, pods: Iterable[PodView], *, claimed: bool) -> Decision | None:
    """User code is over, and other containers keep the pod alive (a proxy, an agent): it is deleted.

    How it ended is told first, for the pod may be the only one that knows.
    """
    pod = next((pod for pod in pods if not attempt.gone(pod) and not pod.deleting and pod.flow_ended), None)
    if pod is None:
        return None
    how = _told_ended(run)
    if how is None:
        how = diagnosis.ended(pod) if claimed else diagnosis.never_claimed(diagnosis.ended(pod))
    return Decision(
        Change(conditions=(Condition(reasons.POD_READY, False, how.reason, how.message),)), delete=attempt.doomed()
    )


def _told_ended(run: RunView, pod: PodView | None = None) -> Diagnosis | None:
    """How user code ended, where that was told before its pod was deleted."""
    known = run.condition(reasons.POD_READY)
    if known is None or known["status"] != "False" or known["reason"] not in ENDED_BY_ITSELF:
        return None
    return Diagnosis(known["reason"], known.get("message") or "", diagnosis.ended(pod).exit_code if pod else None)


def _preempted(attempt: Attempt, job: JobView) -> Decision:
    """Its Job was suspended under its pod, as Kueue does to make room: let go on, it would start code a second time."""
    who = f"Kueue (LocalQueue {job.kueue})" if job.kueue else "somebody"
    message = f"{who} suspended Job {job.name} while the run was going on, which ended its pod"
    condition = Condition(reasons.ADMITTED, False, reasons.PREEMPTED, message)
    return Decision(Change(conditions=(condition,)), delete=attempt.doomed())


def _how_it_vanished(run: RunView, attempt: Attempt) -> Diagnosis:
    """Of a claimed pod that is no more: by its last words, where somebody has heard them."""
    admission = run.condition(reasons.ADMITTED)
    if admission and (admission["status"], admission["reason"]) == ("False", reasons.PREEMPTED):
        return Diagnosis(reasons.PREEMPTED, admission["message"])
    pod = attempt.departed
    told = _told_ended(run, pod)
    if told is not None:
        return told
    if pod is not None and (pod.gone or diagnosis.disrupted(pod)):
        return _of_pod(run, attempt, pod)
    name = (run.status.get("pod") or {}).get("name")
    message = f"pod {name} was deleted while the run was going on; nothing of it is left to tell why"
    return _deleted(run, attempt, message)


def _deleted(run: RunView, attempt: Attempt, message: str, exit_code: int | None = None) -> Diagnosis:
    """Somebody has deleted the pod, or the Job with it."""
    if run.resolved.get("poolType") == "Job" and (attempt.job is None or attempt.job.deleting):
        return Diagnosis(reasons.JOB_DELETED, f"its Job was deleted: {message}", exit_code)
    return Diagnosis(reasons.POD_DELETED, message, exit_code)


def _how_it_ended(run: RunView, attempt: Attempt, *, claimed: bool) -> Diagnosis:
    if not attempt.pods:
        assert attempt.job is not None
        return diagnosis.job_ended(attempt.job)
    how = _of_pod(run, attempt, max(attempt.pods, key=lambda p: str(p.metadata.get("creationTimestamp") or "")))
    return how if claimed else diagnosis.never_claimed(how)


def _of_pod(run: RunView, attempt: Attempt, pod: PodView) -> Diagnosis:
    if pod.node in attempt.lost_nodes and not pod.gone:
        return Diagnosis(reasons.NODE_LOST, f"node {pod.node} was deleted or taken out of service")
    how = diagnosis.ended(pod)
    told = _told_ended(run, pod)
    if told is not None:
        return told
    if pod.deleting and how.reason in (reasons.EXITED, reasons.POD_FAILED):
        message = f"pod {pod.name} was deleted while the run was going on ({how.message})"
        return _deleted(run, attempt, message, how.exit_code)
    return how


def _lost(run: RunView, why: Diagnosis, policy: Policy, now: datetime) -> Decision:
    """The attempt is gone without an end: another one where the budget allows, Crashed otherwise."""
    retries, used = policy.infra_retries, int(run.status.get("infraRetries") or 0)
    if not retries.allows(why, used):
        spent = ""
        if retries.limit:
            excluded = retries.excludes(why)
            spent = f" ({excluded})" if excluded else f" (after {used} of {retries.limit} infrastructure retries)"
        return Decision(_end(run, Entry(S.CRASHED, why.reason, why.message + spent), now))
    entry = Entry(S.SCHEDULED, why.reason, f"attempt {run.attempt} was lost: {why.message}", StateName.AWAITING_RETRY)
    fields = {} if retries.free(why) else {"infraRetries": used + 1}
    return Decision(
        Change((entry,), fields, remove=(*_claim(run), *(("pause",) if "pause" in run.status else ()))), due=now
    )
