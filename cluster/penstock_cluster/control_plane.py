"""etcd and kube-apiserver: the whole of a cluster that integration tests need. No root, a few seconds.

Without a controller manager nothing makes default service accounts, collects garbage by owner or finishes the
deletion of namespaces; without a kubelet a Pod is an object and no more.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import binaries, certificates, supervisor
from .layout import SERVICE_CIDR, ClusterError

# Says that the folder was made by `start`, so that `stop` may delete it.
MARK = ".penstock-control-plane"
KUBELET_CLIENT = "apiserver-kubelet-client"
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "verbs": ["create", "update", "patch", "delete", "deletecollection"]},
        {"level": "None"},
    ],
}


def free_ports(count: int) -> list[int]:
    """Different ports of 127.0.0.1 that nobody listens on now."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the two listen; the usual numbers by default."""

    api: int = 6443
    etcd: int = 2379
    etcd_peer: int = 2380


def parts(
    folder: Path,
    programs: Path,
    *,
    address: str,
    ports: Ports,
    namespace: str | None = None,
    fsync: bool = True,
) -> list[supervisor.Part]:
    """etcd and apiserver whose files are under `folder`; the API is served at the address."""
    pki = folder / "pki"
    (folder / "audit-policy.json").write_text(json.dumps(AUDIT_POLICY))
    client, peer = f"http://127.0.0.1:{ports.etcd}", f"http://127.0.0.1:{ports.etcd_peer}"
    etcd = [
        *(str(programs / "etcd"), "--data-dir", str(folder / "etcd"), "--log-level", "warn"),
        *("--listen-client-urls", client, "--advertise-client-urls", client),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"),
        *(() if fsync else ("--unsafe-no-fsync",)),
    ]
    client_files = (f"{pki}/{KUBELET_CLIENT}.crt", f"{pki}/{KUBELET_CLIENT}.key")
    apiserver = [
        *(str(programs / "kube-apiserver"), "--etcd-servers", client, "--allow-privileged"),
        *("--bind-address", "0.0.0.0" if namespace else "127.0.0.1", "--secure-port", str(ports.api)),
        *("--advertise-address", address, "--endpoint-reconciler-type", "lease" if namespace else "none"),
        *("--client-ca-file", f"{pki}/ca.crt"),
        *("--tls-cert-file", f"{pki}/apiserver.crt", "--tls-private-key-file", f"{pki}/apiserver.key"),
        *("--service-account-key-file", f"{pki}/sa.key", "--service-account-signing-key-file", f"{pki}/sa.key"),
        *("--service-account-issuer", "https://kubernetes.default.svc"),
        *("--service-cluster-ip-range", SERVICE_CIDR, "--authorization-mode", "Node,RBAC"),
        *("--kubelet-client-certificate", client_files[0], "--kubelet-client-key", client_files[1]),
        *("--kubelet-certificate-authority", f"{pki}/ca.crt", "--kubelet-preferred-address-types", "InternalIP"),
        *("--requestheader-client-ca-file", f"{pki}/ca.crt", "--requestheader-allowed-names", KUBELET_CLIENT),
        *("--requestheader-username-headers", "X-Remote-User", "--requestheader-group-headers", "X-Remote-Group"),
        *("--requestheader-extra-headers-prefix", "X-Remote-Extra-"),
        *("--proxy-client-cert-file", client_files[0], "--proxy-client-key-file", client_files[1]),
        *("--audit-policy-file", str(folder / "audit-policy.json")),
        *("--audit-log-path", str(folder / "audit.log"), "--audit-log-maxsize", "100", "--audit-log-maxbackup", "1"),
        *(() if namespace else ("--disable-admission-plugins", "ServiceAccount")),
    ]
    return [
        supervisor.Part("etcd", tuple(etcd), namespace),
        supervisor.Part("kube-apiserver", tuple(apiserver), namespace),
    ]


