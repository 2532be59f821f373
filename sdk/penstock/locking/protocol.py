"""What a lock manager does. Called by transactions; a manager knows nothing of them.

A key is locked by a holder, a text that the caller chooses; whoever asks again as the same holder has it already.
"""

from __future__ import annotations

import abc
from random import uniform
from time import monotonic, sleep

FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.5  # seconds between looks at a lock that somebody else holds


class LockManager(abc.ABC):
    """Locks by key. Subclasses say how one try is made; waiting is the same for all."""

    @abc.abstractmethod
    def try_lock(self, key: str, holder: str, hold_timeout: float | None) -> bool:
        """Lock the key if it is free, without waiting. After `hold_timeout` seconds it is free again."""

    @abc.abstractmethod
    def release_lock(self, key: str, holder: str) -> None:
        """Free the key. Raises ValueError where the holder does not hold it."""

    @abc.abstractmethod
    def is_locked(self, key: str) -> bool:
        """Whether anyone holds it."""

    @abc.abstractmethod
    def is_lock_holder(self, key: str, holder: str) -> bool:
        """Whether this holder holds it."""

    def acquire_lock(
        self, key: str, holder: str, acquire_timeout: float | None = None, hold_timeout: float | None = None
    ) -> bool:
        """Wait for the key, at most `acquire_timeout` seconds, and lock it; whether that was possible."""
        pauses = _Pauses(acquire_timeout)
        while not self.try_lock(key, holder, hold_timeout):
            if pauses.over():
                return False
            sleep(pauses.next())
        return True

    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Wait until nobody holds the key, at most `timeout` seconds; whether nobody does."""
        pauses = _Pauses(timeout)
        while self.is_locked(key):
            if pauses.over():
                return False
            sleep(pauses.next())
        return True

    async def aacquire_lock(
        self, key: str, holder: str, acquire_timeout: float | None = None, hold_timeout: float | None = None
    ) -> bool:
        """`acquire_lock`, for code that awaits."""
        import asyncio

        pauses = _Pauses(acquire_timeout)
        while not await asyncio.to_thread(self.try_lock, key, holder, hold_timeout):
            if pauses.over():
                return False
            await asyncio.sleep(pauses.next())
        return True

    async def await_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """`wait_for_lock`, for code that awaits."""
        import asyncio

        pauses = _Pauses(timeout)
        while await asyncio.to_thread(self.is_locked, key):
            if pauses.over():
                return False
            await asyncio.sleep(pauses.next())
        return True


class _Pauses:
    """How long to wait before the next look, up to an end."""

    def __init__(self, timeout: float | None) -> None:
        self._end = None if timeout is None else monotonic() + timeout
        self._pause = FIRST_PAUSE / 2

    def over(self) -> bool:
        return self._end is not None and monotonic() >= self._end

    def next(self) -> float:
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        pause = self._pause * uniform(0.5, 1)  # noqa: S311 - those who began to wait together must not look together
        return pause if self._end is None else max(0.0, min(pause, self._end - monotonic()))


def not_held(key: str, holder: str) -> ValueError:
    """What `release_lock` raises."""
    return ValueError(f"the lock of {key!r} is not held by {holder!r}: it was never taken, or held for too long")
