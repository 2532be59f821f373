"""What every runner that calls user code in other processes owes its flows, as tests that each of them passes.

A test class inherits `RemoteRunnerContract` and has a fixture `runner`: a task runner of at least two workers.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

from penstock import flow, get_run_logger, runtime, task
from penstock.errors import DefinitionError, TaskRunTimedOut, WorkerLost
from penstock.states import State
from penstock.task_runners import TaskRunner

RunFlow = Callable[..., State[Any]]


class Heard(Protocol):
    """The recorder of `tests/sdk/conftest.py`."""

    def run(self, flow: Any) -> State[Any]: ...

    def states_of(self, name: str) -> list[str]: ...


class RemoteRunnerContract:
    def test_tasks_run_elsewhere_and_bring_their_values_home(self, runner: TaskRunner) -> None:
        @task
        def where(n: int) -> tuple[int, int]:
            return os.getpid(), n * n

        @flow(task_runner=runner)
        def squares() -> list[tuple[int, int]]:
            return where.map(range(5)).result()

        found = squares()
        assert [square for _, square in found] == [0, 1, 4, 9, 16]
        assert os.getpid() not in {pid for pid, _ in found}

    def test_values_of_upstream_tasks_travel(self, runner: TaskRunner) -> None:
        @task
        def double(n: int) -> int:
            return 2 * n

        @flow(task_runner=runner)
        def chain() -> int:
            return double.submit(double.submit(double.submit(1))).result()

        assert chain() == 8

    def test_coroutines_are_awaited_and_generators_collected(self, runner: TaskRunner) -> None:
        @task
        async def later(n: int) -> int:
            return n

        @task
        def counting(n: int) -> Any:
            yield from range(n)

        @task
        async def counting_later(n: int) -> Any:
            for number in range(n):
                yield number

        @flow(task_runner=runner)
        def parent() -> list[Any]:
            return [later.submit(7).result(), counting.submit(3).result(), counting_later.submit(2).result()]

        assert parent() == [7, [0, 1, 2], [0, 1]]

    def test_an_exception_comes_home_and_retries_stay_here(self, runner: TaskRunner, recorder: Heard) -> None:
        hooks: list[str] = []

        @task(retries=1, on_failure=[lambda t, run, state: hooks.append(state.name)])
        def broken() -> None:
            raise KeyError("no such key")

        @flow(task_runner=runner)
        def parent() -> Any:
            return broken.submit()

        state = recorder.run(parent)
        assert state.is_failed()
        with pytest.raises(KeyError, match="no such key"):
            state.result()
        assert hooks == ["Failed"]
        assert recorder.states_of("broken-0") == ["Pending", "Running", "Retrying", "Failed"]

    def test_what_runs_over_there_knows_its_run(self, runner: TaskRunner, recorder: Heard) -> None:
        @task
        def who() -> tuple[str, str, int]:
            return runtime.flow_run.id, runtime.task_run.name, runtime.task_run.run_count

        @flow(task_runner=runner)
        def parent() -> tuple[str, str, int]:
            return who.submit().result()

        assert recorder.run(parent).result() == ("run-uid", "who-0", 1)

    def test_tasks_of_a_task_are_recorded_here(self, runner: TaskRunner, recorder: Heard) -> None:
        @task
        def inner(n: int) -> int:
            return n + 1

        @task
        def outer() -> list[int]:
            return [inner(1), inner.submit(2).result(), *inner.map([3, 4]).result()]

        @flow(task_runner=runner)
        def parent() -> list[int]:
            return outer.submit().result()

        assert recorder.run(parent).result() == [2, 3, 4, 5]
        assert [recorder.states_of(f"inner-{n}")[-1] for n in range(4)] == ["Completed"] * 4

    def test_log_records_arrive_here(self, runner: TaskRunner, caplog: pytest.LogCaptureFixture) -> None:
        @task
        def speaks() -> None:
            get_run_logger().info("hello from %s", "afar")

        @flow(task_runner=runner)
        def parent() -> None:
            speaks.submit().result()

        logging.getLogger("penstock").addHandler(caplog.handler)
        try:
            parent()
        finally:
            logging.getLogger("penstock").removeHandler(caplog.handler)
        assert "hello from afar" in caplog.messages

    def test_a_timeout_ends_the_task_as_timed_out(self, runner: TaskRunner) -> None:
        @task(timeout_seconds=0.2)
        def busy() -> None:
            end = time.monotonic() + 30
            while time.monotonic() < end:
                time.sleep(0.01)

        @task(timeout_seconds=0.2)
        async def waiting() -> None:
            import asyncio

            await asyncio.sleep(30)

        @flow(task_runner=runner)
        def parent() -> list[State[Any]]:
            return [busy.submit(return_state=True), waiting.submit(return_state=True)]

        for state in parent(return_state=True).data:
            assert state.name == "TimedOut"
            with pytest.raises(TaskRunTimedOut):
                state.result()

    def test_what_awaits_at_its_timeout_is_cancelled(self, runner: TaskRunner, tmp_path: Path) -> None:
        """And not waited for: there is nothing that it does afterwards."""
        later = tmp_path / "later"

        @task(timeout_seconds=0.2)
        async def waiting() -> None:
            import asyncio

            await asyncio.sleep(2)
            later.touch()

        @flow(task_runner=runner)
        def parent() -> str:
            return waiting.submit(return_state=True).name

        assert parent() == "TimedOut"
        assert not later.exists()

    def test_a_worker_that_goes_away_is_a_crash(self, runner: TaskRunner) -> None:
        @task
        def leaves() -> None:
            os._exit(3)

        @flow(task_runner=runner)
        def parent() -> State[Any]:
            return leaves.submit(return_state=True)

        state = parent(return_state=True)
        with pytest.raises(WorkerLost, match="went away without an answer"):
            state.result()

    def test_what_cannot_travel_is_told_with_a_remedy(self, runner: TaskRunner) -> None:
        @task
        def takes(lock: Any) -> None: ...

        @task
        def gives() -> Any:
            return threading.Lock()

        @flow(task_runner=runner)
        def parent() -> list[State[Any]]:
            return [takes.submit(threading.Lock(), return_state=True), gives.submit(return_state=True)]

        first, second = parent(return_state=True).data
        for state in (first, second):
            with pytest.raises(DefinitionError, match="cannot be sent to another process"):
                state.result()

    def test_an_interrupted_flow_does_not_wait_for_its_tasks(self, runner: TaskRunner, recorder: Heard) -> None:
        """What runs is given up after a moment, what waits never starts."""

        @task
        def long() -> None:
            time.sleep(60)

        @flow(task_runner=runner)
        def parent() -> None:
            futures = [long.submit() for _ in range(6)]
            while not any(future.state.is_running() for future in futures):
                time.sleep(0.05)
            raise KeyboardInterrupt

        assert recorder.run(parent).is_crashed()
        assert {recorder.states_of(f"long-{n}")[-1] for n in range(6)} == {"Cancelled"}
