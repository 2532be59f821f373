"""Performs a life's effects in the calling thread. The asyncio twin is `drive_async`; neither knows what a run is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from .effects import Acquire, Advance, Blocking, Call, Callback, ConsumerClosed, Drain, Effect, Emit, Sleep, Turn, Wait

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from ..states import State

    Life = Generator[Effect, Any, State[Any]]
    R = TypeVar("R")


def drive(life: Generator[Effect, Any, R], call: Callable[[Call], Any] | None = None) -> R:
    """Live the life to its end; `call` runs user code somewhere else than here."""
    end = drive_to_turn(life, call, leave=False)
    assert not isinstance(end, Turn)
    return end


def drive_to_turn(
    life: Generator[Effect, Any, R], call: Callable[[Call], Any] | None = None, *, leave: bool = True
) -> R | Turn:
    """As `drive`, or up to a turn that is not there yet, which is the answer: drive on when it is."""
    try:
        effect = next(life)
        while True:
            if leave and isinstance(effect, Turn) and not effect.once.happened():
                return effect
            try:
                outcome = perform(effect, call)
            except BaseException as error:
                effect = life.throw(error)
            else:
                effect = life.send(outcome)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]


def drive_generator(life: Life) -> Generator[Any, Any, State[Any]]:
    """As `drive`, handing on what a generator flow or task yields."""
    closing = False
    try:
        effect = next(life)
        while True:
            try:
                outcome = (yield effect.value) if isinstance(effect, Emit) else perform(effect)
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
        return end.value  # type: ignore[no-any-return]


def perform(effect: Effect, call: Callable[[Call], Any] | None = None) -> Any:
    """Do what one effect says and answer with its outcome."""
    kind = type(effect)
    if kind is Call:
        assert isinstance(effect, Call)
        return call_here(effect) if call is None else call(effect)
    if isinstance(effect, Callback):
        return settle(effect.fn(*effect.args))
    if isinstance(effect, Blocking):
        return effect.fn(*effect.args)
    if isinstance(effect, Wait):
        for future in effect.futures:
            future.wait()
        return None
    if isinstance(effect, Sleep):
        return time.sleep(effect.seconds)
    if isinstance(effect, Advance):
        return _limited(effect.timeout, effect.error, lambda: _advance(effect))
    if isinstance(effect, Acquire):
        return _acquire(effect)
    if isinstance(effect, Drain):
        return effect.runner.drain(abandon=effect.abandon, grace=effect.grace)
    raise TypeError(f"the thread driver does not know {effect!r}")


def call_here(effect: Call) -> Any:
    """Run user code in this thread, under its deadline if it has one."""
    if effect.timeout is None:
        return effect.fn(*effect.args, **effect.kwargs)
    return _limited(effect.timeout, effect.error, lambda: effect.fn(*effect.args, **effect.kwargs))


def settle(value: Any) -> Any:
    """The value of a callback: a coroutine is run to its end, in a thread of its own where a loop runs in this one."""
    if not hasattr(value, "__await__"):
        return value
    import asyncio

    async def awaited() -> Any:
        return await value

    return run_in_new_loop(awaited(), asyncio)


def run_in_new_loop(coroutine: Coroutine[Any, Any, Any], asyncio: Any) -> Any:
    """What the coroutine returns, from a loop that is made for it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    import contextvars
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as executor:
        return executor.submit(contextvars.copy_context().run, asyncio.run, coroutine).result()


def _limited(timeout: float | None, error: Any, call: Callable[[], Any]) -> Any:
    if timeout is None:
        return call()
    from .timeouts import within

    return within(timeout, error, call)


def _acquire(effect: Acquire) -> bool:
    from .pool import blocked

    assert effect.manager is not None
    with blocked():
        return effect.manager.acquire_lock(effect.key, effect.holder)


def _advance(effect: Advance) -> tuple[bool, Any]:
    try:
        if effect.thrown is not None:
            return False, effect.producer.throw(effect.thrown)
        return False, effect.producer.send(effect.sent)
    except StopIteration as end:
        return True, end.value
