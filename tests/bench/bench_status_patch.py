"""What the rules of the FlowRun CRD cost the API server: status patches of runs, against the same CRD without a rule.

The five patches of a warm run's life, of runs one after another, in blocks that alternate between the CRDs, each of
which is served under a group of its own. CPU is the API server's own, so that a busy machine says the same.
"""

from __future__ import annotations

import copy
import time
from pathlib import Path
from typing import Any

import builders
from api_client import ApiClient
from bench.simulated_cluster import cpu_seconds
from penstock.api import labels
from penstock.api.crd import crd
from penstock.api.flowrun import FlowRun
from penstock_cluster import control_plane as planes
from penstock_cluster import supervisor
from worker_stage import until

Json = dict[str, Any]
ROUNDS, RUNS = 4, 100
NAMESPACE = "bench"
NOW = "2026-01-01T06:00:00.000000Z"
POD = {"name": "bench", "uid": "6d3d2b9e-6b3e-4d6f-8b6a-3d3d3d3d3d3d"}
HISTORY = [
    {**builders.run_state(state, seq), "reason": "Said", "message": "", "attempt": 1, "writer": "operator"}
    for seq, state in enumerate(("Scheduled", "Pending", "Running", "Completed"), 1)
]


def written(state: str, seq: int, **fields: Any) -> Json:
    return {"state": builders.run_state(state, seq), "history": HISTORY[:seq], **fields}


# What each patch of a run's life adds to its status, after it has tested attempt and seq.
LIFE: tuple[Json, ...] = (
    written("Scheduled", 1, attempt=0, acceptedTime=NOW, observedGeneration=1, resolved=builders.resolved("Process")),
    written("Pending", 2, attempt=1, observedSeq=1, worker={**POD, "attempt": 1}),
    written("Running", 3, pod=POD, startTime=NOW),
    written("Completed", 4, endTime=NOW, runCount=1, duration="0.1s", result={"inline": 1.5}),
    {"observedSeq": 4, "settled": True},
)


def patches() -> list[list[Json]]:
    """The JSON patches, as operator and runner write them."""
    made = [[{"op": "add", "path": "/status", "value": LIFE[0]}]]
    attempt, seq = 0, 1
    for fields in LIFE[1:]:
        tests = [("attempt", attempt), ("state/seq", seq)]
        operations = [{"op": "test", "path": f"/status/{path}", "value": value} for path, value in tests]
        made.append(operations + [{"op": "add", "path": f"/status/{name}", "value": fields[name]} for name in fields])
        attempt, seq = fields.get("attempt", attempt), fields.get("state", {"seq": seq})["seq"]
    return made


def without_rules(schema: Any) -> Any:
    """The schema without a CEL rule anywhere in it."""
    if isinstance(schema, list):
        return [without_rules(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: without_rules(part) for name, part in schema.items() if name != "x-kubernetes-validations"}


def in_group(body: Json, group: str) -> Json:
    """The CRD under another group."""
    body = copy.deepcopy(body)
    body["spec"]["group"] = group
    body["spec"]["names"] = {k: v for k, v in body["spec"]["names"].items() if k not in ("shortNames", "categories")}
    body["metadata"]["name"] = f"{body['spec']['names']['plural']}.{group}"
    return body


class Peer:
    """A FlowRun CRD in a group of its own, and what its patches have cost so far."""

    def __init__(self, admin: ApiClient, name: str, body: Json) -> None:
        self.admin, self.name, self.cpu, self.seconds = admin, name, 0.0, 0.0
        self.group = f"{name.replace(' ', '-')}.bench.penstock.dev"
        admin.apply(in_group(body, self.group))
        self.runs = f"/apis/{self.group}/{labels.VERSION}/namespaces/{NAMESPACE}/flowruns"
        until(lambda: not admin.http.get(self.runs).is_error, f"{self.group} is not served")

    def live(self, names: list[str], pid: int) -> None:
        """Take runs through their life."""
        spec = {"deploymentRef": {"name": "etl"}, "parameters": {"n": 1}}
        for name in names:
            body = {"apiVersion": f"{self.group}/{labels.VERSION}", "kind": "FlowRun", "metadata": {"name": name}}
            self.admin.request("POST", self.runs, json={**body, "spec": spec})
        cpu, begun = cpu_seconds(pid), time.monotonic()
        for name in names:
            for operations in patches():
                headers = {"Content-Type": "application/json-patch+json"}
                self.admin.request("PATCH", f"{self.runs}/{name}/status", json=operations, headers=headers)
        self.seconds += time.monotonic() - begun
        self.cpu += cpu_seconds(pid) - cpu


def measured(folder: Path, bodies: dict[str, Json]) -> list[Peer]:
    """Each CRD with what its patches have cost, on one control plane."""
    with planes.running(folder / "plane") as plane, ApiClient(plane.kubeconfig) as admin:
        admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        pid = next(pid for name, pid, _ in supervisor.table(plane.folder) if name == "kube-apiserver" and pid)
        peers = [Peer(admin, name, body) for name, body in bodies.items()]
        for peer in peers:
            peer.live([f"warm-up-{number}" for number in range(10)], pid)
            peer.cpu = peer.seconds = 0.0
        for turn in range(ROUNDS):
            for peer in peers:
                peer.live([f"run-{turn}-{number}" for number in range(RUNS)], pid)
        return peers


def bench_status_patch(tmp_path: Path) -> None:
    body = crd(FlowRun)
    bare, _ = peers = measured(tmp_path, {"no rules": without_rules(body), "the rules": body})
    count = ROUNDS * RUNS * len(LIFE)
    for peer in peers:
        print(f"\n{peer.name}: {peer.cpu / count * 1000:.2f} ms of the API server's CPU a status patch, ", end="")
        print(f"{peer.seconds / count * 1000:.2f} ms until it is answered; ratios {peer.cpu / bare.cpu:.3f} ", end="")
        print(f"and {peer.seconds / bare.seconds:.3f}", end="")
    print()
