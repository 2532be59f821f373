"""The connection to the API server, against a TLS server on the loopback that does what real ones do, or worse."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import ssl
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loopback import LoopbackServer, Request, answer
from penstock.runner import connection
from penstock.runner.connection import JSON_PATCH, Answer, Api, NotInPod, Unreachable
from penstock_cluster import certificates
from penstock_cluster.control_plane import free_ports

BIG = {"text": "ä" * 100_000}
Act = Callable[[ssl.SSLSocket], object]  # what a server does with a connection that was asked something


class Exchange:
    """A server that gives prepared answers in turn, and a client of it."""

    def __init__(self, pki: Path, account: Path) -> None:
        self.answers: list[Act] = []
        self.server = LoopbackServer(pki, self._respond)
        self.api = Api("127.0.0.1", self.server.port, str(account), timeout=20)

    def _respond(self, _: Request, connection: ssl.SSLSocket) -> None:
        self.answers.pop(0)(connection)

    def will(self, *answers: bytes | Act) -> None:
        """Answer the next requests so: bytes are sent, a function does what it wants with the connection."""
        self.answers += [self._sender(given) if isinstance(given, bytes) else given for given in answers]

    @staticmethod
    def _sender(content: bytes) -> Act:
        return lambda connection: connection.sendall(content)

    def get(self, path: str = "/run") -> Answer:
        return self.api.request("GET", path)

    def patch(self) -> Answer:
        return self.api.request("PATCH", "/run", [], JSON_PATCH)

    @property
    def asked(self) -> list[tuple[int, str]]:
        """Connection and method of each request that arrived."""
        return [(request.connection, request.method) for request in self.server.requests]


@pytest.fixture
def exchange(pki: Path, account: Path) -> Iterator[Exchange]:
    exchange = Exchange(pki, account)
    with exchange.server:
        yield exchange
        exchange.api.close()


def close(connection: ssl.SSLSocket) -> None:
    """As a process that is killed: the connection ends without TLS's farewell."""
    connection.close()


def farewell(connection: ssl.SSLSocket) -> None:
    """As an API server does with a connection that was idle for long."""
    connection.settimeout(0)
    with contextlib.suppress(ssl.SSLWantReadError):  # the client's own farewell is not waited for
        connection.unwrap()
    connection.close()


def reset(connection: ssl.SSLSocket) -> None:
    """As a load balancer that forgot the connection."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def then(content: bytes, end: Act = close) -> Act:
    def respond(connection: ssl.SSLSocket) -> None:
        connection.sendall(content)
        end(connection)

    return respond


class TestRequests:
    def test_a_request_is_what_an_api_server_understands(self, exchange: Exchange) -> None:
        """Method, path, who asks, and the patch with its own content type."""
        exchange.will(answer(200, {"kind": "FlowRun"}))
        ops = [{"op": "add", "path": "/status/ä", "value": 1}]
        assert exchange.api.request("PATCH", "/apis/x/status", ops, JSON_PATCH).body == {"kind": "FlowRun"}
        request = exchange.server.requests[0]
        assert (request.method, request.path, request.json) == ("PATCH", "/apis/x/status", ops)
        assert request.headers["authorization"] == "Bearer the-token"
        assert request.headers["content-type"] == JSON_PATCH
        assert request.headers["host"] == f"127.0.0.1:{exchange.server.port}"

    def test_a_body_of_many_tls_records_arrives_whole(self, exchange: Exchange) -> None:
        exchange.will(answer(201, BIG))
        assert exchange.api.request("POST", "/pages", BIG).body == BIG
        assert exchange.server.requests[0].json == BIG

    def test_the_connection_is_kept(self, exchange: Exchange) -> None:
        exchange.will(*(answer(200, {"n": n}) for n in range(5)))
        assert [exchange.get().body["n"] for _ in range(5)] == list(range(5))
        assert exchange.server.connections == 1

    def test_one_that_is_opened_ahead_is_the_one_that_is_used(self, exchange: Exchange) -> None:
        exchange.will(answer(200), answer(200))
        exchange.api.open_ahead()
        exchange.get()
        exchange.get()
        assert exchange.asked == [(0, "GET"), (0, "GET")]

    def test_a_renewed_token_is_used_from_the_next_request_on(self, exchange: Exchange, account: Path) -> None:
        exchange.will(answer(200, {}), answer(200, {}))
        exchange.get()
        (account / "token").write_text("renewed")
        os.utime(account / "token", (1, 1))
        exchange.get()
        bearers = [request.headers["authorization"] for request in exchange.server.requests]
        assert bearers == ["Bearer the-token", "Bearer renewed"]

    def test_an_authority_that_was_replaced_is_used_by_the_next_connection(
        self, exchange: Exchange, account: Path, tmp_path: Path
    ) -> None:
        """A long run outlives the rotation of the cluster's certificates."""
        right = (account / "ca.crt").read_bytes()
        certificates.issue(tmp_path / "other", {})
        shutil.copy(tmp_path / "other" / "ca.crt", account / "ca.crt")
        with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
            exchange.get()
        (account / "ca.crt").write_bytes(right)
        exchange.will(answer(200, {"ok": True}))
        assert exchange.get().body == {"ok": True}


