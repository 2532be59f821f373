"""The client on real connections: what it asks, how it reads answers, and what it says when there is none."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from https_server import HttpsServer, Reply, Request, authority, refusal
from penstock.client import AlreadyExists, ApiError, Client, Conflict, NotFound, path
from penstock.kubeconfig import Access, ClusterUnavailable

ROOT = "/apis/penstock.dev/v1alpha1/namespaces/team"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def server(pki: Path) -> Iterator[HttpsServer]:
    with HttpsServer(pki) as server:
        yield server


def trust(pki: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(pki / "ca.crt"))


@pytest.fixture
def client(server: HttpsServer, pki: Path) -> Iterator[Client]:
    with Client(Access(server.url, trust(pki), {"Authorization": "Bearer t"}, "team")) as client:
        yield client


def event(kind: str, version: int, **more: Any) -> bytes:
    body = {"metadata": {"name": "r", "resourceVersion": str(version)}, **more}
    return json.dumps({"type": kind, "object": body}, ensure_ascii=False).encode() + b"\n"


class TestPath:
    """Where objects stand; no name can lead anywhere else."""

    def test_of_the_kinds_that_the_client_knows(self) -> None:
        assert path("flowruns", "team") == f"{ROOT}/flowruns"
        assert path("flowruns", "team", "r", "status") == f"{ROOT}/flowruns/r/status"
        assert path("pods", "team", "p", "log") == "/api/v1/namespaces/team/pods/p/log"
        assert path("events", "team") == "/apis/events.k8s.io/v1/namespaces/team/events"

    def test_an_empty_name_is_not_all_objects(self) -> None:
        with pytest.raises(ValueError, match="an empty name would mean all flowruns"):
            path("flowruns", "team", "")

    @given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
    def test_a_name_stays_one_segment(self, name: str) -> None:
        """Whatever people type: no slash, no question mark, no number sign comes through."""
        where = path("flowruns", "team", name)
        assert where.startswith(f"{ROOT}/flowruns/")
        assert not set(where.removeprefix(f"{ROOT}/flowruns/")) & set("/?# ")

    def test_names_arrive_as_they_were_typed(self, client: Client, server: HttpsServer) -> None:
        client.get("flowruns", "a/b?c=d#e f")
        assert server.last.path == f"{ROOT}/flowruns/a/b?c=d#e f"
        assert server.last.raw_path == f"{ROOT}/flowruns/a%2Fb%3Fc%3Dd%23e%20f"
        assert server.last.query == {}


class TestRequests:
    """Method, query, media type and body of each verb."""

    def test_get(self, client: Client, server: HttpsServer) -> None:
        server.answer = lambda _: Reply({"kind": "FlowRun"})
        assert client.get("flowruns", "r") == {"kind": "FlowRun"}
        assert (server.last.method, server.last.path) == ("GET", f"{ROOT}/flowruns/r")
        assert server.last.headers["authorization"] == "Bearer t"

    def test_apply(self, client: Client, server: HttpsServer) -> None:
        """Server-side apply under our name; a dry run says so."""
        body = {"kind": "Flow", "metadata": {"name": "f"}, "spec": {"text": "Ä 🦋 \x85"}}
        client.apply(body)
        assert (server.last.method, server.last.path) == ("PATCH", f"{ROOT}/flows/f")
        assert server.last.headers["content-type"] == "application/apply-patch+yaml"
        assert server.last.query == {"fieldManager": "penstock", "force": "true"}
        assert server.last.body == body
        client.apply(body, dry_run=True)
        assert server.last.query == {"fieldManager": "penstock", "force": "true", "dryRun": "All"}

    def test_create(self, client: Client, server: HttpsServer) -> None:
        client.create({"kind": "FlowRun", "metadata": {"name": "r"}})
        assert (server.last.method, server.last.path) == ("POST", f"{ROOT}/flowruns")
        assert server.last.headers["content-type"] == "application/json"

    def test_merge(self, client: Client, server: HttpsServer) -> None:
        client.merge("flowruns", "r", {"spec": {"cancel": True}})
        assert (server.last.method, server.last.path) == ("PATCH", f"{ROOT}/flowruns/r")
        assert server.last.headers["content-type"] == "application/merge-patch+json"
        assert server.last.body == {"spec": {"cancel": True}}

    def test_delete(self, client: Client, server: HttpsServer) -> None:
        client.delete("flowruns", "r")
        assert (server.last.method, server.last.path) == ("DELETE", f"{ROOT}/flowruns/r")

    def test_the_namespace_that_is_asked_for_wins(self, server: HttpsServer, pki: Path) -> None:
        with Client(Access(server.url, trust(pki), {}, "team"), "other") as client:
            client.get("flowruns", "r")
        assert server.last.path.split("/")[5] == "other"


class TestLists:
    """All pages of a list, with the selectors on each request."""

    def pages(self, request: Request) -> Reply:
        start = int(request.query.get("continue") or 0)
        about = [{"name": f"r{n}", "creationTimestamp": f"2026-01-01T00:00:0{5 - n}Z"} for n in range(start, start + 2)]
        more = {"continue": str(start + 2)} if start < 4 else {}
        return Reply({"metadata": more, "items": [{"metadata": metadata} for metadata in about]})

    def test_pages_are_followed_to_the_last(self, client: Client, server: HttpsServer) -> None:
        server.answer = self.pages
        found = client.list("flowruns", label_selector="a=b", field_selector="spec.deploymentRef.name=d")
        assert [body["metadata"]["name"] for body in found] == [f"r{n}" for n in range(6)]
        assert [request.query for request in server.requests] == [
            {"labelSelector": "a=b", "fieldSelector": "spec.deploymentRef.name=d", "limit": "500", **more}
            for more in ({}, {"continue": "2"}, {"continue": "4"})
        ]

    def test_names_are_metadata_only_and_the_newest_first(self, client: Client, server: HttpsServer) -> None:
        server.answer = self.pages
        assert client.names("flowruns") == [f"r{n}" for n in range(6)]
        assert {request.headers["accept"] for request in server.requests} == {
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
        }

    def test_a_list_without_items_is_empty(self, client: Client, server: HttpsServer) -> None:
        server.answer = lambda _: Reply({"metadata": {}, "items": None})
        assert client.list("flowruns") == []


# The server's answer, the exception, and its message.
REFUSALS: dict[str, tuple[Reply, type[ApiError], str]] = {
    "no such object": (
        refusal(404, "NotFound", 'flowruns.penstock.dev "r" not found', name="r"),
        NotFound,
        'flowruns.penstock.dev "r" not found',
    ),
    "the name is taken": (
        refusal(409, "AlreadyExists", 'flowruns.penstock.dev "r" already exists'),
        AlreadyExists,
        "already exists",
    ),
    "a conflict": (refusal(409, "Conflict", "the object has been modified"), Conflict, "has been modified"),
    "an invalid object": (
        refusal(422, "Invalid", "spec.priority: Invalid value: 0: must be at least 1"),
        ApiError,
        "spec.priority",
    ),
    "not allowed": (refusal(403, "Forbidden", 'User "u" cannot get resource "flowruns"'), ApiError, "cannot get"),
    "credentials that have expired": (
        refusal(401, "Unauthorized", "Unauthorized"),
        ApiError,
        "Unauthorized: the API server does not know these credentials; they may have expired",
    ),
    "the resource is not installed": (
        refusal(404, "NotFound", "the server could not find the requested resource"),
        NotFound,
        "Penstock's resources are not in this cluster: install its chart first",
    ),
    "the group is not installed": (
        Reply(b"404 page not found\n", 404, "text/plain"),
        NotFound,
        "Penstock's resources are not in this cluster: install its chart first",
    ),
    "a page of a gateway": (Reply(b"<html>Bad gateway</html>", 502, "text/html"), ApiError, "HTTP 502"),
    "JSON that is no object": (Reply([1], 500), ApiError, "HTTP 500"),
}


@pytest.mark.parametrize(("reply", "kind", "message"), REFUSALS.values(), ids=REFUSALS)
def test_refusals_keep_the_servers_words(
    reply: Reply, kind: type[ApiError], message: str, client: Client, server: HttpsServer
) -> None:
    server.answer = lambda _: reply
    with pytest.raises(ApiError) as refused:
        client.get("flowruns", "r")
    assert type(refused.value) is kind
    assert message in str(refused.value)
    assert refused.value.status == reply.status


def test_whether_penstock_is_installed_can_be_told(client: Client, server: HttpsServer) -> None:
    """Commands that meet a missing object need to know whether its kind is missing."""
    server.answer = lambda _: Reply(b"404 page not found\n", 404, "text/plain")
    with pytest.raises(NotFound) as refused:
        client.get("flowruns", "r")
    assert refused.value.api_reason == "NotInstalled"
    server.answer = lambda _: refusal(404, "NotFound", 'flowruns.penstock.dev "r" not found', name="r")
    with pytest.raises(NotFound) as refused:
        client.get("flowruns", "r")
    assert refused.value.api_reason == "NotFound"


class TestBusy:
    """A server that is too busy did nothing yet, and says when it wants to be asked again."""

    def answers(self, server: HttpsServer, *replies: Reply) -> None:
        left = list(replies)
        server.answer = lambda _: left.pop(0) if len(left) > 1 else left[0]

    def too_busy(self, after: str | None = "0") -> Reply:
        refused = refusal(429, "TooManyRequests", "storage is (re)initializing")
        return replace(refused, headers={"Retry-After": after} if after is not None else {})

    def test_it_is_asked_again(self, client: Client, server: HttpsServer) -> None:
        self.answers(server, self.too_busy(), self.too_busy(), Reply({"kind": "FlowRun"}))
        assert client.create({"kind": "FlowRun", "metadata": {"name": "r"}}) == {"kind": "FlowRun"}
        assert [request.method for request in server.requests] == ["POST"] * 3

    def test_but_not_for_ever(self, client: Client, server: HttpsServer) -> None:
        self.answers(server, self.too_busy())
        with pytest.raises(ApiError, match=r"storage is \(re\)initializing"):
            client.get("flowruns", "r")
        assert len(server.requests) == 5

    @pytest.mark.parametrize("after", [None, "Wed, 21 Oct 2026 07:28:00 GMT"])
    def test_nor_without_its_wish(self, after: str | None, client: Client, server: HttpsServer) -> None:
        self.answers(server, self.too_busy(after))
        with pytest.raises(ApiError):
            client.get("flowruns", "r")
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [Reply(b"<html>log in</html>", 200, "text/html"), Reply(b"", 204, "text/plain"), Reply(["no object"])],
    ids=["a web page", "nothing", "a list"],
)
def test_who_is_no_api_server_is_told_so(reply: Reply, client: Client, server: HttpsServer) -> None:
    server.answer = lambda _: reply
    with pytest.raises(ClusterUnavailable, match=rf"{server.url} is no API server: it answers {reply.status} with "):
        client.get("flowruns", "r")


def test_a_server_that_is_not_there_is_named(pki: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"https://127.0.0.1:{free.getsockname()[1]}"
    with (
        Client(Access(url, trust(pki), {}, "team")) as client,
        pytest.raises(ClusterUnavailable, match=rf"the API server at {url} cannot be reached: .*refused"),
    ):
        client.list("flowruns")


class TestWatch:
    """Events of one object; whatever cuts it short only ends it, and what will never work says so."""

    def test_asks_for_one_object_from_one_version_for_so_long(self, client: Client, server: HttpsServer) -> None:
        server.answer = lambda _: Reply(parts=[event("MODIFIED", 8)])
        assert [found["object"]["metadata"]["resourceVersion"] for found in client.watch("flowruns", "r", "7", 30)] == [
            "8"
        ]
        assert server.last.query == {
            "watch": "true",
            "fieldSelector": "metadata.name=r",
            "resourceVersion": "7",
            "timeoutSeconds": "30",
        }

    def test_bookmarks_are_no_events(self, client: Client, server: HttpsServer) -> None:
        server.answer = lambda _: Reply(parts=[event("BOOKMARK", 8), event("DELETED", 9)])
        assert [found["type"] for found in client.watch("flowruns", "r", "7", 30)] == ["DELETED"]

    def test_events_may_come_in_pieces_and_together(self, client: Client, server: HttpsServer) -> None:
        text = event("MODIFIED", 8) + event("MODIFIED", 9) + event("MODIFIED", 10)
        server.answer = lambda _: Reply(parts=[text[:25], text[25:30], text[30:200], text[200:]])
        assert len(list(client.watch("flowruns", "r", "7", 30))) == 3

    @pytest.mark.parametrize("character", ["\x85", "\u2028", "\u2029", "é", "🦋"])
    def test_texts_may_hold_any_character(self, character: str, client: Client, server: HttpsServer) -> None:
        """Only a line feed ends a line: others that Unicode calls line breaks stand in people's messages."""
        text = event("MODIFIED", 8, message=f"a{character}b")
        server.answer = lambda _: Reply(parts=[text[:-9], text[-9:]])
        (found,) = client.watch("flowruns", "r", "7", 30)
        assert found["object"]["message"] == f"a{character}b"

    # What the server answers where the caller is to look again.
    PASSING: dict[str, Reply] = {
        "the version is too old": refusal(410, "Expired", "too old resource version"),
        "too many requests": refusal(429, "TooManyRequests", "slow down"),
        "the server is ill": Reply(b"oops", 500, "text/plain"),
        "an error event": Reply(parts=[event("ERROR", 1), event("MODIFIED", 2)]),
        "the connection is cut": Reply(parts=[], cut=True),
    }

    @pytest.mark.parametrize("reply", PASSING.values(), ids=PASSING)
    def test_what_passes_only_ends_it(self, reply: Reply, client: Client, server: HttpsServer) -> None:
        server.answer = lambda _: reply
        assert list(client.watch("flowruns", "r", "7", 30)) == []

    @pytest.mark.parametrize("cut", [True, False])
    def test_half_a_line_is_no_event(self, cut: bool, client: Client, server: HttpsServer) -> None:
        server.answer = lambda _: Reply(parts=[event("MODIFIED", 8), event("MODIFIED", 9)[:20]], cut=cut)
        found = list(client.watch("flowruns", "r", "7", 30))
        assert [each["object"]["metadata"]["resourceVersion"] for each in found] == ["8"]

    def test_what_will_never_work_is_an_error(self, client: Client, server: HttpsServer) -> None:
        """Or a command would ask for ever, in silence."""
        server.answer = lambda _: refusal(403, "Forbidden", 'User "u" cannot watch resource "flowruns"')
        with pytest.raises(ApiError, match="cannot watch"):
            list(client.watch("flowruns", "r", "7", 30))


