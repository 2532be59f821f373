"""The states of a run and every move between them.

All that may happen to a run's state is in `TRANSITIONS`; the operator, the engine and the CRD's CEL rules are written
from it, and the diagram in the docs is drawn from it. Nothing here knows who makes the move.
"""

from __future__ import annotations

from enum import StrEnum


class StateType(StrEnum):
    """What a run is doing; the value is the word that stands in the resource, `meaning` says what it means."""

    meaning: str

    def __new__(cls, word: str, meaning: str = "") -> StateType:
        member = str.__new__(cls, word)
        member._value_, member.meaning = word, meaning
        return member

    SCHEDULED = "Scheduled", "accepted, waits for its time, a slot or a retry"
    PENDING = "Pending", "an attempt is launched, its pod has not claimed the run yet"
    RUNNING = "Running", "a claimed attempt executes user code"
    PAUSED = "Paused", "waits for a person; with its process (Paused) or without (Suspended)"
    CANCELLING = "Cancelling", "asked to end; its pod is not gone yet"
    COMPLETED = "Completed", "user code returned"
    FAILED = "Failed", "user code raised, timed out or could not be started for a reason in the run itself"
    CRASHED = "Crashed", "infrastructure ended the attempt"
    CANCELLED = "Cancelled", "ended because somebody asked"

    @property
    def terminal(self) -> bool:
        """True where nothing follows."""
        return self in TERMINAL


class StateName:
    """Names that refine a type, as `kubectl get` and the SDK show them; a state without one is named by its type."""

    LATE = "Late"
    AWAITING_RETRY = "AwaitingRetry"
    AWAITING_CONCURRENCY_SLOT = "AwaitingConcurrencySlot"
    RESUMING = "Resuming"
    RETRYING = "Retrying"
    SUSPENDED = "Suspended"
    TIMED_OUT = "TimedOut"
    CACHED = "Cached"
    ROLLED_BACK = "RolledBack"
    NOT_READY = "NotReady"


TERMINAL = frozenset({StateType.COMPLETED, StateType.FAILED, StateType.CRASHED, StateType.CANCELLED})

_S = StateType

TRANSITIONS: dict[StateType | None, frozenset[StateType]] = {
    # None: a run that nobody has looked at yet. A child that shares its parent's process starts Running.
    None: frozenset({_S.SCHEDULED, _S.PENDING, _S.RUNNING, _S.FAILED, _S.CRASHED, _S.CANCELLED}),
    _S.SCHEDULED: frozenset({_S.SCHEDULED, _S.PENDING, _S.RUNNING, _S.FAILED, _S.CRASHED, _S.CANCELLED}),
    # Back to Scheduled: infrastructure failed and may be tried again.
    _S.PENDING: frozenset({_S.PENDING, _S.SCHEDULED, _S.RUNNING, _S.CANCELLING, _S.FAILED, _S.CRASHED, _S.CANCELLED}),
    _S.RUNNING: frozenset(
        {
            _S.RUNNING,
            _S.SCHEDULED,
            _S.PAUSED,
            _S.CANCELLING,
            _S.COMPLETED,
            _S.FAILED,
            _S.CRASHED,
        }
    ),
    # To itself: what waits with its process is suspended, and waits without.
    _S.PAUSED: frozenset({_S.PAUSED, _S.RUNNING, _S.SCHEDULED, _S.CANCELLING, _S.FAILED, _S.CRASHED, _S.CANCELLED}),
    # Whatever else is reported while a run is being cancelled, it was cancelled.
    _S.CANCELLING: frozenset({_S.CANCELLED}),
    _S.COMPLETED: frozenset(),
    _S.FAILED: frozenset(),
    _S.CRASHED: frozenset(),
    _S.CANCELLED: frozenset(),
}


class IllegalTransition(ValueError):
    """A run may not move from this state to that one; nothing was changed."""

    reason = "IllegalTransition"

    def __init__(self, current: StateType | None, proposed: StateType) -> None:
        self.current, self.proposed = current, proposed
        legal = ", ".join(sorted(t.value for t in TRANSITIONS[current])) or "nothing: it is terminal"
        super().__init__(f"{current or 'a new run'} cannot become {proposed}; legal is {legal}")


def is_legal(current: StateType | None, proposed: StateType) -> bool:
    """Whether a run in `current` (None: not yet accepted) may become `proposed`."""
    return proposed in TRANSITIONS[current]


def check(current: StateType | None, proposed: StateType) -> None:
    """Raise `IllegalTransition` where `is_legal` is false."""
    if not is_legal(current, proposed):
        raise IllegalTransition(current, proposed)
