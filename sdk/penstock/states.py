"""The states that runs are in, as user code sees and makes them.

Flows and tasks may return what the constructors here make; the engine makes all others. What may follow what is
`penstock.api.states`' table; nothing here knows of it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from . import errors
from .api import reasons
from .api.states import TERMINAL, StateName, StateType
from .engine.ids import new_id

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from .results.store import StoredResult

__all__ = [
    "AwaitingConcurrencySlot",
    "AwaitingRetry",
    "Cancelled",
    "Cancelling",
    "Completed",
    "Crashed",
    "Failed",
    "Late",
    "Paused",
    "Pending",
    "Retrying",
    "Running",
    "Scheduled",
    "State",
    "StateName",
    "StateType",
    "Suspended",
    "aget_state_exception",
    "aggregate",
    "araise_state_exception",
    "exception_to_state",
    "get_state_exception",
    "raise_state_exception",
]

R = TypeVar("R")


class State(Generic[R]):
    """One state of a run, never changed once made; `data` is its value or its exception.

    `run_id` is set by the engine: a state without one was made by user code and is taken as it is.
    """

    __slots__ = ("_id", "data", "message", "name", "reason", "run_id", "scheduled", "stored", "time", "type")

    def __init__(
        self,
        type: StateType,  # the field's own word
        name: str | None = None,
        message: str | None = None,
        data: Any = None,
        *,
        reason: str | None = None,
        scheduled: float | None = None,
        run_id: str | None = None,
        at: float | None = None,
    ) -> None:
        self.type = type
        self.name: str = name or type._value_
        self.message = message
        self.data = data
        self.reason = reason
        self.scheduled = scheduled
        self.run_id = run_id
        self.time: float = time.time() if at is None else at
        self.stored: StoredResult | None = (
            None  # where its value is kept; `data` is the same where that is the only place
        )
        self._id: str | None = None

    @property
    def id(self) -> str:
        """A UUID, made when it is first asked for."""
        if self._id is None:
            self._id = new_id()
        return self._id

    @property
    def timestamp(self) -> datetime:
        """When the run came into this state (UTC)."""
        return _datetime(self.time)

    @property
    def scheduled_time(self) -> datetime | None:
        """When a Scheduled run is due (UTC)."""
        return None if self.scheduled is None else _datetime(self.scheduled)

    def is_scheduled(self) -> bool:
        return self.type is StateType.SCHEDULED

    def is_pending(self) -> bool:
        return self.type is StateType.PENDING

    def is_running(self) -> bool:
        return self.type is StateType.RUNNING

    def is_completed(self) -> bool:
        return self.type is StateType.COMPLETED

    def is_failed(self) -> bool:
        return self.type is StateType.FAILED

    def is_crashed(self) -> bool:
        return self.type is StateType.CRASHED

    def is_cancelled(self) -> bool:
        return self.type is StateType.CANCELLED

    def is_cancelling(self) -> bool:
        return self.type is StateType.CANCELLING

    def is_paused(self) -> bool:
        return self.type is StateType.PAUSED

    def is_final(self) -> bool:
        """True where nothing follows."""
        return self.type in TERMINAL

    def result(self, raise_on_failure: bool = True) -> Any:
        """The run's value; raises what ended the run, or with `raise_on_failure=False` returns that exception."""
        if self.type is StateType.COMPLETED:
            return self.value()
        error = state_exception(self)
        if raise_on_failure:
            raise error
        return error

    def value(self) -> Any:
        """`data`, read from the result store where only that has it. Raises MissingResult and its like."""
        if self.stored is not None and self.data is self.stored:
            return self.stored.get()
        return self.data

    @property
    def is_stored_only(self) -> bool:
        """Whether the value has to be read from the result store."""
        return self.stored is not None and self.data is self.stored

    async def aresult(self, raise_on_failure: bool = True) -> Any:
        """`result`, for code that awaits."""
        if self.is_stored_only:
            import asyncio

            return await asyncio.to_thread(self.result, raise_on_failure)
        return self.result(raise_on_failure)

    def __repr__(self) -> str:
        """`Failed(name='TimedOut', message='…')`: the type, and what refines it."""
        parts = []
        if self.name != self.type.value:
            parts.append(f"name={self.name!r}")
        if self.message:
            parts.append(f"message={self.message!r}")
        return f"{self.type.value}({', '.join(parts)})"


