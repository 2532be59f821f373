"""The state of a run in its status, the history of those it was in, and the rules that the API server holds both to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from .bounds import MAX_HISTORY_MESSAGE
from .schema import Count, Model, Rule, Text, Time
from .states import TERMINAL, TRANSITIONS, StateType

StateWord = Literal[
    "Scheduled", "Pending", "Running", "Paused", "Cancelling", "Completed", "Failed", "Crashed", "Cancelled"
]


def _cel_list(types: Iterable[StateType]) -> str:
    return "[" + ", ".join(sorted(f"'{t.value}'" for t in types)) + "]"


TERMINAL_CEL = _cel_list(TERMINAL)
_STEPS_CEL = (
    "["
    + ", ".join(
        sorted(f"'{before}>{after}'" for before, following in TRANSITIONS.items() if before for after in following)
    )
    + "]"
)


class RunState(Model):
    """What the run is doing."""

    # A writer may take several legal steps in one write, each with its seq; a single step is held to the table.
    rules = (
        Rule(
            "self.seq == oldSelf.seq "
            f"? self.type == oldSelf.type && (!(self.type in {TERMINAL_CEL}) || self == oldSelf) "
            f": self.seq == oldSelf.seq + 1 ? oldSelf.type + '>' + self.type in {_STEPS_CEL} "
            f": self.seq > oldSelf.seq && !(oldSelf.type in {TERMINAL_CEL}) "
            "&& (oldSelf.type != 'Cancelling' || self.type in ['Cancelling', 'Cancelled'])",
            "state: a terminal state cannot be changed, one of a run that is being cancelled becomes Cancelled, and "
            "others go the way of the table of states; state.seq grows with each change",
            message_expression=f"oldSelf.type in {TERMINAL_CEL} ? 'state: a terminal state cannot be changed' "
            ": self.seq < oldSelf.seq ? 'state.seq cannot go back' "
            ": self.seq == oldSelf.seq ? 'state.seq must grow with each change of state' "
            ": oldSelf.type == 'Cancelling' ? 'state: a run that is being cancelled can only become Cancelled' "
            ": 'state.type: no run moves so; the legal moves are in the table of states'",
        ),
    )

    type: StateWord
    """Kind of state."""
    name: Annotated[str, Field(min_length=1, max_length=64)]
    """Name that refines it, such as Late or TimedOut."""
    reason: Annotated[str, Field(max_length=128)] = ""
    """Machine-readable cause."""
    message: Text = ""
    """For people: what happened and what to do."""
    time: Time
    """When it was entered."""
    seq: Count
    """Number of this change of state; grows by one each time."""


class HistoryEntry(Model):
    """A state that the run was in."""

    type: StateWord
    """Kind of state."""
    name: Annotated[str, Field(min_length=1, max_length=64)]
    """Name that refines it."""
    reason: Annotated[str, Field(max_length=128)] = ""
    """Machine-readable cause."""
    message: Annotated[str, Field(max_length=MAX_HISTORY_MESSAGE)] = ""
    """Cut short; the current state has it whole."""
    time: Time
    """When it was entered."""
    seq: Count
    """Number of the change."""
    attempt: Count = 0
    """Attempt it belongs to."""
    writer: Annotated[str, Field(max_length=64)]
    """Who wrote it: `operator`, or the uid of the pod."""
