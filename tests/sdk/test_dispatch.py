"""One blocking function, called from code that blocks and from code that awaits."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from penstock import flow, tags, task
from penstock.context import FLOW, TAGS
from penstock.dispatch import both_ways, dispatch, in_a_thread


def _where(fail: bool = False) -> tuple[str, list[str]]:
    """Says where."""
    if fail:
        raise ValueError("mine")
    return threading.current_thread().name, sorted(TAGS.get())


where, awhere = both_ways(_where)


def test_sync_code_calls_it_here() -> None:
    assert where() == (threading.current_thread().name, [])
    assert where.__doc__ == "Says where."


def test_async_code_awaits_it_in_a_thread_of_its_own() -> None:
    async def main() -> Any:
        with tags("x"):
            first: Any = where()
            return await first, await awhere()

    first, second = asyncio.run(main())
    assert first == second == ("penstock-waiting", ["x"])


def test_in_runs_the_run_decides() -> None:
    """A sync task that an async flow calls blocks, though a loop runs in its thread."""

    @task
    def sync_task() -> Any:
        return where()

    @flow
    async def f() -> Any:
        awaited: Any = where()
        return sync_task(), await awaited

    blocking, awaited = asyncio.run(f())
    assert blocking[0] == threading.current_thread().name
    assert awaited[0] == "penstock-waiting"


def test_errors_come_through() -> None:
    with pytest.raises(ValueError, match="mine"):
        asyncio.run(awhere(fail=True))


def test_a_cancelled_caller_leaves_the_thread_to_its_end() -> None:
    release, ended = threading.Event(), threading.Event()

    def block() -> None:
        release.wait(60)
        ended.set()

    _, ablock = both_ways(block)

    async def main() -> None:
        waiting = asyncio.create_task(ablock())
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        release.set()
        await asyncio.to_thread(ended.wait, 60)
        await asyncio.sleep(0.01)

    asyncio.run(main())
    assert ended.is_set()


def double(n: int) -> int:
    return 2 * n


async def awaited(value: Any) -> Any:
    return await value if hasattr(value, "__await__") else f"plain {value}"


def test_outside_of_runs_a_running_loop_decides() -> None:
    assert dispatch(double, 2) == 4

    async def caller() -> Any:
        return await awaited(dispatch(double, 2))

    assert asyncio.run(caller()) == 4


def test_an_async_flow_awaits_and_a_sync_one_does_not() -> None:
    @flow
    def sync() -> int:
        return dispatch(double, 3)

    @flow
    async def asynchronous() -> Any:
        return await awaited(dispatch(double, 3))

    assert sync() == 6
    assert asyncio.run(asynchronous()) == 6


def test_a_sync_task_of_an_async_flow_gets_the_value() -> None:
    """Even where it runs in the thread of the loop."""

    @task
    def inner() -> int:
        return dispatch(double, 4)

    @flow
    async def outer() -> Any:
        return inner()

    assert asyncio.run(outer()) == 8


def test_code_of_an_async_flow_in_a_thread_without_a_loop_gets_the_value() -> None:
    @flow
    async def outer() -> Any:
        return await asyncio.to_thread(dispatch, double, 5)

    assert asyncio.run(outer()) == 10


def test_the_work_of_async_callers_leaves_the_loop_and_keeps_its_run() -> None:
    def where() -> tuple[bool, str]:
        context = FLOW.get()
        assert context is not None
        return threading.current_thread() is threading.main_thread(), context.run.flow_name

    @flow
    async def named() -> Any:
        return await in_a_thread(where)

    assert asyncio.run(named()) == (False, "named")


def test_errors_arrive_either_way() -> None:
    def fails() -> None:
        raise LookupError("here")

    with pytest.raises(LookupError, match="here"):
        dispatch(fails)
    with pytest.raises(LookupError, match="here"):
        asyncio.run(in_a_thread(fails))
