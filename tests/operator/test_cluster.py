"""The `Cluster` in memory holds to the contract; answers of the API server become errors by kind."""

from __future__ import annotations

import asyncio
import gc
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import uvloop

from cluster_contract import ClusterContract, Scenario, Trial
from loopback import LoopbackServer, Request
from memory_cluster import MemoryCluster
from penstock_cluster import certificates
from penstock_operator import cluster
from penstock_operator.cluster import ApiCluster, Cluster, Connection, ResourceType


class TestMemoryCluster(ClusterContract):
    @pytest.fixture
    def trial(self) -> Trial:
        def run(scenario: Scenario) -> None:
            async def alone() -> None:
                await scenario(MemoryCluster(), "test")

            asyncio.run(alone())

        return run

    @pytest.fixture
    def forget(self) -> Callable[[Cluster], None]:
        return lambda memory: memory.compact()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (404, "NotFound", cluster.NotFound),
        (409, "AlreadyExists", cluster.AlreadyExists),
        (409, "Conflict", cluster.Conflict),
        (422, "Invalid", cluster.Invalid),
        (400, "BadRequest", cluster.Invalid),
        (403, "Forbidden", cluster.Forbidden),
        (410, "Expired", cluster.Expired),
        (429, "TooManyRequests", cluster.Unavailable),
        (500, "InternalError", cluster.Unavailable),
        (503, "", cluster.Unavailable),
        (401, "Unauthorized", cluster.ApiError),
    ],
)
def test_an_answer_becomes_an_error_by_its_kind(status: int, reason: str, kind: type[cluster.ApiError]) -> None:
    error = cluster.error_of(status, {"reason": reason, "message": "said so"}, 2.5)
    assert type(error) is kind
    assert (error.status, error.message) == (status, "said so")
    assert error.retry_after == (2.5 if kind is cluster.Unavailable else None)
    assert str(error) == f"{reason or status}: said so"


@pytest.mark.parametrize(
    ("resource", "namespace", "name", "subresource", "path"),
    [
        (cluster.PODS, "team", "run-1", None, "/api/v1/namespaces/team/pods/run-1"),
        (cluster.PODS, None, None, None, "/api/v1/pods"),
        (
            cluster.FLOW_RUNS,
            "team",
            "run",
            "status",
            "/apis/penstock.dev/v1alpha1/namespaces/team/flowruns/run/status",
        ),
        (cluster.NODES, "ignored", "node-a", None, "/api/v1/nodes/node-a"),
    ],
)
def test_paths_are_those_of_the_api_server(
    resource: ResourceType, namespace: str | None, name: str | None, subresource: str | None, path: str
) -> None:
    assert resource.path(namespace, name, subresource) == path


def answered(answer: bytes, ask: Callable[[ApiCluster], Awaitable[object]]) -> None:
    """Ask a server that gives this answer to whatever it is asked."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    async def scenario() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            async with ApiCluster(Connection(f"http://127.0.0.1:{port}", ssl.create_default_context())) as client:
                await asyncio.wait_for(ask(client), 20)

    asyncio.run(scenario())


def http(status: str, body: bytes, *headers: str) -> bytes:
    """An answer as it goes over the wire."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


async def watched(client: ApiCluster) -> list[str]:
    return [event.type async for event in client.watch(cluster.PODS, "team", resource_version="1")]


async def created(client: ApiCluster) -> object:
    return await client.create(cluster.PODS, "team", {"metadata": {"name": "pod"}})


BUSY = http("429 Too Many Requests", b"Too many requests, please try again later.\n", "Retry-After: 1")


@pytest.mark.parametrize("ask", [watched, created], ids=["a watch", "a write"])
@pytest.mark.parametrize(
    ("answer", "kind", "says"),
    [
        pytest.param(BUSY, cluster.Unavailable, "Too many requests", id="plain text of a busy server"),
        pytest.param(http("404 Not Found", b"404 page not found\n"), cluster.NotFound, "page not found", id="a 404"),
        pytest.param(http("502 Bad Gateway", b"<html>"), cluster.Unavailable, "<html>", id="a proxy's page"),
        pytest.param(http("403 Forbidden", b'"no"'), cluster.Forbidden, '"no"', id="JSON that is no object"),
        pytest.param(http("500 Internal Server Error", b""), cluster.Unavailable, "500", id="nothing at all"),
        pytest.param(http("200 OK", b"<html>\n"), cluster.Unavailable, "JSONDecodeError", id="success without JSON"),
        pytest.param(b"", cluster.Unavailable, "ServerDisconnected", id="no answer"),
    ],
)
def test_an_answer_that_is_no_status_is_an_error_by_its_code(
    ask: Callable[[ApiCluster], Awaitable[object]], answer: bytes, kind: type[cluster.ApiError], says: str
) -> None:
    """Whoever watches waits such errors out; an error of another type would end the operator."""
    with pytest.raises(kind, match=says):
        answered(answer, ask)


def test_a_busy_server_says_when_to_come_back() -> None:
    with pytest.raises(cluster.Unavailable) as refusal:
        answered(BUSY, watched)
    assert refusal.value.retry_after == 1.0


def test_an_error_within_a_watch_is_raised_as_such() -> None:
    gone = b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}\n'
    with pytest.raises(cluster.Expired, match="too old"):
        answered(http("200 OK", gone), watched)


