"""One keep-alive HTTPS connection to the API server, on a socket.

`http.client` would cost each run 25 to 40 ms of imports (email, and what that needs) for what is sixty lines here:
docs/designs/002-runner-http.md has the comparison. Not thread-safe; the caller holds a lock.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
TIMEOUT = 15.0
DENIED_FOR = 30.0  # seconds for which a denial by RBAC may be that of an API server that has just started
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"


class Unreachable(Exception):
    """No answer: nothing is known of what was asked."""


class Answer:
    """Status and JSON body; `retry_after` in seconds, 0 where the server named none."""

    __slots__ = ("body", "retry_after", "status", "unsure")

    def __init__(self, status: int, body: dict[str, Any], retry_after: float = 0.0) -> None:
        self.status, self.body, self.retry_after = status, body, retry_after
        self.unsure = False  # denied, perhaps only for now

    @property
    def busy(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status == 429 or self.status >= 500 or self.unsure

    @property
    def denied(self) -> bool:
        """Whether the account has no right to this at all: no admission policy's word on this very write."""
        return self.status == 403 and "ValidatingAdmissionPolicy" not in str(self.body.get("message"))


class Api:
    """The API server, as the pod's service account."""

    def __init__(self, host: str, port: int, folder: str = SERVICE_ACCOUNT) -> None:
        self._host, self._port, self._folder = host, port, folder
        self._socket: ssl.SSLSocket | None = None
        self._buffer = b""
        self._token, self._token_time = "", 0.0
        self._context: ssl.SSLContext | None = None
        self._denied: dict[tuple[str, ...], float] = {}  # since when, by what was asked

    @classmethod
    def from_environment(cls) -> Api:
        """Where Kubernetes says it is; PENSTOCK_SERVICE_ACCOUNT overrides the folder of the token."""
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], int(os.environ.get("KUBERNETES_SERVICE_PORT") or 443)
        return cls(host, port, os.environ.get("PENSTOCK_SERVICE_ACCOUNT") or SERVICE_ACCOUNT)

    def another(self) -> Api:
        """A second connection, for use in another thread."""
        return Api(self._host, self._port, self._folder)

    def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Answer:
        """Ask once; a connection that turns out to have been closed while idle is opened again. Raises Unreachable."""
        answer = self._request(method, path, body, content_type)
        # An API server that starts answers before it has read who may do what, and denies everything.
        what = (method, *path.partition("?")[0].split("/")[6:7], "status" if path.endswith("/status") else "")
        if not answer.denied:
            self._denied.pop(what, None)
        else:
            now = time.monotonic()
            answer.unsure = now - self._denied.setdefault(what, now) < DENIED_FOR
        return answer

    def _request(self, method: str, path: str, body: Any, content_type: str) -> Answer:
        idle = self._socket is not None
        try:
            return self._ask(method, path, body, content_type)
        except (OSError, ValueError, EOFError) as error:
            self.close()
            # A reused connection that the server had closed took nothing; reads may be repeated in any case.
            if not idle or (method != "GET" and not isinstance(error, BrokenPipeError | EOFError)):
                raise Unreachable(f"{type(error).__name__}: {error}") from error
        try:
            return self._ask(method, path, body, content_type)
        except (OSError, ValueError, EOFError) as error:
            self.close()
            raise Unreachable(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Drop the connection."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._buffer = None, b""

    def lines(self, path: str, seconds: float) -> Iterator[bytes]:
        """The lines of an answer that goes on, each as it comes; none for so many seconds is an error.

        Raises Unreachable.
        """
        try:
            connection = self._connect()
            connection.settimeout(seconds)
            connection.sendall(self._head("GET", path, "application/json", 0))
            status, headers = self._status()
            if status != 200 or headers.get("transfer-encoding", "").lower() != "chunked":
                raise EOFError(f"the answer is {status}")
            line = b""
            while size := int(self._until(b"\r\n").split(b";")[0], 16):
                *whole, line = (line + self._exactly(size)).split(b"\n")
                self._until(b"\r\n")
                yield from whole
        except (OSError, ValueError, EOFError) as error:
            raise Unreachable(f"{type(error).__name__}: {error}") from error
        finally:
            self.close()

    def shut(self) -> None:
        """Have a read that waits in another thread end."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _ask(self, method: str, path: str, body: Any, content_type: str) -> Answer:
        connection = self._connect()
        data = b"" if body is None else json.dumps(body).encode()
        connection.sendall(self._head(method, path, content_type, len(data)) + data)
        return self._read()

    def _head(self, method: str, path: str, content_type: str, length: int) -> bytes:
        return (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\nAccept: application/json\r\n"
            f"Authorization: Bearer {self._bearer()}\r\nUser-Agent: penstock-runner\r\n"
            f"Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
        ).encode()

    def _connect(self) -> ssl.SSLSocket:
        if self._socket is None:
            if self._context is None:
                self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                self._context.load_verify_locations(f"{self._folder}/ca.crt")
            plain = socket.create_connection((self._host, self._port), TIMEOUT)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = self._context.wrap_socket(plain, server_hostname=self._host)
        return self._socket

    def _bearer(self) -> str:
        """The token, read again when the kubelet has renewed it."""
        path = f"{self._folder}/token"
        changed = os.stat(path).st_mtime  # noqa: PTH116 - pathlib is not worth its import here
        if changed != self._token_time:
            with open(path) as file:  # noqa: PTH123
                self._token, self._token_time = file.read().strip(), changed
        return self._token

    def _status(self) -> tuple[int, dict[str, str]]:
        lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        return int(lines[0].split(" ", 2)[1]), headers

    def _read(self) -> Answer:
        status, headers = self._status()
        if headers.get("transfer-encoding", "").lower() == "chunked":
            content = self._chunks()
        else:
            content = self._exactly(int(headers.get("content-length") or 0))
        if headers.get("connection", "").lower() == "close":
            self.close()
        wait = headers.get("retry-after", "")
        return Answer(status, json.loads(content) if content else {}, float(wait) if wait.isdigit() else 0.0)

    def _chunks(self) -> bytes:
        content = b""
        while size := int(self._until(b"\r\n").split(b";")[0], 16):
            content += self._exactly(size)
            self._until(b"\r\n")
        while self._until(b"\r\n"):
            pass  # trailers
        return content

    def _until(self, mark: bytes) -> bytes:
        while mark not in self._buffer:
            self._fill()
        found, _, self._buffer = self._buffer.partition(mark)
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._fill()
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    def _fill(self) -> None:
        assert self._socket is not None
        more = self._socket.recv(65536)
        if not more:
            raise EOFError("the server closed the connection")
        self._buffer += more