class TestLogs:
    """Lines of a container, as the kubelet keeps them."""

    def test_lines_come_as_they_were_written(self, client: Client, server: HttpsServer) -> None:
        text = "one\n\ttwo  \n\n10%\r20%\nä\u2028b\nno end".encode()
        server.answer = lambda _: Reply(parts=[text[:9], text[9:]], content_type="text/plain")
        assert list(client.logs("p", "flow")) == ["one", "\ttwo  ", "", "10%\r20%", "ä\u2028b", "no end"]
        assert (server.last.path, server.last.query) == ("/api/v1/namespaces/team/pods/p/log", {"container": "flow"})

    def test_what_is_no_utf8_is_shown_all_the_same(self, client: Client, server: HttpsServer) -> None:
        server.answer = lambda _: Reply(parts=[b"caf\xe9\n"], content_type="text/plain")
        assert list(client.logs("p", "flow")) == ["caf\ufffd"]

    def test_they_can_be_followed(self, client: Client, server: HttpsServer) -> None:
        server.answer = lambda _: Reply(parts=[b"one\n"], content_type="text/plain")
        assert list(client.logs("p", "flow", follow=True)) == ["one"]
        assert server.last.query == {"container": "flow", "follow": "true"}

    def test_a_refusal_keeps_the_servers_words(self, client: Client, server: HttpsServer) -> None:
        server.answer = lambda _: refusal(400, "BadRequest", 'container "flow" in pod "p" is waiting to start')
        with pytest.raises(ApiError, match="is waiting to start"):
            list(client.logs("p", "flow"))

    def test_a_log_that_breaks_off_says_so(self, client: Client, server: HttpsServer) -> None:
        """After all that was there."""
        server.answer = lambda _: Reply(parts=[b"one\n"], content_type="text/plain", cut=True)
        lines = client.logs("p", "flow")
        assert next(lines) == "one"
        with pytest.raises(ClusterUnavailable, match=r"the log of pod p broke off: \w"):
            next(lines)
