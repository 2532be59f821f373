"""Connections to the API server that many threads share. Used by what runs in parallel: subflows, and tasks in pods."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from .connection import Answer, Api

TYPE_CHECKING = False  # the claim does not wait for the import of typing
if TYPE_CHECKING:
    from typing import Any

CONNECTIONS = 8  # of one run: as many requests are under way at most, however many threads ask


class Connections:
    """At most `most` connections, each opened when it is first needed; one that is idle is used again."""

    def __init__(self, api: Api, most: int = CONNECTIONS) -> None:
        self._api = api
        self._room = threading.Semaphore(most)
        self._idle: list[Api] = []

    def request(self, method: str, path: str, body: Any = None) -> Answer:
        """Ask once, from any thread. Raises Unreachable, also where the answer says nothing yet."""
        with self._room:
            try:
                connection = self._idle.pop()
            except IndexError:  # every one that was opened is in use
                connection = self._api.another()
            try:
                return connection.request(method, path, body).decided()
            finally:
                self._idle.append(connection)

    def close(self) -> None:
        """Drop those that are idle."""
        while self._idle:
            self._idle.pop().close()


def pauses(first: float = 0.1, most: float = 5.0) -> Iterator[float]:
    """Seconds before each further try: doubled, and shortened by chance, for the threads of a run fail together."""
    import random

    while True:
        yield first * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, protects nothing
        first = min(first * 2, most)
