"""Fixtures of the tests against a real etcd and kube-apiserver: the control plane, Penstock's CRDs, a namespace."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import cells
from api_client import ApiClient
from command_line import CommandLine, loading_flows
from penstock import readiness
from penstock_cluster import control_plane as planes
from storage_servers import AzureServer, S3Server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever stands in this folder needs the control plane."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[planes.ControlPlane]:
    """etcd and kube-apiserver for the whole session."""
    with planes.running(tmp_path_factory.mktemp("control-plane")) as plane:
        yield plane


@pytest.fixture(scope="session")
def admin(control_plane: planes.ControlPlane) -> Iterator[ApiClient]:
    """The administrator's client."""
    with ApiClient(control_plane.kubeconfig) as client:
        yield client


@pytest.fixture(scope="session")
def crds(admin: ApiClient) -> None:
    """The CRDs as they are checked in, applied and Established."""
    cells.install_crds(admin)


@pytest.fixture(scope="session")
def policies(admin: ApiClient, crds: None) -> None:
    """The policies and the operator's account of the chart, enforced."""
    cells.install_policies(admin)


@pytest.fixture
def namespace(admin: ApiClient, crds: None) -> str:
    """A namespace of the test's own; the control plane is thrown away, so nobody deletes it."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


@pytest.fixture
def cell(admin: ApiClient, namespace: str, policies: None) -> Iterator[cells.Cell]:
    """A namespace in which runs are executed."""
    with ExitStack() as clients:
        yield cells.open_cell(admin, namespace, clients)


@pytest.fixture
def penstock(
    control_plane: planes.ControlPlane,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Iterator[CommandLine]:
    """The command as the administrator has it, in an empty folder. Nobody waits for the operator."""
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))
    monkeypatch.setenv("PENSTOCK_NAMESPACE", namespace)
    monkeypatch.setattr(readiness, "READY_SECONDS", 0.0)
    monkeypatch.chdir(tmp_path)
    with loading_flows(monkeypatch, tmp_path):
        yield CommandLine(monkeypatch, capsys)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server of object storage for the whole session; each test takes a bucket of its own."""
    found = S3Server(tmp_path_factory.mktemp("s3"))
    found.start()
    yield found
    found.stop()


@pytest.fixture
def storage_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the servers on loopback: without any, the clients would ask the network for some."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", S3Server.KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", S3Server.SECRET)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", AzureServer.ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", AzureServer.KEY)
