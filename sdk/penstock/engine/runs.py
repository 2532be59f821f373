"""The runs themselves while they live, as hooks and `penstock.runtime` see them. Changed by their lives only."""

from __future__ import annotations

import time
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from ..states import State, StateType
from .ids import new_id
from .records import TaskRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta

    from ..tasks import Task
    from .records import FlowRunInfo

ABANDONED = "Abandoned"


class TaskRunResult(NamedTuple):
    """The result of a task run, as an input of another."""

    id: str
    input_type: str = "task_run"


class _Run:
    """What hooks read of either, by Prefect's names."""

    __slots__ = ()

    created: float
    ended: float | None
    ran: float
    started: float | None
    state: State[Any]

    state_id = property(lambda self: self.state.id)
    state_name = property(lambda self: self.state.name)
    state_type = property(lambda self: self.state.type)

    @property
    def start_time(self) -> datetime | None:
        """When its code first started (UTC)."""
        return _moment(self.started)

    @property
    def end_time(self) -> datetime | None:
        """When it ended (UTC)."""
        return _moment(self.ended)

    @property
    def next_scheduled_start_time(self) -> datetime | None:
        """When it is due, if it waits for that (UTC)."""
        return self.state.scheduled_time

    @property
    def total_run_time(self) -> timedelta:
        """How long it was Running, in states that have ended."""
        from datetime import timedelta

        return timedelta(seconds=self.ran)

    @property
    def estimated_run_time(self) -> timedelta:
        """How long it was Running until now."""
        from datetime import timedelta

        running = self.state.type is StateType.RUNNING
        return timedelta(seconds=self.ran + (max(time.time() - self.state.time, 0.0) if running else 0.0))


class TaskRun(_Run):
    """One call of a task."""

    __slots__ = (
        "cache_key",
        "created",
        "ended",
        "flow_run_id",
        "id",
        "inputs",
        "key",
        "name",
        "number",
        "parameters",
        "ran",
        "run_count",
        "started",
        "state",
        "tags",
        "task_name",
        "upstream",
    )

    def __init__(
        self, task: Task[Any, Any], name: str, parameters: dict[str, Any], flow_run_id: str | None, tags: frozenset[str]
    ) -> None:
        self.id = new_id()
        self.task_name = task.name
        self.key = task.task_key
        self.name = name
        self.flow_run_id = flow_run_id
        self.parameters = parameters
        self.tags = tags
        self.run_count = 0
        self.created = time.time()
        self.started: float | None = None
        self.ended: float | None = None
        self.ran = 0.0  # seconds in Running, of attempts that have ended
        self.upstream: tuple[str, ...] = ()
        self.inputs: dict[str, tuple[str | None, ...]] | None = None  # by parameter, ids of the runs it came from
        self.number: int | None = None  # of the call, among those of the same task in the flow run
        self.cache_key: str | None = None
        self.state: State[Any] = State(StateType.PENDING, at=self.created, run_id=self.id)

    def record(self) -> TaskRecord:
        """The run as it is now, for reporters."""
        state = self.state
        return TaskRecord(
            self.id,
            self.task_name,
            self.key,
            self.name,
            state.type._value_,  # without the descriptor: this is made twice for every task call
            state.name,
            self.run_count,
            self.created,
            self.started,
            self.ended,
            self.upstream,
            self.cache_key,
            state.message,
        )

    task_key = property(lambda self: self.key)

    @property
    def dynamic_key(self) -> str:
        """What tells this call from others of the same task in the flow run."""
        return self.id if self.number is None else str(self.number)

    @property
    def task_inputs(self) -> dict[str, list[TaskRunResult]]:
        """The runs whose results it was given, by parameter (`wait_for`: those it waited for)."""
        return {name: [TaskRunResult(i) for i in ids if i is not None] for name, ids in (self.inputs or {}).items()}

    @property
    def expected_start_time(self) -> datetime:
        """When it was to start: at once (UTC)."""
        return _known_moment(self.created)


def abandoned(run: TaskRun) -> State[Any]:
    """The end of a run whose flow has ended before it began."""
    message = "its flow ended before it could start"
    return State(StateType.CANCELLED, None, message, reason=ABANDONED, run_id=run.id)


class FlowRun(_Run):
    """One call of a flow, or the one of a pod."""

    def __init__(self, flow_name: str, info: FlowRunInfo, parameters: Mapping[str, Any]) -> None:
        self.info = info
        self.id = info.id
        self.name = info.name
        self.flow_name = flow_name
        self.parameters: Mapping[str, Any] = parameters
        self.tags = frozenset(info.tags)
        self.run_count = info.run_count
        self.created = time.time()
        self.started: float | None = None
        self.ended: float | None = None
        self.ran = 0.0  # seconds in Running, of tries that have ended
        self.call: Callable[[], str | None] | None = None  # of a subflow: which call of its parent's it is
        self.state: State[Any] = State(StateType.PENDING, run_id=info.id)

    def identify(self, info: FlowRunInfo) -> None:
        """Take the identity by which the world knows the run; before it starts."""
        if self.name == self.info.name:
            self.name = info.name
        self.info, self.id = info, info.id

    @cached_property
    def results_id(self) -> str:
        """Under which its tasks keep their results: the same in every attempt, and in a run that retries this one."""
        return self.info.results_id or (self.call() if self.call is not None else None) or self.id

    def enter(self, state: State[Any]) -> None:
        """The run is in this state from now on."""
        if self.state.type is StateType.RUNNING:
            self.ran += max(state.time - self.state.time, 0.0)
        self.state = state

    flow_id = property(lambda self: self.info.flow_id)
    parent_id = property(lambda self: self.info.parent_id)
    parent_flow_run_id = property(lambda self: self.info.parent_id)
    deployment = property(lambda self: self.info.deployment)
    deployment_id = property(lambda self: self.info.deployment_id)
    labels = property(lambda self: self.info.labels)
    job_variables = property(lambda self: self.info.job_variables)
    work_pool_name = property(lambda self: self.info.work_pool)

    @property
    def expected_start_time(self) -> datetime:
        """When it was to start (UTC)."""
        return self.info.scheduled_start_time or _known_moment(self.created)


def _known_moment(epoch: float) -> datetime:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(epoch, UTC)


def _moment(epoch: float | None) -> datetime | None:
    return None if epoch is None else _known_moment(epoch)
