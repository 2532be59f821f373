"""A TLS server on 127.0.0.1, for tests of what speaks HTTP: a function of the test writes each answer, byte by byte."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import tls


@dataclass(frozen=True)
class Request:
    """A request as it arrived; `connection` counts the connections, from 0."""

    connection: int
    method: str
    path: str
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None


Respond = Callable[[Request, ssl.SSLSocket], None]


def answer(status: int, body: Any = None, *headers: str) -> bytes:
    """An answer with a Content-Length: text as it is, everything else as JSON."""
    content = body.encode() if isinstance(body, str) else b"" if body is None else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Reason", f"Content-Length: {len(content)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + content


class LoopbackServer:
    """Listens while its block lasts. A connection ends when `respond` closes it, or the client does."""

    def __init__(self, pki: Path, respond: Respond) -> None:
        self.respond = respond
        self.requests: list[Request] = []
        self.connections = 0
        self._context = tls.server_context(pki / "apiserver.crt")
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: dict[int, socket.socket] = {}
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Close everything."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()
        for thread in self._threads:
            thread.join()

    @property
    def alive(self) -> int:
        """How many connections are open."""
        return len(self._open)

    def drop(self) -> None:
        """End every connection; new ones are taken."""
        with self._lock:
            for connection in self._open.values():
                with suppress(OSError):  # beneath TLS, as a network does
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                plain, _ = self._listener.accept()
                with self._lock:
                    number, self.connections = self.connections, self.connections + 1
                    self._open[number] = plain
                    thread = threading.Thread(target=self._serve, args=(number, plain))
                    self._threads.append(thread)
                thread.start()

    def _serve(self, number: int, plain: socket.socket) -> None:
        with plain, suppress(OSError):  # the client may go away at any moment
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._context.wrap_socket(plain, server_side=True) as connection:
                with self._lock:
                    self._open[number] = connection
                stream = _Stream(connection)
                while request := stream.request(number):
                    self.requests.append(request)
                    self.respond(request, connection)
                    if connection.fileno() == -1:
                        break
        with self._lock:
            self._open.pop(number, None)


class _Stream:
    """Requests out of what arrives. Not a file of the socket, which would keep it open when a test closes it."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._connection, self._buffer = connection, b""

    def request(self, number: int) -> Request | None:
        """The next request; None where the connection ends before it is whole."""
        while b"\r\n\r\n" not in self._buffer:
            if not self._fill():
                return None
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        method, path, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        size = int(headers.get("content-length") or 0)
        while len(self._buffer) < size:
            if not self._fill():
                return None
        body, self._buffer = self._buffer[:size], self._buffer[size:]
        return Request(number, method, path, headers, body)

    def _fill(self) -> bool:
        more = self._connection.recv(65536)
        self._buffer += more
        return bool(more)
