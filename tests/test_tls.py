"""What test servers do with clients that are gone too early; an open socket that nobody has would fail the test."""

from __future__ import annotations

import gc
import socket
import struct
from pathlib import Path

import pytest

import tls
from penstock_cluster import certificates


def test_a_connection_whose_client_is_gone_before_the_handshake_is_closed(tmp_path: Path) -> None:
    certificates.issue(tmp_path, {"server": certificates.Certificate("/CN=server", ("IP:127.0.0.1",))})
    context = tls.server_context(tmp_path / "server.crt")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as client:
            plain, _ = listener.accept()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closed by a reset
        with pytest.raises(ConnectionAbortedError):
            context.wrap_socket(plain, server_side=True)
    gc.collect()