class TestAnswers:
    @pytest.mark.parametrize(
        ("content", "body"),
        {
            "by length": (answer(200, {"a": "ü"}), {"a": "ü"}),
            "in chunks": (
                b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"a":\r\n3;x=y\r\n 1}\r\n0\r\n\r\n',
                {"a": 1},
            ),
            "in chunks, with trailers": (
                b'HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\nA\r\n{"a":   2}\r\n0\r\nX: 1\r\nY: 2\r\n\r\n',
                {"a": 2},
            ),
            "after an interim answer": (
                b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + answer(200, {"a": 3}),
                {"a": 3},
            ),
            "none, by length": (answer(200), {}),
            "none, by status": (b"HTTP/1.1 204 No Content\r\n\r\n", {}),
        }.values(),
        ids=["length", "chunks", "trailers", "interim", "empty", "204"],
    )
    def test_a_body_is_read_to_its_end_and_no_further(
        self, exchange: Exchange, content: bytes, body: dict[str, Any]
    ) -> None:
        """The next answer on the connection is its own."""
        exchange.will(content, answer(200, {"next": True}))
        assert exchange.get().body == body
        assert exchange.get().body == {"next": True}
        assert exchange.server.connections == 1

    @pytest.mark.parametrize("end", [close, farewell])
    def test_a_body_may_end_with_its_connection(self, exchange: Exchange, end: Act) -> None:
        exchange.will(then(b'HTTP/1.1 200 OK\r\n\r\n{"a": 1}', end), answer(200, {"next": True}))
        assert exchange.get().body == {"a": 1}
        assert exchange.patch().body == {"next": True}
        assert exchange.asked == [(0, "GET"), (1, "PATCH")]

    def test_a_server_that_says_it_closes_is_believed(self, exchange: Exchange) -> None:
        exchange.will(answer(200, {"n": 1}, "Connection: Close"), answer(200, {"n": 2}))
        assert (exchange.get().body, exchange.patch().body) == ({"n": 1}, {"n": 2})
        assert exchange.server.connections == 2

    @pytest.mark.parametrize(
        ("header", "seconds"),
        [
            ("Retry-After: 7", 7.0),
            ("Retry-After: Wed, 21 Oct 2026 07:28:00 GMT", 0.0),
            ("Retry-After: ²", 0.0),
            ("X: y", 0.0),
        ],
    )
    def test_a_busy_server_may_say_when_to_come_again(self, exchange: Exchange, header: str, seconds: float) -> None:
        """429 comes as plain text."""
        content = "Too many requests, please try again later."
        raw = answer(429, content, "Content-Type: text/plain").replace(
            b"\r\n\r\n", f"\r\n{header}\r\n\r\n".encode("latin-1"), 1
        )
        exchange.will(raw)
        found = exchange.get()
        assert (found.status, found.busy, found.retry_after) == (429, True, seconds)
        assert found.body == {"message": content}
        assert len(exchange.server.requests) == 1

    @pytest.mark.parametrize("status", [400, 403, 404, 409, 422, 500, 503])
    @pytest.mark.parametrize("body", ["404 page not found", '["a list"]', "", '{"cut": '])
    def test_a_refusal_that_is_no_object_is_told_as_text(self, exchange: Exchange, status: int, body: str) -> None:
        exchange.will(answer(status, body))
        found = exchange.patch()
        assert found.status == status
        assert found.body == ({"message": body.strip()} if body else {})
        assert found.busy == (status >= 500)

    @pytest.mark.parametrize("body", ["<html>", "[]", '"text"', '{"cut": '])
    def test_a_success_that_is_no_object_is_no_answer(self, exchange: Exchange, body: str) -> None:
        """Such as that of a captive proxy."""
        exchange.will(answer(200, body))
        with pytest.raises(Unreachable):
            exchange.patch()

    @pytest.mark.parametrize(
        "content", [b"SSH-2.0\r\n\r\n", b"HTTP/1.1 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"]
    )
    def test_what_is_not_http_is_no_answer(self, exchange: Exchange, content: bytes) -> None:
        exchange.will(then(content))
        with pytest.raises(Unreachable):
            exchange.patch()


