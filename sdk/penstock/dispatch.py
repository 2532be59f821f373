"""Functions that block are written once: here they get a twin to await, and a face that chooses between the two.

As in Prefect, `f()` blocks in sync code and must be awaited in async code; `af()` is always awaited.
"""

from __future__ import annotations

import sys
import threading
from contextvars import copy_context
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from .context import FLOW, TASK

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

P = ParamSpec("P")
R = TypeVar("R")


def both_ways(blocking: Callable[P, R]) -> tuple[Callable[P, R], Callable[P, Coroutine[Any, Any, R]]]:
    """`f` and `af` of a function that blocks; `af` runs it in a thread of its own, so that any number may wait."""

    @wraps(blocking)
    def face(*args: P.args, **kwargs: P.kwargs) -> R:
        if in_async_code():
            return awaited(*args, **kwargs)  # type: ignore[return-value] # whoever is async awaits it
        return blocking(*args, **kwargs)

    @wraps(blocking)
    async def awaited(*args: P.args, **kwargs: P.kwargs) -> R:
        return await in_a_thread(blocking, *args, **kwargs)

    return face, awaited


def dispatch(blocking: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What `blocking` returns; for an async caller, a coroutine that returns it (typed as for sync callers)."""
    if in_async_code():
        return in_a_thread(blocking, *args, **kwargs)  # type: ignore[return-value]
    return blocking(*args, **kwargs)


def in_async_code() -> bool:
    """Whether the caller awaits: by the run it belongs to; outside of runs, by the event loop of its thread."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or asyncio._get_running_loop() is None:
        return False
    run = TASK.get() or FLOW.get()
    if run is None:
        return True
    return run.task.isasync if hasattr(run, "task") else run.flow.isasync


async def in_a_thread(blocking: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What `blocking` returns, from a thread made for it; a cancelled caller leaves the thread to its end."""
    import asyncio

    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[R] = loop.create_future()
    context = copy_context()

    def settle(value: Any, error: BaseException | None) -> None:
        if outcome.done():
            return
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(value)

    def work() -> None:
        value: Any = None
        error: BaseException | None = None
        try:
            value = context.run(blocking, *args, **kwargs)
        except BaseException as raised:
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=work, name="penstock-waiting", daemon=True).start()
    return await outcome
