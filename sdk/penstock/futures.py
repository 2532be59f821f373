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

__all__ = ["DoneAndNotDone", "PenstockFuture", "PenstockFutureList", "as_completed", "wait"]

R = TypeVar("R")

_registering = allocate_lock()  # one for all: it is held for a list append


class PenstockFuture(Generic[R]):
    """A task run that was submitted."""

    __slots__ = ("__weakref__", "_callbacks", "_final", "_run")

    def __init__(self, run: TaskRun) -> None:
        self._run = run
        self._final: State[Any] | None = None
        self._callbacks: list[Callable[[PenstockFuture[R]], object]] | None = None

    @property
    def task_run_id(self) -> str:
        """The id of the task run."""
        return self._run.id

    @property
    def name(self) -> str:
        """The name of the task run."""
        return self._run.name

    @property
    def state(self) -> State[Any]:
        """The state of the run, as it is now."""
        return self._final or self._run.state

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
        self.add_done_callback(lambda _: lock.release())
        with blocked():
            lock.acquire(timeout=-1 if timeout is None else max(timeout, 0))

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
        with awaiting():
            try:
                await asyncio.wait_for(done.wait(), timeout)
            except TimeoutError:
                return

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

    def finish(self, state: State[Any]) -> None:
        """Called once, by the engine, with the final state."""
        with _registering:
            self._final = state
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
