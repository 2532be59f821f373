"""States as user code makes and reads them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from penstock import states
from penstock.errors import (
    CancellationRequested,
    CancelledRun,
    CrashedRun,
    FailedRun,
    PausedRun,
    TaskRunTimedOut,
    UnfinishedRun,
    WorkerLost,
)
from penstock.states import (
    Cancelled,
    Completed,
    Failed,
    Pending,
    Running,
    State,
    StateType,
    aget_state_exception,
    aggregate,
    araise_state_exception,
    exception_to_state,
    get_state_exception,
)


@pytest.mark.parametrize(
    ("make", "type_", "name", "final"),
    [
        (states.Scheduled, "Scheduled", "Scheduled", False),
        (states.Late, "Scheduled", "Late", False),
        (states.AwaitingRetry, "Scheduled", "AwaitingRetry", False),
        (states.Pending, "Pending", "Pending", False),
        (states.Running, "Running", "Running", False),
        (states.Retrying, "Running", "Retrying", False),
        (states.Paused, "Paused", "Paused", False),
        (states.Suspended, "Paused", "Suspended", False),
        (states.Cancelling, "Cancelling", "Cancelling", False),
        (states.Completed, "Completed", "Completed", True),
        (states.Failed, "Failed", "Failed", True),
        (states.Crashed, "Crashed", "Crashed", True),
        (states.Cancelled, "Cancelled", "Cancelled", True),
    ],
)
def test_constructors(make: Any, type_: str, name: str, final: bool) -> None:
    state = make(message="why")
    assert (state.type, state.name, state.message, state.is_final()) == (type_, name, "why", final)
    assert getattr(state, f"is_{type_.lower()}")() is True
    assert state.id == state.id != make().id


def test_times_are_utc() -> None:
    due = datetime(2026, 1, 2, tzinfo=UTC)
    assert states.Scheduled(due).scheduled_time == due
    assert Completed().scheduled_time is None
    assert State(StateType.COMPLETED, at=due.timestamp()).timestamp == due


def test_a_value_is_the_result_whatever_it_is() -> None:
    assert Completed(data=ValueError).result() is ValueError
    assert asyncio.run(Completed(data=3).aresult()) == 3


@pytest.mark.parametrize(
    ("state", "error", "text"),
    [
        (Failed(data=KeyError("k")), KeyError, "k"),
        (Failed(message="no rows"), FailedRun, "no rows"),
        (Failed(data="told so"), FailedRun, "told so"),
        (Failed(data=[Completed(), Failed(data=KeyError("first")), Failed(data=ValueError())]), KeyError, "first"),
        (Failed(data=Failed(data=KeyError("inner"))), KeyError, "inner"),
        (states.Crashed(), CrashedRun, "the run is Crashed"),
        (states.Cancelled(), CancelledRun, "the run is Cancelled"),
        (states.Paused(), PausedRun, "the run is Paused"),
        (states.Running(), UnfinishedRun, "the run is Running: it has no result yet"),
    ],
)
def test_without_a_value_the_result_is_an_error(state: State[Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        state.result()
    assert isinstance(state.result(raise_on_failure=False), error)


def test_asking_a_cancelled_run_for_its_result_does_not_cancel_who_asks() -> None:
    state = exception_to_state(CancellationRequested("by hand"))
    assert state.is_cancelled()
    with pytest.raises(CancelledRun, match="by hand"):
        state.result()


@pytest.mark.parametrize(
    ("error", "type_", "name", "reason"),
    [
        (ValueError("x"), StateType.FAILED, "Failed", "Exception"),
        (TimeoutError("theirs"), StateType.FAILED, "Failed", "Exception"),
        (TaskRunTimedOut("ours"), StateType.FAILED, "TimedOut", "TimedOut"),
        (KeyboardInterrupt(), StateType.CRASHED, "Crashed", "KeyboardInterrupt"),
        (SystemExit(1), StateType.CRASHED, "Crashed", "SystemExit"),
        (WorkerLost("gone"), StateType.CRASHED, "Crashed", "WorkerLost"),
    ],
)
def test_what_an_exception_means(error: BaseException, type_: StateType, name: str, reason: str) -> None:
    state = exception_to_state(error)
    assert (state.type, state.name, state.reason, state.data) == (type_, name, reason, error)


def test_an_aggregate_counts_what_went_wrong() -> None:
    mixed = [Completed(), Failed(), states.Cancelled()]
    assert aggregate(mixed, mixed).message == "1 of 3 states are Cancelled"
    assert aggregate([Failed(), states.Pending()], None).message == "2 of 2 states did not complete"
    assert aggregate([], None).is_completed()


def test_a_state_shows_what_matters() -> None:
    assert repr(Completed()) == "Completed()"
    assert repr(Failed(name="TimedOut", message="slow")) == "Failed(name='TimedOut', message='slow')"


def test_the_exception_of_a_state_can_be_had() -> None:
    error = ValueError("no")
    assert get_state_exception(Failed(data=error)) is error
    assert isinstance(get_state_exception(Cancelled()), CancelledRun)
    assert asyncio.run(aget_state_exception(Failed(data=[Completed(), Failed(data=error)]))) is error
    for state in (Completed(data=1), Running(), Pending()):
        with pytest.raises(ValueError, match="no exception ended it"):
            get_state_exception(state)
    with pytest.raises(ValueError, match="no"):
        asyncio.run(araise_state_exception(Failed(data=error)))
    asyncio.run(araise_state_exception(Completed()))
