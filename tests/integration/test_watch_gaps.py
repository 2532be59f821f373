"""What is deleted, made and changed while no watch is open is known afterwards, however the watch ended.

The operator is a process; a proxy stands between it and the API server. Its own figures and conditions say what it
knows: objects that are gone leave its cache, and what waits for them is looked at again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from api_client import ApiClient, Refused
from operator_process import PATIENCE, OperatorProcess
from penstock.api import labels
from penstock_cluster import supervisor
from penstock_cluster.control_plane import ControlPlane
from tcp_proxy import TcpProxy

Json = dict[str, Any]
SOURCE = "from penstock import flow\n\n@flow\ndef etl(): ...\n"


def eventually(read: Callable[[], Any], what: str) -> Any:
    """What `read` gives once it gives something, through refusals and an API server that is away."""
    deadline = time.monotonic() + 2 * PATIENCE
    while True:
        try:
            if found := read():
                return found
        except httpx.TransportError:
            pass
        except Refused as refused:
            if refused.code < 500 and refused.code not in (404, 429):
                raise
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.1)


class Site:
    """A namespace, an operator for all namespaces, and the proxy between it and the API server."""

    def __init__(self, admin: ApiClient, namespace: str, proxy: TcpProxy, operator: OperatorProcess) -> None:
        self.admin, self.namespace, self.proxy, self.operator = admin, namespace, proxy, operator

    def apply(self, kind: str, name: str, spec: Json) -> None:
        meta = {"name": name, "namespace": self.namespace}
        self.admin.create({"apiVersion": labels.API_VERSION, "kind": kind, "metadata": meta, "spec": spec})

    def status(self, kind: str, name: str) -> Json:
        found: Json = self.admin.get(kind, self.namespace, name).get("status") or {}
        return found

    def condition(self, kind: str, name: str, type_: str = "Ready") -> tuple[str, str] | None:
        found = self.status(kind, name).get("conditions") or []
        return next(((c["status"], c["reason"]) for c in found if c["type"] == type_), None)

    def state(self, run: str) -> tuple[str, str] | None:
        state = self.status("FlowRun", run).get("state")
        return (state["type"], state["reason"]) if state else None

    def claim(self, run: str, node: str) -> None:
        """A node runs the pod, and the runner in it claims its run."""
        pod = eventually(lambda: self.admin.get("Pod", self.namespace, f"{run}-1"), "its pod")
        name = pod["metadata"]["name"]
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}}
        binding["target"] = {"kind": "Node", "name": node}
        self.admin.request("POST", f"/api/v1/namespaces/{self.namespace}/pods/{name}/binding", json=binding)
        self.admin.merge("Pod", self.namespace, name, {"status": {"phase": "Running"}}, "status")
        status = self.status("FlowRun", run)
        time_, seq = status["state"]["time"], status["state"]["seq"]
        entry = {"type": "Running", "name": "Running", "reason": "Started", "time": time_, "seq": seq + 1}
        claimed = {"name": name, "uid": pod["metadata"]["uid"]}
        ops = [
            {"op": "replace", "path": "/status/state", "value": entry},
            {"op": "add", "path": "/status/history/-", "value": {**entry, "attempt": 1, "writer": "runner"}},
            {"op": "add", "path": "/status/pod", "value": claimed},
        ]
        self.admin.patch("FlowRun", self.namespace, run, ops, "status")


@pytest.fixture
def site(admin: ApiClient, control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[Site]:
    with TcpProxy(urlsplit(control_plane.url).port or 0) as proxy:
        config = yaml.safe_load(control_plane.kubeconfig.read_text())
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{proxy.port}"
        behind = tmp_path / "kubeconfig"
        behind.write_text(yaml.safe_dump(config))
        with OperatorProcess(control_plane, tmp_path, namespace, KUBECONFIG=str(behind)) as operator:
            operator.until_healthy()
            yield Site(admin, namespace, proxy, operator)
        log = operator.log.read_text()
        assert "Traceback" not in log, log


def compact(plane: ControlPlane) -> None:
    """Have etcd forget every version but the newest, by its own gateway."""
    pid = next(pid for name, pid, _ in supervisor.table(plane.folder) if name == "etcd")
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    url = words[words.index("--listen-client-urls") + 1]
    found = httpx.post(f"{url}/v3/kv/range", json={"key": "AA=="}, trust_env=False).json()
    body = {"revision": found["header"]["revision"], "physical": True}
    httpx.post(f"{url}/v3/kv/compaction", json=body, trust_env=False).raise_for_status()


def connection_cut(site: Site, plane: ControlPlane, meanwhile: Callable[[], None]) -> None:
    site.proxy.refuses = True
    site.proxy.cut()
    meanwhile()
    site.proxy.refuses = False


def api_server_killed(site: Site, plane: ControlPlane, meanwhile: Callable[[], None]) -> None:
    """Its watch cache is gone, so that old versions cannot be watched from."""
    site.proxy.refuses = True
    site.proxy.cut()
    meanwhile()
    plane.kill("kube-apiserver")
    plane.wait_ready()
    site.proxy.refuses = False


def etcd_killed(site: Site, plane: ControlPlane, meanwhile: Callable[[], None]) -> None:
    site.proxy.refuses = True
    site.proxy.cut()
    meanwhile()
    plane.kill("etcd")
    time.sleep(1)
    plane.wait_ready()
    site.proxy.refuses = False


def compacted(site: Site, plane: ControlPlane, meanwhile: Callable[[], None]) -> None:
    """The versions the operator would watch from are compacted away, and the watch cache begins anew: 410."""
    site.proxy.refuses = True
    site.proxy.cut()
    meanwhile()
    compact(plane)
    plane.kill("kube-apiserver")
    plane.wait_ready()
    site.proxy.refuses = False


@pytest.mark.parametrize("gap", [connection_cut, api_server_killed, etcd_killed, compacted])
def test_what_happens_in_a_gap_is_known_afterwards(
    site: Site, control_plane: ControlPlane, gap: Callable[[Site, ControlPlane, Callable[[], None]], None]
) -> None:
    """Runs, pods, Jobs, nodes, and of kopf's kinds a deployment whose flow is deleted."""
    admin, namespace = site.admin, site.namespace
    node, other = f"node-{namespace}", f"other-{namespace}"
    for name in (node, other):
        admin.request("POST", "/api/v1/nodes", json={"kind": "Node", "apiVersion": "v1", "metadata": {"name": name}})
    for flow in ("etl", "doomed"):
        site.apply("Flow", flow, {"code": {"source": {"text": SOURCE}}, "entrypoint": "flow:etl"})
    for pool in ("Pod", "Job"):
        site.apply("WorkPool", pool.lower(), {"type": pool})
    for name, spec in (("of-pods", {"workPool": "pod"}), ("of-jobs", {"workPool": "job"})):
        site.apply("FlowDeployment", name, {"flowRef": {"name": "etl"}, **spec})
    site.apply("FlowDeployment", "orphan", {"flowRef": {"name": "doomed"}, "workPool": "pod"})
    eventually(lambda: site.condition("FlowDeployment", "orphan") == ("True", "Ready"), "its readiness")
    for run in ("goes", "loses-its-pod", "on-the-node", "stays"):
        site.apply("FlowRun", run, {"deploymentRef": {"name": "of-pods"}})
    site.apply("FlowRun", "loses-its-job", {"deploymentRef": {"name": "of-jobs"}})
    for run in ("loses-its-pod", "on-the-node", "stays"):
        site.claim(run, node if run == "on-the-node" else other)
    job = eventually(lambda: admin.get("Job", namespace, "loses-its-job-1"), "the Job")["metadata"]["uid"]
    eventually(lambda: admin.get("Pod", namespace, "goes-1"), "its pod")

    def meanwhile() -> None:
        admin.delete("FlowRun", namespace, "goes")
        admin.delete("Pod", namespace, "goes-1")
        admin.delete("Pod", namespace, "loses-its-pod-1")
        admin.request(
            "DELETE", f"/apis/batch/v1/namespaces/{namespace}/jobs/loses-its-job-1?propagationPolicy=Background"
        )
        admin.request("DELETE", f"/api/v1/nodes/{node}")
        admin.delete("Flow", namespace, "doomed")
        site.apply("FlowRun", "new", {"deploymentRef": {"name": "of-pods"}})

    gap(site, control_plane, meanwhile)
    eventually(lambda: site.state("loses-its-pod") == ("Crashed", "PodDeleted"), "the loss of the pod")
    # Nobody had claimed it, so it is made again.
    again = eventually(lambda: admin.get("Job", namespace, "loses-its-job-1"), "the Job's return")
    assert again["metadata"]["uid"] != job
    eventually(lambda: site.state("on-the-node") == ("Crashed", "NodeLost"), "the loss of the node")
    eventually(lambda: site.state("new") == ("Pending", "Launched"), "the launch of the new run")
    eventually(lambda: site.condition("FlowDeployment", "orphan") == ("False", "FlowNotFound"), "the flow's end")
    assert site.state("stays") == ("Running", "Started")
    site.apply("FlowRun", "goes", {"deploymentRef": {"name": "of-pods"}})  # a namesake of what is no more
    eventually(lambda: site.state("goes") == ("Pending", "Launched"), "the launch of the namesake")
    eventually(lambda: admin.get("Pod", namespace, "goes-1"), "its pod")
    assert site.operator.alive
