"""What the engine tells the world of its runs, and what it is told of the run it is in. Values only.

A reporter gets `TaskRecord`s; whoever starts a flow run gives a `FlowRunInfo`, which `penstock.runtime` shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class TaskRecord(NamedTuple):
    """One task run at one moment; a later record with the same id replaces an earlier one.

    A tuple, for three are made for every task call, and a frozen dataclass takes four times as long to make.
    """

    id: str
    task: str  # the task's name
    key: str  # the task's identity: qualified name and a short hash of its code
    name: str  # the task run's name
    state: str  # a StateType's value
    state_name: str  # what refines it: Cached, TimedOut, NotReady, ...
    attempts: int  # how often its code was started
    created: float  # all times: seconds since the epoch
    started: float | None
    ended: float | None
    upstream: tuple[str, ...]  # ids of the task runs whose results it was given, or waited for
    cache_key: str | None
    message: str | None


class FlowRunInfo(NamedTuple):
    """The identity of a flow run, given by whoever starts it. A tuple, for dataclasses are dear to import."""

    id: str
    name: str
    namespace: str | None = None
    deployment: str | None = None
    deployment_id: str | None = None
    flow_name: str | None = None
    flow_id: str | None = None  # uid of the Flow, where there is one
    work_pool: str | None = None
    attempt: int = 1
    run_count: int = 0  # flow retries and starts of earlier attempts
    scheduled_start_time: datetime | None = None
    tags: tuple[str, ...] = ()
    parent_id: str | None = None  # the flow run that called this one
    parent_name: str | None = None
    parent_deployment_id: str | None = None
    root_id: str | None = None
    results_id: str | None = None  # whose results it finds again: those of the run it retries; None: its own
    labels: Mapping[str, str] = {}
    job_variables: Mapping[str, Any] = {}  # changes to the pod that the run asked for
