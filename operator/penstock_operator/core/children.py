"""What becomes of a run when the one that made it ends: of a subflow in its process, and of one that it waits for.

Called by `core.runs`. A subflow is told to have ended only when no process of its parent's attempt is left, which the
parent's own status says: the operator writes that, and its runner's last write, only then.
"""

from __future__ import annotations

from dataclasses import dataclass

from penstock.api import reasons
from penstock.api.states import StateType

from .changes import Entry
from .views import RunView

S = StateType


@dataclass(frozen=True, slots=True)
class Family:
    """The run that made this one (None: there is none, or it is gone), and whether subflows of this one go on."""

    parent: RunView | None = None
    unfinished: bool = False


ALONE = Family()


def outlived(run: RunView, parent: RunView | None) -> bool:
    """Whether the parent that waits for `run` is there no more or has ended."""
    if not run.parent.get("awaited"):
        return False
    return parent is None or parent.uid != run.parent["uid"] or bool(parent.type and parent.type.terminal)


def ending(run: RunView, parent: RunView | None) -> tuple[Entry, ...]:
    """The states that end a subflow whose parent's attempt is over; none while it may be going on."""
    if parent is None or parent.uid != run.parent["uid"]:
        return _ended(run, "its parent was deleted")
    if parent.type is S.CANCELLED:
        return _cancelled(run, f"its parent {parent.name} was cancelled")
    if parent.type is not None and parent.type.terminal:
        return _ended(run, f"its parent {parent.name} has ended ({parent.type}) before it")
    idle = parent.claimed_uid is None and parent.type in (None, S.SCHEDULED, S.PAUSED)
    if parent.attempt > run.of_attempt or idle:
        return _ended(run, f"attempt {run.of_attempt} of its parent {parent.name} is over")
    return ()


def _ended(run: RunView, message: str) -> tuple[Entry, ...]:
    if run.type is S.CANCELLING:
        return _cancelled(run, message)
    return (Entry(S.CRASHED, reasons.PARENT_ENDED, message),)


def _cancelled(run: RunView, message: str) -> tuple[Entry, ...]:
    end = Entry(S.CANCELLED, reasons.CANCEL_REQUESTED, message)
    return (Entry(S.CANCELLING, reasons.CANCEL_REQUESTED, message), end) if run.type is S.RUNNING else (end,)
