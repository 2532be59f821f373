"""The bare control plane: what integration tests may rely on, and what it does to a folder that is not its own."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock_cluster import binaries, control_plane, supervisor
from penstock_cluster.control_plane import ControlPlane
from penstock_cluster.layout import ClusterError

POLICY = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-secrets-of-this-name}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]
  validations: [{expression: "object.metadata.name != 'refused'", message: "this name is refused"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-secrets-of-this-name}
spec: {policyName: no-secrets-of-this-name, validationActions: [Deny]}
"""


def kubectl(plane: ControlPlane, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """kubectl as the administrator."""
    program = binaries.ensure(binaries.KUBERNETES_ONLY) / "kubectl"
    command = [str(program), "--kubeconfig", str(plane.kubeconfig), *words]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)


def test_free_ports_differ() -> None:
    """etcd and the API server cannot be given the same one."""
    ports = control_plane.free_ports(20)
    assert len(set(ports)) == 20
    assert all(1024 < port < 65536 for port in ports)


def test_a_foreign_folder_is_neither_used_nor_deleted(tmp_path: Path) -> None:
    """`--dir` may be mistyped."""
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ClusterError, match="holds other files"):
        control_plane.start(tmp_path)
    control_plane.stop(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """One for all tests of this module."""
    folder = tmp_path_factory.mktemp("plane")
    with control_plane.running(folder) as found:
        yield found
    assert not folder.exists()
    assert supervisor.pid(folder) is None


@pytest.mark.integration
def test_start_is_idempotent(plane: ControlPlane) -> None:
    """A second start gives the same control plane, as another process sees it."""
    assert control_plane.start(plane.folder) == plane


@pytest.mark.integration
def test_kill_loses_nothing(plane: ControlPlane) -> None:
    """What was confirmed is there after kill -9 of either part, although etcd does not wait for the disk."""
    for part in ("etcd", "kube-apiserver"):
        assert kubectl(plane, "create", "configmap", f"before-{part}").returncode == 0
        plane.kill(part)
        plane.wait_ready()
        found = kubectl(plane, "get", "configmap", f"before-{part}")
        assert found.returncode == 0, found.stderr


@pytest.mark.integration
def test_admission_policies_work(plane: ControlPlane) -> None:
    """A ValidatingAdmissionPolicy refuses with its message, a moment after it was applied."""
    assert kubectl(plane, "apply", "-f", "-", stdin=POLICY).returncode == 0
    for _ in range(50):
        refused = kubectl(plane, "create", "configmap", "refused", "--dry-run=server")
        if refused.returncode:
            break
    assert "this name is refused" in refused.stderr


@pytest.mark.integration
def test_service_accounts_are_authorized_and_counted(plane: ControlPlane) -> None:
    """A token of TokenRequest carries its user; RBAC decides; the audit log holds the writes of each user."""
    assert kubectl(plane, "create", "serviceaccount", "runner").returncode == 0
    assert kubectl(plane, "create", "role", "maps", "--verb=create", "--resource=configmaps").returncode == 0
    bind = ("create", "rolebinding", "maps", "--role=maps", "--serviceaccount=default:runner")
    assert kubectl(plane, *bind).returncode == 0
    token = kubectl(plane, "create", "token", "runner").stdout.strip()
    assert _post(plane, token, "configmaps", {"metadata": {"name": "by-runner"}}) == 201
    assert _post(plane, token, "secrets", {"metadata": {"name": "by-runner"}}) == 403
    lines = list(plane.audited())
    own = [line for line in lines if line["user"]["username"] == "system:serviceaccount:default:runner"]
    assert [(line["verb"], line["objectRef"]["resource"], line["responseStatus"]["code"]) for line in own] == [
        ("create", "configmaps", 201),
        ("create", "secrets", 403),
    ]
    assert {line["level"] for line in lines} == {"Metadata"}


def _post(plane: ControlPlane, token: str, resource: str, body: dict[str, Any]) -> int:
    request = urllib.request.Request(
        f"{plane.url}/api/v1/namespaces/default/{resource}",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    context = ssl.create_default_context(cafile=plane.certificate_authority)
    try:
        with urllib.request.urlopen(request, context=context) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
