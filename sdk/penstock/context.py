"""Which run the current code belongs to. Set by the lives around user code; read by calls, loggers and `runtime`.

Context variables, so threads of a task runner get a copy when a task is submitted and coroutines get their own.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from .errors import MissingContext
from .results.options import ResultOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .engine.reporting import Reporter
    from .engine.runs import FlowRun, TaskRun
    from .flows import Flow
    from .task_runners import TaskRunner
    from .tasks import Task
    from .transactions import Transaction
    from .visualization import Drawing

__all__ = ["FlowRunContext", "TaskRunContext", "get_run_context", "tags"]


class FlowRunContext:
    """A flow run under way, and what its calls share."""

    __slots__ = ("calls", "flow", "interruption", "key", "log_prints", "reporter", "results", "run", "runner")

    def __init__(self, flow: Flow[Any, Any], run: FlowRun, reporter: Reporter, log_prints: bool) -> None:
        self.flow, self.run, self.reporter, self.log_prints = flow, run, reporter, log_prints
        self.runner: TaskRunner | None = None  # made by the first submit
        self.interruption: BaseException | None = None  # why an async flow was cancelled
        self.results = ResultOptions()  # how results are kept, unless a task says otherwise
        self.key: str | None = None  # of a subflow's result: the same in every try of its parent
        self.calls: dict[str, int] = {}  # calls so far, by task name: they number the task runs

    @property
    def flow_run(self) -> FlowRun:
        """The flow run, by Prefect's name."""
        return self.run

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What the flow run was given."""
        return self.run.parameters

    def interrupt(self, error: BaseException) -> None:
        """Take note of what a signal handler raised, before the coroutine is cancelled for it."""
        self.interruption = error

    @staticmethod
    def get() -> FlowRunContext | None:
        """The flow run that the current code belongs to."""
        return FLOW.get()


class TaskRunContext:
    """A task run under way."""

    __slots__ = ("log_prints", "run", "task", "transaction")

    def __init__(self, task: Task[Any, Any], run: TaskRun, log_prints: bool) -> None:
        self.task, self.run, self.log_prints = task, run, log_prints
        self.transaction: Transaction | None = None  # made where there is something to keep or to undo

    @property
    def task_run(self) -> TaskRun:
        """The task run, by Prefect's name."""
        return self.run

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What the task run was given."""
        return self.run.parameters

    @staticmethod
    def get() -> TaskRunContext | None:
        """The task run that the current code belongs to."""
        return TASK.get()


# A flow that is drawn instead of run (`visualization`): calls of tasks and flows look here first.
DRAWING: ContextVar[Drawing | None] = ContextVar("penstock_drawing", default=None)
FLOW: ContextVar[FlowRunContext | None] = ContextVar("penstock_flow_run", default=None)
TASK: ContextVar[TaskRunContext | None] = ContextVar("penstock_task_run", default=None)
TRANSACTION: ContextVar[Transaction | None] = ContextVar("penstock_transaction", default=None)
TAGS: ContextVar[frozenset[str]] = ContextVar("penstock_tags", default=frozenset())


def get_run_context() -> FlowRunContext | TaskRunContext:
    """The task run that the current code belongs to, else the flow run. Raises MissingContext outside of both."""
    task, flow = TASK.get(), FLOW.get()
    context = task or flow
    if context is None:
        raise MissingContext("get_run_context() works inside of a flow or task run; elsewhere there is none")
    return context


@contextmanager
def tags(*names: str) -> Iterator[frozenset[str]]:
    """Give every run that starts inside of the block these tags, besides its own."""
    token = TAGS.set(TAGS.get() | frozenset(names))
    try:
        yield TAGS.get()
    finally:
        TAGS.reset(token)
