"""Something that happens once, in any thread, and can be waited for by threads and by coroutines.

Slots, answers to a pause and messages are these; the engine's drivers wait for them as for futures.
"""

from __future__ import annotations

import time
from _thread import allocate_lock
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_registering = allocate_lock()  # one for all: it is held for a list append


class Once:
    """Not happened yet, then happened."""

    __slots__ = ("_callbacks", "_happened")

    def __init__(self) -> None:
        self._happened = False
        self._callbacks: list[Callable[[], object]] = []

    def happened(self) -> bool:
        """Whether there is nothing to wait for."""
        return self._happened

    def happen(self) -> bool:
        """Wake whoever waits; False where it had happened already."""
        with _registering:
            if self._happened:
                return False
            self._happened = True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()
        return True

    def add_callback(self, callback: Callable[[], object]) -> None:
        """Call `callback()` when it happens, at once if it has; in whatever thread makes it happen."""
        with _registering:
            if not self._happened:
                self._callbacks.append(callback)
                return
        callback()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait, `timeout` seconds at most; whether it has happened. A worker's slot is another's meanwhile."""
        if self._happened:
            return True
        from .engine.pool import blocked

        lock = allocate_lock()
        lock.acquire()
        self.add_callback(lock.release)
        with blocked():
            if timeout is None:
                return lock.acquire()
            end = time.monotonic() + max(timeout, 0)
            while (left := end - time.monotonic()) > 0:
                if lock.acquire(timeout=min(left, 4_000_000)):  # what a lock can wait for has a bound
                    return True
        self._forget(lock.release)
        return self._happened

    async def wait_async(self, timeout: float | None = None) -> bool:
        """`wait`, without blocking the event loop."""
        if self._happened:
            return True
        import asyncio

        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def wake() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(done.set)

        from .engine.pool import awaiting

        self.add_callback(wake)
        try:
            # Not wait_for, which before Python 3.12 loses a cancellation that comes with what it waits for.
            with awaiting():
                async with asyncio.timeout(timeout):
                    await done.wait()
        except TimeoutError:
            return self._happened
        finally:
            self._forget(wake)
        return True

    def _forget(self, callback: Callable[[], object]) -> None:
        """Whoever waited and does not any more leaves nothing behind."""
        with _registering, suppress(ValueError):
            self._callbacks.remove(callback)
