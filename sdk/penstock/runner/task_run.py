"""A run that is one task of another run: reads its arguments, makes the call once, keeps what came of it."""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING, Any

from ..errors import PenstockError
from .assignment import Assignment
from .delivery import deliver
from .loading import LoadError, load_module

if TYPE_CHECKING:
    from ..states import State
    from .reports import Reports


def run_task(
    assignment: Assignment, run: dict[str, Any], reporter: Reports, passing: type[BaseException]
) -> State[Any]:
    """The final state of the run; value or exception are in the result store by then. `passing` is not caught."""
    from ..engine.remote import packed_answer, perform
    from ..results.store import StoredResult
    from ..states import State, StateType, exception_to_state

    try:
        load_module(assignment.entrypoint, deliver(assignment, run, reporter.code_found))
    except (LoadError, PenstockError) as error:
        print(f"{error.reason}: {error}", file=sys.stderr, flush=True)
        return State(StateType.FAILED, message=str(error), reason=error.reason)
    try:
        given = StoredResult.from_url(run["spec"]["task"]["arguments"]).get()
        asked = pickle.loads(given["request"])  # noqa: S301 - what the parent's process has written
    except Exception as error:
        return exception_to_state(error, run_id=assignment.uid)
    try:
        value = perform(asked, reporter)
        state: State[Any] = State(StateType.COMPLETED, reason="Completed", run_id=assignment.uid)
        answer = packed_answer("value", value, "the result of the task")
    except passing:
        raise
    except BaseException as error:
        state = exception_to_state(error, run_id=assignment.uid)
        answer = packed_answer("error", error, f"the exception {type(error).__name__}: {error}")
    given["store"].write(given["result"], answer)
    return state
