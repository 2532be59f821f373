"""A cluster of thousands of pods on one machine: a real control plane and scheduler, and a node that kwok plays.

The operator is the real one, in a process of its own with its own account, so that its CPU, its memory and its writes
can be told from everyone else's.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import cells
from api_client import ApiClient
from penstock_cluster import binaries, control_plane
from penstock_cluster.control_plane import ControlPlane

Json = dict[str, Any]

NAMESPACE = "bench"
OPERATOR, PLAYER, RUNNER = "penstock-operator", "player", "penstock-run"
READY_NODE = """
conditions:
- type: Ready
  status: "True"
  reason: Simulated
  message: it is always ready
  lastHeartbeatTime: {{ Now | Quote }}
  lastTransitionTime: {{ Now | Quote }}
"""
RUNNING_POD = """
phase: Running
podIP: 10.0.0.1
startTime: {{ Now | Quote }}
conditions:
- type: Ready
  status: "True"
  lastTransitionTime: {{ Now | Quote }}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: none
  ready: true
  restartCount: 0
  state:
    running:
      startedAt: {{ Now | Quote }}
{{ end }}
"""
TICKS = os.sysconf("SC_CLK_TCK")


def stage(name: str, kind: str, then: Json, **selector: str) -> Json:
    """A Stage of kwok: what it does with objects of a kind where `key` is as the operator and the value say."""
    key, operator, value = selector["key"], selector["operator"], selector.get("value")
    expression = {"key": key, "operator": operator, **({"values": [value]} if value else {})}
    spec = {
        "resourceRef": {"apiGroup": "v1", "kind": kind},
        "selector": {"matchExpressions": [expression]},
        "next": then,
    }
    return {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": {"name": name}, "spec": spec}


def stages() -> list[Json]:
    """A pod runs as soon as it is bound, and is gone as soon as it is deleted; its end is the runner's to tell."""
    ready = '.status.conditions.[] | select( .type == "Ready" ) | .status'
    return [
        stage("node", "Node", {"statusTemplate": READY_NODE}, key=ready, operator="NotIn", value="True"),
        stage("run", "Pod", {"statusTemplate": RUNNING_POD}, key=".status.phase", operator="In", value="Pending"),
        stage("gone", "Pod", {"delete": True}, key=".metadata.deletionTimestamp", operator="Exists"),
    ]


def cpu_seconds(pid: int) -> float:
    """CPU that a process has used, all of its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mib(pid: int) -> float:
    """Resident memory of a process."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


@dataclass
class SimulatedCluster:
    """Control plane, scheduler, kwok and operator, all running."""

    plane: ControlPlane
    admin: ApiClient
    processes: dict[str, subprocess.Popen[bytes]]
    folder: Path

    @property
    def pids(self) -> dict[str, int]:
        """Of every part by name, those of the control plane included."""
        from penstock_cluster import supervisor

        parts = {name: pid for name, pid, _ in supervisor.table(self.plane.folder) if pid}
        return {**parts, **{name: process.pid for name, process in self.processes.items()}}

    def cpu(self) -> dict[str, float]:
        """CPU seconds of every part so far."""
        return {name: cpu_seconds(pid) for name, pid in self.pids.items()}

    def reads(self, *plurals: str) -> int:
        """How often single objects of these kinds have been read so far, by whomever."""
        text = self.admin.http.get("/metrics", timeout=60).text
        counts = re.findall(r'^apiserver_request_total{.*,resource="(.*?)".*verb="GET".*} (.+)$', text, re.MULTILINE)
        return sum(int(float(count)) for plural, count in counts if plural in plurals)

    def account(self, namespace: str, name: str) -> Path:
        """A kubeconfig with a token of a service account."""
        return account_kubeconfig(self.plane, self.admin, self.folder, namespace, name)

    def start_operator(self, **settings: str) -> None:
        """The operator as its Deployment starts it, in one namespace unless `settings`, of the environment, say so."""
        environment = {
            **os.environ,
            "KUBECONFIG": str(self.account(cells.SYSTEM, OPERATOR)),
            "POD_NAME": "operator-0",
            "POD_NAMESPACE": cells.SYSTEM,
            "PENSTOCK_OPERATOR_PROBE_PORT": "0",
            "PENSTOCK_OPERATOR_METRICS_PORT": "0",
            "PENSTOCK_OPERATOR_IMAGE": "none",
            "PENSTOCK_OPERATOR_NAMESPACES": NAMESPACE,
            **settings,
        }
        with (self.folder / "operator.log").open("ab") as log:
            command = [sys.executable, "-m", "penstock_operator.main"]
            self.processes["operator"] = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def stop_operator(self) -> None:
        """SIGTERM, and wait."""
        process = self.processes.pop("operator")
        process.terminate()
        process.wait(30)

    def writes_since(self, offset: int, namespace: str) -> dict[str, Counter[str]]:
        """Accepted writes in a namespace since then, by account; Events and Leases are left out."""
        found: dict[str, Counter[str]] = {}
        for entry in self.plane.audited(offset):
            what = entry.get("objectRef") or {}
            if what.get("namespace") != namespace or what.get("resource") in ("events", "leases"):
                continue
            if (entry.get("responseStatus") or {}).get("code", 0) >= 300:
                continue
            path = "/".join(part for part in (what["resource"], what.get("subresource")) if part)
            account = entry["user"]["username"].rsplit(":", 1)[-1]
            found.setdefault(account, Counter())[f"{entry['verb']} {path}"] += 1
        return found


