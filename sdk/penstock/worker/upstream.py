"""The agent's way to the API server: requests and watches with its own credentials, which it renews. For asyncio.

Who we are, `kubeconfig.access` says: a kubeconfig outside of the cluster, the pod's account in it. Nothing here decides
what may be asked.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx

from ..kubeconfig import Access, ClusterUnavailable

Body = dict[str, Any]
TIMEOUT = httpx.Timeout(30.0, connect=10.0)
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
        self._last: tuple[Any, ...] = ()
        self._http: httpx.AsyncClient | None = None
        self._old: list[httpx.AsyncClient] = []
        self._extensions: dict[str, Any] = {}

    async def close(self) -> None:
        """Let go of the connections."""
        for http in (*self._old, *([self._http] if self._http else [])):
            await http.aclose()

    async def json(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **query: str
    ) -> Body:
        """The answer's object. Raises Unreachable and Refused."""
        async with self.answer(method, path, query, body, content_type) as answer:
            try:
                await answer.aread()
                found = answer.json()
            except httpx.HTTPError as error:
                raise Unreachable(_said(error)) from error
            except ValueError:
                found = {"message": answer.text[:500]}
        if answer.status_code >= 400:
            raise Refused(answer.status_code, str(found.get("message")))
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
        async with self.answer("GET", path, query, timeout=WATCH_SECONDS + 15) as answer:
            if answer.status_code >= 400:
                raise Refused(answer.status_code, f"watch: HTTP {answer.status_code}")
            rest = b""
            try:
                async for part in answer.aiter_raw():
                    *lines, rest = (rest + part).split(b"\n")
                    for line in filter(None, lines):
                        event = json.loads(line)
                        if event["type"] == "ERROR":
                            raise Refused(int(event["object"].get("code") or 500), str(event["object"].get("message")))
                        yield event["type"], event["object"]
            except (httpx.HTTPError, ValueError) as error:
                raise Unreachable(_said(error)) from error

    @asynccontextmanager
    async def answer(
        self,
        method: str,
        path: str,
        query: Any = None,
        body: Any = None,
        content_type: str = "application/json",
        timeout: float | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """An answer whose content has not been read. Raises Unreachable.

        Where the credentials are refused they are asked for again, once: such a request has done nothing.
        """
        content = None if body is None else json.dumps(body).encode()
        headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
        if content is not None:
            headers["Content-Type"] = content_type
        for again in (False, True):
            http = await self._client(at_once=again)
            request = http.build_request(
                method,
                path,
                params=query or None,
                content=content,
                headers=headers,
                timeout=TIMEOUT if timeout is None else httpx.Timeout(timeout, connect=10.0),
                extensions=dict(self._extensions),
            )
            try:
                found = await http.send(request, stream=True)
            except httpx.HTTPError as error:
                raise Unreachable(f"the API server cannot be reached: {_said(error)}") from error
            try:
                if found.status_code == 401 and not again:
                    continue
                yield found
                return
            finally:
                await found.aclose()

    async def _client(self, *, at_once: bool) -> httpx.AsyncClient:
        async with self._renewing:
            age = time.monotonic() - self._taken
            if self._http is None or age > (1.0 if at_once else RENEW_AFTER):
                try:
                    access = await asyncio.to_thread(self._access)  # which may run a program
                except ClusterUnavailable as error:
                    if self._http is None:
                        raise Unreachable(str(error)) from error
                else:
                    await self._renew(access, refused=at_once)
                self._taken = time.monotonic()
            assert self._http is not None
            return self._http

    async def _renew(self, access: Access, *, refused: bool) -> None:
        """Take the credentials; connections are kept where they still say who we are."""
        bearer = "Authorization" in access.headers
        server = (access.server, access.proxy, access.tls_server_name, bearer)
        if self._http is not None and self._last == server and (bearer or not refused):
            self._http.headers.update(access.headers)
            return
        if self._http is not None:
            self._old.append(self._http)  # what goes on there may end there
        while len(self._old) > 2:
            await self._old.pop(0).aclose()
        self._last = server
        self._extensions = {"sni_hostname": access.tls_server_name} if access.tls_server_name else {}
        self._http = httpx.AsyncClient(
            base_url=access.server,
            verify=access.verify,
            headers=dict(access.headers),
            timeout=TIMEOUT,
            trust_env=False,
            proxy=access.proxy,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32, keepalive_expiry=60),
        )


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
