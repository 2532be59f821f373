"""A queue of keys: a key is in it once, is worked on by one task at a time, and comes back if it was named meanwhile.

Failures come back after a delay that doubles, with jitter, so that a broken object costs little and stops no other.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

from ..backoff import backoff

K = TypeVar("K", bound=Hashable)

OVERDUE = 30.0  # seconds after which patient keys come, too, while there are others
SHARE = 8  # of so many keys one is patient then
FIRST_BACKOFF = 0.2
MAX_BACKOFF = 60.0


class KeyQueue(Generic[K]):
    """Keys that want attention. Not thread-safe: one event loop."""

    def __init__(self, patient: Callable[[K], bool] = lambda _: False) -> None:
        """`patient` keys are given out while there is no other, and some of those that have waited for long."""
        self._is_patient = patient
        self._first: OrderedDict[K, float] = OrderedDict()  # key -> when it was named, for the age of the oldest
        self._queued: OrderedDict[K, float] = OrderedDict()
        self._patient: OrderedDict[K, float] = OrderedDict()
        self._named: dict[K, float] = {}  # key that waits or is worked on -> when it was named last before the work
        self._working: dict[K, float] = {}  # key -> since when
        self._again: dict[K, bool] = {}  # key -> whether it is to be first
        self._failures: dict[K, int] = {}
        self._wake, self._rest = asyncio.Event(), asyncio.Event()
        self._closed = False
        self._given = 0

    def clear(self) -> None:
        """Forget every key but those being worked on, and give out keys again."""
        for key in self.keys():
            del self._named[key]
        self._first.clear()
        self._queued.clear()
        self._patient.clear()
        self._again.clear()
        self._failures.clear()
        self._closed = False

    async def close(self) -> None:
        """Give out no more keys, and return once nothing is worked on."""
        self._closed = True
        while self._working:
            self._rest.clear()
            await self._rest.wait()

    def add(self, key: K, *, first: bool = False) -> None:
        """Name a key; `first`: before those that are not. Queued already: nothing, but that it may come to the first.
        Being worked on: once more afterwards."""
        if key in self._working:
            self._again[key] = first or self._again.get(key, False)
            return
        now = self._named[key] = time.monotonic()
        queued = self._patient if self._is_patient(key) else self._queued
        if first and key not in self._first:
            self._first[key] = queued.pop(key, now)
            self._wake.set()
        elif key not in self._first:
            queued.setdefault(key, now)
            self._wake.set()

    async def take(self) -> K:
        """The next key; `done` must follow."""
        while self._closed or not len(self):
            self._wake.clear()
            await self._wake.wait()
        key, _ = (self._first or self._next()).popitem(last=False)
        self._working[key] = time.monotonic()
        return key

    def _next(self) -> OrderedDict[K, float]:
        """Those of which the next is taken, when none is to be first."""
        self._given += 1
        overdue = time.monotonic() - next(iter(self._patient.values()), math.inf) >= OVERDUE
        return self._patient if overdue and self._given % SHARE == 0 else self._queued or self._patient

    def done(self, key: K, *, failed: bool = False) -> float | None:
        """End the work on a key; after a failure, the seconds after which it should be named again."""
        self._working.pop(key, None)
        self._named.pop(key, None)
        if not self._working:
            self._rest.set()
        if key in self._again:
            self.add(key, first=self._again.pop(key))
        if not failed:
            self._failures.pop(key, None)
            return None
        count = self._failures[key] = self._failures.get(key, 0) + 1
        return backoff(count, FIRST_BACKOFF, MAX_BACKOFF)

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
        return (*self._first, *self._queued, *self._patient)

    def __len__(self) -> int:
        return len(self._first) + len(self._queued) + len(self._patient)

    @property
    def working(self) -> int:
        """Keys being worked on."""
        return len(self._working)

    def longest_work(self) -> float:
        """Seconds that the key that is worked on longest has been, 0 when there is none."""
        return time.monotonic() - min(self._working.values()) if self._working else 0.0

    def oldest_age(self) -> float:
        """Seconds the oldest queued key has waited, 0 when there is none; asked by the thread that serves metrics."""
        named = [*self._first.values(), *self._queued.values(), *self._patient.values()]
        return time.monotonic() - min(named) if named else 0.0
