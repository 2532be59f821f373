"""A queue of keys: a key is in it once, is worked on by one task at a time, and comes back if it was named meanwhile.

Failures come back after a delay that doubles, with jitter, so that a broken object costs little and stops no other.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

FIRST_BACKOFF = 0.2
MAX_BACKOFF = 60.0
MAX_DOUBLINGS = 16  # far past the longest backoff, and far from where a float overflows


class KeyQueue(Generic[K]):
    """Keys that want attention. Not thread-safe: one event loop."""

    def __init__(self) -> None:
        self._waiting: deque[K] = deque()
        self._queued: dict[K, float] = {}  # key -> when it was named, for the age of the oldest
        self._named: dict[K, float] = {}  # key that waits or is worked on -> when it was named last before the work
        self._working: dict[K, float] = {}  # key -> since when
        self._again: set[K] = set()
        self._failures: dict[K, int] = {}
        self._wake, self._rest = asyncio.Event(), asyncio.Event()
        self._closed = False

    def clear(self) -> None:
        """Forget every key but those being worked on, and give out keys again."""
        self._waiting.clear()
        for key in self._queued:
            del self._named[key]
        self._queued.clear()
        self._again.clear()
        self._failures.clear()
        self._closed = False

    async def close(self) -> None:
        """Give out no more keys, and return once nothing is worked on."""
        self._closed = True
        while self._working:
            self._rest.clear()
            await self._rest.wait()

    def add(self, key: K) -> None:
        """Name a key. Queued already: nothing. Being worked on: once more afterwards."""
        if key in self._working:
            self._again.add(key)
            return
        now = self._named[key] = time.monotonic()
        if key not in self._queued:
            self._queued[key] = now
            self._waiting.append(key)
            self._wake.set()

    async def take(self) -> K:
        """The next key; `done` must follow."""
        while self._closed or not self._waiting:
            self._wake.clear()
            await self._wake.wait()
        key = self._waiting.popleft()
        del self._queued[key]
        self._working[key] = time.monotonic()
        return key

    def done(self, key: K, *, failed: bool = False) -> float | None:
        """End the work on a key; after a failure, the seconds after which it should be named again."""
        self._working.pop(key, None)
        self._named.pop(key, None)
        if not self._working:
            self._rest.set()
        if key in self._again:
            self._again.discard(key)
            self.add(key)
        if not failed:
            self._failures.pop(key, None)
            return None
        count = self._failures[key] = self._failures.get(key, 0) + 1
        doubled = FIRST_BACKOFF * 2.0 ** min(count - 1, MAX_DOUBLINGS)
        return min(doubled, MAX_BACKOFF) * random.uniform(0.75, 1.25)  # noqa: S311

    def named(self, key: K) -> float:
        """The monotonic time at which a key that is worked on was named last before the work began.

        What is read after it shows all that the key was named for.
        """
        return self._named[key]

    def failures(self, key: K) -> int:
        """How often the work on a key has failed in a row."""
        return self._failures.get(key, 0)

    def keys(self) -> Iterable[K]:
        """Keys that wait."""
        return self._queued.keys()

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def working(self) -> int:
        """Keys being worked on."""
        return len(self._working)

    def longest_work(self) -> float:
        """Seconds that the key that is worked on longest has been, 0 when there is none."""
        return time.monotonic() - min(self._working.values()) if self._working else 0.0

    def oldest_age(self) -> float:
        """Seconds the oldest queued key has waited, 0 when there is none; asked by the thread that serves metrics."""
        named = list(self._queued.values())
        return time.monotonic() - min(named) if named else 0.0