# What is held back.


@asynccontextmanager
async def server(*answers: bytes) -> AsyncIterator[tuple[str, list[float]]]:
    """Gives these answers in turn, the last one for ever; its URL, and the times at which requests came."""
    came: list[float] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        came.append(time.monotonic())
        writer.write(answers[min(len(came), len(answers)) - 1])
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", came


def client(url: str, **how: Any) -> ApiCluster:
    return ApiCluster(Connection(url, ssl.create_default_context()), **how)


SHORTLY = http("429 Too Many Requests", b"busy", "Retry-After: 0.4")
FINE = http("200 OK", b'{"metadata": {"name": "pod", "resourceVersion": "1"}, "items": []}')


def test_a_server_that_asks_for_a_pause_gets_one_from_the_whole_client() -> None:
    async def scenario() -> None:
        async with server(SHORTLY, FINE) as (url, came), client(url) as cluster_:
            with pytest.raises(cluster.Unavailable):
                await created(cluster_)
            others = [created(cluster_), cluster_.get(cluster.PODS, "team", "pod"), created(cluster_)]
            await asyncio.gather(*others)
            first, *rest = came
            assert min(rest) - first >= 0.4
            assert len(set(rest)) == len(rest)

    asyncio.run(scenario())


def test_a_read_comes_back_by_itself_after_the_pause() -> None:
    async def scenario() -> None:
        async with server(SHORTLY, SHORTLY, FINE) as (url, came), client(url) as cluster_:
            assert await cluster_.get(cluster.PODS, "team", "pod")
            assert [round(later - sooner, 1) >= 0.4 for sooner, later in pairwise(came)] == [True, True]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("1", 1.0), ("0.5", 0.5), ("86400", 60.0), ("inf", 60.0), ("-3", None), ("nan", None), ("tomorrow", None)],
)
def test_only_a_reasonable_pause_is_kept(header: str, seconds: float | None) -> None:
    with pytest.raises(cluster.Unavailable) as refusal:
        answered(http("503 Service Unavailable", b"", f"Retry-After: {header}"), created)
    assert refusal.value.retry_after == seconds


def test_a_server_that_names_no_pause_holds_nobody_back() -> None:
    """As where a limit of Events is reached: that must not keep runs from going on."""

    async def scenario() -> None:
        async with (
            server(http("429 Too Many Requests", b"limit reached"), FINE) as (url, came),
            client(url) as cluster_,
        ):
            with pytest.raises(cluster.Unavailable):
                await created(cluster_)
            await created(cluster_)
            assert len(came) == 2
            assert cluster_._held_until == 0.0

    asyncio.run(scenario())


def test_a_request_without_permission_is_not_sent() -> None:
    def refuse(verb: str, plural: str) -> None:
        if verb != "GET":
            raise cluster.NotLeading(f"{verb} {plural}")

    async def scenario() -> None:
        async with server(FINE) as (url, came), client(url, permit=refuse) as cluster_:
            with pytest.raises(cluster.NotLeading, match="POST pods"):
                await created(cluster_)
            await cluster_.get(cluster.PODS, "team", "pod")
            assert len(came) == 1

    asyncio.run(scenario())


def test_permission_is_asked_for_after_all_waiting() -> None:
    """It may end while a request waits for its turn, or for the end of a pause."""
    allowed = [True]

    def permit(verb: str, plural: str) -> None:
        if not allowed[0]:
            raise cluster.NotLeading(f"{verb} {plural}")

    async def scenario() -> None:
        async with server(SHORTLY, FINE) as (url, came), client(url, permit=permit) as cluster_:
            with pytest.raises(cluster.Unavailable):
                await created(cluster_)
            waiting = asyncio.create_task(created(cluster_))  # type: ignore[arg-type]
            await asyncio.sleep(0.05)
            allowed[0] = False
            with pytest.raises(cluster.NotLeading):
                await waiting
            assert len(came) == 1

    asyncio.run(scenario())


async def read(client: ApiCluster) -> object:
    return await client.get(cluster.PODS, "team", "pod")


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("ask", [watched, read, created], ids=["a watch", "a read", "a write"])
def test_what_was_given_up_is_closed_with_the_client(
    tmp_path: Path, ask: Callable[[ApiCluster], Awaitable[object]], loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """Also where the server does not answer TLS's goodbye; an open socket that nobody has would fail the test."""
    certificates.issue(tmp_path, {"apiserver": certificates.wanted("127.0.0.1")["apiserver"]})
    asked, over = threading.Event(), threading.Event()

    def begin(_: Request, connection: ssl.SSLSocket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n")
        asked.set()
        over.wait(20)

    async def scenario(port: int) -> None:
        trust = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
        async with ApiCluster(Connection(f"https://127.0.0.1:{port}", trust)) as client:
            asking = asyncio.ensure_future(ask(client))
            assert await asyncio.to_thread(asked.wait, 20)
            asking.cancel()
            await asyncio.wait([asking])

    with LoopbackServer(tmp_path, begin) as server:
        try:
            with asyncio.Runner(loop_factory=loop) as runner:
                runner.run(scenario(server.port))
            gc.collect()
        finally:
            over.set()
