"""Connections that many threads share: how many there are, and how long a thread waits before it asks again."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from loopback import Request, answer
from loopback_api import LoopbackApi, Lost
from penstock.runner.connection import Api, Unreachable
from penstock.runner.connections import Connections, pauses

MOST = 3


class Crowd:
    """Answers only once `MOST` requests are under way; how many were at a time."""

    def __init__(self) -> None:
        self._met = threading.Barrier(MOST, timeout=30)
        self._lock = threading.Lock()
        self.now, self.most = 0, 0

    def __call__(self, request: Request) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        self._met.wait()
        with self._lock:
            self.now -= 1


def connected(server: LoopbackApi, account: Path, most: int = MOST) -> closing[Connections]:
    return closing(Connections(Api("127.0.0.1", server.port, str(account)), most))


def test_requests_are_under_way_together_and_no_more_than_that(pki: Path, account: Path) -> None:
    with LoopbackApi(pki) as server, connected(server, account) as connections:
        crowd = server.before = Crowd()
        server.fault = lambda _: answer(200, {})
        ask = connections.request
        with ThreadPoolExecutor(12) as threads:
            answers = list(threads.map(lambda n: ask("GET", f"/{n}").status, range(12)))
        assert answers == [200] * 12
        assert crowd.most == MOST
        assert server.connections <= MOST


def test_one_thread_alone_uses_one_connection(pki: Path, account: Path) -> None:
    with LoopbackApi(pki) as server, connected(server, account) as connections:
        server.fault = lambda _: answer(200, {})
        ask = connections.request
        for _ in range(5):
            ask("GET", "/")
        assert server.connections == 1


def test_a_request_that_fails_gives_its_connection_back(pki: Path, account: Path) -> None:
    with LoopbackApi(pki) as server, connected(server, account, 1) as connections:
        ask = connections.request
        for fault in (Lost.REQUEST, answer(503, "away")):
            server.fault = lambda _, fault=fault: fault  # type: ignore[misc]
            with pytest.raises(Unreachable):
                ask("POST", "/", {})
        server.fault = lambda _: answer(200, {})
        assert ask("GET", "/").status == 200


def test_pauses_double_up_to_a_bound_and_differ() -> None:
    """Threads that failed together do not come back together."""
    found = list(itertools.islice(pauses(0.1, 5.0), 20))
    for number, pause in enumerate(found):
        bound = min(0.1 * 2**number, 5.0)
        assert bound / 2 <= pause <= bound
    assert len(set(found[-10:])) > 1
