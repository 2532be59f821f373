"""Credentials from a program that a kubeconfig names under `exec`: how the clouds and most logins do it.

Called by `kubeconfig`; it runs the program and reads its answer (the API `client.authentication.k8s.io`), and does
not know what the credentials are for. The program's errors and questions go to the terminal themselves.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Body = dict[str, Any]
_OF_CLUSTER = ("server", "tls-server-name", "insecure-skip-tls-verify", "certificate-authority-data", "proxy-url")
_EXTENSION = "client.authentication.k8s.io/exec"


class PluginFailed(Exception):
    """The program gave no credentials; the message says why."""


def credentials(plugin: Body, folder: Path, cluster: Body) -> Body:
    """The status of the answer: `token`, or `clientCertificateData` and `clientKeyData`. Raises `PluginFailed`.

    `folder` is the kubeconfig's, which relative paths of programs start from; a bare name is looked up in PATH.
    """
    command, version = plugin.get("command"), plugin.get("apiVersion")
    if not command or not version:
        raise PluginFailed("command and apiVersion must be given")
    interactive = plugin.get("interactiveMode") != "Never" and sys.stdin is not None and sys.stdin.isatty()
    if plugin.get("interactiveMode") == "Always" and not interactive:
        raise PluginFailed(f"{command} asks questions, and there is no terminal to ask them on")
    given = [*([str(folder / command)] if os.sep in command else [command]), *map(str, plugin.get("args") or ())]
    try:
        done = subprocess.run(
            given,
            stdin=None if interactive else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env={**os.environ, **_environment(plugin, version, cluster, interactive)},
            check=False,
        )
    except OSError as error:
        hint = f". {plugin['installHint'].strip()}" if plugin.get("installHint") else ""
        raise PluginFailed(f"{command} cannot be started: {error.strerror}{hint}") from error
    if done.returncode:
        raise PluginFailed(f"{command} ended with exit code {done.returncode}")
    return _status(command, version, done.stdout)


def _environment(plugin: Body, version: str, cluster: Body, interactive: bool) -> dict[str, str]:
    spec: Body = {"interactive": interactive}
    if plugin.get("provideClusterInfo"):
        spec["cluster"] = {field: cluster[field] for field in _OF_CLUSTER if cluster.get(field)}
        for extension in cluster.get("extensions") or ():
            if extension.get("name") == _EXTENSION:
                spec["cluster"]["config"] = extension.get("extension")
    asked = {"apiVersion": version, "kind": "ExecCredential", "spec": spec}
    own = {item["name"]: str(item["value"]) for item in plugin.get("env") or ()}
    return {**own, "KUBERNETES_EXEC_INFO": json.dumps(asked)}


def _status(command: str, version: str, answer: bytes) -> Body:
    try:
        body = json.loads(answer)
    except ValueError as error:
        raise PluginFailed(f"{command} answered with something that is no JSON: {error}") from error
    status = body.get("status") if isinstance(body, Mapping) else None
    if not isinstance(status, dict) or body.get("apiVersion") != version:
        raise PluginFailed(f"{command} answered with no ExecCredential of {version}")
    if not status.get("token") and not (status.get("clientCertificateData") and status.get("clientKeyData")):
        raise PluginFailed(f"{command} gave neither a token nor a certificate with its key")
    return status
