"""Resources of a run over a connection that fails: a loopback server with TLS plays the API server's bad days."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

import tls
from penstock.errors import InvalidResource, ResourceExists, ResourceNotFound, ResourceRefused
from penstock.resources import body_of
from penstock.resources.pod import PodResources
from penstock.runner.assignment import Assignment
from penstock.runner.connection import Api
from penstock_cluster import certificates

Json = dict[str, Any]
ROOT = "/apis/penstock.dev/v1alpha1/namespaces/team"
ENVIRONMENT = {
    "PENSTOCK_NAMESPACE": "team",
    "PENSTOCK_RUN": "etl-1",
    "PENSTOCK_RUN_UID": "run-uid",
    "PENSTOCK_ATTEMPT": "1",
    "PENSTOCK_SEQ": "2",
    "PENSTOCK_ENTRYPOINT": "flow:etl",
    "PENSTOCK_POD_NAME": "etl-1-1",
    "PENSTOCK_POD_UID": "pod-uid",
}
CUT = 0  # as a status: the connection is closed without an answer


class Server(tls.TlsServer):
    """Answers as its script says, in order, and remembers what it was asked."""

    script: list[tuple[int, Json]]
    asked: list[tuple[str, str, Any]]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        self.server.asked.append((self.command, self.path, body))
        status, content = self.server.script.pop(0)
        if status == CUT:
            self.close_connection = True
            return
        raw = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a service account, and the server's certificate."""
    folder = tmp_path_factory.mktemp("account")
    certificates.issue(folder, {"server": certificates.Certificate("/CN=server", ("IP:127.0.0.1",))})
    (folder / "token").write_text("t0ken")
    return folder


@pytest.fixture
def server(account: Path) -> Iterator[Server]:
    found = Server(("127.0.0.1", 0), Handler)
    found.script, found.asked = [], []
    found.context = tls.server_context(account / "server.crt")
    thread = threading.Thread(target=found.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()
    assert found.script == [], "it was asked less often than it was to answer"


@pytest.fixture
def pod(server: Server, account: Path) -> Iterator[PodResources]:
    api = Api("127.0.0.1", server.server_address[1], str(account))
    yield PodResources(api, Assignment(ENVIRONMENT))
    api.close()


def refusal(message: str) -> Json:
    return {"kind": "Status", "message": message}


def test_a_read_waits_for_the_api_server(server: Server, pod: PodResources) -> None:
    """Cut off, too busy, not authenticated yet, broken: then the answer."""
    server.script = [(CUT, {}), (429, {}), (401, {}), (503, {}), (200, {"spec": {"value": 1}})]
    assert pod.get("variables", "x") == {"spec": {"value": 1}}
    assert server.asked == [("GET", f"{ROOT}/variables/x", None)] * 5


def test_nothing_there_is_none(server: Server, pod: PodResources) -> None:
    server.script = [(404, refusal("not found"))]
    assert pod.get("variables", "x") is None


def test_lists_are_read_by_pages(server: Server, pod: PodResources) -> None:
    server.script = [
        (200, {"items": [{"n": 1}], "metadata": {"continue": "abc"}}),
        (200, {"items": [{"n": 2}], "metadata": {}}),
    ]
    assert pod.list("artifacts") == [{"n": 1}, {"n": 2}]
    assert [path for _, path, _ in server.asked] == [
        f"{ROOT}/artifacts?limit=500",
        f"{ROOT}/artifacts?limit=500&continue=abc",
    ]


def test_our_own_object_is_not_taken_for_anothers(server: Server, pod: PodResources) -> None:
    """The answer to a create was lost; the second finds the name taken, by the first."""
    body = body_of("Variable", "x", {"value": 1})
    there = {**body, "metadata": {"name": "x", "uid": "u"}}
    server.script = [(CUT, {}), (409, refusal("exists")), (200, there)]
    assert pod.create(body) == there


@pytest.mark.parametrize("script", [[], [(500, {})]], ids=["at once", "after an error of the server"])
def test_anothers_object_is_one_that_exists(script: list[Any], server: Server, pod: PodResources) -> None:
    body = body_of("Variable", "x", {"value": 1})
    there = [(200, body_of("Variable", "x", {"value": 2}))] if script else []
    server.script = [*script, (409, refusal("exists")), *there]
    with pytest.raises(ResourceExists, match="variables/x exists in namespace team"):
        pod.create(body)


def test_changes_replace_fields_whole(server: Server, pod: PodResources) -> None:
    server.script = [(200, {}), (404, refusal("not found"))]
    pod.change("variables", "x", {"/spec/value": {"a": 1}})
    assert server.asked == [("PATCH", f"{ROOT}/variables/x", [{"op": "add", "path": "/spec/value", "value": {"a": 1}}])]
    with pytest.raises(ResourceNotFound, match="variables/x is not in namespace team"):
        pod.change("variables", "x", {})


def test_a_deletion_whose_answer_was_lost_deleted(server: Server, pod: PodResources) -> None:
    server.script = [(CUT, {}), (404, {}), (404, {}), (200, {})]
    assert [pod.delete("variables", "x") for _ in range(3)] == [True, False, True]


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (403, ResourceRefused, "artifacts/x: the API server does not let this run: no quota"),
        (422, InvalidResource, "artifacts/x: no quota"),
        (413, InvalidResource, "artifacts/x: no quota"),
    ],
)
def test_a_refusal_is_an_error_at_once(
    status: int, error: type[Exception], said: str, server: Server, pod: PodResources
) -> None:
    server.script = [(status, refusal("no quota"))]
    with pytest.raises(error, match=said):
        pod.create(body_of("Artifact", "x", {}))


class Interrupted(BaseException):
    """What a timeout or a signal raises into user code."""


def test_an_interrupted_call_leaves_no_answer_for_the_next(
    server: Server, pod: PodResources, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script = [(200, {"spec": {"value": "old"}}), (200, {"spec": {"value": "new"}})]
    read = Api._read

    def interrupted(api: Api) -> Any:
        monkeypatch.setattr(Api, "_read", read)
        raise Interrupted

    monkeypatch.setattr(Api, "_read", interrupted)
    with pytest.raises(Interrupted):
        pod.get("variables", "old")
    assert pod.get("variables", "new") == {"spec": {"value": "new"}}


def test_threads_share_the_connection(server: Server, pod: PodResources) -> None:
    server.script = [(200, {"spec": {}})] * 40
    threads = [threading.Thread(target=lambda: [pod.get("variables", "x") for _ in range(5)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(server.asked) == 40
