"""The only module that speaks to the API server: a `Cluster` of a few verbs, and its implementation on aiohttp.

Reconcilers and the controller take a `Cluster`; the tests have one in memory that passes the same contract tests. Reads
are repeated with jittered backoff on 429 and 5xx. Writes are not: whether one arrived is for the caller to find out,
who knows what it meant. A Retry-After holds back everything that this client would send until then.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlencode
from weakref import WeakSet

import aiohttp
import orjson

from penstock.api import labels

from .backoff import backoff, spread

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ResourceType:
    """A kind of object as the API server's paths name it."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        """URL path of the collection or of one object."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        parts = [root, *(("namespaces", namespace) if self.namespaced and namespace else ()), self.plural]
        return "/".join([*parts, *(p for p in (name, subresource) if p)])


def _own(plural: str, kind: str) -> ResourceType:
    return ResourceType(labels.GROUP, labels.VERSION, plural, kind)


FLOWS = _own("flows", "Flow")
FLOW_DEPLOYMENTS = _own("flowdeployments", "FlowDeployment")
FLOW_RUNS = _own("flowruns", "FlowRun")
WORK_POOLS = _own("workpools", "WorkPool")
WORK_QUEUES = _own("workqueues", "WorkQueue")
CONCURRENCY_LIMITS = _own("concurrencylimits", "ConcurrencyLimit")
TASK_RUN_PAGES = _own("taskrunpages", "TaskRunPage")
BLOCKS = _own("blocks", "Block")
CONCURRENCY_LIMITS = _own("concurrencylimits", "ConcurrencyLimit")
BACKFILLS = _own("backfills", "Backfill")
PODS = ResourceType("", "v1", "pods", "Pod")
CONFIG_MAPS = ResourceType("", "v1", "configmaps", "ConfigMap")
NODES = ResourceType("", "v1", "nodes", "Node", namespaced=False)
JOBS = ResourceType("batch", "v1", "jobs", "Job")
CONTROLLER_REVISIONS = ResourceType("apps", "v1", "controllerrevisions", "ControllerRevision")
EVENTS = ResourceType("events.k8s.io", "v1", "events", "Event")
LEASES = ResourceType("coordination.k8s.io", "v1", "leases", "Lease")

LOW_RATE = (FLOWS, WORK_POOLS, WORK_QUEUES, BLOCKS, BACKFILLS)
"""Kinds that kopf watches; the controller lists them when it begins to act, and now and then."""


class ApiError(Exception):
    """The API server refused, or could not be reached (status 0)."""

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{reason or status}: {message}")
        self.status, self.reason, self.message, self.retry_after = status, reason, message, retry_after


class NotFound(ApiError):
    """There is no such object, or no such kind."""


class AlreadyExists(ApiError):
    """The name is taken."""


class Conflict(ApiError):
    """The object changed meanwhile, or a precondition does not hold."""


class Invalid(ApiError):
    """A failed test of a JSON patch, a schema violation or a policy: they cannot be told apart by status."""


class Forbidden(ApiError):
    """RBAC, a quota or an admission policy says no."""


class Expired(ApiError):
    """The watch's resourceVersion is too old: list again."""


class Unavailable(ApiError):
    """429, 5xx or no connection: nothing is known of what was asked."""


class NotLeading(ApiError):
    """This process does not hold the lease, or not any more: nothing was sent."""

    def __init__(self, message: str) -> None:
        super().__init__(0, "NotLeading", message)


