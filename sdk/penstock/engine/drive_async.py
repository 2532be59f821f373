"""Performs a life's effects in an event loop. The thread twin is `drive`; neither knows what a run is."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any

from .drive import call_here
from .effects import Acquire, Advance, Blocking, Call, Callback, ConsumerClosed, Drain, Effect, Emit, Sleep, Turn, Wait
from .pool import awaiting, worker_resources

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
    from typing import TypeVar

    from ..errors import RunTimedOut
    from ..states import State
    from .drive import Life

    R = TypeVar("R")


async def drive_async(life: Generator[Effect, Any, R]) -> R:
    """Live the life to its end."""
    end = await drive_async_to_turn(life, leave=False)
    assert not isinstance(end, Turn)
    return end


async def drive_async_to_turn(life: Generator[Effect, Any, R], *, leave: bool = True) -> R | Turn:
    """As `drive_async`, or up to a turn that is not there yet, which is the answer: drive on when it is."""
    try:
        effect = next(life)
        while True:
            if leave and isinstance(effect, Turn) and not effect.once.happened():
                return effect
            try:
                outcome = await perform(effect)
            except BaseException as error:
                effect = life.throw(error)
            else:
                effect = life.send(outcome)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


async def drive_async_generator(life: Life, finish: Callable[[State[Any]], object]) -> AsyncGenerator[Any, Any]:
    """As `drive_async`, handing on what a generator yields; `finish` gets the final state and may raise."""
    closing = False
    try:
        effect = next(life)
        while True:
            try:
                outcome = (yield effect.value) if isinstance(effect, Emit) else await perform(effect)
            except GeneratorExit:
                closing = True
                effect = life.throw(ConsumerClosed())
            except BaseException as error:
                effect = life.throw(error)
            else:
                effect = life.send(outcome)
    except StopIteration as end:
        if closing:
            raise GeneratorExit from None
        finish(end.value)


def drive_as_main(life: Life, interrupted: Callable[[BaseException], object]) -> State[Any]:
    """As `drive_async`, in a loop of its own that a signal handler may raise out of.

    What it raises cancels the life, once `interrupted` has taken note of the reason.
    """
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        main = loop.create_task(drive_async(life))
        try:
            return loop.run_until_complete(main)
        except BaseException as error:
            if main.done():
                raise
            interrupted(error)
            main.cancel()
            return loop.run_until_complete(main)


def drive_apart(life: Life, interrupted: Callable[[BaseException], object]) -> State[Any]:
    """As `drive_as_main`, in a thread of its own where a loop runs in this one already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return drive_as_main(life, interrupted)
    from concurrent.futures import ThreadPoolExecutor

    context = contextvars.copy_context()
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(context.run, drive_as_main, life, interrupted).result()


def drive_in_thread(life: Life, context: contextvars.Context) -> State[Any] | Turn:
    """As `drive_async_to_turn`, in `context` and a thread without a loop, which a pool's worker keeps for its next."""
    keep = worker_resources()
    if keep is None:
        with asyncio.Runner() as runner:
            return runner.run(drive_async_to_turn(life), context=context)
    if "loop" not in keep:
        keep["loop"] = asyncio.Runner()
    kept: asyncio.Runner = keep["loop"]
    return kept.run(drive_async_to_turn(life), context=context)


async def perform(effect: Effect) -> Any:
    """Do what one effect says and answer with its outcome."""
    if isinstance(effect, Call):
        return await _call(effect)
    if isinstance(effect, Callback):
        value = effect.fn(*effect.args)
        return await value if hasattr(value, "__await__") else value
    if isinstance(effect, Blocking):
        return await asyncio.to_thread(effect.fn, *effect.args)
    if isinstance(effect, Wait):
        for future in effect.futures:
            await future.wait_async()
        return None
    if isinstance(effect, Sleep):
        return await asyncio.sleep(effect.seconds)
    if isinstance(effect, Advance):
        return await _limited(effect.timeout, effect.error, _advance(effect))
    if isinstance(effect, Acquire):
        assert effect.manager is not None
        with awaiting():
            return await effect.manager.aacquire_lock(effect.key, effect.holder)
    if isinstance(effect, Drain):
        return await asyncio.to_thread(effect.runner.drain, abandon=effect.abandon, grace=effect.grace)
    raise TypeError(f"the asyncio driver does not know {effect!r}")


async def _call(effect: Call) -> Any:
    if effect.timeout is None:
        value = effect.fn(*effect.args, **effect.kwargs)
        return await value if hasattr(value, "__await__") else value
    if not asyncio.iscoroutinefunction(effect.fn):
        value = call_here(effect)
        return await _limited(effect.timeout, effect.error, value) if hasattr(value, "__await__") else value
    return await _limited(effect.timeout, effect.error, effect.fn(*effect.args, **effect.kwargs))


async def _limited(timeout: float | None, error: RunTimedOut | None, work: Awaitable[Any]) -> Any:
    """Await `work`; raise `error` where it took longer, also if the work swallowed its cancellation."""
    if timeout is None:
        return await work
    limit = asyncio.timeout(timeout)
    try:
        async with limit:
            value = await work
    except TimeoutError:
        if not limit.expired():
            raise  # user code's own
    except BaseException as raised:
        if limit.expired() and error is not None:
            raise error from raised
        raise
    if limit.expired() and error is not None:
        raise error from None
    return value


async def _advance(effect: Advance) -> tuple[bool, Any]:
    if not hasattr(effect.producer, "asend"):
        try:
            return False, effect.producer.send(effect.sent)
        except StopIteration as end:
            return True, end.value
    try:
        if effect.thrown is not None:
            return False, await effect.producer.athrow(effect.thrown)
        return False, await effect.producer.asend(effect.sent)
    except StopAsyncIteration:
        return True, None
