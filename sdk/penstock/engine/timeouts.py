"""Deadlines for synchronous code. Called by the thread driver only, and imported when the first timeout is used.

In the main thread a signal interrupts even a blocking call. In other threads an exception is planted that the thread
meets at its next bytecode: pure Python ends at once, a blocking call in C (a socket without a timeout, `time.sleep`)
ends first. Code that must be stopped whatever it does belongs in a process (`ProcessPoolTaskRunner`).
"""

from __future__ import annotations

import heapq
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from ..errors import RunTimedOut


class _Deadline:
    """One call's deadline; `kind` is an exception class of its own, so that nested deadlines are told apart."""

    __slots__ = ("at", "done", "fired", "kind", "thread")

    def __init__(self, at: float, error: RunTimedOut) -> None:
        self.at = at
        self.kind: type[RunTimedOut] = type(
            type(error).__name__, (type(error),), {"__module__": type(error).__module__}
        )
        self.thread = threading.get_ident()
        self.fired = self.done = False

    def __lt__(self, other: _Deadline) -> bool:
        return self.at < other.at


class _Stack(threading.local):
    """The deadlines that the current thread is inside of, outermost first."""

    def __init__(self) -> None:
        self.deadlines: list[_Deadline] = []


_stack = _Stack()


def within(seconds: float, error: RunTimedOut, call: Callable[[], Any]) -> Any:
    """What `call` returns; raises `error` where it has not returned after `seconds`, also if it swallowed the news."""
    clock: _Alarm | _Watchdog = _alarm if threading.current_thread() is threading.main_thread() else _watchdog
    deadline = _Deadline(time.monotonic() + seconds, error)
    stack = _stack.deadlines
    try:
        try:
            stack.append(deadline)
            clock.arm(deadline)
            value = call()
        finally:
            _leave(clock, deadline)
    except BaseException as interrupted:
        _leave(clock, deadline)  # again: any deadline may pass in the midst of it, but each of them once
        if isinstance(interrupted, deadline.kind):
            raise error.with_traceback(interrupted.__traceback__) from None
        raise
    for outer in stack:
        if outer.fired:  # its exception was lost to ours, or to user code that caught it
            raise outer.kind(str(error))
    if deadline.fired:
        raise error
    return value


def _leave(clock: _Alarm | _Watchdog, deadline: _Deadline) -> None:
    """Have it fire no more, nor those inside of it that were not left."""
    deadline.done = True
    stack = _stack.deadlines
    if deadline in stack:
        del stack[stack.index(deadline) :]
    clock.disarm(deadline)


class _Alarm:
    """The main thread's clock: one interval timer, set for the nearest deadline."""

    def __init__(self) -> None:
        self._previous: Any = None
        self._rings = False

    def arm(self, _deadline: _Deadline) -> None:
        if not self._rings:
            self._previous = signal.signal(signal.SIGALRM, self._ring)
            self._rings = True
        self._set()

    def disarm(self, _deadline: _Deadline) -> None:
        self._set()
        if self._rings and not _stack.deadlines:
            signal.signal(signal.SIGALRM, self._previous)
            self._rings = False

    def _set(self) -> None:
        waiting = [d.at for d in _stack.deadlines if not (d.fired or d.done)]
        signal.setitimer(signal.ITIMER_REAL, max(min(waiting) - time.monotonic(), 1e-6) if waiting else 0)

    def _ring(self, _signal: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        for deadline in _stack.deadlines:  # the outermost that has passed ends the inner ones with it
            if deadline.at <= now and not (deadline.fired or deadline.done):
                deadline.fired = True
                self._set()
                raise deadline.kind
        self._set()


class _Watchdog:
    """The clock of all other threads: one thread that sleeps until the nearest deadline."""

    def __init__(self) -> None:
        # Who arms and disarms takes the lock itself. A condition's own `__enter__` is Python: what is planted would be
        # met within it, where the lock is taken and nobody is bound to give it back yet.
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._heap: list[_Deadline] = []
        self._thread: threading.Thread | None = None

    def arm(self, deadline: _Deadline) -> None:
        with self._lock:
            heapq.heappush(self._heap, deadline)
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="penstock-timeouts", daemon=True)
                self._thread.start()
            elif self._heap[0] is deadline:
                self._changed.notify()

    def disarm(self, deadline: _Deadline) -> None:
        with self._lock:
            if deadline.fired:
                _plant(deadline.thread, None)  # not met yet: it must not surface in somebody else's code

    def _watch(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                while self._heap and (self._heap[0].done or self._heap[0].at <= now):
                    deadline = heapq.heappop(self._heap)
                    if not deadline.done:
                        deadline.fired = True
                        _plant(deadline.thread, deadline.kind)
                self._changed.wait(self._heap[0].at - now if self._heap else None)


def _plant(thread: int, kind: type[BaseException] | None) -> None:
    """Have `thread` raise `kind` at its next bytecode; None takes back what it has not met yet."""
    import ctypes

    target = ctypes.py_object(kind) if kind is not None else ctypes.py_object()
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), target)


_alarm = _Alarm()
_watchdog = _Watchdog()
