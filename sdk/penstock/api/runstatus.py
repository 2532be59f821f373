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


class FlowRunStatus(Model):
    """What is known of a run."""

    rules = (
        Rule(
            "!has(oldSelf.attempt) || (has(self.attempt) && self.attempt >= oldSelf.attempt)",
            "attempt cannot go back",
            ".attempt",
        ),
        Rule(
            "!has(oldSelf.attempt) || !has(self.attempt) || self.attempt <= oldSelf.attempt "
            "|| (self.attempt == oldSelf.attempt + 1 && has(self.state) && self.state.type == 'Pending' "
            "&& (!has(oldSelf.state) || self.state.seq > oldSelf.state.seq))",
            "attempt grows by one, with the state Pending of its launch",
            ".attempt",
        ),
        Rule("!has(oldSelf.state) || has(self.state)", "state cannot be removed", ".state"),
        # Who holds the claim may write; whoever could pass it on, or take it from under running code, could fence it.
        Rule(
            "!has(oldSelf.pod) || !has(self.pod) || self.pod == oldSelf.pod "
            "|| (has(self.attempt) && has(oldSelf.attempt) && self.attempt > oldSelf.attempt)",
            "pod: an attempt stays with the pod that has claimed it",
            ".pod",
        ),
        Rule(
            "!has(oldSelf.pod) || has(self.pod) || !has(self.state) || !(self.state.type in ['Running', 'Cancelling'])",
            "pod: a claim cannot be taken from code that runs",
            ".pod",
        ),
        *(
            Rule(
                f"!has(oldSelf.{name}) || (has(self.{name}) && self.{name} >= oldSelf.{name})",
                f"{name} cannot go back",
                f".{name}",
            )
            for name in ("observedSeq", "infraRetries")
        ),
        Rule(
            "!has(self.observedSeq) || (has(self.state) && self.observedSeq <= self.state.seq)",
            "observedSeq: there is no such change of state yet",
            ".observedSeq",
        ),
        *(
            Rule(
                f"!has(oldSelf.{name}) || (has(self.{name}) && self.{name} == oldSelf.{name})",
                f"{name} cannot be changed once it is written",
                f".{name}",
            )
            for name in ("startTime", "endTime")
        ),
        # What the first attempt ran, later ones run; the runner is told by it.
        Rule(
            "!has(oldSelf.code) || (has(self.code) && self.code == oldSelf.code)",
            "code cannot be changed once it is written",
            ".code",
        ),
        Rule(
            f"!has(self.endTime) || (has(self.state) && self.state.type in {TERMINAL_CEL})",
            "endTime: the run has no end yet",
            ".endTime",
        ),
        Rule(
            "!(has(oldSelf.settled) && oldSelf.settled) || (has(self.settled) && self.settled)",
            "settled cannot be taken back",
            ".settled",
        ),
        Rule(
            f"!(has(self.settled) && self.settled) || (has(self.state) && self.state.type in {TERMINAL_CEL})",
            "settled: only a run in a terminal state can be settled",
            ".settled",
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
    observed_seq: Count | None = None
    """State changes up to this one were reported as Events and seen by triggers."""
    resolved: Resolved | None = None
    """What its references were resolved to."""
    code: FoundCode | None = None
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
    infra_retries: Count | None = None
    """Retries used of attempts that the infrastructure ended."""
    run_count: Count | None = None
    """How often the flow function was entered."""
    accepted_time: Time | None = None
    """When the operator resolved it."""
    start_time: Time | None = None
    """When user code first started."""
    end_time: Time | None = None
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
