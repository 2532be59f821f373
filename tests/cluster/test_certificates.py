"""Which certificates there are, whom they are for, and when they are made again."""

from __future__ import annotations

import json
import ssl
import subprocess
from pathlib import Path

from penstock_cluster import certificates
from penstock_cluster.certificates import Certificate
from penstock_cluster.layout import API_SERVICE, GATEWAY


def _names(certificate: Path) -> str:
    words = ["openssl", "x509", "-in", str(certificate), "-noout", "-subject", "-ext", "subjectAltName"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


def test_api_server_is_valid_at_every_address_it_is_reached_at() -> None:
    """From the host, from pods through the service, and from the node."""
    names = certificates.wanted("198.18.130.2")["apiserver"].names
    assert {"IP:127.0.0.1", "IP:198.18.130.2", f"IP:{API_SERVICE}", f"IP:{GATEWAY}", "DNS:localhost"} <= set(names)
    assert {"DNS:kubernetes.default.svc", "DNS:kubernetes.default.svc.cluster.local"} <= set(names)
    assert len(set(names)) == len(names)


def test_kubelet_is_valid_at_the_node_address() -> None:
    """Without it `kubectl logs` fails."""
    kubelet = certificates.wanted("198.18.130.2")["kubelet"]
    assert "IP:198.18.130.2" in kubelet.names
    assert kubelet.subject == "/O=system:nodes/CN=system:node:node0"


def test_issued_certificates_are_kept_until_their_names_change(tmp_path: Path) -> None:
    """A second run changes nothing; another address signs again, by the same authority."""
    issue = {"node": Certificate("/CN=node", ("IP:198.18.130.2",))}
    certificates.issue(tmp_path, issue)
    authority, first = (tmp_path / "ca.crt").read_text(), (tmp_path / "node.crt").read_text()
    certificates.issue(tmp_path, issue)
    assert (tmp_path / "node.crt").read_text() == first
    certificates.issue(tmp_path, {"node": Certificate("/CN=node", ("IP:198.18.140.2",))})
    assert (tmp_path / "ca.crt").read_text() == authority
    assert "198.18.140.2" in _names(tmp_path / "node.crt")
    assert "198.18.130.2" not in _names(tmp_path / "node.crt")
    ssl.create_default_context(cafile=tmp_path / "ca.crt").load_cert_chain(tmp_path / "node.crt", tmp_path / "node.key")


def test_kubeconfig_names_the_server_and_the_certificate() -> None:
    """kubectl reads it as YAML, of which JSON is a part."""
    config = json.loads(certificates.kubeconfig(Path("/pki"), "admin", "https://198.18.130.2:6443"))
    assert config["clusters"][0]["cluster"]["server"] == "https://198.18.130.2:6443"
    assert config["users"][0]["user"]["client-key"] == "/pki/admin.key"
    assert config["current-context"] == config["contexts"][0]["name"]
