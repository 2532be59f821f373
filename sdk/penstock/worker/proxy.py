"""The socket of one run's process, on which the agent speaks for the API server: HTTP/1.1 by h11, for asyncio.

What may be asked, `permits` says; who asks upstream, `Upstream`. A request is sent on as it was understood, never as it
came, so there is nothing that one side could read otherwise than the other.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any
from urllib.parse import parse_qsl, urlencode

import h11

from .connections import LOST, Answer
from .permits import Asked, Body, Denied, Holder, Unseen, permitted
from .upstream import TIMEOUT, Refused, Unreachable, Upstream

MAX_BODY = 4 * 1024 * 1024  # the API server takes 3 MiB
MAX_SEEN = 4096  # subflows and artifacts that are remembered
WATCH_SECONDS = 3700.0
_PASSED_ON = ("content-type", "retry-after")


class Proxy:
    """Serves one attempt until it is closed."""

    def __init__(self, upstream: Upstream, holder: Holder, path: str) -> None:
        self._upstream, self._holder, self.path = upstream, holder, path
        self._seen: dict[tuple[str, str], Body] = {}
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen."""
        with suppress(FileNotFoundError):
            os.unlink(self.path)  # noqa: PTH108 - of the agent before this one
        self._server = await asyncio.start_unix_server(self._connected, self.path)
        os.chmod(self.path, 0o600)  # noqa: PTH101

    async def close(self) -> None:
        """End what goes on."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        with suppress(FileNotFoundError):
            os.unlink(self.path)  # noqa: PTH108

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with suppress(ConnectionError, h11.LocalProtocolError, asyncio.CancelledError):
                await _Connection(self, reader, writer).serve()
        finally:
            self._tasks.discard(task)
            writer.close()

    async def permitted(self, asked: Asked) -> Any:
        """The body to send on. Raises Denied, Unreachable and Refused."""
        while True:
            try:
                return permitted(asked, self._holder, self._seen)
            except Unseen as unseen:
                found = await self._look(unseen)
                if found is None:
                    raise Denied(f"{unseen} is not there") from unseen
                self._seen[unseen.plural, unseen.name] = found

    async def _look(self, unseen: Unseen) -> Body | None:
        root = f"/apis/penstock.dev/v1alpha1/namespaces/{self._holder.namespace}"
        try:
            return await self._upstream.json("GET", f"{root}/{unseen.plural}/{unseen.name}")
        except Refused as error:
            if error.status == 404:
                return None
            raise

    def learn(self, asked: Asked, found: Body | None) -> None:
        """Remember a run that was made; look again at an artifact that was written."""
        if len(self._seen) > MAX_SEEN:
            self._seen.clear()
        if found and found.get("kind") == "FlowRun":
            self._seen["flowruns", found["metadata"]["name"]] = found
        plural, _, name = asked.target.partition("?")[0].rpartition("/artifacts/")
        if plural:
            self._seen.pop(("artifacts", name), None)

    def send_on(self, asked: Asked, body: Any) -> AbstractAsyncContextManager[Answer]:
        """The answer."""
        path, _, query = asked.target.partition("?")
        target = f"{path}?{urlencode(parse_qsl(query, keep_blank_values=True))}" if query else path
        seconds = WATCH_SECONDS if is_watch(asked) else TIMEOUT
        return self._upstream.answer(asked.method, target, body, asked.content_type, seconds)


class _Connection:
    """One connection of the run's process."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy, self._reader, self._writer = proxy, reader, writer
        self._http = h11.Connection(h11.SERVER)

    async def serve(self) -> None:
        while True:
            try:
                asked = await self._asked()
            except h11.RemoteProtocolError as error:
                await self._answer(error.error_status_hint, _status(error.error_status_hint, "BadRequest", str(error)))
                return
            if asked is None:
                return
            await self._serve(asked)
            if self._http.our_state is h11.MUST_CLOSE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _asked(self) -> Asked | None:
        """The next request; None where the connection ends."""
        request: h11.Request | None = None
        body = b""
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(65_536))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > MAX_BODY:
                    raise h11.RemoteProtocolError("the body is too large", error_status_hint=413)
            elif isinstance(event, h11.EndOfMessage):
                assert request is not None
                return _understood(request, body)
            else:  # the connection was closed
                return None

    async def _serve(self, asked: Asked) -> None:
        try:
            body = await self._proxy.permitted(asked)
            async with self._proxy.send_on(asked, body) as answer:
                passed = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
                if is_watch(asked) and answer.status == 200:
                    return await self._stream(answer, passed)
                try:
                    content = await answer.read()
                except LOST as error:
                    raise Unreachable(str(error)) from error
        except Denied as error:
            return await self._answer(403, _status(403, "Forbidden", f"worker: {error}"))
        except Refused as error:
            return await self._answer(error.status, _status(error.status, "", str(error)))
        except Unreachable as error:
            # As a proxy in front of the API server would say it: whether it was done, nobody knows.
            return await self._answer(503, _status(503, "ServiceUnavailable", str(error)))
        if asked.method != "GET":
            self._proxy.learn(asked, _object(content) if asked.method == "POST" and answer.status < 300 else None)
        return await self._answer(answer.status, content, passed)

    async def _answer(self, status: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        given = {"content-type": "application/json", **(headers or {}), "content-length": str(len(content))}
        head = self._http.send(h11.Response(status_code=status, headers=list(given.items()))) or b""
        data = self._http.send(h11.Data(data=content)) or b""
        end = self._http.send(h11.EndOfMessage()) or b""
        self._writer.write(head + data + end)
        await self._writer.drain()

    async def _stream(self, answer: Answer, headers: Mapping[str, str]) -> None:
        """A watch, until either side ends it."""
        head = h11.Response(status_code=200, headers=[*headers.items(), ("transfer-encoding", "chunked")])
        self._writer.write(self._http.send(head) or b"")

        async def copy() -> None:
            with suppress(*LOST):
                async for part in answer.parts():
                    self._writer.write(self._http.send(h11.Data(data=part)) or b"")
                    await self._writer.drain()
                self._writer.write(self._http.send(h11.EndOfMessage()) or b"")
                await self._writer.drain()

        copying, closed = asyncio.create_task(copy()), asyncio.create_task(self._reader.read(1))
        try:
            await asyncio.wait((copying, closed), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (copying, closed):
                task.cancel()
                with suppress(asyncio.CancelledError, ConnectionError):
                    await task
        raise ConnectionResetError  # nothing follows a watch on its connection


def _understood(request: h11.Request, body: bytes) -> Asked:
    kinds = [value for name, value in request.headers if name == b"content-type"]
    try:
        content = json.loads(body) if body else None
    except ValueError as error:
        raise h11.RemoteProtocolError(f"the body is no JSON: {error}", error_status_hint=400) from error
    kind = kinds[0].decode("latin-1") if kinds else "application/json"
    return Asked(request.method.decode(), request.target.decode("latin-1"), kind, content)


def is_watch(asked: Asked) -> bool:
    """Whether the answer goes on."""
    return asked.method == "GET" and "watch=" in asked.target


def _status(code: int, reason: str, message: str) -> bytes:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}
    return json.dumps({**body, "message": message}).encode()


def _object(content: bytes) -> Body | None:
    with suppress(ValueError):
        found = json.loads(content)
        if isinstance(found, dict):
            return found
    return None
