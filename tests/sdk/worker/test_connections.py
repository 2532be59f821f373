"""The agent's connections, against a TLS server that answers byte by byte as a test says."""

from __future__ import annotations

import asyncio
import gc
import ssl
import threading
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from loopback import LoopbackServer, Request, answer
from penstock.kubeconfig import Access
from penstock.worker.connections import LOST, Server

Reply = bytes | Callable[[ssl.SSLSocket], None]


class Served:
    """A server and what it is to answer, in this order."""

    def __init__(self, pki: Path) -> None:
        self.replies: list[Reply] = []
        self.pki, self.loopback = pki, LoopbackServer(pki, self._respond)

    def _respond(self, _: Request, connection: ssl.SSLSocket) -> None:
        reply = self.replies.pop(0)
        if callable(reply):
            reply(connection)
        else:
            connection.sendall(reply)

    def access(self, path: str = "", **more: Any) -> Access:
        context = ssl.create_default_context(cafile=str(self.pki / "ca.crt"))
        url = f"https://127.0.0.1:{self.loopback.port}{path}"
        return Access(url, context, {"Authorization": "Bearer t"}, "team", **more)

    def connections(self) -> list[int]:
        return [request.connection for request in self.loopback.requests]


@pytest.fixture
def served(pki: Path) -> Iterator[Served]:
    served = Served(pki)
    with served.loopback:
        yield served


async def ask(
    server: Server, method: str = "GET", target: str = "/a?b=c", content: bytes | None = None, seconds: float = 20.0
) -> tuple[int, bytes]:
    async with server.answer(method, target, content, "application/json", seconds) as found:
        return found.status, await found.read()


def with_server(access: Access, use: Callable[[Server], Awaitable[Any]]) -> Any:
    async def used() -> Any:
        server = Server(access)
        try:
            return await use(server)
        finally:
            server.close()

    return asyncio.run(used())


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: 1\r\n\r\n"
ANSWERS = {
    "with a length": (answer(200, "abcde"), True),
    "in chunks, with trailers": (CHUNKED, True),
    "after one that only says: go on": (b"HTTP/1.1 100 Continue\r\n\r\n" + answer(200, "abcde"), True),
    "the last on its connection": (answer(200, "abcde", "Connection: close"), False),
}


@pytest.mark.parametrize(("sent", "kept"), ANSWERS.values(), ids=ANSWERS)
def test_answers_are_read_whole_and_their_connections_kept(served: Served, sent: bytes, kept: bool) -> None:
    async def twice(server: Server) -> list[Any]:
        return [await ask(server), await ask(server, "PATCH", "/d", b"{}")]

    served.replies += [sent, answer(409, "no")]
    assert with_server(served.access("/prefix"), twice) == [(200, b"abcde"), (409, b"no")]
    first, second = served.loopback.requests
    assert (first.method, first.path) == ("GET", "/prefix/a?b=c")
    assert (second.method, second.path, second.body) == ("PATCH", "/prefix/d", b"{}")
    assert second.headers["authorization"] == "Bearer t"
    assert second.headers["host"] == f"127.0.0.1:{served.loopback.port}"
    assert (first.connection == second.connection) is kept


