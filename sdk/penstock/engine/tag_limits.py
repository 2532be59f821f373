"""Slots that a task run takes for its tags: a limit named `tag:gpu` bounds the runs that are tagged `gpu`.

Called by `task_life` before each attempt, so that a task that waits for its retry holds nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..api.states import StateName, StateType
from ..states import State, exception_to_state
from .effects import Effect, Turn
from .runs import abandoned

if TYPE_CHECKING:
    from collections.abc import Generator

    from ..concurrency.claims import Claim
    from .reporting import Reporter
    from .runs import TaskRun


def take_slots(run: TaskRun, reporter: Reporter) -> Generator[Effect, Any, Claim | State[Any] | None]:
    """Hold a slot of each limit of the run's tags (None: there is no such limit); or the state that it ends in without.

    A turn that is given up is one of a flow that is over.
    """
    from ..concurrency.claims import slots

    if (looking := slots().looking()) is not None:
        look = Turn(looking)
        yield look
        if look.given_up:
            return abandoned(run)
    names = slots().known([f"tag:{tag}" for tag in sorted(run.tags)])
    if not names:
        return None
    claim = slots().ask(names, 1, rate=False, strict=False, lease_seconds=60.0, holder=run.id)
    if not claim.happened():
        run.state = State(
            StateType.SCHEDULED,
            StateName.AWAITING_CONCURRENCY_SLOT,
            f"waits for a slot of {', '.join(names)}",
            run_id=run.id,
        )
        reporter.task_changed(run.record())
        turn = Turn(claim, claim.release)
        try:
            yield turn
        except BaseException:
            claim.release()
            raise
        if turn.given_up:
            return abandoned(run)
    return claim if claim.error is None else exception_to_state(claim.error, run_id=run.id)


def released_on_error(slots: Claim | None, steps: Generator[Effect, Any, None]) -> Generator[Effect, Any, None]:
    """Go through the steps between taking the slots and running the code, which gives them back itself."""
    try:
        yield from steps
    except BaseException:
        if slots is not None:
            slots.release()
        raise
