"""Runs as hooks and reporters see them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from penstock import task
from penstock.engine.records import FlowRunInfo
from penstock.engine.runs import FlowRun, TaskRun
from penstock.states import Completed, StateType


@task
def load(x: int) -> int:
    return x


def task_run() -> TaskRun:
    return TaskRun(load, "load-0", {"x": 1}, "flow-id", frozenset({"a"}))


def flow_run() -> FlowRun:
    info = FlowRunInfo(id="i", name="n", parent_id="p", deployment="d", tags=("a", "b"), run_count=2)
    return FlowRun("etl", info, {"x": 1})


def test_a_task_run_begins_pending() -> None:
    run = task_run()
    assert (run.state.type, run.state.run_id, run.state.time) == (StateType.PENDING, run.id, run.created)
    assert (run.name, run.task_name, run.task_key, run.flow_run_id) == ("load-0", "load", load.task_key, "flow-id")
    assert (run.run_count, run.upstream, run.cache_key) == (0, (), None)


def test_a_record_is_the_run_at_one_moment() -> None:
    run = task_run()
    first = run.record()
    run.started, run.ended, run.run_count, run.upstream = 1.0, 2.0, 3, ("up",)
    run.state = Completed(name="Cached", message="m")
    second = run.record()
    assert (first.id, first.state, first.state_name, first.ended) == (run.id, "Pending", "Pending", None)
    assert (second.id, second.task, second.key, second.name) == (run.id, "load", load.task_key, "load-0")
    assert (second.state, second.state_name, second.message) == ("Completed", "Cached", "m")
    assert (second.created, second.started, second.ended, second.attempts) == (run.created, 1.0, 2.0, 3)
    assert (second.upstream, second.cache_key) == (("up",), None)


def test_a_flow_run_is_who_it_was_told_to_be() -> None:
    """Its attempts go on counting where those before it ended."""
    run = flow_run()
    assert (run.id, run.name, run.flow_name, run.parent_id, run.deployment) == ("i", "n", "etl", "p", "d")
    assert (run.tags, run.run_count, run.state.type) == (frozenset({"a", "b"}), 2, StateType.PENDING)


@pytest.mark.parametrize("make", [task_run, flow_run])
def test_hooks_can_ask_for_state_and_times(make: Any) -> None:
    run = make()
    assert (run.start_time, run.end_time) == (None, None)
    run.started, run.ended = 0.0, 1.5
    run.state = Completed(name="Cached")
    assert (run.state_type, run.state_name) == (StateType.COMPLETED, "Cached")
    assert run.start_time == datetime(1970, 1, 1, tzinfo=UTC)
    assert run.end_time == datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)
