"""Runs that wait for a person without a process, or are asked to stop: what answers and deadlines mean for them.

Called by `core.runs`. A pause whose process waits is its runner's, which has the flow's own model to validate with;
here is only what nobody else could decide. A wrong or late answer ends no run: it is told in the condition Answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from penstock.api import reasons
from penstock.api.bounds import MAX_ANSWERS, MAX_INPUT
from penstock.api.states import StateName, StateType

from . import parameters
from .changes import Condition, Entry
from .views import Body, RunView, format_time, parse_time

S = StateType
REMEDY = (
    "set spec.results.url of the WorkPool to a bucket, or to a folder that all its pods mount, with "
    "spec.results.shared: true"
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a suspended run: a state to enter, answers to keep, something to tell, when to look again."""

    entry: Entry | None = None
    answers: list[Body] | None = None
    conditions: tuple[Condition, ...] = ()
    due: datetime | None = None


def suspended(run: RunView) -> bool:
    """Whether it waits without a process."""
    return run.type is S.PAUSED and run.state.get("name") == StateName.SUSPENDED


def stopping(run: RunView) -> bool:
    """Whether its attempt is being ended because spec.suspend is set, or was."""
    told = run.condition(reasons.SUSPENDABLE)
    return told is not None and (told["status"], told["reason"]) == ("False", reasons.SUSPEND_REQUESTED)


def held(run: RunView) -> tuple[Entry, ...]:
    """The state of a run that may not start while spec.suspend is set, where that is not told yet."""
    if run.type and run.state.get("reason") == reasons.SUSPEND_REQUESTED:
        return ()
    kept = run.state.get("name") if run.state.get("name") in (StateName.AWAITING_RETRY, StateName.RESUMING) else ""
    return (Entry(S.SCHEDULED, reasons.SUSPEND_REQUESTED, "spec.suspend is set; unset, the run starts", kept or ""),)


def stops() -> Condition:
    """Told before the pod is ended, so that its end is known for what it is."""
    return Condition(
        reasons.SUSPENDABLE, False, reasons.SUSPEND_REQUESTED, "spec.suspend is set: the pod of the run is being ended"
    )


def stopped() -> Condition:
    """Told once the pod has ended."""
    return Condition(reasons.SUSPENDABLE, True, reasons.SUSPENDED, "the run stopped, and goes on in a new pod")


def told(run: RunView, *, shared: bool) -> tuple[Condition, ...]:
    """What a run that goes on has to say: why spec.suspend does not stop it; and nothing of what has passed."""
    found: list[Condition] = []
    before = run.condition(reasons.SUSPENDABLE)
    if run.suspend and not shared:
        message = f"the run goes on: what it has done would be lost, for no other pod reaches its results; {REMEDY}"
        found.append(Condition(reasons.SUSPENDABLE, False, reasons.NOT_SUSPENDABLE, message))
    elif before and before["reason"] == reasons.NOT_SUSPENDABLE:
        found.append(Condition(reasons.SUSPENDABLE, True, reasons.STARTED, "spec.suspend is not set"))
    return (*found, *waits_no_more(run))


def waits_no_more(run: RunView) -> tuple[Condition, ...]:
    """What mends the word of a refused answer: its runner says nothing of that when it takes the right one."""
    answered = run.condition(reasons.ANSWERED)
    if answered and answered["status"] == "False" and run.type is not S.PAUSED:
        return (Condition(reasons.ANSWERED, True, reasons.RESUMED, "the run waits for no answer"),)
    return ()


def over(run: RunView) -> tuple[Condition, ...]:
    """What a run that has ended has to say: nothing of answers or of being stopped, whatever was asked of it."""
    before = run.condition(reasons.SUSPENDABLE)
    if before and before["status"] == "False":
        message = "the run has ended: spec.suspend means nothing to it"
        return (Condition(reasons.SUSPENDABLE, True, str(run.type), message), *waits_no_more(run))
    return waits_no_more(run)


def stop(run: RunView) -> tuple[Entry, Body]:
    """The state in which a stopped run waits, and its pause: the one it was in, or one that asks for nothing."""
    entry = Entry(
        S.PAUSED,
        reasons.SUSPEND_REQUESTED,
        "stopped because spec.suspend was set; unset, it goes on in a new pod",
        StateName.SUSPENDED,
    )
    return entry, run.status.get("pause") or {"id": f"suspend-{run.seq + 1}"}


def judge(run: RunView, now: datetime) -> Verdict:
    """What becomes of a suspended run whose pod has ended."""
    pause: Body = run.status.get("pause") or {}
    asked = run.state.get("reason") == reasons.SUSPEND_REQUESTED  # from outside: it has not asked for anything
    resume: Body = run.spec.get("resume") or {}
    mine = bool(pause) and resume.get("pause") == pause.get("id")
    wrong = _problems(pause, resume) if mine else []
    deadline = None if asked else parse_time(pause.get("deadline"))
    late = deadline is not None and now >= deadline
    if mine and not wrong and not run.suspend and not late:
        kept = {"pause": pause["id"], "time": format_time(now)}
        if "schema" in pause:
            kept["input"] = resume.get("input") or {}
        before = list(run.status.get("answers") or [])
        return Verdict(_resuming("answered"), [*before, kept][-MAX_ANSWERS:], _answered(run))
    if asked and not run.suspend:
        return Verdict(_resuming("spec.suspend is unset"), None, _answered(run))
    if late:
        message = f"the run was suspended, and nobody resumed it until {pause['deadline']}"
        return Verdict(Entry(S.FAILED, reasons.PAUSE_TIMED_OUT, message))
    if wrong:
        told = Condition(reasons.ANSWERED, False, reasons.INVALID_INPUT, "; ".join(wrong))
    elif mine and run.suspend:
        message = "spec.suspend is set: unset it, and the answer in spec.resume is taken"
        told = Condition(reasons.ANSWERED, False, reasons.SUSPEND_REQUESTED, message)
    elif resume and not mine and not _taken(run, resume):
        message = f"spec.resume answers pause {resume['pause']}; the run waits in {pause.get('id')}"
        told = Condition(reasons.ANSWERED, False, reasons.STALE_ANSWER, message)
    else:
        return Verdict(due=deadline)
    return Verdict(conditions=(told,), due=deadline)


def active_since(run: RunView) -> datetime | None:
    """From when activeDeadlineSeconds count: a run that was suspended starts anew when it is resumed."""
    since = parse_time(run.status.get("startTime"))
    resumed = False
    for entry in run.history:
        resumed = resumed or entry["name"] == StateName.RESUMING
        if resumed and entry["type"] == S.RUNNING and entry.get("reason") == reasons.STARTED:
            since, resumed = parse_time(entry["time"]), False
    return since


def _resuming(how: str) -> Entry:
    return Entry(S.SCHEDULED, reasons.RESUMED, f"{how}; goes on in a new pod", StateName.RESUMING)


def _answered(run: RunView) -> tuple[Condition, ...]:
    """Only where an answer was refused before."""
    if run.condition(reasons.ANSWERED):
        return (Condition(reasons.ANSWERED, True, reasons.RESUMED, "the run was resumed"),)
    return ()


def _problems(pause: Body, resume: Body) -> list[str]:
    if "schema" not in pause:
        return []
    given = resume.get("input") or {}
    return parameters.problems(pause["schema"], given, what="input", most=MAX_INPUT)


def _taken(run: RunView, resume: Body) -> bool:
    return any(answer["pause"] == resume["pause"] for answer in run.status.get("answers") or [])
