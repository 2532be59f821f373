"""Keys that wait for an object which is not there, or not as they need it: each for one, the last that it named."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
W = TypeVar("W", bound=Hashable)


class Waiting(Generic[K, W]):
    """Who waits for what, found from both sides, so that nothing is kept of a key that is gone."""

    def __init__(self) -> None:
        self._keys: dict[W, set[K]] = defaultdict(set)
        self._wanted: dict[K, W] = {}

    def wait(self, key: K, wanted: W) -> None:
        """`key` waits for `wanted`, and for nothing else any more."""
        self.drop(key)
        self._wanted[key] = wanted
        self._keys[wanted].add(key)

    def take(self, wanted: W) -> set[K]:
        """Who waits for `wanted`; they wait no more."""
        keys = self._keys.pop(wanted, set())
        for key in keys:
            del self._wanted[key]
        return keys

    def count(self, wanted: W) -> int:
        """How many wait for `wanted`."""
        return len(self._keys.get(wanted, ()))

    def drop(self, key: K) -> None:
        """`key` waits for nothing."""
        wanted = self._wanted.pop(key, None)
        if wanted is not None:
            self._keys[wanted].discard(key)
            if not self._keys[wanted]:
                del self._keys[wanted]

    def clear(self) -> None:
        """Nobody waits."""
        self._keys.clear()
        self._wanted.clear()

    def __len__(self) -> int:
        return len(self._wanted)
