"""Connections to one API server that are kept and used again: HTTP/1.1 for asyncio, one request at a time on each.

Called by `upstream`, which knows who we are and what a refusal means. The agent makes each of a run's requests anew, so
that what one costs is what a run costs: docs/designs/017-cpu-of-a-warm-run.md has the comparison with httpx.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import SplitResult, unquote, urlsplit

from ..kubeconfig import Access

CONNECT_SECONDS = 10.0
MOST_IDLE, IDLE_SECONDS = 32, 60.0
LOST = (OSError, EOFError, ValueError, asyncio.LimitOverrunError)
"""What is raised where there is no answer, or only a part of one, or no HTTP; TimeoutError, an OSError, is among it."""


class Answer:
    """An answer whose content has not been read; names of headers in lower case."""

    def __init__(self, reader: asyncio.StreamReader, status: int, headers: Mapping[str, str], seconds: float) -> None:
        self.status, self.headers = status, headers
        self._reader, self._seconds = reader, seconds
        self._chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        self._length = int(headers["content-length"]) if "content-length" in headers else None
        if status in (204, 304):
            self._chunked, self._length = False, 0
        self.over = self._length == 0 and not self._chunked
        """Whether its content was read to the end."""

    @property
    def reusable(self) -> bool:
        """Whether another answer can follow on the connection."""
        return self.over and self.headers.get("connection", "").lower() != "close"

    async def read(self) -> bytes:
        """All of the content. Raises `LOST`."""
        return b"".join([part async for part in self.parts()])

    async def parts(self) -> AsyncIterator[bytes]:
        """The content as it comes. Raises `LOST`; a TimeoutError where nothing came for as long as was said."""
        while not self.over:
            async with asyncio.timeout(self._seconds):
                part = await self._next()
            if part:
                yield part

    async def _next(self) -> bytes:
        if self._chunked:
            size = int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16)
            if size:
                return (await self._reader.readexactly(size + 2))[:-2]
            while await self._reader.readuntil(b"\r\n") != b"\r\n":
                pass  # trailers
            self.over = True
            return b""
        if self._length is not None:
            content = await self._reader.readexactly(self._length)
            self.over = True
            return content
        content = await self._reader.read(65_536)
        self.over = not content
        return content


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.since = time.monotonic()

    def end(self) -> None:
        """Close it at once: after TLS's goodbye it would be open until the server, which may be silent, answers it."""
        self.writer.transport.abort()

    @property
    def usable(self) -> bool:
        """Whether it goes on, as far as is known."""
        return not (self.writer.is_closing() or self.reader.at_eof())

    async def ask(self, request: bytes, seconds: float) -> Answer:
        self.writer.write(request)
        async with asyncio.timeout(seconds):
            await self.writer.drain()
            status = 0
            while status < 200:  # 1xx come before the answer
                first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                status = int(first.partition(" ")[2][:3])
        pairs = (line.partition(":") for line in lines if line)
        return Answer(self.reader, status, {name.lower(): value.strip() for name, _, value in pairs}, seconds)


class Server:
    """The API server of an `Access`, by its credentials as they are at each request."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._url = urlsplit(access.server)
        self._idle: list[_Connection] = []

    def close(self) -> None:
        """Let go of the connections that nobody uses."""
        while self._idle:
            self._idle.pop().end()

    @asynccontextmanager
    async def answer(
        self, method: str, target: str, content: bytes | None, content_type: str, seconds: float
    ) -> AsyncIterator[Answer]:
        """The answer to one request, `seconds` after which nothing came at the latest. Raises `LOST`.

        A read is sent again, once, where a connection that was kept turns out to be lost; of a write nobody knows
        whether it has arrived.
        """
        request = self._request(method, target, content, content_type)
        connection = self._kept()
        answer: Answer | None = None
        try:
            if connection is not None:
                try:
                    answer = await connection.ask(request, seconds)
                except LOST as error:
                    if method != "GET" or isinstance(error, TimeoutError):
                        raise
                    connection.end()
            if connection is None or answer is None:
                connection = await self._open()
                answer = await connection.ask(request, seconds)
            yield answer
        finally:
            if connection is not None:
                self._keep(connection, reusable=answer is not None and answer.reusable)

    def _kept(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and time.monotonic() - connection.since < IDLE_SECONDS:
                return connection
            connection.end()
        return None

    def _keep(self, connection: _Connection, *, reusable: bool) -> None:
        if not reusable or len(self._idle) >= MOST_IDLE:
            connection.end()
            return
        connection.since = time.monotonic()
        self._idle.append(connection)

    def _request(self, method: str, target: str, content: bytes | None, content_type: str) -> bytes:
        lines = [
            f"{method} {self._url.path.rstrip('/')}{target} HTTP/1.1",
            f"Host: {_authority(self._url)}",
            "Accept: application/json",
            "Accept-Encoding: identity",
            "User-Agent: penstock-worker",
            *(f"{name}: {value}" for name, value in self.access.headers.items()),
        ]
        if content is not None:
            lines += [f"Content-Type: {content_type}", f"Content-Length: {len(content)}"]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (content or b"")

    async def _open(self) -> _Connection:
        tls = self.access.verify if self._url.scheme == "https" else None
        name = self.access.tls_server_name or self._url.hostname
        async with asyncio.timeout(CONNECT_SECONDS):
            if self.access.proxy is not None:
                reader, writer = await _through(urlsplit(self.access.proxy), self._url)
                if tls is not None:
                    await writer.start_tls(tls, server_hostname=name)
            else:
                reader, writer = await asyncio.open_connection(
                    self._url.hostname, _port(self._url), ssl=tls, server_hostname=name if tls else None
                )
        return _Connection(reader, writer)


async def _through(proxy: SplitResult, server: SplitResult) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A tunnel through a proxy."""
    tls = ssl.create_default_context() if proxy.scheme == "https" else None
    reader, writer = await asyncio.open_connection(proxy.hostname, _port(proxy), ssl=tls)
    target = f"{_host(server)}:{_port(server)}"
    head = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
    if proxy.username is not None:
        login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}".encode()
        head += f"Proxy-Authorization: Basic {b64encode(login).decode()}\r\n"
    try:
        writer.write(f"{head}\r\n".encode())
        said = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0].decode("latin-1")
        if said.split()[1:2] != ["200"]:
            raise ConnectionError(f"the proxy answers {said}")
    except BaseException:
        writer.transport.abort()
        raise
    return reader, writer


def _port(url: SplitResult) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _host(url: SplitResult) -> str:
    host = url.hostname or ""
    return f"[{host}]" if ":" in host else host


def _authority(url: SplitResult) -> str:
    return f"{_host(url)}:{url.port}" if url.port else _host(url)