def _datetime(epoch: float) -> datetime:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(epoch, UTC)


def Scheduled(  # noqa: N802 - states are constructed like classes, as in Prefect
    scheduled_time: datetime | None = None, **fields: Any
) -> State[Any]:
    """A run that waits for its time."""
    due = scheduled_time.timestamp() if scheduled_time is not None else time.time()
    return State(StateType.SCHEDULED, scheduled=due, **fields)


def Pending(**fields: Any) -> State[Any]:  # noqa: N802
    """A run that is about to start."""
    return State(StateType.PENDING, **fields)


def Running(**fields: Any) -> State[Any]:  # noqa: N802
    """A run whose code executes."""
    return State(StateType.RUNNING, **fields)


def Completed(**fields: Any) -> State[Any]:  # noqa: N802
    """A run that ended well; `data` is its result."""
    return State(StateType.COMPLETED, **fields)


def Failed(**fields: Any) -> State[Any]:  # noqa: N802
    """A run that ended badly by its own code; `data` may be an exception."""
    return State(StateType.FAILED, **fields)


def Crashed(**fields: Any) -> State[Any]:  # noqa: N802
    """A run that was ended from outside of its code."""
    return State(StateType.CRASHED, **fields)


def Cancelling(**fields: Any) -> State[Any]:  # noqa: N802
    """A run that was asked to end."""
    return State(StateType.CANCELLING, **fields)


def Cancelled(**fields: Any) -> State[Any]:  # noqa: N802
    """A run that ended because somebody asked."""
    return State(StateType.CANCELLED, **fields)


def Paused(**fields: Any) -> State[Any]:  # noqa: N802
    """A run that waits for a person."""
    return State(StateType.PAUSED, **fields)


def Suspended(**fields: Any) -> State[Any]:  # noqa: N802
    """A run that waits for a person, its process gone."""
    return State(StateType.PAUSED, StateName.SUSPENDED, **fields)


def AwaitingRetry(scheduled_time: datetime | None = None, **fields: Any) -> State[Any]:  # noqa: N802
    """A run that failed and will be tried again."""
    return Scheduled(scheduled_time, name=StateName.AWAITING_RETRY, **fields)


def AwaitingConcurrencySlot(scheduled_time: datetime | None = None, **fields: Any) -> State[Any]:  # noqa: N802
    """A run that waits for others to end, for there may be only so many at a time."""
    return Scheduled(scheduled_time, name=StateName.AWAITING_CONCURRENCY_SLOT, **fields)


def Late(scheduled_time: datetime | None = None, **fields: Any) -> State[Any]:  # noqa: N802
    """A run whose time has passed before it could start."""
    return Scheduled(scheduled_time, name=StateName.LATE, **fields)


def Retrying(**fields: Any) -> State[Any]:  # noqa: N802
    """A run that is tried again."""
    return State(StateType.RUNNING, StateName.RETRYING, **fields)


# Ours, raised into user code: their reason says more than that it was an exception.
_TELLING = (
    errors.ParameterError,
    errors.ConcurrencySlotAcquisitionError,
    errors.FlowPauseTimeout,
    errors.NotSuspendable,
    errors.UnsupportedHere,
)


