"""From what user code returned to a final state, and from a final state to what a call gives. Pure.

The final-state rule: a state that user code made is taken as it is; a state of a run, or a collection of nothing but
states, is aggregated; every other value is Completed.
"""

from __future__ import annotations

from typing import Any

from ..api import reasons
from ..api.states import StateName, StateType
from ..states import State, aggregate
from .inputs import PLAIN

_COLLECTIONS = (list, tuple, set, frozenset)


def state_of_value(value: Any, run_id: str) -> State[Any]:
    """The final state of a run whose code returned `value` (futures in it already replaced by their states)."""
    if type(value) in PLAIN:
        return State(StateType.COMPLETED, None, None, value, reason=reasons.COMPLETED, run_id=run_id)
    if isinstance(value, State):
        if value.run_id is not None:
            return aggregate([value], value, run_id=run_id)
        return State(
            value.type,
            value.name,
            value.message,
            value.data,
            reason=value.reason or value.type.value,
            scheduled=value.scheduled,
            run_id=run_id,
            at=value.time,
        )
    if isinstance(value, _COLLECTIONS) and value and all(isinstance(item, State) for item in value):
        return aggregate(value, value, run_id=run_id)
    return State(StateType.COMPLETED, None, None, value, reason=reasons.COMPLETED, run_id=run_id)


def answer(state: State[Any]) -> Any:
    """What the call of a run gives that ended in `state`: its value, its exception raised, None if it never started.

    A collection of states is given back whatever is in it: only a failure that is returned alone raises.
    """
    if state.type is StateType.COMPLETED:
        return state.value()
    if state.type is StateType.PENDING and state.name == StateName.NOT_READY:
        return None
    if isinstance(state.data, _COLLECTIONS):
        return state.data
    return state.result()


async def answer_async(state: State[Any]) -> Any:
    """`answer`, for a caller that awaits: a value that only the result store has is read beside the loop."""
    if not state.is_stored_only:
        return answer(state)
    import asyncio

    return await asyncio.to_thread(answer, state)
