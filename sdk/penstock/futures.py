"""Handles on runs that go on somewhere else, made by `.submit` and `.map`.

A future is finished once, by the engine, with the run's final state (a run that could not start ends in Pending,
named NotReady). Waiting costs a lock per waiter and nothing before that: there may be 100,000 of these.
"""

from __future__ import annotations

import time
from _thread import allocate_lock
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from .errors import FutureTimedOut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .engine.runs import TaskRun
    from .states import State

__all__ = [
    "DoneAndNotDone",
    "PenstockFuture",
    "PenstockFutureList",
    "as_completed",
    "resolve_futures_to_results",
    "resolve_futures_to_states",
    "wait",
]

R = TypeVar("R")

_registering = allocate_lock()  # one for all: it is held for a list append


class PenstockFuture(Generic[R]):
    """A task run that was submitted. Once it is done, its id, name and final state are all that is kept of it."""

    __slots__ = ("__weakref__", "_callbacks", "_final", "_name", "_run", "task_run_id")

    def __init__(self, run: TaskRun) -> None:
        self.task_run_id = run.id
        self._run: TaskRun | None = run
        self._name = ""
        self._final: State[Any] | None = None
        self._callbacks: list[Callable[[PenstockFuture[R]], object]] | None = None

    @property
    def name(self) -> str:
        """The name of the task run."""
        run = self._run
        return self._name if run is None else run.name

    @property
    def state(self) -> State[Any]:
        """The state of the run, as it is now."""
        run = self._run
        if run is not None:
            return run.state
        assert self._final is not None
        return self._final

    def done(self) -> bool:
        """Whether the run has ended, or will never start."""
        return self._final is not None

    def wait(self, timeout: float | None = None) -> None:
        """Return when the run is done, or after `timeout` seconds."""
        if self._final is not None:
            return
        from .engine.pool import blocked

        lock = allocate_lock()
        lock.acquire()

        def wake(_: PenstockFuture[R]) -> None:
            lock.release()

        self.add_done_callback(wake)
        with blocked():
            if not lock.acquire(timeout=-1 if timeout is None else max(timeout, 0)):
                self._forget(wake)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """What the task returned; raises what ended it, or returns that exception with `raise_on_failure=False`."""
        self.wait(timeout)
        return self._outcome(timeout, raise_on_failure)

    async def wait_async(self, timeout: float | None = None) -> None:
        """`wait`, without blocking the event loop."""
        if self._final is not None:
            return
        import asyncio

        from .engine.pool import awaiting

        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def wake(_: PenstockFuture[R]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(done.set)

        self.add_done_callback(wake)
        try:
            # Not wait_for, which before Python 3.12 loses a cancellation that comes with what it waits for.
            with awaiting():
                async with asyncio.timeout(timeout):
                    await done.wait()
        except TimeoutError:
            return
        finally:
            self._forget(wake)

    async def result_async(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """`result`, without blocking the event loop."""
        await self.wait_async(timeout)
        if self._final is not None and self._final.is_stored_only:
            return await self._final.aresult(raise_on_failure)  # type: ignore[no-any-return]
        return self._outcome(timeout, raise_on_failure)

    def _outcome(self, timeout: float | None, raise_on_failure: bool) -> R:
        if self._final is None:
            raise FutureTimedOut(f"task run {self.name} is not done after {timeout} s; it goes on")
        return self._final.result(raise_on_failure)  # type: ignore[no-any-return]

    def add_done_callback(self, callback: Callable[[PenstockFuture[R]], object]) -> None:
        """Call `callback(future)` when the run is done, at once if it is; in whatever thread ends it."""
        with _registering:
            if self._final is None:
                if self._callbacks is None:
                    self._callbacks = []
                self._callbacks.append(callback)
                return
        callback(self)

    def _forget(self, callback: Callable[[PenstockFuture[R]], object]) -> None:
        """Whoever waited and does not any more leaves nothing behind."""
        with _registering:
            if self._callbacks is not None and callback in self._callbacks:
                self._callbacks.remove(callback)

    def finish(self, state: State[Any]) -> None:
        """Called once, by the engine, with the final state."""
        with _registering:
            if self._run is not None:
                self._name = self._run.name
            self._final, self._run = state, None
            callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            try:
                callback(self)
            except Exception:
                from .logging import engine_logger

                engine_logger().exception("A done-callback of task run %s raised", self.name)

    def __repr__(self) -> str:
        return f"PenstockFuture({self.name!r}, {self.state!r})"


class PenstockFutureList(list[PenstockFuture[R]]):
    """What `.map` gives: its futures, in the order of the input."""

    def wait(self, timeout: float | None = None) -> None:
        """Return when all are done, or after `timeout` seconds."""
        wait(self, timeout)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> list[R]:
        """The results of all, in order; `timeout` is for all together."""
        end = None if timeout is None else time.monotonic() + timeout
        return [f.result(None if end is None else max(end - time.monotonic(), 0), raise_on_failure) for f in self]


class DoneAndNotDone(NamedTuple):
    """What `wait` found."""

    done: set[PenstockFuture[Any]]
    not_done: set[PenstockFuture[Any]]


def wait(futures: Iterable[PenstockFuture[Any]], timeout: float | None = None) -> DoneAndNotDone:
    """Wait until all are done, or `timeout` seconds for all together; tells which are."""
    every = list(futures)
    end = None if timeout is None else time.monotonic() + timeout
    for future in every:
        future.wait(None if end is None else max(end - time.monotonic(), 0))
    done = {future for future in every if future.done()}
    return DoneAndNotDone(done, set(every) - done)


def as_completed(futures: Iterable[PenstockFuture[R]], timeout: float | None = None) -> Iterator[PenstockFuture[R]]:
    """Each future when it is done, the first first; `FutureTimedOut` where not all are after `timeout` seconds."""
    from _queue import Empty, SimpleQueue

    from .engine.pool import blocked

    every = set(futures)
    end = None if timeout is None else time.monotonic() + timeout
    ended: SimpleQueue[PenstockFuture[R]] = SimpleQueue()
    for future in every:
        future.add_done_callback(ended.put)
    for left in range(len(every), 0, -1):
        try:
            try:
                future = ended.get_nowait()
            except Empty:
                with blocked():
                    future = ended.get(timeout=None if end is None else max(end - time.monotonic(), 0))
        except Empty:
            raise FutureTimedOut(f"{left} of {len(every)} futures are not done after {timeout} s") from None
        yield future


def resolve_futures_to_results(value: Any) -> Any:
    """`value` with each future in it, in whatever container, replaced by its result. Waits for all of them.

    Raises UpstreamNotReady where one of their runs did not complete, and is not wrapped in `allow_failure`.
    """
    from .engine.inputs import data_of, visit

    def result(held: Any, tolerant: bool) -> Any:
        if not isinstance(held, PenstockFuture):
            return held
        held.wait()
        return data_of(held, tolerant)

    return visit(value, result)


def resolve_futures_to_states(value: Any) -> Any:
    """`value` with each future in it, in whatever container, replaced by its final state. Waits for all of them."""
    from .engine.inputs import find, to_states

    wait(held for held, _ in find(value) if isinstance(held, PenstockFuture))
    return to_states(value)
