"""How long an operator takes from its start until it has looked at everything once, with 10,000 runs and their pods.

Its peer, in the same run and turn by turn with it: the bare paged LIST of the same objects with the same client. Both
on a real etcd and kube-apiserver; PENSTOCK_BENCH_RUNS sets another number of runs. A quarter of the runs is settled.
"""

from __future__ import annotations

import asyncio
import copy
import os
import statistics
import time
from pathlib import Path
from typing import Any

import cells
from api_client import ApiClient
from operator_process import LEASE, OperatorProcess
from penstock.api import labels
from penstock_cluster import control_plane as planes
from penstock_operator.cluster import FLOW_RUNS, PODS, ApiCluster, Connection, Unavailable

Json = dict[str, Any]
RUNS = int(os.environ.get("PENSTOCK_BENCH_RUNS", "10000"))
ROUNDS = 3
NAMESPACE = "bench"
SOURCE = "from penstock import flow\n\n@flow\ndef etl(): ...\n"
MANAGED = f"{labels.MANAGED_BY}={labels.MANAGED_BY_VALUE}"
PATIENCE = 600.0


class Field:
    """The cluster: a control plane, and one run that the operator launched, after which all others are made."""

    def __init__(self, plane: planes.ControlPlane, admin: ApiClient, folder: Path) -> None:
        self.plane, self.admin, self.folder = plane, admin, folder
        cells.install_crds(admin)
        admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        for kind, name, spec in (
            ("Flow", "etl", {"code": {"source": {"text": SOURCE}}, "entrypoint": "flow:etl"}),
            ("WorkPool", "default", {"type": "Pod"}),
            ("FlowDeployment", "etl", {"flowRef": {"name": "etl"}}),
            ("FlowRun", "first", {"deploymentRef": {"name": "etl"}}),
        ):
            meta = {"name": name, "namespace": NAMESPACE}
            admin.create({"apiVersion": labels.API_VERSION, "kind": kind, "metadata": meta, "spec": spec})
        with self.operator("model"):
            deadline = time.monotonic() + PATIENCE
            while not (found := admin.list("Pod", NAMESPACE)["items"]):
                assert time.monotonic() < deadline
                time.sleep(0.1)
        self.pod: Json = found[0]
        self.run: Json = admin.get("FlowRun", NAMESPACE, "first")

    def operator(self, name: str) -> OperatorProcess:
        """An operator process, whose Lease is free: an earlier one had its name."""
        return OperatorProcess(self.plane, self.folder, name, NAMESPACE, f"{NAMESPACE}/{LEASE}-{name}")

    def client(self) -> ApiCluster:
        return ApiCluster(Connection(self.plane.url, planes.tls(self.plane.folder / "pki")))

    async def fill(self, cluster: ApiCluster, numbers: list[int]) -> None:
        for number in numbers:
            for attempt in range(20):
                try:
                    await self._make(cluster, number, again=attempt > 0)
                    break
                except Unavailable:
                    await asyncio.sleep(0.5)

    async def _make(self, cluster: ApiCluster, number: int, *, again: bool) -> None:
        name, settled = f"run-{number:05d}", number % 4 == 0
        if again and await cluster.get(FLOW_RUNS, NAMESPACE, name):
            await cluster.delete(FLOW_RUNS, NAMESPACE, name)
            await cluster.delete(PODS, NAMESPACE, f"{name}-1", grace_seconds=0)
        spec = {"deploymentRef": {"name": "etl"}}
        body = {"apiVersion": labels.API_VERSION, "kind": "FlowRun", "metadata": {"name": name}, "spec": spec}
        run = await cluster.create(FLOW_RUNS, NAMESPACE, body)
        pod = {"apiVersion": "v1", "kind": "Pod", **copy.deepcopy({k: self.pod[k] for k in ("metadata", "spec")})}
        meta = pod["metadata"]
        for field in ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"):
            meta.pop(field, None)
        meta["name"], meta["labels"][labels.RUN] = f"{name}-1", name
        meta["ownerReferences"][0] |= {"name": name, "uid": run["metadata"]["uid"]}
        made = await cluster.create(PODS, NAMESPACE, pod)
        phase = {"op": "add", "path": "/status/phase", "value": "Succeeded" if settled else "Running"}
        await cluster.patch(PODS, NAMESPACE, f"{name}-1", [phase], subresource="status")
        status = self.status(name, made["metadata"]["uid"], settled=settled)
        whole = {"op": "add", "path": "/status", "value": status}
        await cluster.patch(FLOW_RUNS, NAMESPACE, name, [whole], subresource="status")

    def status(self, name: str, pod_uid: str, *, settled: bool) -> Json:
        status = copy.deepcopy(self.run["status"])
        time_, entries = status["state"]["time"], ["Running", "Completed"] if settled else ["Running"]
        for seq, state in enumerate(entries, status["state"]["seq"] + 1):
            entry = {"type": state, "name": state, "reason": "Started", "message": "", "time": time_, "seq": seq}
            status["state"] = entry
            status["history"].append({**entry, "attempt": 1, "writer": pod_uid})
        status |= {"pod": {"name": f"{name}-1", "uid": pod_uid}, "startTime": time_}
        return status | ({"settled": True, "endTime": time_} if settled else {})

    async def listed(self) -> tuple[float, float, int]:
        """Seconds, and those of CPU, of the bare LIST of what the operator lists, and how many objects came."""
        async with self.client() as cluster:
            begun, cpu = time.perf_counter(), time.process_time()

            async def count(resource: Any, **how: str) -> int:
                return sum([len(page.items) async for page in cluster.list_pages(resource, NAMESPACE, **how)])

            found = await asyncio.gather(
                count(FLOW_RUNS, field_selector="status.settled!=true"), count(PODS, label_selector=MANAGED)
            )
            return time.perf_counter() - begun, time.process_time() - cpu, sum(found)

    def restarted(self) -> tuple[float, float, float]:
        """Seconds from the start of a process until it had looked at everything, those of them in which it acted,
        and those of CPU."""
        operator = self.operator("restarted")
        operator.log.write_text("")
        begun = time.monotonic()
        with operator:
            while "everything was looked at once" not in operator.log.read_text():
                assert operator.alive, operator.log.read_text()
                assert time.monotonic() - begun < PATIENCE, operator.log.read_text()
                time.sleep(0.05)
            seconds = time.monotonic() - begun
            cpu = operator.metric("process_cpu_seconds_total")
            return seconds, operator.metric("penstock_takeover_seconds"), cpu


