"""A real HTTPS server on 127.0.0.1 that answers by request and remembers what it was asked, for tests of the client.

For what a real API server does not do on demand: take certificates of a throwaway authority, cut a watch in the middle
of a line, answer with a web page. (`loopback` is its sibling for tests that write each answer byte by byte.)
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

import yaml

import tls
from penstock_cluster import certificates
from penstock_cluster.certificates import Certificate


@dataclass(frozen=True)
class Request:
    """A request as it arrived; `subject` is the common name of the client's certificate."""

    method: str
    path: str
    raw_path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    subject: str | None


@dataclass(frozen=True)
class Reply:
    """What is sent back: JSON, or bytes as they are; with `parts` chunk by chunk, and `cut` without an end."""

    body: Any = field(default_factory=dict)
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    parts: Iterable[bytes] | None = None
    cut: bool = False


TEAM = "/apis/penstock.dev/v1alpha1/namespaces/team"
Answer = Callable[[Request], Reply]


def refusal(status: int, reason: str, message: str, **details: str) -> Reply:
    """A Status object, as the API server answers."""
    body = {"kind": "Status", "code": status, "reason": reason, "message": message, "details": details}
    return Reply(body, status)


def authority(folder: Path, server: str = "IP:127.0.0.1") -> Path:
    """A folder with an authority, a server's certificate for that name, and one of the client `somebody`."""
    certificates.issue(folder, {"server": Certificate("/CN=server", (server,)), "client": Certificate("/CN=somebody")})
    return folder


class HttpsServer:
    """The server; `answer` decides on each request. Use as a context manager."""

    def __init__(self, pki: Path, answer: Answer = lambda _: Reply()) -> None:
        self.answer, self.requests = answer, list[Request]()
        context = tls.server_context(pki / "server.crt")
        context.load_verify_locations(pki / "ca.crt")
        context.verify_mode = ssl.CERT_OPTIONAL
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self._server.context = context
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._server.server_port}"

    @property
    def last(self) -> Request:
        """The newest request."""
        return self.requests[-1]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Cluster(HttpsServer):
    """Replies by path, for namespace `team`; whatever has none is not found. It stores nothing and checks nothing."""

    def __init__(self, pki: Path) -> None:
        super().__init__(pki, self._reply)
        self.replies: dict[str, Callable[[Request], Reply] | Reply] = {}

    def has(self, plural: str, *bodies: dict[str, Any]) -> None:
        """Answer requests for these objects, and for the list of them, whose items have no kind of their own."""
        root = "/api/v1/namespaces/team/pods" if plural == "pods" else f"{TEAM}/{plural}"
        items = [{key: value for key, value in body.items() if key not in ("apiVersion", "kind")} for body in bodies]
        self.replies[root] = Reply({"metadata": {}, "items": items})
        for body in bodies:
            self.replies[f"{root}/{body['metadata']['name']}"] = Reply(body)

    def _reply(self, request: Request) -> Reply:
        reply = self.replies.get(request.path)
        if reply is None:
            name = request.path.rpartition("/")[2]
            return refusal(404, "NotFound", f'"{name}" not found', name=name)
        return reply(request) if callable(reply) else reply


class _Server(tls.TlsServer):
    owner: HttpsServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away early is no error of the server's."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _serve(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        address = urlsplit(self.path)
        certificate = self.connection.getpeercert() or {}
        names = dict(pair for part in certificate.get("subject", ()) for pair in part)
        request = Request(
            self.command,
            unquote(address.path),
            address.path,
            dict(parse_qsl(address.query)),
            {key.lower(): value for key, value in self.headers.items()},
            yaml.safe_load(text) if text else None,  # JSON is YAML
            names.get("commonName"),
        )
        self.server.owner.requests.append(request)
        self._send(self.server.owner.answer(request))

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.parts is None:
            content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in reply.parts:
            self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            self.wfile.flush()
        if reply.cut:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""
