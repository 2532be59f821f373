"""Locks among the threads and coroutines of one process."""

from __future__ import annotations

from threading import Condition
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, Self

from .protocol import LockManager, not_held

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future


class MemoryLockManager(LockManager):
    """One table for the whole process, however often this is called."""

    _only: ClassVar[MemoryLockManager | None] = None

    _changed: Condition
    _held: dict[str, tuple[str, float | None]]
    _waiting: dict[str, list[tuple[AbstractEventLoop, Future[None]]]]

    def __new__(cls) -> Self:
        if cls._only is None:
            made = super().__new__(cls)
            made._changed, made._held, made._waiting = Condition(), {}, {}
            cls._only = made
        return cls._only  # type: ignore[return-value]

    def try_lock(self, key: str, holder: str, hold_timeout: float | None) -> bool:
        """Lock the key if it is free."""
        with self._changed:
            return self._take(key, holder, hold_timeout)

    def acquire_lock(
        self, key: str, holder: str, acquire_timeout: float | None = None, hold_timeout: float | None = None
    ) -> bool:
        """Wait for the key, woken when it becomes free."""
        end = None if acquire_timeout is None else monotonic() + acquire_timeout
        with self._changed:
            while not self._take(key, holder, hold_timeout):
                left = None if end is None else end - monotonic()
                if left is not None and left <= 0:
                    return False
                expires = self._held[key][1]
                waits = [t for t in (left, None if expires is None else expires - monotonic()) if t is not None]
                self._changed.wait(min(waits, default=None))
            return True

    async def aacquire_lock(
        self, key: str, holder: str, acquire_timeout: float | None = None, hold_timeout: float | None = None
    ) -> bool:
        """As `acquire_lock`, woken in the event loop."""
        import asyncio

        loop, end = asyncio.get_running_loop(), None if acquire_timeout is None else monotonic() + acquire_timeout
        while True:
            freed: asyncio.Future[None] = loop.create_future()
            with self._changed:
                if self._take(key, holder, hold_timeout):
                    return True
                expires = self._held[key][1]
                waiter = (loop, freed)
                self._waiting.setdefault(key, []).append(waiter)
            waits = [max(t - monotonic(), 0) for t in (end, expires) if t is not None]
            try:
                await asyncio.wait((freed,), timeout=min(waits, default=None))
            finally:
                with self._changed:
                    waiting = self._waiting.get(key, [])
                    if waiter in waiting:
                        waiting.remove(waiter)
            if end is not None and monotonic() >= end:
                return self.try_lock(key, holder, hold_timeout)

    def _wake(self, key: str) -> None:
        self._changed.notify_all()
        for loop, freed in self._waiting.pop(key, ()):
            if not loop.is_closed():
                loop.call_soon_threadsafe(_done, freed)

    def _take(self, key: str, holder: str, hold_timeout: float | None) -> bool:
        if self._holder(key) not in (None, holder):
            return False
        self._held[key] = (holder, None if hold_timeout is None else monotonic() + hold_timeout)
        return True

    def _holder(self, key: str) -> str | None:
        holder, expires = self._held.get(key, (None, None))
        return None if expires is not None and expires <= monotonic() else holder

    def release_lock(self, key: str, holder: str) -> None:
        """Free the key, and wake who waits."""
        with self._changed:
            if self._holder(key) != holder:
                raise not_held(key, holder)
            del self._held[key]
            self._wake(key)

    def is_locked(self, key: str) -> bool:
        """Whether anyone holds it."""
        with self._changed:
            return self._holder(key) is not None

    def is_lock_holder(self, key: str, holder: str) -> bool:
        """Whether this holder holds it."""
        with self._changed:
            return self._holder(key) == holder

    def __reduce__(self) -> Any:
        return MemoryLockManager, ()


def _done(freed: Future[None]) -> None:
    if not freed.done():
        freed.set_result(None)
