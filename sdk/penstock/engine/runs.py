"""The runs themselves while they live, as hooks and `penstock.runtime` see them. Changed by their lives only."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..states import State, StateType
from .ids import new_id
from .records import TaskRecord

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from ..tasks import Task
    from .records import FlowRunInfo


class TaskRun:
    """One call of a task."""

    __slots__ = (
        "cache_key",
        "created",
        "ended",
        "flow_run_id",
        "id",
        "key",
        "name",
        "parameters",
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
        self.upstream: tuple[str, ...] = ()
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


class FlowRun:
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
        self.state: State[Any] = State(StateType.PENDING, run_id=info.id)

    def identify(self, info: FlowRunInfo) -> None:
        """Take the identity by which the world knows the run; before it starts."""
        if self.name == self.info.name:
            self.name = info.name
        self.info, self.id = info, info.id

    state_name = property(lambda self: self.state.name)
    state_type = property(lambda self: self.state.type)
    parent_id = property(lambda self: self.info.parent_id)
    deployment = property(lambda self: self.info.deployment)

    @property
    def start_time(self) -> datetime | None:
        """When its code first started (UTC)."""
        return _moment(self.started)

    @property
    def end_time(self) -> datetime | None:
        """When it ended (UTC)."""
        return _moment(self.ended)


def _moment(epoch: float | None) -> datetime | None:
    if epoch is None:
        return None
    from datetime import UTC, datetime

    return datetime.fromtimestamp(epoch, UTC)
