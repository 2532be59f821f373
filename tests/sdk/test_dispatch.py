"""One blocking function, called from code that blocks and from code that awaits."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from penstock import flow, tags, task
from penstock.context import TAGS
from penstock.dispatch import both_ways


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