def test_an_answer_without_a_length_ends_with_its_connection(served: Served) -> None:
    def end(connection: ssl.SSLSocket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nabcde")
        connection.close()

    served.replies += [end, answer(204)]

    async def twice(server: Server) -> list[Any]:
        return [await ask(server), await ask(server)]

    assert with_server(served.access(), twice) == [(200, b"abcde"), (204, b"")]


def test_an_answer_that_is_not_read_to_its_end_is_the_last_on_its_connection(served: Served) -> None:
    async def leave(server: Server) -> Any:
        async with server.answer("GET", "/", None, "", 20) as found:
            assert found.status == 200
        return await ask(server)

    served.replies += [answer(200, "abcde"), answer(200, "f")]
    assert with_server(served.access(), leave) == (200, b"f")
    assert served.connections() == [0, 1]


def test_a_read_on_a_connection_that_was_lost_meanwhile_is_sent_again(served: Served) -> None:
    """It ends while the request is on its way: before, it would just not be used."""
    served.replies += [answer(200, "a"), lambda connection: connection.close(), answer(200, "b")]

    async def twice(server: Server) -> list[Any]:
        return [await ask(server), await ask(server)]

    assert with_server(served.access(), twice) == [(200, b"a"), (200, b"b")]


def test_a_write_that_may_have_arrived_is_not(served: Served) -> None:
    served.replies += [answer(200, "a"), lambda connection: connection.close()]

    async def twice(server: Server) -> None:
        await ask(server)
        with pytest.raises(LOST):
            await ask(server, "PATCH", "/", b"{}")

    with_server(served.access(), twice)
    assert len(served.loopback.requests) == 2


def test_a_connection_that_ended_while_it_was_idle_is_not_used(served: Served) -> None:
    served.replies += [answer(200, "a"), answer(200, "b")]

    async def twice(server: Server) -> Any:
        await ask(server)
        served.loopback.drop()
        await asyncio.sleep(0.2)
        return await ask(server, "PATCH", "/", b"{}")

    assert with_server(served.access(), twice) == (200, b"b")


BROKEN = {
    "it says nothing": lambda connection: connection.recv(1),
    "it stops in the middle": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
    "it is no HTTP": b"nonsense\r\n\r\n",
    "a chunk has no size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
    "its head does not end": b"HTTP/1.1 200 OK\r\nA: " + b"a" * 200_000,
}


@pytest.mark.parametrize("sent", BROKEN.values(), ids=BROKEN)
def test_what_is_no_answer_is_lost(served: Served, sent: Reply) -> None:
    async def once(server: Server) -> None:
        with pytest.raises(LOST):
            await ask(server, seconds=0.5)

    served.replies += [sent]
    with_server(served.access(), once)


def test_what_was_given_up_is_closed_at_once(served: Served) -> None:
    """Also where the server does not answer TLS's goodbye; an open socket that nobody has would fail the test."""
    over = threading.Event()

    def begin(connection: ssl.SSLSocket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
        over.wait(20)

    async def leave(server: Server) -> None:
        async with server.answer("GET", "/", None, "", 20) as found:
            assert found.status == 200

    served.replies += [begin]
    try:
        with_server(served.access(), leave)
        gc.collect()
    finally:
        over.set()


def test_two_at_once_have_a_connection_each(served: Served) -> None:
    both = threading.Barrier(2)

    def reply(connection: ssl.SSLSocket) -> None:
        both.wait(20)
        connection.sendall(answer(200, "a"))

    served.replies += [reply, reply]

    async def at_once(server: Server) -> Any:
        return await asyncio.gather(ask(server), ask(server))

    assert with_server(served.access(), at_once) == [(200, b"a"), (200, b"a")]
    assert sorted(served.connections()) == [0, 1]


def test_a_server_whose_certificate_is_not_trusted_is_asked_nothing(served: Served) -> None:
    access = Access(f"https://127.0.0.1:{served.loopback.port}", ssl.create_default_context(), {}, "team")

    async def once(server: Server) -> None:
        with pytest.raises(LOST):
            await ask(server)

    with_server(access, once)
    assert served.loopback.requests == []


class Tunnel:
    """A proxy that answers CONNECT, and copies from then on."""

    def __init__(self, status: bytes = b"200 OK") -> None:
        self.heads: list[str] = []
        self._status = status

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        writer.write(b"HTTP/1.1 " + self._status + b"\r\n\r\n")
        if self._status.startswith(b"200"):
            host, port = head.split()[1].split(":")
            there, back = await asyncio.open_connection(host, int(port))
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
    writer.close()


def test_a_proxy_is_asked_for_a_tunnel(served: Served) -> None:
    served.replies += [answer(200, "a"), answer(200, "b")]
    tunnel = Tunnel()

    async def through() -> Any:
        proxy = await asyncio.start_server(tunnel, "127.0.0.1", 0)
        port = proxy.sockets[0].getsockname()[1]
        server = Server(served.access(proxy=f"http://us%40er:word@127.0.0.1:{port}"))
        found = [await ask(server), await ask(server)]
        server.close()
        proxy.close()
        await asyncio.sleep(0.1)
        return found

    assert asyncio.run(through()) == [(200, b"a"), (200, b"b")]
    assert len(tunnel.heads) == 1, "it is kept"
    assert tunnel.heads[0].startswith(f"CONNECT 127.0.0.1:{served.loopback.port} HTTP/1.1\r\n")
    assert f"Proxy-Authorization: Basic {b64encode(b'us@er:word').decode()}\r\n" in tunnel.heads[0]
    assert served.connections() == [0, 0]


def test_a_proxy_that_refuses_says_so(served: Served) -> None:
    async def through() -> None:
        proxy = await asyncio.start_server(Tunnel(b"407 Login"), "127.0.0.1", 0)
        port = proxy.sockets[0].getsockname()[1]
        with pytest.raises(ConnectionError, match="407"):
            await ask(Server(served.access(proxy=f"http://127.0.0.1:{port}")))
        proxy.close()

    asyncio.run(through())
    assert served.loopback.requests == []