def error_of(status: int, body: Mapping[str, Any], retry_after: float | None = None) -> ApiError:
    """The error of an answer of the API server."""
    reason, message = str(body.get("reason") or ""), str(body.get("message") or "")
    kinds: dict[int, type[ApiError]] = {404: NotFound, 403: Forbidden, 410: Expired, 422: Invalid, 400: Invalid}
    if status == 409:
        return (AlreadyExists if reason == "AlreadyExists" else Conflict)(status, reason, message)
    if status == 429 or status >= 500:
        return Unavailable(status, reason, message, retry_after)
    return kinds.get(status, ApiError)(status, reason, message)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a LIST."""

    items: list[Body]
    resource_version: str


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """ADDED, MODIFIED, DELETED or BOOKMARK, and the object."""

    type: str
    object: Body


class Cluster(Protocol):
    """What the operator needs of Kubernetes."""

    async def get(self, resource: ResourceType, namespace: str | None, name: str) -> Body | None:
        """The object as it is now (a consistent read), or None."""

    def list_pages(
        self,
        resource: ResourceType,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 500,
    ) -> AsyncIterator[Page]:
        """All objects, a page at a time."""

    def watch(
        self,
        resource: ResourceType,
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        timeout_seconds: int = 300,
    ) -> AsyncIterator[WatchEvent]:
        """Changes after `resource_version`; ends when the server ends it; raises `Expired` when it is too old."""

    async def create(self, resource: ResourceType, namespace: str | None, body: Body, *, dry_run: bool = False) -> Body:
        """The object as created. Raises AlreadyExists, Forbidden, Invalid."""

    async def patch(
        self,
        resource: ResourceType,
        namespace: str | None,
        name: str,
        ops: list[Body],
        *,
        subresource: str | None = None,
    ) -> Body:
        """The object after a JSON patch (RFC 6902). Raises NotFound, Conflict, Invalid, Forbidden."""

    async def delete(
        self,
        resource: ResourceType,
        namespace: str | None,
        name: str,
        *,
        uid: str | None = None,
        grace_seconds: int | None = None,
        propagation: str = "Background",
    ) -> None:
        """Delete the object, only when it has that uid; absent is fine."""

    def logs(self, namespace: str, pod: str, container: str, *, follow: bool = False) -> AsyncIterator[bytes]:
        """What a container wrote, each line after its time: an empty piece once the log is open, then the bytes;
        `follow`: until it ends. Raises NotFound, and Invalid where it has not started."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the API server is and how to speak to it; `token` is asked for each request, since tokens rotate."""

    server: str
    ssl_context: ssl.SSLContext
    token: Callable[[], str | None] = field(default=lambda: None)
    headers: Mapping[str, str] = field(default_factory=dict)


Observer = Callable[[str, str, int], None]
"""Told of every answer: verb, plural, status."""

Permit = Callable[[str, str], None]
"""Asked with verb and plural right before a request is sent; raises an ApiError to keep it."""

MAX_IN_FLIGHT = {"POST": 24, "PATCH": 32, "DELETE": 8}
FIRST_PAGE, PAGE_BYTES = 25, 8 * 1024 * 1024  # objects of a list; later pages have what bytes allow, for some are large
LAST_WAIT = 1.0  # seconds in which the connections of a client end with it
READ_TRIES = 5
FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0  # seconds between them
LONGEST_LOG, LONGEST_FOLLOW = 300.0, 3600.0  # seconds of reading a log
LONGEST_HOLD = 60.0  # seconds of a Retry-After that are believed


