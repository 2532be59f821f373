"""Credentials: one ConnectionInfo, from the pod's service account or the kubeconfig, for kopf and for our own calls."""

from __future__ import annotations

import ssl
import time
from pathlib import Path

import kopf

from .cluster import Connection

TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
REREAD_SECONDS = 60.0


def connection_info(settings: kopf.OperatorSettings) -> kopf.ConnectionInfo:
    """Where the API server is. Raises kopf.LoginError when neither source is there."""
    found = kopf.login_with_service_account(settings=settings) or kopf.login_with_kubeconfig(settings=settings)
    if found is None:
        raise kopf.LoginError("no service account is mounted, and there is no kubeconfig: set KUBECONFIG")
    return found


class _RotatingToken:
    """The mounted token, read again every minute, for the kubelet renews it."""

    def __init__(self) -> None:
        self._token, self._read = "", 0.0

    def __call__(self) -> str | None:
        if time.monotonic() - self._read > REREAD_SECONDS or not self._token:
            self._token, self._read = TOKEN.read_text().strip(), time.monotonic()
        return self._token


def connection(info: kopf.ConnectionInfo) -> Connection:
    """The same for `cluster.ApiCluster`."""
    context: ssl.SSLContext = info.as_ssl_context()
    if TOKEN.exists() and info.token:
        return Connection(info.server, context, token=_RotatingToken())
    return Connection(info.server, context, headers=info.as_http_headers())
