"""Fixtures of the tests against a real etcd and kube-apiserver: the control plane, Penstock's CRDs, a namespace."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

import builders
from api_client import ApiClient
from builders import good
from penstock_cluster import control_plane as planes
from run_cell import NOT_ITS_POD, SYSTEM, Cell, emitted, page, rendered, until_refused

ROOT = Path(__file__).resolve().parents[2]


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
    names = []
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        names.append(admin.apply(yaml.safe_load(path.read_text()))["metadata"]["name"])
    assert names, "no CRDs: run `make crds`"
    deadline = time.monotonic() + 60
    for name in names:
        while not _established(admin, name):
            assert time.monotonic() < deadline, f"{name} is not Established"
            time.sleep(0.1)


def _established(admin: ApiClient, name: str) -> bool:
    found = admin.get("CustomResourceDefinition", None, name)
    conditions = {condition["type"]: condition["status"] for condition in found.get("status", {}).get("conditions", [])}
    return conditions.get("Established") == "True"


@pytest.fixture
def namespace(admin: ApiClient, crds: None) -> str:
    """A namespace of the test's own; the control plane is thrown away, so nobody deletes it."""
    name = f"test-{uuid.uuid4().hex[:10]}"
    admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


@pytest.fixture(scope="session")
def policies(admin: ApiClient, crds: None) -> None:
    """The policies and the operator's account of the chart, once the API server enforces them."""
    admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    for body in (*rendered("policies.yaml"), *rendered("operator-rbac.yaml")):
        admin.apply(body)
    probe = Cell(admin, SYSTEM, ExitStack())
    with probe.clients:
        for body in rendered("runs.yaml", f"runs.namespaces={{{SYSTEM}}}"):
            admin.apply(body)
        run, stranger = probe.run("probe"), probe.pod("stranger")
        until_refused(lambda: probe.write(stranger, {"runCount": 1}, "probe"), NOT_ITS_POD)
        until_refused(lambda: stranger.client.create(page(run, SYSTEM)), "cannot write pages")
        art = good("Artifact", "report", SYSTEM)
        until_refused(lambda: stranger.client.create(art), "spec.run must name the run of the pod")
        rename = {"spec": {"parameters": {"n": None, "m": 1}}}
        until_refused(lambda: admin.merge("FlowRun", SYSTEM, "probe", rename), "parameters is immutable")
        regarding = {"apiVersion": builders.API_VERSION, "kind": "FlowRun", "name": "probe", "namespace": SYSTEM}
        until_refused(lambda: stranger.client.create(emitted(regarding, SYSTEM)), "cannot emit this Event")
        until_refused(lambda: stranger.client.create(good("FlowRun", "child", SYSTEM)), "cannot make this run")


@pytest.fixture
def cell(admin: ApiClient, namespace: str, policies: None) -> Iterator[Cell]:
    for body in rendered("runs.yaml", f"runs.namespaces={{{namespace}}}"):
        admin.apply(body)
    with ExitStack() as clients:
        yield Cell(admin, namespace, clients)
