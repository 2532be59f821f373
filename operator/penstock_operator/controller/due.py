"""One heap of due times for every timer: deadlines, schedules, backoff, time to live. A key has one time, the earliest
that was asked for since it last came due."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections.abc import Callable, Hashable
from datetime import datetime
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class DueTimes(Generic[K]):
    """Calls back with each key when its time comes. The wall clock is asked again at least every `granularity` s, so
    that a clock that steps is noticed."""

    def __init__(self, clock: Callable[[], datetime], callback: Callable[[K], None], granularity: float = 30.0) -> None:
        self._clock, self._callback, self._granularity = clock, callback, granularity
        self._heap: list[tuple[datetime, int, K]] = []
        self._times: dict[K, datetime] = {}
        self._count = 0
        self._wake = asyncio.Event()

    def at(self, key: K, time: datetime) -> None:
        """Call back at `time`, unless the key comes earlier anyway."""
        known = self._times.get(key)
        if known is not None and known <= time:
            return
        self._times[key] = time
        self._count += 1
        heapq.heappush(self._heap, (time, self._count, key))
        if self._heap[0][2] == key:
            self._wake.set()

    def clear(self) -> None:
        """Forget every key."""
        self._times.clear()
        self._heap.clear()

    def drop(self, key: K) -> None:
        """Forget a key."""
        self._times.pop(key, None)

    def fire(self, now: datetime) -> None:
        """Call back with every key that is due."""
        while self._heap and self._heap[0][0] <= now:
            time, _, key = heapq.heappop(self._heap)
            if self._times.get(key) == time:
                del self._times[key]
                self._callback(key)

    async def run(self) -> None:
        """Fire for ever."""
        while True:
            now = self._clock()
            self.fire(now)
            wait = self._granularity
            if self._heap:
                wait = min(wait, max(0.0, (self._heap[0][0] - now).total_seconds()))
            self._wake.clear()
            with contextlib.suppress(TimeoutError):  # and not wait_for, which loses a cancellation that comes with it
                async with asyncio.timeout(wait):
                    await self._wake.wait()

    def __len__(self) -> int:
        return len(self._times)