def bench_restart(tmp_path: Path) -> None:
    """Seconds of each round, and their ratio to the bare LIST."""
    with planes.running(tmp_path / "plane") as plane, ApiClient(plane.kubeconfig) as admin:
        field = Field(plane, admin, tmp_path)

        async def fill() -> None:
            async with field.client() as cluster:
                await asyncio.gather(*(field.fill(cluster, list(range(n, RUNS, 24))) for n in range(24)))

        begun = time.monotonic()
        asyncio.run(fill())
        print(f"\n{RUNS} runs and their pods made in {time.monotonic() - begun:.0f} s")
        lists, starts = [], []
        print(f"{'bare LIST':>12} {'CPU':>8} {'objects':>8} {'restart':>10} {'of it acting':>13} {'CPU':>8}")
        for _ in range(ROUNDS):
            seconds, cpu, objects = asyncio.run(field.listed())
            whole, acting, all_cpu = field.restarted()
            lists.append((seconds, cpu))
            starts.append((whole, all_cpu))
            print(f"{seconds:10.1f} s {cpu:6.2f} s {objects:8d} {whole:8.1f} s {acting:11.1f} s {all_cpu:6.2f} s")
        wall, cpu = (statistics.median(s[n] for s in starts) / statistics.median(t[n] for t in lists) for n in (0, 1))
        middle = statistics.median(s[0] for s in starts)
        print(f"restart / bare LIST: x{wall:.1f}, of CPU x{cpu:.1f}; target 15 s, median {middle:.1f} s")
