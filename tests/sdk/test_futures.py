"""Handles on submitted tasks."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from penstock import allow_failure, as_completed, flow, runtime, task, wait
from penstock.engine.runs import TaskRun
from penstock.errors import FutureTimedOut, UpstreamNotReady
from penstock.futures import PenstockFuture, resolve_futures_to_results, resolve_futures_to_states
from penstock.states import Completed, StateType

LIVENESS = 60


@task
def after(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@task
def broken() -> None:
    raise ValueError("no")


def test_a_result_that_takes_too_long_raises_and_the_task_goes_on() -> None:
    @flow
    def f() -> Any:
        future = after.submit(0.2)
        assert not future.done()
        with pytest.raises(FutureTimedOut, match="after-0"):
            future.result(timeout=0.01)
        return future.result()

    assert f() == 0.2


def test_a_failure_is_raised_or_given() -> None:
    @flow
    def f() -> Any:
        future = broken.submit()
        with pytest.raises(ValueError, match="no"):
            future.result()
        return type(future.result(raise_on_failure=False)), future.state.is_failed()

    assert f() == (ValueError, True)


def test_wait_tells_what_is_done() -> None:
    @flow
    def f() -> Any:
        quick, slow = after.submit(0), after.submit(0.5)
        done, not_done = wait([quick, slow], timeout=0.1)
        assert (done, not_done) == ({quick}, {slow})
        return len(wait([quick, slow]).done)

    assert f() == 2


def test_as_completed_gives_the_first_first() -> None:
    @flow
    def f() -> Any:
        futures = [after.submit(seconds) for seconds in (0.2, 0.0, 0.1)]
        order = [future.result() for future in as_completed(futures)]
        with pytest.raises(FutureTimedOut, match="1 of 1"):
            list(as_completed([after.submit(0.3)], timeout=0.01))
        return order

    assert f() == [0.0, 0.1, 0.2]


def test_callbacks_are_called_once_done_also_when_it_is_already() -> None:
    seen: list[str] = []

    @flow
    def f() -> None:
        future = after.submit(0.05)
        future.add_done_callback(lambda done: seen.append(f"first {done.state.name}"))
        future.wait()
        future.add_done_callback(lambda _: seen.append("late"))

    f()
    assert seen == ["first Completed", "late"]


def test_a_raising_callback_is_logged_only(caplog: pytest.LogCaptureFixture) -> None:
    @flow
    def f() -> Any:
        future = after.submit(0.05)
        future.add_done_callback(lambda _: 1 / 0)
        return future.result()

    assert f() == 0.05
    assert "done-callback of task run after-0 raised" in caplog.text


def test_waiting_in_a_loop_does_not_block_it() -> None:
    ticks: list[int] = []

    @flow
    async def f() -> Any:
        async def tick() -> None:
            while True:
                ticks.append(1)
                await asyncio.sleep(0.01)

        ticking = asyncio.create_task(tick())
        future = after.submit(0.1)
        await future.wait_async(timeout=0.01)
        assert not future.done()
        value = await future.result_async()
        ticking.cancel()
        return value

    assert asyncio.run(f()) == 0.1
    assert len(ticks) > 3


@pytest.mark.parametrize("hops", range(6))
def test_a_cancellation_that_comes_with_the_result_is_not_lost(hops: int) -> None:
    """Whatever turn of the loop it comes in: who was told that a waiting task is cancelled finds it so."""

    async def main() -> None:
        future: PenstockFuture[int] = PenstockFuture(TaskRun(after, "after-0", {}, None, frozenset()))
        waiting = asyncio.create_task(future.result_async(timeout=LIVENESS))
        await asyncio.sleep(0)
        future.finish(Completed(data=1))
        for _ in range(hops):
            await asyncio.sleep(0)
        told = waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled() is told

    asyncio.run(main())


def test_a_future_that_is_done_knows_its_run_by_id_name_and_state() -> None:
    """All that is kept of the run of a future that may live long."""

    @task(task_run_name="named {seconds}")
    def slow(seconds: float) -> str:
        time.sleep(seconds)
        return str(runtime.task_run.id)

    @flow
    def f() -> Any:
        future = slow.submit(0.05)
        before = future.task_run_id
        found = future.result()
        return found == before == future.task_run_id, future.name, future.state.type

    assert f() == (True, "named 0.05", StateType.COMPLETED)


def test_many_threads_may_wait_for_one_future() -> None:
    results: list[float] = []

    @flow
    def f() -> None:
        future = after.submit(0.1)
        threads = [threading.Thread(target=lambda: results.append(future.result())) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    f()
    assert results == [0.1] * 10


def test_a_list_of_futures_waits_as_one() -> None:
    @flow
    def f() -> Any:
        futures = after.map([0.0, 0.3])
        with pytest.raises(FutureTimedOut):
            futures.result(timeout=0.05)
        return futures.result(), [future.name for future in futures]

    assert f() == ([0.0, 0.3], ["after-0", "after-1"])


def test_futures_in_containers_become_results_or_states() -> None:
    @flow
    def f() -> Any:
        good, bad = after.submit(0), broken.submit()
        assert resolve_futures_to_results({"a": [good], good: 1, "b": 2}) == {"a": [0], 0: 1, "b": 2}
        assert resolve_futures_to_results("plain") == "plain"
        states = resolve_futures_to_states([good, {"b": bad}])
        assert (states[0].is_completed(), states[1]["b"].is_failed()) == (True, True)
        with pytest.raises(UpstreamNotReady, match="broken-0 is Failed"):
            resolve_futures_to_results([good, bad])
        assert isinstance(resolve_futures_to_results([allow_failure(bad)])[0], ValueError)
        return 1

    assert f() == 1
