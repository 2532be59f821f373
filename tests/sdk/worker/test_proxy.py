"""The socket of a run: the runner's own connection on one side, a TLS server on the other, the proxy between them."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loopback import LoopbackServer, Request, answer
from penstock.kubeconfig import Access, ClusterUnavailable
from penstock.runner.connection import JSON_PATCH, AgentApi, Unreachable
from penstock.worker.permits import Holder
from penstock.worker.proxy import MAX_BODY, Proxy
from penstock.worker.upstream import Upstream

ROOT = "/apis/penstock.dev/v1alpha1/namespaces/team/flowruns"
RUN = {"kind": "FlowRun", "metadata": {"name": "run", "uid": "uid"}, "spec": {}}
CHILD = {
    "kind": "FlowRun",
    "metadata": {"name": "child", "uid": "c"},
    "spec": {"infrastructure": "Parent", "parent": {"name": "run", "uid": "uid"}},
}
COUNT = [{"op": "add", "path": "/status/runCount", "value": 1}]


class Served:
    """A proxy in a loop of its own, and the API server behind it."""

    def __init__(self, pki: Path, folder: Path) -> None:
        self.replies: list[Any] = []
        self.server = LoopbackServer(pki, self._respond)
        self.tokens = ["first"]
        self.pki, self.path = pki, str(folder / "api")
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)

    def _respond(self, _: Request, connection: ssl.SSLSocket) -> None:
        reply = self.replies.pop(0)
        if callable(reply):
            reply(connection)
        else:
            connection.sendall(reply)

    def _access(self) -> Access:
        if not self.tokens:
            raise ClusterUnavailable("no login")
        context = ssl.create_default_context(cafile=str(self.pki / "ca.crt"))
        headers = {"Authorization": f"Bearer {self.tokens[0]}"}
        return Access(f"https://127.0.0.1:{self.server.port}", context, headers, "team")

    async def _open(self) -> None:
        self.upstream = Upstream(self._access)
        self.proxy = Proxy(self.upstream, Holder("team", "run", "uid", 1, "worker", "warm-1"), self.path)
        await self.proxy.open()

    async def _close(self) -> None:
        await self.proxy.close()
        await self.upstream.close()
        await asyncio.sleep(0.05)

    def __enter__(self) -> Served:
        self.server.__enter__()
        self.thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self.loop).result(30)
        self.api = AgentApi(self.path, timeout=20)
        return self

    def __exit__(self, *_: object) -> None:
        self.api.close()
        asyncio.run_coroutine_threadsafe(self._close(), self.loop).result(30)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()
        self.server.stop()

    @property
    def asked(self) -> list[tuple[str, str]]:
        return [(request.method, request.path) for request in self.server.requests]


@pytest.fixture
def served(pki: Path) -> Iterator[Served]:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # a socket's path is short
    with Served(pki, folder) as served:
        yield served
    shutil.rmtree(folder)


def test_what_is_permitted_is_asked_with_the_agents_token(served: Served) -> None:
    served.replies += [answer(200, RUN), answer(200, RUN)]
    assert served.api.request("GET", f"{ROOT}/run").body == RUN
    assert served.api.request("PATCH", f"{ROOT}/run/status", COUNT, JSON_PATCH).status == 200
    read, written = served.server.requests
    assert read.headers["authorization"] == written.headers["authorization"] == "Bearer first"
    assert read.connection == written.connection, "it is kept"
    assert written.headers["content-type"] == JSON_PATCH
    assert [op["path"] for op in written.json][-1] == "/status/runCount"
    assert written.json[0] == {"op": "test", "path": "/metadata/uid", "value": "uid"}


def test_what_is_not_permitted_is_asked_of_nobody(served: Served) -> None:
    refused = served.api.request("GET", "/api/v1/namespaces/team/secrets")
    assert refused.status == 403
    assert refused.body["reason"] == "Forbidden"
    assert not refused.denied, "a policy's word, that will not pass"
    assert served.asked == []


def test_refusals_come_back_as_they_are(served: Served) -> None:
    status = {"kind": "Status", "code": 409, "reason": "Conflict", "message": "no"}
    served.replies += [answer(409, status), answer(429, {"message": "busy"}, "Retry-After: 7")]
    assert served.api.request("GET", f"{ROOT}/run").body == status
    busy = served.api.request("GET", f"{ROOT}/run")
    assert (busy.status, busy.retry_after) == (429, 7.0)


def test_a_subflow_is_looked_at_once(served: Served) -> None:
    served.replies += [answer(200, CHILD), answer(200, CHILD), answer(200, CHILD)]
    for _ in range(2):
        assert served.api.request("PATCH", f"{ROOT}/child/status", COUNT, JSON_PATCH).status == 200
    assert [method for method, _ in served.asked] == ["GET", "PATCH", "PATCH"]
    assert served.server.requests[1].json[0] == {"op": "test", "path": "/metadata/uid", "value": "c"}


def test_a_subflow_that_it_made_is_known(served: Served) -> None:
    served.replies += [answer(201, CHILD), answer(200, CHILD)]
    assert served.api.request("POST", ROOT, {**CHILD, "metadata": {"name": "child"}}).status == 201
    assert served.api.request("PATCH", f"{ROOT}/child/status", COUNT, JSON_PATCH).status == 200


def test_a_run_that_is_not_there_is_nobodys(served: Served) -> None:
    served.replies += [answer(404, {"message": "not found"})]
    assert served.api.request("PATCH", f"{ROOT}/gone/status", COUNT, JSON_PATCH).status == 403


def test_an_api_server_that_is_away_is_busy(served: Served) -> None:
    """The runner tries such a thing again, and looks whether it was done."""
    served.server.stop()
    away = served.api.request("PATCH", f"{ROOT}/run/status", COUNT, JSON_PATCH)
    assert (away.status, away.busy) == (503, True)


def test_an_answer_that_is_lost_is_as_if_it_was_away(served: Served) -> None:
    served.replies += [lambda connection: connection.close()]
    assert served.api.request("PATCH", f"{ROOT}/run/status", COUNT, JSON_PATCH).status == 503
    assert len(served.asked) == 1, "whether it was done, nobody knows"


def test_credentials_that_are_refused_are_asked_for_again(served: Served) -> None:
    served.replies += [answer(200, RUN), answer(401, {"message": "expired"}), answer(200, RUN)]
    served.api.request("GET", f"{ROOT}/run")
    served.tokens[0] = "second"
    time.sleep(1.1)  # not at every refusal of a burst
    assert served.api.request("GET", f"{ROOT}/run").status == 200
    assert served.server.requests[-1].headers["authorization"] == "Bearer second"


def test_a_watch_goes_through_as_it_comes_and_ends_with_its_reader(served: Served) -> None:
    ended = threading.Event()

    def stream(connection: ssl.SSLSocket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        for n in range(2):
            line = json.dumps({"type": "MODIFIED", "object": {"n": n}}).encode() + b"\n"
            connection.sendall(b"%x\r\n%s\r\n" % (len(line), line))
        connection.settimeout(20)
        if connection.recv(1) == b"":
            ended.set()

    served.replies += [stream]
    lines = served.api.lines(f"{ROOT}?watch=1&labelSelector=a%3Db", 20)
    assert [json.loads(next(lines))["object"]["n"] for _ in range(2)] == [0, 1]
    lines.close()
    assert ended.wait(20), "nobody reads it any more"


def test_what_is_no_request_is_refused(served: Served) -> None:
    for sent, code in (
        (b"nonsense\r\n\r\n", b"400"),
        (f"POST {ROOT} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n{{{{{{".encode(), b"400"),
        (
            f"POST {ROOT} HTTP/1.1\r\nHost: x\r\nContent-Length: {MAX_BODY + 1}\r\n\r\n".encode()
            + b" " * (MAX_BODY + 1),
            b"413",
        ),
    ):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(served.path)
            connection.sendall(sent)
            assert connection.recv(100).split()[1] == code
    assert served.asked == []


def test_it_ends_what_goes_on_when_it_is_closed(served: Served) -> None:
    hold = threading.Event()
    served.replies += [lambda _: hold.wait(20)]

    def ask() -> None:
        with pytest.raises(Unreachable):
            served.api.request("GET", f"{ROOT}/run")

    asking = threading.Thread(target=ask)
    asking.start()
    while not served.asked:
        pass
    asyncio.run_coroutine_threadsafe(served.proxy.close(), served.loop).result(30)
    asking.join(20)
    assert not asking.is_alive()
    hold.set()
    assert not Path(served.path).exists()
