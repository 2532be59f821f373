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
_TRANSITIONS_CEL = (
    "{"
    + ", ".join(f"'{t.value}': {_cel_list(following)}" for t, following in TRANSITIONS.items() if t and following)
    + "}"
)


class RunState(Model):
    """What the run is doing."""

    rules = (
        Rule(
            f"!(oldSelf.type in {TERMINAL_CEL}) || self == oldSelf",
            "state: a terminal state cannot be changed",
        ),
        Rule("self.seq >= oldSelf.seq", "state.seq cannot go back", ".seq"),
        Rule(
            "self.type == oldSelf.type || self.seq > oldSelf.seq",
            "state.seq must grow with each change of state",
            ".seq",
        ),
        # A writer may take several legal steps in one write, each with its seq; a single step is held to the table.
        Rule(
            f"self.seq != oldSelf.seq + 1 || oldSelf.type in {TERMINAL_CEL} "
            f"|| self.type in {_TRANSITIONS_CEL}[oldSelf.type]",
            "state.type: no run moves so; the legal moves are in the table of states",
            ".type",
        ),
        Rule(
            "oldSelf.type != 'Cancelling' || self.type in ['Cancelling', 'Cancelled']",
            "state: a run that is being cancelled can only become Cancelled",
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
