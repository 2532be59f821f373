"""Credentials: the pod's account first, then the kubeconfig; a mounted token is read again, for it is renewed."""

from __future__ import annotations

import time
from pathlib import Path

import kopf
import pytest

from penstock_operator import login
from penstock_operator.login import REREAD_SECONDS


def test_without_account_and_kubeconfig_the_error_names_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KUBECONFIG", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(kopf.LoginError, match="KUBECONFIG"):
        login.connection_info(kopf.OperatorSettings())


def test_a_kubeconfig_gives_server_and_headers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        """
apiVersion: v1
kind: Config
current-context: here
contexts: [{name: here, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://127.0.0.1:6443", insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: abc}}]
"""
    )
    monkeypatch.setenv("KUBECONFIG", str(config))
    connection = login.connection(login.connection_info(kopf.OperatorSettings()))
    assert connection.server == "https://127.0.0.1:6443"
    assert connection.headers["Authorization"] == "Bearer abc"
    assert connection.token() is None


def test_the_mounted_token_is_read_again_once_it_is_old(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("first\n")
    monkeypatch.setattr(login, "TOKEN", file)
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    token = login._RotatingToken()
    assert token() == "first"
    file.write_text("second\n")
    assert token() == "first"
    now += REREAD_SECONDS + 1
    assert token() == "second"