def account_kubeconfig(plane: ControlPlane, admin: ApiClient, folder: Path, namespace: str, account: str) -> Path:
    """A kubeconfig with a token of a service account."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 86400}}
    token = admin.request("POST", path, json=request)["status"]["token"]
    config = yaml.safe_load(plane.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    target = folder / f"{account}.kubeconfig"
    target.write_text(yaml.safe_dump(config))
    return target


def _player(admin: ApiClient) -> None:
    """The account of whoever plays the runners and the kubelet, so that its writes can be counted."""
    meta = {"name": PLAYER, "namespace": cells.SYSTEM}
    admin.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta})
    admin.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": PLAYER},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", **meta}],
        }
    )


def add_node(admin: ApiClient, name: str) -> None:
    """A huge node that kwok plays."""
    size = {"cpu": "10000", "memory": "100Ti", "pods": "100000"}
    body = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {"kubernetes.io/hostname": name},
        },
        "status": {"allocatable": size, "capacity": size},
    }
    admin.create(body)
    admin.merge("Node", None, name, {"spec": {"taints": None}})  # no controller takes those of a new node away


@contextmanager
def running(folder: Path) -> Iterator[SimulatedCluster]:
    """Bring everything up, Penstock's resources, policies and accounts included; the operator is yet to be started."""
    programs = binaries.ensure((*binaries.KUBERNETES_ONLY, binaries.KWOK))
    with ExitStack() as stack:
        plane = stack.enter_context(control_plane.running(folder / "plane"))
        admin = stack.enter_context(ApiClient(plane.kubeconfig))
        cells.install_crds(admin)
        cells.install_policies(admin)
        _player(admin)
        for name in (NAMESPACE, "real"):
            admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
            for body in cells.rendered("runs.yaml", f"runs.namespaces={{{name}}}"):
                admin.apply(body)
        config = str(plane.kubeconfig)
        (folder / "stages.yaml").write_text(yaml.safe_dump_all(stages()))
        cluster = SimulatedCluster(plane, admin, {}, folder)
        commands = {
            "kube-scheduler": [
                *(f"--kubeconfig={config}", f"--authentication-kubeconfig={config}", "--leader-elect=false"),
                *(f"--authorization-kubeconfig={config}", "--secure-port=0", "--kube-api-qps=1000"),
                "--kube-api-burst=2000",
            ],
            "kwok": [
                *(f"--kubeconfig={config}", "--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake"),
                *("--node-lease-duration-seconds=0", f"--config={folder / 'stages.yaml'}"),
            ],
        }
        for name, options in commands.items():
            with (folder / f"{name}.log").open("ab") as log:
                command = [str(programs / name), *options]
                cluster.processes[name] = subprocess.Popen(command, stdout=log, stderr=log)
        add_node(admin, "kwok-1")
        try:
            yield cluster
        finally:
            for process in cluster.processes.values():
                process.kill()
                process.wait()


def wait(holds: Any, what: str, seconds: float = 300.0, interval: float = 0.1) -> Any:
    """The first true value of `holds`."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"{what} did not come about in {seconds:.0f} s"
        time.sleep(interval)
    return found