def tls(pki: Path) -> ssl.SSLContext:
    """The administrator's TLS context."""
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    return context


def get(url: str, context: ssl.SSLContext, path: str) -> bytes | None:
    """Body of a GET, None while the server does not answer it with success."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(url + path, timeout=3) as answer:
            body: bytes = answer.read()
            return body
    except (urllib.error.URLError, OSError):
        return None


def wait_ready(folder: Path, url: str, seconds: float = 180.0) -> None:
    """Return once the API server says it is ready."""
    context, deadline = tls(folder / "pki"), time.monotonic() + seconds
    while get(url, context, "/readyz") is None:
        if time.monotonic() > deadline:
            raise ClusterError(f"the API server is not ready after {seconds:.0f} s: see {folder / 'log'}")
        time.sleep(0.05)


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """A running etcd and kube-apiserver."""

    folder: Path
    url: str

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.folder / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        """JSON lines of every write, metadata only."""
        return self.folder / "audit.log"

    def audited(self, offset: int = 0) -> Iterator[dict[str, Any]]:
        """The entries of the audit log from that byte on, as far as they are written whole."""
        with self.audit_log.open("rb") as log:
            log.seek(offset)
            for line in log:
                if line.endswith(b"\n"):
                    yield json.loads(line)

    @property
    def certificate_authority(self) -> Path:
        return self.folder / "pki" / "ca.crt"

    def kill(self, part: str) -> None:
        """kill -9 one part; the supervisor starts it again."""
        number = next((n for name, n, _ in supervisor.table(self.folder) if name == part), None)
        if number is not None:
            os.kill(number, 9)

    def wait_ready(self, seconds: float = 180.0) -> None:
        """Return once the API server says it is ready."""
        wait_ready(self.folder, self.url, seconds)

    def stop(self) -> None:
        """End both and delete their files."""
        stop(self.folder)


def start(folder: Path, *, fsync: bool = False) -> ControlPlane:
    """Start a control plane whose files are under `folder`; one that runs there is left as it is.

    `fsync=False` risks etcd's data only when the machine itself stops, never when a process is killed.
    """
    folder = folder.resolve()
    if supervisor.pid(folder) is not None and (folder / "url").exists():
        plane = ControlPlane(folder, (folder / "url").read_text())
        plane.wait_ready()
        return plane
    if folder.exists() and any(folder.iterdir()) and not _ours(folder):
        raise ClusterError(f"{folder} holds other files: name a folder that is empty or does not exist")
    stop(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
    programs = binaries.ensure(binaries.KUBERNETES_ONLY)
    ports = Ports(*free_ports(3))
    url = f"https://127.0.0.1:{ports.api}"
    wanted = certificates.wanted("127.0.0.1")
    certificates.issue(folder / "pki", {name: wanted[name] for name in ("apiserver", "admin", KUBELET_CLIENT)})
    (folder / "kubeconfig").write_text(certificates.kubeconfig(folder / "pki", "admin", url))
    (folder / "kubeconfig").chmod(0o600)
    supervisor.start(folder, parts(folder, programs, address="127.0.0.1", ports=ports, fsync=fsync))
    (folder / "url").write_text(url)
    plane = ControlPlane(folder, url)
    try:
        plane.wait_ready()
    except ClusterError:
        supervisor.stop(folder)  # the files stay: they hold the logs the message points at
        raise
    return plane


def stop(folder: Path) -> None:
    """End the control plane of `folder` and delete its files; a folder that `start` did not make is not touched."""
    folder = folder.resolve()
    supervisor.stop(folder)
    if _ours(folder):
        shutil.rmtree(folder)


def _ours(folder: Path) -> bool:
    return (folder / MARK).exists()


@contextmanager
def running(folder: Path, *, fsync: bool = False) -> Iterator[ControlPlane]:
    """`start`, and `stop` at the end."""
    plane = start(folder, fsync=fsync)
    try:
        yield plane
    finally:
        plane.stop()