class ApiCluster:
    """`Cluster` over HTTPS; use as an async context manager."""

    def __init__(
        self,
        connection: Connection,
        observer: Observer = lambda *_: None,
        permit: Permit = lambda *_: None,
        timeout: float = 30.0,
    ) -> None:
        self._connection, self._observe, self._permit, self._timeout = connection, observer, permit, timeout
        self._held_until = 0.0
        self._session: aiohttp.ClientSession | None = None
        self._sockets = WeakSet[socket.socket]()
        self._slots = {method: asyncio.Semaphore(slots) for method, slots in MAX_IN_FLIGHT.items()}

    async def __aenter__(self) -> ApiCluster:
        connector = aiohttp.TCPConnector(
            ssl=self._connection.ssl_context, limit=0, keepalive_timeout=60, socket_factory=self._socket
        )
        self._session = aiohttp.ClientSession(connector=connector)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
        await self._end()

    def _socket(self, address: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, *_ = address
        made = socket.socket(family, kind, protocol)
        self._sockets.add(made)
        return made

    async def _end(self) -> None:
        """Wait for connections that were given up: else they are open until the server answers TLS's goodbye."""
        deadline = time.monotonic() + LAST_WAIT
        while (left := [one for one in self._sockets if one.fileno() != -1]) and time.monotonic() < deadline:
            for one in left:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            await asyncio.sleep(0.01)

    def _headers(self) -> dict[str, str]:
        token = self._connection.token()
        bearer = {"Authorization": f"Bearer {token}"} if token else {}
        return {"Accept": "application/json", **self._connection.headers, **bearer}

    async def _request(
        self,
        method: str,
        resource: ResourceType,
        path: str,
        *,
        body: Any = None,
        content_type: str = "application/json",
    ) -> tuple[Body, int]:
        """The answer, and its size in bytes."""
        assert self._session is not None, "enter the ApiCluster first"
        data = orjson.dumps(body) if body is not None else None
        headers = {**self._headers(), **({"Content-Type": content_type} if data else {})}
        async with self._slots.get(method) or nullcontext():
            await self._ready()
            self._permit(method, resource.plural)  # after all waiting, for permission may end while one waits
            try:
                async with self._session.request(
                    method,
                    self._connection.server + path,
                    data=data,
                    headers=headers,
                    timeout=aiohttp.ClientTimeout(total=self._timeout),
                ) as answer:
                    text = await answer.read()
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                self._observe(method, resource.plural, 0)
                raise Unavailable(0, type(error).__name__, str(error)) from error
        self._observe(method, resource.plural, answer.status)
        if answer.status >= 400:
            raise self._refusal(answer, text)
        try:
            content: Body = orjson.loads(text) if text else {}
        except orjson.JSONDecodeError as error:
            raise Unavailable(answer.status, type(error).__name__, f"the answer is no JSON: {error}") from error
        return content, len(text)

    async def _ready(self) -> None:
        """Wait while the API server has asked this client to hold back; each waiter comes back at a time of its own."""
        while (left := self._held_until - time.monotonic()) > 0:
            await asyncio.sleep(spread(left))

    def _refusal(self, answer: aiohttp.ClientResponse, text: bytes) -> ApiError:
        """The error of an answer whose body may be plain text: a busy or starting API server sends no Status."""
        try:
            content = orjson.loads(text)
        except orjson.JSONDecodeError:
            content = None
        if not isinstance(content, dict):
            content = {"message": text[:500].decode(errors="replace")}
        error = error_of(answer.status, content, _seconds(answer.headers.get("Retry-After")))
        if error.retry_after:
            self._held_until = max(self._held_until, time.monotonic() + error.retry_after)
        return error

    async def _read(self, resource: ResourceType, path: str) -> tuple[Body, int]:
        for attempt in range(READ_TRIES):
            try:
                return await self._request("GET", resource, path)
            except Unavailable as error:
                if attempt == READ_TRIES - 1:
                    raise
                if not error.retry_after:  # which is waited out with every other request
                    await asyncio.sleep(backoff(attempt + 1, FIRST_WAIT, LONGEST_WAIT))
        raise AssertionError("unreachable")

    async def get(self, resource: ResourceType, namespace: str | None, name: str) -> Body | None:
        try:
            body, _ = await self._read(resource, resource.path(namespace, name))
        except NotFound:
            return None
        return body

    async def list_pages(
        self,
        resource: ResourceType,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 500,
    ) -> AsyncIterator[Page]:
        token, objects = "", min(limit, FIRST_PAGE)
        while True:
            query = {"limit": str(objects), "labelSelector": label_selector, "fieldSelector": field_selector}
            query["continue"] = token
            wanted = urlencode({key: value for key, value in query.items() if value})
            body, size = await self._read(resource, f"{resource.path(namespace)}?{wanted}")
            token, found = body["metadata"].get("continue") or "", len(body.get("items") or ())
            objects = min(limit, 4 * objects, max(1, PAGE_BYTES * found // size))
            yield Page(body.get("items") or [], body["metadata"]["resourceVersion"])
            if not token:
                return

    async def watch(
        self,
        resource: ResourceType,
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        timeout_seconds: int = 300,
    ) -> AsyncIterator[WatchEvent]:
        assert self._session is not None, "enter the ApiCluster first"
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(timeout_seconds),
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
        }
        wanted = urlencode({key: value for key, value in query.items() if value})
        # Bookmarks come about every minute; a connection silent for much longer is dead.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=120)
        await self._ready()
        try:
            async with self._session.get(
                f"{self._connection.server}{resource.path(namespace)}?{wanted}",
                headers=self._headers(),
                timeout=timeout,
            ) as answer:
                self._observe("WATCH", resource.plural, answer.status)
                if answer.status >= 400:
                    raise self._refusal(answer, await answer.read())
                rest = b""
                async for chunk in answer.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        event = orjson.loads(line)
                        if event["type"] == "ERROR":
                            raise error_of(int(event["object"].get("code") or 500), event["object"])
                        yield WatchEvent(event["type"], event["object"])
        except (aiohttp.ClientError, TimeoutError, OSError, orjson.JSONDecodeError) as error:
            raise Unavailable(0, type(error).__name__, str(error)) from error

    async def logs(self, namespace: str, pod: str, container: str, *, follow: bool = False) -> AsyncIterator[bytes]:
        assert self._session is not None, "enter the ApiCluster first"
        query = {"container": container, "timestamps": "true", **({"follow": "true"} if follow else {})}
        path = f"{PODS.path(namespace, pod, 'log')}?{urlencode(query)}"
        timeout = aiohttp.ClientTimeout(total=LONGEST_FOLLOW if follow else LONGEST_LOG, sock_connect=10)
        await self._ready()
        try:
            async with self._session.get(
                self._connection.server + path, headers={**self._headers(), "Accept": "*/*"}, timeout=timeout
            ) as answer:
                self._observe("GET", "pods/log", answer.status)
                if answer.status >= 400:
                    raise self._refusal(answer, await answer.read())
                yield b""
                async for chunk in answer.content.iter_any():
                    yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(0, type(error).__name__, str(error)) from error

    async def create(self, resource: ResourceType, namespace: str | None, body: Body, *, dry_run: bool = False) -> Body:
        path = resource.path(namespace) + ("?dryRun=All" if dry_run else "")
        created, _ = await self._request("POST", resource, path, body=body)
        return created

    async def patch(
        self,
        resource: ResourceType,
        namespace: str | None,
        name: str,
        ops: list[Body],
        *,
        subresource: str | None = None,
    ) -> Body:
        path = resource.path(namespace, name, subresource)
        patched, _ = await self._request("PATCH", resource, path, body=ops, content_type="application/json-patch+json")
        return patched

    async def delete(
        self,
        resource: ResourceType,
        namespace: str | None,
        name: str,
        *,
        uid: str | None = None,
        grace_seconds: int | None = None,
        propagation: str = "Background",
    ) -> None:
        options: Body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": propagation}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        try:
            await self._request("DELETE", resource, resource.path(namespace, name), body=options)
        except (NotFound, Conflict):  # gone, or a namesake: either way the one we meant is gone
            return


def _seconds(header: str | None) -> float | None:
    """Seconds of a Retry-After, within reason; None for none, and for what cannot be read."""
    try:
        seconds = float(header) if header else 0.0
    except ValueError:
        return None
    return min(seconds, LONGEST_HOLD) if seconds > 0 and not math.isnan(seconds) else None
