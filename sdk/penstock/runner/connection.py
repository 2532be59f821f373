"""One keep-alive HTTPS connection to the API server, on a socket. Used by one thread at a time.

`http.client` would cost each run its imports (email, and what that needs) for what is a hundred lines here:
docs/designs/003-runner-http.md has the comparison.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
from typing import Any

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
TIMEOUT = 15.0
MERGE_PATCH = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"


class Unreachable(Exception):
    """No answer: nothing is known of what was asked."""


class Refused(Unreachable):
    """An answer, and a refusal that may pass: the API server has just started, or a token is being renewed."""


class NotInPod(Exception):
    """The environment names no API server."""


class Answer:
    """Status and JSON body; `retry_after` in seconds, 0 where the server named none."""

    __slots__ = ("body", "retry_after", "status")

    def __init__(self, status: int, body: dict[str, Any], retry_after: float = 0.0) -> None:
        self.status, self.body, self.retry_after = status, body, retry_after

    @property
    def busy(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status == 429 or self.status >= 500

    def __str__(self) -> str:
        return f"{self.status} {self.body.get('message') or ''}".strip()


class Api:
    """The API server, as the pod's service account."""

    def __init__(self, host: str, port: int, folder: str = SERVICE_ACCOUNT, timeout: float = TIMEOUT) -> None:
        self._host, self._port, self._folder, self._timeout = host, port, folder, timeout
        self._authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._socket: ssl.SSLSocket | None = None
        self._buffer = b""
        self._sent = False
        self._token, self._token_time = "", 0.0

    @classmethod
    def from_environment(cls) -> Api:
        """Where Kubernetes says it is; PENSTOCK_SERVICE_ACCOUNT overrides the folder of the token. Raises NotInPod."""
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT") or "443"
        if not host or not port.isdecimal():
            raise NotInPod(
                f"KUBERNETES_SERVICE_HOST is {host!r} and KUBERNETES_SERVICE_PORT {port!r}: Kubernetes sets both in "
                "every pod; outside of one, name the API server by them"
            )
        return cls(host, int(port), os.environ.get("PENSTOCK_SERVICE_ACCOUNT") or SERVICE_ACCOUNT)

    def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Answer:
        """Ask once. Raises Unreachable.

        A connection that the server closed while it was idle is opened again. When it is lost later, a write is not
        repeated, unless it was not even sent whole: it may have arrived.
        """
        data = b"" if body is None else json.dumps(body).encode()
        reused = self._open()
        try:
            return self._ask(method, path, data, content_type)
        except (OSError, ValueError, EOFError) as error:
            self.close()
            if not reused or isinstance(error, TimeoutError) or (self._sent and method != "GET"):
                raise Unreachable(f"{type(error).__name__}: {error}") from error
        try:
            return self._ask(method, path, data, content_type)
        except (OSError, ValueError, EOFError) as error:
            self.close()
            raise Unreachable(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Drop the connection."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._buffer = None, b""

    def _open(self) -> bool:
        """Whether there is a connection to be used again; one on which anything came unasked, its end included, is
        dropped."""
        if self._socket is None:
            return False
        try:
            self._socket.settimeout(0)
            self._socket.recv(1)
        except ssl.SSLWantReadError:
            if not self._buffer:
                self._socket.settimeout(self._timeout)
                return True
        except OSError:
            pass
        self.close()
        return False

    def _ask(self, method: str, path: str, data: bytes, content_type: str) -> Answer:
        self._sent = False
        connection = self._connect()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._authority}\r\nAccept: application/json\r\n"
            f"Authorization: Bearer {self._bearer()}\r\nUser-Agent: penstock-runner\r\n"
            f"Content-Type: {content_type}\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        connection.sendall(head.encode() + data)
        self._sent = True
        return self._read()

    def _connect(self) -> ssl.SSLSocket:
        if self._socket is None:
            # Anew each time, for the authority may have changed; connections are opened seldom.
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(f"{self._folder}/ca.crt")
            plain = socket.create_connection((self._host, self._port), self._timeout)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = context.wrap_socket(plain, server_hostname=self._host)
        return self._socket

    def _bearer(self) -> str:
        """The token, read again when the kubelet has renewed it."""
        path = f"{self._folder}/token"
        changed = os.stat(path).st_mtime  # noqa: PTH116 - pathlib is not worth its import here
        if changed != self._token_time:
            with open(path) as file:  # noqa: PTH123
                self._token, self._token_time = file.read().strip(), changed
        return self._token

    def _read(self) -> Answer:
        status = 0
        while status < 200:  # 1xx come before the answer
            lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
            status = int(lines[0].partition(" ")[2][:3])
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        last = headers.get("connection", "").lower() == "close"
        if headers.get("transfer-encoding", "").lower() == "chunked":
            content = self._chunks()
        elif "content-length" in headers:
            content = self._exactly(int(headers["content-length"]))
        elif status in (204, 304):
            content = b""
        else:
            content, last = self._to_the_end(), True
        if last:
            self.close()
        wait = headers.get("retry-after", "")
        return Answer(status, _body(status, content), float(wait) if wait.isdecimal() else 0.0)

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

    def _to_the_end(self) -> bytes:
        try:
            while True:
                self._fill()
        except EOFError:
            return self._buffer

    def _fill(self) -> None:
        assert self._socket is not None
        more = self._socket.recv(65536)
        if not more:
            raise EOFError("the server closed the connection")
        self._buffer += more


def _body(status: int, content: bytes) -> dict[str, Any]:
    """What an answer says. Some refusals are plain text; of success, everything but an object is an error."""
    try:
        body = json.loads(content) if content else {}
    except ValueError:
        if status < 300:
            raise
        body = None
    if isinstance(body, dict):
        return body
    if status < 300:
        raise ValueError(f"not an object: {content[:100]!r}")
    return {"message": content[:1024].decode("utf-8", "replace").strip()}
