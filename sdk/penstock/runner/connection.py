"""One keep-alive HTTPS connection to the API server, on a socket. Used by one thread at a time.

In a warm worker it is plain HTTP to the agent's unix socket: the agent holds the token.

`http.client` would cost each run its imports (email, and what that needs) for what is a hundred lines here:
docs/designs/003-runner-http.md has the comparison.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

TYPE_CHECKING = False  # a connection does not wait for the import of typing, nor of json
if TYPE_CHECKING:
    from typing import Any

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
TIMEOUT = 15.0
TIMEOUT_AHEAD = 0.2  # seconds until the server accepts a connection that no request waits for yet
DENIED_FOR = 30.0  # seconds for which a denial by RBAC may be that of an API server that has just started
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

    __slots__ = ("body", "retry_after", "status", "unsure")

    def __init__(self, status: int, body: dict[str, Any], retry_after: float = 0.0) -> None:
        self.status, self.body, self.retry_after = status, body, retry_after
        self.unsure = False  # denied, perhaps only for now

    @property
    def busy(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status == 429 or self.status >= 500

    @property
    def later(self) -> bool:
        """Whether it says nothing yet: the API server is busy, has just started, or the token is being renewed."""
        return self.busy or self.unsure or self.status == 401

    def decided(self) -> Answer:
        """The answer itself. Raises Unreachable where it says nothing yet."""
        if self.later:
            raise Unreachable(str(self))
        return self

    @property
    def denied(self) -> bool:
        """Whether RBAC says that the account has no right to this at all: no word of a policy or quota on a write."""
        message = str(self.body.get("message"))
        return self.status == 403 and " cannot " in message and " resource " in message

    def __str__(self) -> str:
        return f"{self.status} {self.body.get('message') or ''}".strip()


class Api:
    """The API server, as the pod's service account."""

    def __init__(self, host: str, port: int, folder: str = SERVICE_ACCOUNT, timeout: float = TIMEOUT) -> None:
        self._host, self._port, self._folder, self._timeout = host, port, folder, timeout
        self._authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._socket: socket.socket | None = None
        self._buffer = b""
        self._sent = False
        self._token, self._token_time = "", 0.0
        self._denied: dict[tuple[str, ...], float] = {}  # since when, by what was asked
        self._greeted = True  # TLS has agreed with the server
        self._shut = False
        self.meanwhile: Callable[[], object] | None = None  # to do once, while the answer to a request is awaited

    @classmethod
    def from_environment(cls) -> Api:
        """Where Kubernetes says it is, or the worker's agent; PENSTOCK_SERVICE_ACCOUNT overrides the folder of the
        token. Raises NotInPod."""
        if agent := os.environ.get("PENSTOCK_API_SOCKET"):
            return AgentApi(agent)
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT") or "443"
        if not host or not port.isdecimal():
            raise NotInPod(
                f"KUBERNETES_SERVICE_HOST is {host!r} and KUBERNETES_SERVICE_PORT {port!r}: Kubernetes sets both in "
                "every pod; outside of one, name the API server by them"
            )
        return cls(host, int(port), os.environ.get("PENSTOCK_SERVICE_ACCOUNT") or SERVICE_ACCOUNT)

    def open_ahead(self) -> None:
        """Begin to connect; the first request goes on with it. Where that fails, the request connects by itself."""
        try:
            self._socket = self._dial(TIMEOUT_AHEAD)
            self._socket.settimeout(0)
            self._socket.do_handshake()
        except ssl.SSLWantReadError:  # the server answers while something else is done
            self._greeted = False
        except (OSError, ValueError):
            self.close()

    def another(self, timeout: float | None = None) -> Api:
        """A second connection, for use in another thread."""
        return Api(self._host, self._port, self._folder, self._timeout if timeout is None else timeout)

    def request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Answer:
        """Ask once. Raises Unreachable.

        A connection that the server closed while it was idle is opened again. When it is lost later, a write is not
        repeated, unless it was not even sent whole: it may have arrived.
        """
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
        import json

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
        self._socket, self._buffer, self._greeted = None, b"", True

    def lines(self, path: str, seconds: float) -> Iterator[bytes]:
        """The lines of an answer that goes on, each as it comes; none for so many seconds is an error.

        Raises Unreachable.
        """
        try:
            connection = self._connect()
            if self._shut:  # while it connected: there was nothing yet that could have been ended
                raise EOFError("nobody reads it any more")
            connection.settimeout(seconds)
            connection.sendall(self._head("GET", path, "application/json", 0))
            status, headers = self._start()
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
        """Have `lines` end, which another thread reads or is about to."""
        self._shut = True
        connection = self._socket
        if connection is not None:
            with suppress(OSError):  # beneath TLS, whose own would take its state from under the other thread
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def _open(self) -> bool:
        """Whether there is a connection to be used again; one on which anything came unasked, its end included, is
        dropped."""
        if self._socket is None:
            return False
        try:
            self._greet()
            self._socket.settimeout(0)
            self._socket.recv(1)
        except (ssl.SSLWantReadError, BlockingIOError):
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
        connection.sendall(self._head(method, path, content_type, len(data)) + data)
        self._sent = True
        if self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()
        return self._read()

    def _head(self, method: str, path: str, content_type: str, length: int) -> bytes:
        return (
            f"{method} {path} HTTP/1.1\r\nHost: {self._authority}\r\nAccept: application/json\r\n"
            f"{self._authorization()}User-Agent: penstock-runner\r\n"
            f"Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
        ).encode()

    def _connect(self) -> socket.socket:
        if self._socket is None:
            self._socket, self._greeted = self._dial(self._timeout), False
            self._greet()
        return self._socket

    def _dial(self, timeout: float) -> ssl.SSLSocket:
        """A connection on which TLS has not begun."""
        # The context is made anew each time, for the authority may have changed; connections are opened seldom.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(f"{self._folder}/ca.crt")
        host = self._host.encode()  # of a str, the codec of international names would be imported
        plain = socket.create_connection((host, self._port), timeout)  # type: ignore[arg-type]
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)

    def _greet(self) -> None:
        """Wait until server and TLS have agreed."""
        if not self._greeted:
            assert isinstance(self._socket, ssl.SSLSocket)
            self._socket.settimeout(self._timeout)
            self._socket.do_handshake()
            self._greeted = True

    def _authorization(self) -> str:
        """The header with the token, which is read again when the kubelet has renewed it."""
        path = f"{self._folder}/token"
        changed = os.stat(path).st_mtime  # noqa: PTH116 - pathlib is not worth its import here
        if changed != self._token_time:
            with open(path) as file:  # noqa: PTH123
                self._token, self._token_time = file.read().strip(), changed
        return f"Authorization: Bearer {self._token}\r\n"

    def _start(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the answer."""
        status = 0
        while status < 200:  # 1xx come before the answer
            lines = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
            status = int(lines[0].partition(" ")[2][:3])
        return status, {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}

    def _read(self) -> Answer:
        status, headers = self._start()
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


class AgentApi(Api):
    """The API server as a warm worker's agent lets one run have it, who says no more about itself than its socket."""

    def __init__(self, path: str, timeout: float = TIMEOUT) -> None:
        super().__init__("penstock-agent", 80, timeout=timeout)
        self._path = path

    def open_ahead(self) -> None:
        """Nothing: to connect takes no time."""

    def another(self, timeout: float | None = None) -> Api:
        """A second connection, for use in another thread."""
        return AgentApi(self._path, self._timeout if timeout is None else timeout)

    def _connect(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX)
            self._socket.settimeout(self._timeout)
            self._socket.connect(self._path)
        return self._socket

    def _authorization(self) -> str:
        return ""


def _body(status: int, content: bytes) -> dict[str, Any]:
    """What an answer says. Some refusals are plain text; of success, everything but an object is an error."""
    import json

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
