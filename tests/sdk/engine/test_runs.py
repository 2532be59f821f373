"""Runs as hooks and reporters see them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from penstock import flow, task
from penstock.engine.records import FlowRunInfo
from penstock.engine.runs import FlowRun, TaskRun
from penstock.states import AwaitingRetry, Completed, Running, State, StateType


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


@pytest.mark.parametrize("make", [task_run, flow_run])
def test_before_it_starts(make: Any) -> None:
    run = make()
    assert (run.total_run_time, run.estimated_run_time) == (timedelta(0), timedelta(0))
    assert (run.next_scheduled_start_time, run.state_id) == (None, run.state.id)
    assert run.expected_start_time == datetime.fromtimestamp(run.created, UTC)


def test_only_running_counts_as_run_time() -> None:
    run = flow_run()
    for at, state in ((10.0, Running), (12.0, AwaitingRetry), (20.0, Running), (23.5, Completed)):
        run.enter(state(at=at))
    assert run.total_run_time == run.estimated_run_time == timedelta(seconds=5.5)
    run.enter(Running())
    assert run.total_run_time < run.estimated_run_time < timedelta(seconds=60)
    assert flow_run().next_scheduled_start_time is None


def test_a_run_of_the_cluster_says_where_it_comes_from() -> None:
    due = datetime(2026, 1, 1, tzinfo=UTC)
    info = FlowRunInfo(
        id="i", name="n", deployment_id="d", flow_id="f", work_pool="gpu", scheduled_start_time=due, labels={"a": "b"}
    )
    run = FlowRun("etl", info, {})
    assert (run.deployment_id, run.flow_id, run.work_pool_name, run.labels) == ("d", "f", "gpu", {"a": "b"})
    assert (run.expected_start_time, run.job_variables, run.parent_flow_run_id) == (due, {}, None)


def test_hooks_see_the_runs_that_inputs_came_from() -> None:
    seen: list[Any] = []

    def look(_task: Any, run: Any, state: State[Any]) -> None:
        seen.append((run.dynamic_key, run.task_inputs, run.total_run_time, state.type))

    @task(on_completion=[look], retries=1)
    def add(x: Any, y: int, z: Any = None) -> int:
        time.sleep(0.01)
        return int(x["a"][0] + y)

    @flow
    def etl() -> list[str]:
        first, second = load.submit(1), load.submit(2)
        add({"a": [first]}, 2, wait_for=[second])
        add({"a": [1]}, 2)
        return [first.task_run_id, second.task_run_id]

    first, second = etl()
    assert [row[0] for row in seen] == ["0", "1"]
    assert seen[0][1] == {"x": [(first, "task_run")], "wait_for": [(second, "task_run")]}
    assert seen[1][1] == {}
    assert all(timedelta(seconds=0.009) < row[2] < timedelta(seconds=30) for row in seen)
