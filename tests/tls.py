"""TLS of the servers that tests start. Called by `https_server`, `loopback` and tests with a server of their own."""

from __future__ import annotations

import errno
import ssl
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Accepted(ssl.SSLSocket):
    """One whose client is gone before its handshake is closed: Python 3.11 forgets it open, which pytest hears of."""

    def getpeername(self) -> Any:
        """Raises ConnectionAbortedError where nobody is there any more."""
        try:
            return super().getpeername()
        except OSError as error:
            self.close()
            raise ConnectionAbortedError(errno.ECONNABORTED, "the client is gone") from error


def server_context(certificate: Path) -> ssl.SSLContext:
    """A server's; the key stands beside its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    context.sslsocket_class = Accepted
    return context


class TlsServer(ThreadingHTTPServer):
    """Serves HTTP to clients that have shaken hands; `context` is to be set before it serves."""

    daemon_threads = True
    context: ssl.SSLContext

    def get_request(self) -> tuple[Any, Any]:
        """The next connection. Raises OSError for one that comes to nothing, which is left out."""
        plain, address = super().get_request()
        return self.context.wrap_socket(plain, server_side=True), address
