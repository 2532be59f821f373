"""What object storage says of itself when nobody answers; the rest needs a server and is tested in integration."""

from __future__ import annotations

import socket

import pytest

from penstock.errors import StorageUnavailable
from penstock.results.objects import Objects
from penstock.results.urls import parse


def test_a_server_that_is_not_there_is_named_with_the_systems_own_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    with socket.socket() as taken:  # bound and not listening: whoever calls is refused
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(StorageUnavailable, match=r"Connection refused$") as caught:
            Objects(parse("s3://bucket/results")).get("x")
    assert caught.value.transient
    assert "hunter2" not in str(caught.value)
