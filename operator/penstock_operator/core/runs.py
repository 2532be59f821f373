"""The life of a run: from what is seen of it and of its attempt, the next step.

`reconcile.flowruns` calls `decide` with a snapshot and carries out the `Decision`; nothing here knows how. The rules
are those of ARCHITECTURE sections 3 and 4, above all: a terminal state that the operator decides is written only once
the attempt is gone.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from penstock.api import reasons
from penstock.api.states import StateName, StateType

from . import changes, children, nodes, pauses, watching
from .attempts import Assigned, Attempt, Doomed
from .changes import Change, Condition, Entry
from .children import ALONE, Family
from .decisions import LINGER, Decision, claim, end
from .policy import Policy
from .resolve import Displaced, Outcome, Refused, Waiting
from .views import Body, RunView, format_time, parse_time

S = StateType

CHILDREN_DUE = 10  # seconds after which unfinished subflows of a lost attempt are looked for again


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
        return _through_worker(Decision(delete=attempt.doomed() if run.deleting else ()))
    if run.in_parent:
        return _within_parent(run, family.parent, now)
    decision = _next(run, attempt, outcome, policy, now, confirmed=confirmed, family=family, displaced=displaced)
    return _through_worker(_upon_nodes(run, attempt, decision, policy, now, confirmed=confirmed))


def _through_worker(decision: Decision) -> Decision:
    """The decision, with the wish to end a process in a worker written where the worker reads it."""
    if not any(doomed.kind == "Worker" for doomed in decision.delete):
        return decision
    change = decision.change
    fields = {**change.fields, "worker/end": True}  # and no more: how the process ended may just have been written
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
        return watching.watch_process(run, attempt, policy, now, confirmed=confirmed)
    if run.type is S.PENDING:
        return watching.await_claim(run, attempt, policy, now, confirmed=confirmed)
    decision = watching.watch(run, attempt, policy, now, confirmed=confirmed)
    if decision.change.entries:
        return decision
    told = pauses.told(run, shared=policy.shared_results)
    return replace(decision, change=replace(decision.change, conditions=(*decision.change.conditions, *told)))


def _within_parent(run: RunView, parent: RunView | None, now: datetime) -> Decision:
    """A subflow: its parent's runner writes what it does; what is left is to end it with the attempt, and to settle it.

    One that is asked to cancel goes on: it is ended with its parent only.
    """
    if run.type is not None and run.type.terminal:
        return _settle(run, now)
    entries = children.ending(run, parent)
    if not entries:
        return Decision()
    change = end(run, entries[-1], now)
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
        return Decision(end(run, verdict.entry, now))
    fields: Body = {} if verdict.answers is None else {"answers": verdict.answers}
    return Decision(Change((verdict.entry,), fields, (*claim(run), "pause"), verdict.conditions), due=now)


def _stop(run: RunView, attempt: Attempt, *, confirmed: bool) -> Decision:
    """End the attempt because spec.suspend is set: one that has not started is taken back, another is suspended."""
    if not attempt.over:
        return Decision(Change(conditions=(pauses.stops(),)), delete=attempt.doomed())
    if not confirmed:
        return Decision(confirm=True)
    if run.type is S.PENDING:
        message = f"attempt {run.attempt} was taken back before it started: spec.suspend was set; unset, the run starts"
        entry = Entry(S.SCHEDULED, reasons.SUSPEND_REQUESTED, message)
        return Decision(Change((entry,), remove=claim(run), conditions=(pauses.stopped(),)))
    entry, pause = pauses.stop(run)
    return Decision(Change((entry,), {"pause": pause}, claim(run), (pauses.stopped(),)))


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
        return Decision(end(run, entry, now))
    if pauses.suspended(run) and attempt.over:
        entry = Entry(S.CANCELLED, reason, f"{asked}; the run was suspended")
        return Decision(end(run, entry, now)) if confirmed else Decision(confirm=True)
    if run.type is not S.CANCELLING:
        entry = Entry(S.CANCELLING, reason, f"{asked}; waiting for the {attempt.what} to end")
        return Decision(Change((entry,)), delete=attempt.doomed())
    if not attempt.over:
        return Decision(delete=attempt.doomed())
    if not confirmed:
        return Decision(confirm=True)
    message = f"the run was cancelled and its {attempt.what} has ended"
    entry = Entry(S.CANCELLED, run.state.get("reason") or reason, message)
    return Decision(end(run, entry, now))


def _start(run: RunView, outcome: Outcome | None, policy: Policy, now: datetime) -> Decision:
    scheduled = parse_time(run.spec.get("scheduledTime"))
    # The slots of a backfill lie in the past by intent.
    late = None if run.backfill else policy.starting_deadline
    wanted = (None if run.backfill else scheduled) or parse_time(run.metadata.get("creationTimestamp"))
    if late and wanted and run.attempt == 0 and now >= _after(wanted, late):
        message = f"not started within startingDeadlineSeconds ({late}) of {format_time(wanted)}"
        return Decision(end(run, Entry(S.FAILED, reasons.STARTING_DEADLINE_EXCEEDED, message), now))
    give_up = _after(wanted, late) if late and wanted and run.attempt == 0 else None
    if run.suspend:
        return Decision(Change(pauses.held(run)), due=give_up)
    if isinstance(outcome, Refused):
        return Decision(end(run, Entry(S.FAILED, outcome.reason, outcome.message), now))
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
