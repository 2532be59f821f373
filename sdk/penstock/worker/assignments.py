"""What a worker is to do for a run, decided from the run as it is now and from what the worker has of it. Pure.

Called by the agent for every run that names its worker, whenever it changes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ..api.states import StateType

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Identity:
    """The worker: what `status.worker` says of it, and `status.pod` of its runs."""

    name: str
    uid: str
    pod: str
    """Name of its pod; the worker's own where it has none."""


class Do(Enum):
    """One thing to be done for one attempt."""

    START = "make a process for it"
    END = "end its process: somebody wants that, or the attempt is not this worker's any more"
    LINGERS = "end its process, which is still there though the run has ended"
    SAY_LOST = "tell that its process is gone, or never was"


@dataclass(frozen=True, slots=True)
class Action:
    """What to do for which attempt."""

    do: Do
    attempt: int


def decide(run: Body | None, uid: str, me: Identity, running: Collection[int], over: Collection[int]) -> list[Action]:
    """What to do for the run with this uid, None where it is not there or not this worker's.

    `running` are the attempts that have a process here, `over` those that had one whose end is told, or about to be.
    """
    status = (run or {}).get("status") or {}
    state = StateType(status["state"]["type"]) if "state" in status else None
    mine = None if run is None or run["metadata"]["uid"] != uid else attempt_of(run, me)
    ended = state is not None and state.terminal
    stop = bool((status.get("worker") or {}).get("end")) or state is StateType.CANCELLING
    actions = []
    for attempt in sorted(running):
        if attempt != mine or stop:
            actions.append(Action(Do.END, attempt))
        elif ended:
            actions.append(Action(Do.LINGERS, attempt))
    if mine is None or ended or mine in running or mine in over or told(status, mine):
        return actions
    fresh = state is StateType.PENDING and "pod" not in status
    return [*actions, Action(Do.START if fresh and not stop else Do.SAY_LOST, mine)]


def attempt_of(run: Body, me: Identity) -> int | None:
    """The attempt that this worker has of the run."""
    status = run.get("status") or {}
    worker = status.get("worker") or {}
    mine = (worker.get("name"), worker.get("uid")) == (me.name, me.uid)
    return worker["attempt"] if mine and worker.get("attempt") == status.get("attempt") else None


def told(status: Body, attempt: int) -> bool:
    """Whether the end of the attempt's process stands in the run."""
    exited = (status.get("worker") or {}).get("exited") or {}
    return exited.get("attempt") == attempt


def over(run: Body, attempt: int, me: Identity) -> bool:
    """Whether nobody needs to be told how the attempt's process ended."""
    status = run.get("status") or {}
    ended = "state" in status and StateType(status["state"]["type"]).terminal
    return ended or attempt_of(run, me) != attempt or told(status, attempt)
