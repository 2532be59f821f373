"""A TCP proxy on the loopback whose connections a test cuts, or silences, as a network does."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self


class TcpProxy:
    """Passes bytes to 127.0.0.1:`port` and back, while its block lasts; from a socket of loopback, or the one given."""

    def __init__(self, port: int, listener: socket.socket | None = None) -> None:
        self._target = port
        self._listener = listener or socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._dead: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.connections = 0
        self.refuses = False
        self._lost = False

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        self._thread.join()

    def cut(self) -> None:
        """End every connection, in the midst of whatever it carries."""
        with self._lock:
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def lose(self) -> None:
        """Let nothing more through, and tell nobody, as where a cable is pulled or a machine on the way has died."""
        with self._lock:
            self._lost = True
            self._dead |= self._open

    def find(self) -> None:
        """Let connections that are made from now on through; those of before are never heard of again."""
        with self._lock:
            self._lost = False

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.refuses:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._target))
                with self._lock:
                    self.connections += 1
                    self._dead |= {client, server} if self._lost else set()
                    self._open |= {client, server}
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if source not in self._dead:
                    sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                if each not in self._dead:
                    each.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open.discard(source)
        source.close()
