"""The final-state rule, as a table: what was returned, what the run's state is, and what the call then gives."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.engine.outcome import answer, state_of_value
from penstock.errors import CancelledRun, FailedRun
from penstock.states import Cancelled, Completed, Failed, Paused, Pending, State, StateName, StateType


def of_run(state: State[Any]) -> State[Any]:
    """As if the engine had made it, for some other run."""
    state.run_id = "other"
    return state


def failed(message: str = "m") -> State[Any]:
    return of_run(Failed(message=message, data=ValueError(message)))


def done(value: Any = 1) -> State[Any]:
    return of_run(Completed(data=value))


# What user code returned, and the type, name and message of the state.
RULE: dict[str, tuple[Any, tuple[str, str, str | None]]] = {
    "nothing": (None, ("Completed", "Completed", None)),
    "a value": ({"a": 1}, ("Completed", "Completed", None)),
    "an exception is a value": (ValueError("x"), ("Completed", "Completed", None)),
    "no states at all": ([], ("Completed", "Completed", None)),
    "states among other values": ([failed(), 1], ("Completed", "Completed", None)),
    "a dict of states": ({"a": failed()}, ("Completed", "Completed", None)),
    "a state of its own making": (Failed(message="no data"), ("Failed", "Failed", "no data")),
    "a state of its own making, named": (Completed(name="Skipped"), ("Completed", "Skipped", None)),
    "a state that does not end it": (Paused(message="p"), ("Paused", "Paused", "p")),
    "a task's state that completed": (done(), ("Completed", "Completed", None)),
    "a task's state that failed": (failed(), ("Failed", "Failed", "1 of 1 states did not complete")),
    "several that completed": ((done(), done()), ("Completed", "Completed", None)),
    "several of which one failed": ([done(), failed(), done()], ("Failed", "Failed", "1 of 3 states did not complete")),
    "a set of them": (frozenset({failed()}), ("Failed", "Failed", "1 of 1 states did not complete")),
    "one was cancelled": ([failed(), of_run(Cancelled())], ("Cancelled", "Cancelled", "1 of 2 states are Cancelled")),
    "one waits": ([failed(), of_run(Paused())], ("Paused", "Paused", "1 of 2 states are Paused")),
}


@pytest.mark.parametrize(("value", "expected"), RULE.values(), ids=RULE)
def test_what_is_returned_decides_the_state(value: Any, expected: tuple[str, str, str | None]) -> None:
    state = state_of_value(value, "mine")
    assert (state.type.value, state.name, state.message) == expected
    assert state.run_id == "mine"


def test_a_state_of_user_code_keeps_its_data_time_and_reason() -> None:
    given = Failed(data=3, reason="NoData", at=7.0)
    state = state_of_value(given, "mine")
    assert (state.data, state.reason, state.time) == (3, "NoData", 7.0)
    assert given.run_id is None  # it may be returned again


def test_a_state_without_a_reason_has_its_type() -> None:
    assert state_of_value(Failed(), "mine").reason == "Failed"


def test_a_value_is_the_data() -> None:
    value = [1, 2]
    assert state_of_value(value, "mine").data is value


class TestAnswer:
    """What a call gives for a state."""

    def test_a_value(self) -> None:
        assert answer(state_of_value([1], "r")) == [1]
        assert answer(state_of_value(None, "r")) is None

    def test_its_exception_as_it_was(self) -> None:
        error = ValueError("x")
        with pytest.raises(ValueError, match="x") as raised:
            answer(Failed(data=error))
        assert raised.value is error

    def test_one_of_ours_where_there_is_none(self) -> None:
        with pytest.raises(FailedRun, match="no data"):
            answer(Failed(message="no data"))
        with pytest.raises(CancelledRun):
            answer(Cancelled())

    def test_none_for_what_never_started(self) -> None:
        assert answer(Pending(name=StateName.NOT_READY)) is None

    def test_the_states_where_several_were_returned(self) -> None:
        """A collection of states is the caller's to look at, whatever is in it."""
        states = [done(), failed()]
        state = state_of_value(states, "r")
        assert state.type is StateType.FAILED
        assert answer(state) is states

    def test_the_failure_where_it_was_returned_alone(self) -> None:
        with pytest.raises(ValueError, match="bad"):
            answer(state_of_value(failed("bad"), "r"))
