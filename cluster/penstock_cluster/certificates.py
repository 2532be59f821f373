"""The cluster's own certificate authority, its certificates, and the kubeconfigs made of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .layout import API_SERVICE, GATEWAY, NODE
from .shell import run

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_LIFETIME = ("-days", "3650")


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate to issue."""

    subject: str
    names: tuple[str, ...] = ()


def wanted(address: str) -> dict[str, Certificate]:
    """Every certificate of a cluster whose API server is reached at `address`."""
    services = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    own = tuple(dict.fromkeys(("IP:127.0.0.1", f"IP:{address}", f"IP:{API_SERVICE}", f"IP:{GATEWAY}")))
    return {
        "apiserver": Certificate("/CN=kube-apiserver", (*own, "DNS:localhost", *(f"DNS:{name}" for name in services))),
        "admin": Certificate("/O=system:masters/CN=admin"),
        "kubelet": Certificate(
            f"/O=system:nodes/CN=system:node:{NODE}", (f"DNS:{NODE}", "IP:127.0.0.1", f"IP:{address}")
        ),
        "controller-manager": Certificate("/CN=system:kube-controller-manager"),
        "scheduler": Certificate("/CN=system:kube-scheduler"),
        "proxy": Certificate("/CN=system:kube-proxy"),
        "coredns": Certificate("/CN=system:coredns"),
        "apiserver-kubelet-client": Certificate("/O=system:masters/CN=apiserver-kubelet-client"),
    }


def issue(folder: Path, certificates: Mapping[str, Certificate]) -> None:
    """Write the authority, the signing key of service accounts and the certificates.

    A certificate that exists is kept, unless its subject or its names are to be others now: the node's address may
    have changed with the machine's.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (folder / "ca.crt").exists():
        run(
            *("openssl", "req", "-x509", *_NEW_KEY, *_LIFETIME, "-subj", "/CN=penstock-cluster"),
            *("-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign"),
            *("-keyout", folder / "ca.key", "-out", folder / "ca.crt"),
        )
        run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", folder / "sa.key")
    for name, certificate in certificates.items():
        mark, content = folder / f"{name}.ext", extensions(certificate)
        if not mark.exists() or mark.read_text() != content:
            _sign(folder, name, certificate.subject, content)


def extensions(certificate: Certificate) -> str:
    """OpenSSL's extension file of a certificate; its first line, a comment, holds the subject."""
    lines = [f"# {certificate.subject}", "extendedKeyUsage=serverAuth,clientAuth"]
    lines += [f"subjectAltName={','.join(certificate.names)}"] if certificate.names else []
    return "\n".join(lines) + "\n"


def _sign(folder: Path, name: str, subject: str, content: str) -> None:
    request, mark = folder / f"{name}.csr", folder / f"{name}.ext.part"
    mark.write_text(content)
    run("openssl", "req", *_NEW_KEY, "-subj", subject, "-keyout", folder / f"{name}.key", "-out", request)
    run(
        *("openssl", "x509", "-req", "-in", request, "-CA", folder / "ca.crt", "-CAkey", folder / "ca.key"),
        *("-CAcreateserial", *_LIFETIME, "-extfile", mark, "-out", folder / f"{name}.crt"),
    )
    request.unlink()
    mark.rename(folder / f"{name}.ext")  # last, so that an interrupted run signs again


def kubeconfig(pki: Path, name: str, server: str) -> str:
    """A kubeconfig (JSON, which is YAML) for one of the certificates, by absolute paths."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "penstock", "cluster": {"server": server, "certificate-authority": str(pki / "ca.crt")}}
            ],
            "users": [
                {
                    "name": name,
                    "user": {"client-certificate": str(pki / f"{name}.crt"), "client-key": str(pki / f"{name}.key")},
                }
            ],
            "contexts": [{"name": "penstock", "context": {"cluster": "penstock", "user": name}}],
            "current-context": "penstock",
        },
        indent=1,
    )
