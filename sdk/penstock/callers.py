"""One function for sync and async callers: the value for the one, a coroutine for the other.

Whose code calls is known from the run: an async flow or task awaits, a sync one does not, even where a loop runs in
its thread. Outside of runs a running loop decides. The work itself is written once, for threads.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from .context import FLOW, TASK

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")

__all__ = ["dispatch", "in_thread"]


def dispatch(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What `call` returns; for an async caller, a coroutine that returns it (typed as for sync callers)."""
    if _async_caller():
        return in_thread(call, *args, **kwargs)  # type: ignore[return-value]
    return call(*args, **kwargs)


async def in_thread(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What `call` returns, while the loop goes on; it sees the run it was called in."""
    import asyncio

    return await asyncio.to_thread(call, *args, **kwargs)


def _async_caller() -> bool:
    asyncio = sys.modules.get("asyncio")  # not imported: no loop runs
    if asyncio is None or asyncio._get_running_loop() is None:
        return False
    task, flow = TASK.get(), FLOW.get()
    if task is not None:
        return task.task.isasync
    return flow is None or flow.flow.isasync
