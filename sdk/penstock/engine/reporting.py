"""The seam between the engine and whoever watches a run: a terminal, a test, or the runner in a pod."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from ..events import Event
    from ..states import State
    from .records import FlowRunInfo, TaskRecord
    from .runs import FlowRun


class Reporter(Protocol):
    """Hears of every change. Called from any thread; returns quickly and never raises into user code."""

    def task_changed(self, record: TaskRecord) -> None:
        """A task run was created (where it has to wait), started, is retried, or ended."""

    def flow_changed(self, state: State[Any]) -> None:
        """The flow run is Running, AwaitingRetry, Retrying, Paused ...; never its terminal state, which is returned."""


@runtime_checkable
class ChildReporter(Protocol):
    """What a reporter may do besides: hear of subflows as runs of their own."""

    def child(self, info: FlowRunInfo) -> Reporter:
        """The reporter for a subflow; its `flow_changed` also hears the terminal state, for nobody returns it."""


@runtime_checkable
class EventReporter(Protocol):
    """What a reporter may do besides: take the events that user code emits. Without it they stay on this machine."""

    def event_emitted(self, event: Event) -> None:
        """User code emitted an event; it was checked."""


@runtime_checkable
class Cancellable(Protocol):
    """What a reporter may do besides: know why a run is interrupted."""

    def being_cancelled(self) -> bool:
        """Whether somebody asked for the run's end. May block, for a moment; False where that cannot be told."""


@runtime_checkable
class Opening(Protocol):
    """What the reporter of a subflow may do besides: make it known before it starts."""

    def open(self, run: FlowRun) -> State[Any] | None:
        """Make the run known, which may give it another identity. May block.

        A state is the final one of an equal call of the parent's earlier attempt: the subflow need not run again.
        """


of_process: Reporter | None = None  # of the run that this process is for; threads of user code have no context


class Silent:
    """Reports to nobody: for `.fn`-like uses and for tasks outside of any flow."""

    def task_changed(self, record: TaskRecord) -> None:
        """Nobody listens."""

    def flow_changed(self, state: State[Any]) -> None:
        """Nobody listens."""


class TasksOnly:
    """A subflow's reports to a parent that has one flow run only: its tasks are the parent's, its states nobody's."""

    def __init__(self, parent: Reporter) -> None:
        self.task_changed = parent.task_changed

    def flow_changed(self, state: State[Any]) -> None:
        """The subflow's state stands in its task record in the parent."""