def exception_to_state(error: BaseException, *, run_id: str | None = None) -> State[Any]:
    """The state of a run whose code raised `error`: TimedOut for our own deadlines only, Crashed for what is no
    `Exception` (an interrupt, an exit), Cancelled where that was asked for, else Failed."""
    message = describe(error)
    if isinstance(error, errors.RunTimedOut):
        name, reason = StateName.TIMED_OUT, reasons.TIMED_OUT
        return State(StateType.FAILED, name, str(error), error, reason=reason, run_id=run_id)
    if isinstance(error, errors.WorkerLost):
        return State(StateType.CRASHED, None, message, error, reason=error.reason, run_id=run_id)
    if isinstance(error, Exception):
        reason = error.reason if isinstance(error, _TELLING) else reasons.EXCEPTION
        return State(StateType.FAILED, None, message, error, reason=reason, run_id=run_id)
    if isinstance(error, errors.Pause) and isinstance(error.state, State):
        return error.state
    if isinstance(error, errors.CancellationRequested | errors.Abort):
        return State(StateType.CANCELLED, None, str(error) or None, error, reason=error.reason, run_id=run_id)
    return State(StateType.CRASHED, None, message, error, reason=type(error).__name__, run_id=run_id)


def describe(error: BaseException) -> str:
    """`ValueError: no such file`, as the last line of a traceback has it."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def aggregate(states: Iterable[State[Any]], data: Any, *, run_id: str | None = None) -> State[Any]:
    """One state out of several: Completed if all are, else Cancelled or Paused if any is, else Failed."""
    types = [state.type for state in states]
    total, bad = len(types), sum(kind is not StateType.COMPLETED for kind in types)
    if not bad:
        return State(StateType.COMPLETED, None, None, data, reason=reasons.COMPLETED, run_id=run_id)
    for kind in (StateType.CANCELLED, StateType.PAUSED):
        if kind in types:
            text = f"{types.count(kind)} of {total} states are {kind.value}"
            return State(kind, None, text, data, reason=kind.value, run_id=run_id)
    text = f"{bad} of {total} states did not complete"
    return State(StateType.FAILED, None, text, data, reason="NotCompleted", run_id=run_id)


_WITHOUT_EXCEPTION: dict[StateType, type[errors.UnsuccessfulRun]] = {
    StateType.FAILED: errors.FailedRun,
    StateType.CRASHED: errors.CrashedRun,
    StateType.CANCELLED: errors.CancelledRun,
    StateType.PAUSED: errors.PausedRun,
}


def state_exception(state: State[Any]) -> BaseException:
    """The exception that ended a run: the state's own, else that of the first bad state it holds, else one of ours."""
    data = state.data
    if isinstance(data, errors.CancellationRequested):
        data = None  # whoever asks for the result must not be cancelled by it
    if isinstance(data, BaseException):
        return data
    if isinstance(data, State):
        data = (data,)
    if isinstance(data, list | tuple | set | frozenset):
        for held in data:
            if isinstance(held, State) and held.type is not StateType.COMPLETED:
                return state_exception(held)
    kind = _WITHOUT_EXCEPTION.get(state.type, errors.UnfinishedRun)
    if kind is errors.UnfinishedRun:
        return kind(state.message or f"the run is {state.name}: it has no result yet")
    return kind(state.message or (data if isinstance(data, str) else f"the run is {state.name}"))


def get_state_exception(state: State[Any]) -> BaseException:
    """What ended a run that did not complete. Raises ValueError for one that Completed, or has not ended."""
    if state.type is StateType.COMPLETED or state.type not in TERMINAL:
        raise ValueError(f"the run is {state.name}: no exception ended it")
    return state_exception(state)


async def aget_state_exception(state: State[Any]) -> BaseException:
    """`get_state_exception`, for code that awaits; nothing is read, so nothing blocks."""
    return get_state_exception(state)


async def araise_state_exception(state: State[Any]) -> None:
    """`raise_state_exception`, for code that awaits."""
    raise_state_exception(state)


def raise_state_exception(state: State[Any]) -> None:
    """Raise what ended the run, where its state is not Completed."""
    if state.type is not StateType.COMPLETED:
        raise state_exception(state)
