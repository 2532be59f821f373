"""Sync callers get values and async ones awaitables, by whose code it is."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from penstock import flow, task
from penstock.callers import dispatch, in_thread
from penstock.context import FLOW


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
        return await in_thread(where)

    assert asyncio.run(named()) == (False, "named")


def test_errors_arrive_either_way() -> None:
    def fails() -> None:
        raise LookupError("here")

    with pytest.raises(LookupError, match="here"):
        dispatch(fails)
    with pytest.raises(LookupError, match="here"):
        asyncio.run(in_thread(fails))
