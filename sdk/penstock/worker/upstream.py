"""The agent's way to the API server: requests and watches with its own credentials, which it renews. For asyncio.

Who we are, `kubeconfig.access` says: a kubeconfig outside of the cluster, the pod's account in it. Nothing here decides
what may be asked.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from ..kubeconfig import Access, ClusterUnavailable
from .connections import LOST, Answer, Server

Body = dict[str, Any]
TIMEOUT = 30.0
RENEW_AFTER = 240.0  # seconds: a token of a pod is renewed long before it ends, that of a plugin may last minutes
WATCH_SECONDS = 300
JSON_PATCH, MERGE_PATCH = "application/json-patch+json", "application/merge-patch+json"


class Unreachable(Exception):
    """No answer: nothing is known of what was asked."""


class Refused(Exception):
    """An answer other than success; `busy` where the same may be taken later."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.busy = status in (401, 429) or status >= 500


class Upstream:
    """The API server. `access` is asked anew when the credentials may have changed."""

    def __init__(self, access: Callable[[], Access]) -> None:
        self._access = access
        self._taken = 0.0
        self._renewing = asyncio.Lock()
        self._server: Server | None = None

    async def close(self) -> None:
        """Let go of the connections."""
        self.distrust()

    def distrust(self) -> None:
        """Use none of the connections again that are idle now: they may be dead, which nobody says."""
        if self._server is not None:
            self._server.close()

    async def json(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **query: str
    ) -> Body:
        """The answer's object. Raises Unreachable and Refused."""
        target = f"{path}?{urlencode(query)}" if query else path
        async with self.answer(method, target, body, content_type) as answer:
            try:
                content = await answer.read()
            except LOST as error:
                raise Unreachable(_said(error)) from error
        try:
            found = json.loads(content)
        except ValueError:
            found = {"message": content[:500].decode("utf-8", "replace")}
        if answer.status >= 400:
            raise Refused(answer.status, str(found.get("message")) if isinstance(found, dict) else "")
        return found if isinstance(found, dict) else {}

    async def watch(self, path: str, selector: str, version: str) -> AsyncIterator[tuple[str, Body]]:
        """(type, object) of each change after `version`, until the server ends it. Raises Unreachable and Refused."""
        query = {
            "fieldSelector": selector,
            "resourceVersion": version,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        async with self.answer("GET", f"{path}?{urlencode(query)}", seconds=WATCH_SECONDS + 15) as answer:
            if answer.status >= 400:
                raise Refused(answer.status, f"watch: HTTP {answer.status}")
            rest = b""
            try:
                async for part in answer.parts():
                    *lines, rest = (rest + part).split(b"\n")
                    for line in filter(None, lines):
                        event = json.loads(line)
                        if event["type"] == "ERROR":
                            raise Refused(int(event["object"].get("code") or 500), str(event["object"].get("message")))
                        yield event["type"], event["object"]
            except LOST as error:
                raise Unreachable(_said(error)) from error

    @asynccontextmanager
    async def answer(
        self,
        method: str,
        target: str,
        body: Any = None,
        content_type: str = "application/json",
        seconds: float = TIMEOUT,
    ) -> AsyncIterator[Answer]:
        """An answer whose content has not been read. Raises Unreachable.

        Where the credentials are refused they are asked for again, once: such a request has done nothing.
        """
        content = None if body is None else json.dumps(body).encode()
        for again in (False, True):
            server = await self._current(at_once=again)
            asked = server.answer(method, target, content, content_type, seconds)
            try:
                found = await asked.__aenter__()
            except LOST as error:
                raise Unreachable(f"the API server cannot be reached: {_said(error)}") from error
            try:
                if found.status == 401 and not again:
                    with suppress(*LOST):
                        await found.read()
                    continue
                yield found
                return
            finally:
                await asked.__aexit__(None, None, None)

    async def _current(self, *, at_once: bool) -> Server:
        async with self._renewing:
            age = time.monotonic() - self._taken
            if self._server is None or age > (1.0 if at_once else RENEW_AFTER):
                try:
                    access = await asyncio.to_thread(self._access)  # which may run a program
                except ClusterUnavailable as error:
                    if self._server is None:
                        raise Unreachable(str(error)) from error
                else:
                    self._renew(access, refused=at_once)
                self._taken = time.monotonic()
            assert self._server is not None
            return self._server

    def _renew(self, access: Access, *, refused: bool) -> None:
        """Take the credentials; connections are kept where they still say who we are."""
        bearer = "Authorization" in access.headers
        if self._server is not None:
            known = self._server.access
            same = (known.server, known.proxy, known.tls_server_name, "Authorization" in known.headers)
            if same == (access.server, access.proxy, access.tls_server_name, bearer) and (bearer or not refused):
                self._server.access = replace(known, headers=access.headers)
                return
            self._server.close()  # what goes on there ends there
        self._server = Server(access)


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__