class TestLostConnections:
    @pytest.mark.parametrize("end", [close, farewell, reset])
    @pytest.mark.parametrize("method", ["GET", "PATCH"])
    def test_one_that_was_closed_while_idle_is_opened_again(self, exchange: Exchange, method: str, end: Act) -> None:
        """API servers do so after a minute and a half; nothing was asked of it, so nothing can have arrived."""
        exchange.will(then(answer(200, {}), end), answer(200, {"n": 2}))
        exchange.get()
        _until(lambda: exchange.server.alive == 0)
        assert exchange.api.request(method, "/run").body == {"n": 2}
        assert exchange.asked == [(0, "GET"), (1, method)]

    def test_an_answer_that_nobody_asked_for_is_nobodys(self, exchange: Exchange) -> None:
        """A 408 upon an idle connection is not the answer to the next request."""
        exchange.will(answer(200, {"n": 1}) + answer(408, "timeout"), answer(200, {"n": 2}))
        exchange.get()
        assert exchange.patch().body == {"n": 2}
        assert exchange.asked == [(0, "GET"), (1, "PATCH")]

    def test_a_read_is_repeated_once(self, exchange: Exchange) -> None:
        exchange.will(answer(200, {}), close, answer(200, {"n": 2}))
        exchange.get()
        assert exchange.get().body == {"n": 2}
        exchange.will(close, close)
        with pytest.raises(Unreachable):
            exchange.get()
        assert len(exchange.server.requests) == 5

    @pytest.mark.parametrize("end", [close, farewell, reset])
    def test_a_write_that_may_have_arrived_is_not_repeated(self, exchange: Exchange, end: Act) -> None:
        """Also where the connection had been used before: the server took it and ended without an answer."""
        exchange.will(answer(200, {}), end)
        exchange.patch()
        with pytest.raises(Unreachable):
            exchange.patch()
        assert exchange.asked == [(0, "PATCH"), (0, "PATCH")]

    @pytest.mark.parametrize("cut", [1, 20, 45, 60])
    def test_an_answer_that_is_cut_short_is_none(self, exchange: Exchange, cut: int) -> None:
        exchange.will(answer(200, {}), then(answer(200, {"long": "enough to be cut"})[:cut]))
        exchange.patch()
        with pytest.raises(Unreachable):
            exchange.patch()

    def test_chunks_that_end_early_are_no_answer(self, exchange: Exchange) -> None:
        """Though what came until then is whole JSON."""
        exchange.will(then(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"))
        with pytest.raises(Unreachable):
            exchange.patch()

    def test_after_a_loss_the_next_request_has_a_connection_of_its_own(self, exchange: Exchange) -> None:
        exchange.will(answer(200, {}), close, answer(200, {"n": 3}))
        exchange.patch()
        with pytest.raises(Unreachable):
            exchange.patch()
        assert exchange.patch().body == {"n": 3}
        assert exchange.asked == [(0, "PATCH"), (0, "PATCH"), (1, "PATCH")]

    @pytest.mark.parametrize("method", ["GET", "PATCH"])
    def test_a_server_that_does_not_answer_in_time_is_unreachable(
        self, exchange: Exchange, account: Path, method: str
    ) -> None:
        """And is not asked again at once, for it has enough to do."""
        answered = threading.Event()
        exchange.api = Api("127.0.0.1", exchange.server.port, str(account), timeout=1.5)
        exchange.will(answer(200, {}), lambda _: answered.wait(30))
        exchange.get()
        try:
            with pytest.raises(Unreachable, match="TimeoutError"):
                exchange.api.request(method, "/run")
        finally:
            answered.set()
        assert exchange.asked == [(0, "GET"), (0, method)]

    def test_nobody_listens(self, account: Path) -> None:
        (port,) = free_ports(1)
        with pytest.raises(Unreachable, match="ConnectionRefusedError"):
            Api("127.0.0.1", port, str(account)).request("GET", "/run")

    def test_one_that_cannot_be_opened_ahead_is_tried_again(self, exchange: Exchange, account: Path) -> None:
        authority = account / "ca.crt"
        there = authority.read_bytes()
        authority.unlink()
        exchange.will(answer(200))
        exchange.api.open_ahead()
        authority.write_bytes(there)
        assert exchange.get().status == 200

    def test_one_that_was_opened_ahead_and_lost_is_opened_again(self, exchange: Exchange) -> None:
        exchange.will(answer(200))
        exchange.api.open_ahead()
        assert exchange.api._socket is not None
        socket.socket.shutdown(exchange.api._socket, socket.SHUT_RDWR)  # beneath TLS, as a network does
        assert exchange.get().status == 200

    @pytest.mark.parametrize("when", ["_dial", "_greet", "_head", "_start", "_until"])
    def test_lines_that_nobody_reads_any_more_end_whenever_that_is_said(
        self, exchange: Exchange, monkeypatch: pytest.MonkeyPatch, when: str
    ) -> None:
        """By another thread, before or after a step of who reads; the server says nothing more."""
        exchange.will(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")
        step = getattr(exchange.api, when)

        def shut_before(*given: Any) -> Any:
            exchange.api.shut()
            return step(*given)

        monkeypatch.setattr(exchange.api, when, shut_before)
        with pytest.raises(Unreachable, match=r"^(?!TimeoutError)"):
            list(exchange.api.lines("/runs", 5))

    def test_what_is_to_be_done_meanwhile_is_done_once_while_the_answer_is_awaited(self, exchange: Exchange) -> None:
        arrived, done = threading.Event(), threading.Event()

        def after(connection: ssl.SSLSocket) -> None:
            arrived.set()
            assert done.wait(20)
            connection.sendall(answer(200))

        def meanwhile() -> None:
            assert arrived.wait(20)
            assert not done.is_set()
            done.set()

        exchange.will(after, answer(200))
        exchange.api.meanwhile = meanwhile
        assert [exchange.get().status, exchange.get().status] == [200, 200]

    @pytest.mark.parametrize("ahead", [False, True])
    def test_a_server_of_another_authority_is_told_nothing(
        self, exchange: Exchange, tmp_path: Path, ahead: bool
    ) -> None:
        folder = tmp_path / "stranger"
        certificates.issue(folder, {})
        (folder / "token").write_text("secret")
        api = Api("127.0.0.1", exchange.server.port, str(folder))
        if ahead:
            api.open_ahead()
        with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
            api.request("GET", "/run")
        assert exchange.server.requests == []

    @pytest.mark.parametrize("file", ["ca.crt", "token"])
    def test_a_file_that_is_not_there_yet_is_waited_for_like_a_server(
        self, exchange: Exchange, account: Path, file: str
    ) -> None:
        content = (account / file).read_bytes()
        (account / file).unlink()
        with pytest.raises(Unreachable, match="FileNotFoundError"):
            exchange.patch()
        (account / file).write_bytes(content)
        exchange.will(answer(200, {"ok": True}))
        assert exchange.patch().body == {"ok": True}


class TestEnvironment:
    def test_kubernetes_says_where_the_api_server_is(
        self, exchange: Exchange, account: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(exchange.server.port))
        monkeypatch.setenv("PENSTOCK_SERVICE_ACCOUNT", str(account))
        exchange.will(answer(200, {"ok": True}))
        with contextlib.closing(Api.from_environment()) as api:
            assert api.request("GET", "/run").body == {"ok": True}

    @pytest.mark.parametrize(("host", "port"), [(None, "443"), ("", "443"), ("10.0.0.1", "https")])
    def test_outside_of_a_pod_it_says_what_is_missing(
        self, host: str | None, port: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        if host is not None:
            monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
        with pytest.raises(NotInPod, match="Kubernetes sets both in every pod"):
            Api.from_environment()

    @pytest.mark.parametrize(("host", "authority"), [("fd00::1", "[fd00::1]:443"), ("10.0.0.1", "10.0.0.1:443")])
    def test_an_ipv6_address_stands_in_brackets(self, host: str, authority: str) -> None:
        assert Api(host, 443)._authority == authority


json_objects = st.dictionaries(
    st.text(max_size=10),
    st.recursive(st.none() | st.integers() | st.text(max_size=30), st.lists, max_leaves=8),
    max_size=5,
)


@st.composite
def raw_answers(draw: st.DrawFn) -> tuple[bytes, dict[str, Any]]:
    """An answer by length or in chunks of any sizes, with extensions and trailers."""
    body = draw(json_objects)
    content = json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")
    if draw(st.booleans()):
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nA: b\r\n\r\n" % len(content) + content, body
    pieces, rest = [], content
    while rest:
        size = draw(st.integers(min_value=1, max_value=len(rest)))
        piece, rest = rest[:size], rest[size:]
        size_line = b"%x" % size if draw(st.booleans()) else b"%04X;name=value" % size
        pieces.append(size_line + b"\r\n" + piece + b"\r\n")
    trailers = b"".join(draw(st.lists(st.just(b"X-Trailer: 0\r\n"), max_size=2)))
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(
        pieces
    ) + b"0\r\n" + trailers + b"\r\n", body


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])  # no example changes the folder
@given(answers=st.lists(raw_answers(), min_size=1, max_size=3), data=st.data())
def test_however_an_answer_arrives_it_is_the_same(
    pki: Path, account: Path, answers: list[tuple[bytes, Any]], data: st.DataObject
) -> None:
    """Cut into pieces of any sizes, each in a TLS record of its own, several answers on one connection."""
    exchange = Exchange(pki, account)
    with exchange.server, contextlib.closing(exchange.api):
        for raw, body in answers:
            cuts = sorted(data.draw(st.lists(st.integers(min_value=0, max_value=len(raw)), max_size=6)))
            exchange.will(in_pieces([raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]))
            assert exchange.get().body == body
        assert exchange.server.connections == 1


def in_pieces(pieces: list[bytes]) -> Act:
    def respond(connection: ssl.SSLSocket) -> None:
        for piece in pieces:
            connection.sendall(piece)

    return respond


def _until(holds: Callable[[], bool]) -> None:
    """Return once it holds."""
    for _ in range(3000):
        if holds():
            return
        threading.Event().wait(0.01)
    pytest.fail("it never held")


# Denials of the API server: those of one that has just started pass, those of a policy do not.

RBAC = {"message": 'flowruns "x" is forbidden: User "u" cannot patch resource "flowruns/status"'}
POLICY = {"message": "flowruns \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: no"}
RUNS = "/apis/penstock.dev/v1alpha1/namespaces/team/flowruns"


class Scripted(Api):
    """A connection on which these answers come."""

    def __init__(self, *answers: Answer) -> None:
        super().__init__("nowhere", 443)
        self.answers = list(answers)

    def _request(self, method: str, path: str, body: Any, content_type: str) -> Answer:
        return self.answers.pop(0)


def test_a_denial_by_rbac_may_pass_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(connection.time, "monotonic", lambda: now)
    api = Scripted(*(Answer(403, RBAC) for _ in range(3)))
    assert api.request("PATCH", f"{RUNS}/x/status").later
    now += connection.DENIED_FOR - 1
    assert api.request("PATCH", f"{RUNS}/x/status").later
    now += 1
    assert not api.request("PATCH", f"{RUNS}/x/status").later


def test_what_is_allowed_meanwhile_does_not_prolong_the_doubt_about_something_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(connection.time, "monotonic", lambda: now)
    api = Scripted(Answer(403, RBAC), Answer(200, {}), Answer(403, RBAC))
    assert api.request("POST", RUNS).later
    now += connection.DENIED_FOR
    assert not api.request("GET", f"{RUNS}/x?watch=1").later
    assert not api.request("POST", RUNS).later


def test_a_right_that_was_given_begins_the_doubt_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(connection.time, "monotonic", lambda: now)
    api = Scripted(Answer(403, RBAC), Answer(201, {}), Answer(403, RBAC))
    api.request("POST", RUNS)
    now += connection.DENIED_FOR
    api.request("POST", RUNS)
    assert api.request("POST", RUNS).later


def test_the_word_of_a_policy_is_final() -> None:
    assert not Scripted(Answer(403, POLICY)).request("PATCH", f"{RUNS}/x/status").later


def test_in_a_worker_its_agent_is_asked_without_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain HTTP on a unix socket, which is kept, and opened again when the agent has closed it."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    heard: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        for requests in (2, 1):
            connection, _ = listener.accept()
            with connection:
                for _ in range(requests):
                    heard.append(connection.recv(65_536))
                    connection.sendall(answer(200, {"n": len(heard)}))

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "api"))
        listener.listen()
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        monkeypatch.setenv("PENSTOCK_API_SOCKET", str(folder / "api"))
        api = Api.from_environment()
        assert [api.request("GET", "/run").body["n"] for _ in range(2)] == [1, 2]
        other = api.another()
        assert other.request("PATCH", "/run", [], JSON_PATCH).body == {"n": 3}
        thread.join()
        api.close()
        other.close()
    shutil.rmtree(folder)
    assert not any(b"Authorization" in request for request in heard)
