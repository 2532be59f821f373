"""Task runners: what they are given, and the process pool."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from penstock import flow, get_run_logger, task
from penstock.engine.effects import Turn
from penstock.errors import DefinitionError, TaskRunTimedOut, WorkerLost
from penstock.runtime import flow_run, task_run
from penstock.states import StateType
from penstock.task_runners import ProcessPoolTaskRunner, TaskRunner, ThreadPoolTaskRunner
from penstock.waiting import Once

PROCESSES = ProcessPoolTaskRunner(max_workers=2)


@pytest.mark.parametrize("options", [{"max_workers": 0}, {"max_workers": "4"}, {"max_in_flight": 0}])
@pytest.mark.parametrize("kind", [ThreadPoolTaskRunner, ProcessPoolTaskRunner])
def test_bounds_that_cannot_work_are_refused(kind: type[TaskRunner], options: Any) -> None:
    with pytest.raises(DefinitionError, match=next(iter(options))):
        kind(**options)


def test_a_runner_may_be_given_as_a_class() -> None:
    @flow(task_runner=ThreadPoolTaskRunner)
    def f() -> None: ...

    assert isinstance(f.task_runner, ThreadPoolTaskRunner)


def test_threads_end_with_their_flow() -> None:
    @task
    def t() -> None: ...

    @flow
    def f() -> None:
        [t.submit() for _ in range(20)]

    before = threading.active_count()
    f()
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_a_thousand_blocking_tasks_run_side_by_side() -> None:
    @task
    def wait(_: int) -> None:
        time.sleep(0.2)

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=200))
    def f() -> float:
        began = time.monotonic()
        wait.map(range(200)).wait()
        return time.monotonic() - began

    assert f() < 20, "of the 40 that one after the other would take"


def square(x: int) -> int:
    return x * x


class TestProcesses:
    """User code runs in another process; all else stays."""

    def test_calls_happen_elsewhere_with_their_context(self, recorder: Any) -> None:
        @task(tags=["own"])
        def where(x: int) -> Any:
            return os.getpid(), flow_run.id, flow_run.parameters, task_run.name, task_run.tags, square(x)

        @flow(task_runner=PROCESSES)
        def f(n: int) -> Any:
            return where.map([n, 3]).result()

        rows = recorder.run(f, {"n": 2}).result()
        assert all(row[0] != os.getpid() for row in rows)
        assert [row[1:] for row in rows] == [
            ("run-uid", {"n": 2}, "where-0", ["own"], 4),
            ("run-uid", {"n": 2}, "where-1", ["own"], 9),
        ]

    def test_processes_are_used_again(self) -> None:
        @task
        def pid() -> int:
            return os.getpid()

        @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
        def f() -> Any:
            return {pid.submit().result() for _ in range(3)}

        assert len(f()) == 1

    def test_exceptions_come_back_and_are_retried(self, tmp_path: Path) -> None:
        marks = tmp_path / "marks"

        @task(retries=1)
        def flaky() -> str:
            with marks.open("a") as file:
                file.write("x")
            if marks.read_text() == "x":
                raise ValueError("first")
            return "second"

        @flow(task_runner=PROCESSES)
        def f() -> Any:
            return flaky.submit().result()

        assert f() == "second"

    def test_a_timeout_kills_even_a_blocking_call(self, recorder: Any) -> None:
        @task(timeout_seconds=0.5)
        def stuck() -> None:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
            time.sleep(60)

        @task
        def fine() -> int:
            return 1

        @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
        def f() -> Any:
            future = stuck.submit()
            future.wait()
            return future.result(raise_on_failure=False), fine.submit().result()

        began = time.monotonic()
        error, value = recorder.run(f).result()
        assert isinstance(error, TaskRunTimedOut)
        assert value == 1
        assert time.monotonic() - began < 20

    def test_a_process_that_dies_is_a_crash_of_its_task_alone(self, recorder: Any) -> None:
        @task
        def dies() -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        @task
        def fine() -> int:
            return 1

        @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
        def f() -> Any:
            future = dies.submit()
            future.wait()
            return future.state, fine.submit().result()

        state, value = recorder.run(f).result()
        assert (state.type, state.reason, value) == (StateType.CRASHED, "WorkerLost", 1)
        assert "SIGKILL" in state.message
        assert isinstance(state.data, WorkerLost)

    def test_a_failed_input_is_not_ready_and_raises_nothing(self) -> None:
        @task
        def bad() -> None:
            raise ValueError

        @flow(task_runner=PROCESSES)
        def f() -> Any:
            future = bad.submit()
            after = bad.submit(wait_for=[future])
            after.wait()
            return after.state.name

        assert f() == "NotReady"

    def test_async_and_generator_tasks(self) -> None:
        @task
        async def later(x: int) -> int:
            await asyncio.sleep(0)
            return x

        @task
        def count(n: int) -> Any:
            yield from range(n)

        @flow(task_runner=PROCESSES)
        def f() -> Any:
            return later.submit(1).result(), count.submit(3).result()

        assert f() == (1, [0, 1, 2])

    def test_nested_tasks_report_to_the_flow(self, recorder: Any) -> None:
        @task
        def inner(x: int) -> int:
            return x + 1

        @task
        def outer(x: int) -> int:
            return inner(x) + inner.submit(x).result()

        @flow(task_runner=PROCESSES)
        def f() -> Any:
            return outer.submit(1).result()

        assert recorder.run(f).result() == 4
        assert sum(record.task == "inner" and record.state == "Completed" for record in recorder.records) == 2

    def test_log_records_and_prints_arrive_with_their_run(self, caplog: pytest.LogCaptureFixture) -> None:
        @task(log_prints=True)
        def talk() -> None:
            get_run_logger().info("from %s", "afar")
            print("printed")

        @flow(task_runner=PROCESSES)
        def f() -> None:
            talk.submit().wait()

        with caplog.at_level(logging.INFO):
            f()
        found = {record.getMessage(): record for record in caplog.records}
        assert {"from afar", "printed"} <= set(found)
        assert found["from afar"].task_run_name == "talk-0"  # type: ignore[attr-defined]

    def test_what_cannot_be_sent_says_what_to_do(self) -> None:
        @task
        def take(x: Any) -> Any:
            return threading.Lock()

        @flow(task_runner=PROCESSES)
        def f(x: Any) -> Any:
            return take.submit(x).result()

        with pytest.raises(DefinitionError, match=r"arguments cannot be sent .* ThreadPoolTaskRunner"):
            f(threading.Lock())
        with pytest.raises(DefinitionError, match="result of the task cannot be sent"):
            f(1)

    def test_a_plain_script_needs_no_main_guard(self, tmp_path: Path) -> None:
        script = tmp_path / "script.py"
        script.write_text(
            textwrap.dedent("""
            from penstock import flow, task
            from penstock.task_runners import ProcessPoolTaskRunner

            @task
            def half(x): return x / 2

            @task
            def both(x): return half(x) + half.fn(x)

            @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
            def f(): return both.map([2, 4]).result()

            print(f())
            """)
        )
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout == "[2.0, 4.0]\n"


def test_a_turn_that_comes_late_drives_nobody_on_who_waits_for_the_next() -> None:
    first, second, ran = Turn(Once()), Turn(Once()), threading.Semaphore(0)
    with ThreadPoolTaskRunner(max_workers=1) as runner:
        runner.start(lambda: None, ())  # opens what `drain` waits for
        runner.start_again(ran.release, first, begun=False)
        runner.drain(abandon=True, grace=0)
        assert ran.acquire(timeout=5)
        assert first.given_up
        runner.start_again(ran.release, second, begun=True)
        first.once.happen()
        assert not ran.acquire(timeout=0.1)
        second.once.happen()
        assert ran.acquire(timeout=5)
    assert not second.given_up
