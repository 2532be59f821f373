"""All that is known of a run.

Writers: the operator and the claimed attempt's runner, each by JSON patch that tests `attempt` and `state.seq`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .attempts import Admitted, AssignedWorker, ClaimedPod
from .bounds import MAX_ANSWERS, MAX_HISTORY
from .claims import SlotClaims, SlotGrants
from .pauses import Pause, PauseAnswer
from .resolved import FoundCode, Resolved
from .runstate import TERMINAL_CEL, HistoryEntry, RunState
from .schema import Conditions, Count, JsonObject, JsonValue, Model, Rule, Text, Time, Url


class TaskCounts(Model):
    """Task runs of the run, by state."""

    total: Count = 0
    """All task runs that were made."""
    running: Count | None = None
    """Running now."""
    completed: Count | None = None
    """Completed, cached ones included."""
    failed: Count | None = None
    """Failed."""
    crashed: Count | None = None
    """Crashed."""
    cancelled: Count | None = None
    """Cancelled."""
    cached: Count | None = None
    """Completed from the cache."""
    not_ready: Count | None = None
    """Not run, since something upstream failed."""
    summary: Annotated[str, Field(max_length=32)] = ""
    """`finished/total`, as `kubectl get` shows it."""


class Result(Model):
    """What the flow returned."""

    inline: JsonValue | None = None
    """The value, where it is at most 2 KiB of JSON."""
    reference: Url | None = None
    """Where it is in the result store."""
    omitted: Text | None = None
    """Why neither is there."""


def _kept(**messages: str) -> Rule:
    """A rule that fields, once written, are not removed, with what is said of the first that is: only the struct
    that a field is in is told when it goes.
    """
    kept = {n: f"has(self.{n}) || !has(oldSelf.{n})" for n in messages}
    return Rule(
        " && ".join(f"({rule})" for rule in kept.values()),
        f"once written, these cannot be removed: {', '.join(messages)}",
        message_expression="".join(f"!({kept[n]}) ? '{text}' : " for n, text in messages.items()) + "''",
    )


def _written_once(name: str) -> Rule:
    return Rule("self == oldSelf", f"{name} cannot be changed once it is written")


def _forward(name: str) -> Rule:
    return Rule("self >= oldSelf", f"{name} cannot go back")


class FlowRunStatus(Model):
    """What is known of a run."""

    # All of them are looked at with each write of a status, and each look at a field costs as much as there are fields
    # here: what can be said of a field alone stands at the field, which is not told when the field goes.
    rules = (
        Rule(
            "self.?attempt == oldSelf.?attempt || !has(oldSelf.attempt) "
            "|| (self.?attempt.orValue(0) == oldSelf.attempt + 1 && self.?state.?type.orValue('') == 'Pending' "
            "&& self.state.seq > oldSelf.?state.?seq.orValue(-1))",
            "attempt cannot go back, and grows by one, with the state Pending of its launch",
            ".attempt",
            message_expression="!has(self.attempt) || self.attempt < oldSelf.attempt ? 'attempt cannot go back' "
            ": 'attempt grows by one, with the state Pending of its launch'",
        ),
        # Who holds the claim may write; whoever could pass it on, or take it from under running code, could fence it.
        Rule(
            "!has(oldSelf.pod) || (has(self.pod) ? self.pod == oldSelf.pod "
            "|| self.?attempt.orValue(0) > oldSelf.?attempt.orValue(2147483647) "
            ": !(self.?state.?type.orValue('') in ['Running', 'Cancelling']))",
            "pod: an attempt stays with the pod that has claimed it; a claim cannot be taken from code that runs",
            ".pod",
            message_expression="has(self.pod) ? 'pod: an attempt stays with the pod that has claimed it' "
            ": 'pod: a claim cannot be taken from code that runs'",
        ),
        _kept(
            state="state cannot be removed",
            infraRetries="infraRetries cannot go back",
            startTime="startTime cannot be changed once it is written",
            code="code cannot be changed once it is written",
        ),
        Rule(
            "self.?observedSeq.optMap(seen, seen <= self.?state.?seq.orValue(-1))"
            ".orValue(!oldSelf.?observedSeq.hasValue())",
            "observedSeq: there is no such change of state yet; it cannot be removed",
            ".observedSeq",
            optional_old_self=True,
            message_expression="has(self.observedSeq) ? 'observedSeq: there is no such change of state yet' "
            ": 'observedSeq cannot go back'",
        ),
        Rule(
            f"has(self.endTime) ? self.?state.?type.orValue('') in {TERMINAL_CEL} : !oldSelf.?endTime.hasValue()",
            "endTime: the run has no end yet; once written it cannot be removed",
            ".endTime",
            optional_old_self=True,
            message_expression="has(self.endTime) ? 'endTime: the run has no end yet' "
            ": 'endTime cannot be changed once it is written'",
        ),
        Rule(
            f"self.?settled.orValue(false) ? self.?state.?type.orValue('') in {TERMINAL_CEL} "
            ": !oldSelf.?settled.orValue(false)",
            "settled: only a run in a terminal state can be settled, and it cannot be taken back",
            ".settled",
            optional_old_self=True,
            message_expression="self.?settled.orValue(false) "
            "? 'settled: only a run in a terminal state can be settled' : 'settled cannot be taken back'",
        ),
    )

    observed_generation: Count | None = None
    """Generation this status is of."""
    state: RunState | None = None
    """What the run is doing."""
    history: Annotated[list[HistoryEntry], Field(max_length=MAX_HISTORY)] | None = None
    """States it was in, oldest first."""
    settled: bool | None = None
    """True once the run is terminal, its pod is gone and all that follows is done: the operator's last write."""
    observed_seq: Annotated[Count, _forward("observedSeq")] | None = None
    """State changes up to this one were reported as Events and seen by triggers."""
    resolved: Resolved | None = None
    """What its references were resolved to."""
    code: Annotated[FoundCode, _written_once("code")] | None = None
    """The very code that it runs, also in later attempts and retries."""
    parameters: JsonObject | None = None
    """Parameters with the deployment's beneath; unset where they are the run's own."""
    attempt: Count | None = None
    """Number of the current launch."""
    admitted: Admitted | None = None
    """What the attempt was admitted by; unset: its pool and its deployment alone."""
    pod: ClaimedPod | None = None
    """The pod that claimed the attempt."""
    worker: AssignedWorker | None = None
    """The worker that the attempt was given to."""
    infra_retries: Annotated[Count, _forward("infraRetries")] | None = None
    """Retries used of attempts that the infrastructure ended."""
    run_count: Count | None = None
    """How often the flow function was entered."""
    accepted_time: Time | None = None
    """When the operator resolved it."""
    start_time: Annotated[Time, _written_once("startTime")] | None = None
    """When user code first started."""
    end_time: Annotated[Time, _written_once("endTime")] | None = None
    """When it became terminal."""
    duration: Annotated[str, Field(max_length=32)] | None = None
    """From start to end, for people."""
    pause: Pause | None = None
    """What it waits for."""
    answers: Annotated[list[PauseAnswer], Field(max_length=MAX_ANSWERS)] | None = None
    """Pauses that were answered, oldest first."""
    claims: SlotClaims | None = None
    """Slots of ConcurrencyLimits that the attempt holds or waits for; its runner's word."""
    grants: SlotGrants | None = None
    """What of that is granted; the operator's word."""
    tasks: TaskCounts | None = None
    """Task runs by state."""
    result: Result | None = None
    """What the flow returned."""
    conditions: Conditions | None = None
    """Resolved, Admitted, PodReady, Answered, Suspendable."""
