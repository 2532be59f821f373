"""Slots of the cluster's limits: how long one takes that is free, and one that another run gives back; and what 10,000
tasks cost that take one each. The peers, in the same run: two bare writes of the run's status, which is the least that
a claim and its grant can be, and the same tasks without a limit.

Real etcd, kube-apiserver, operator and runners; pods are processes. PENSTOCK_BENCH_TASKS sets another number of tasks.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import cells
from api_client import ApiClient
from live_cell import RunCell, run_cell
from penstock_cluster import control_plane as planes

TASKS = int(os.environ.get("PENSTOCK_BENCH_TASKS", "10000"))
ROUNDS = 40
NAMESPACE = "bench"
FLOW = f"""
import time
from penstock import flow, task
from penstock.concurrency.sync import concurrency
from penstock.runtime import flow_run
from penstock.runner.connection import JSON_PATCH, Api
from penstock.runner.assignment import Assignment

@flow
def free():
    api, at = Api.from_environment(), Assignment()
    granted, bare = [], []
    for turn in range({ROUNDS}):
        time.sleep(0.7)  # what was held is given back by then
        began = time.perf_counter()
        with concurrency("free"):
            granted.append(time.perf_counter() - began)
        began = time.perf_counter()
        for write in range(2):
            value = {{"total": 2 * turn + write}}
            op = {{"op": "add", "path": "/status/tasks", "value": value}}
            assert api.request("PATCH", at.path + "/status", [op], JSON_PATCH).status == 200
        bare.append(time.perf_counter() - began)
    return [[round(seconds, 4) for seconds in found] for found in (granted, bare)]

@flow
def contend(seconds: float):
    begun = time.time()
    while time.time() < begun + seconds:
        with concurrency("contended"), open("PLACE", "a") as turns:
            turns.write(f"{{time.time()}} ")
            time.sleep(0.05)
            turns.write(f"{{time.time()}} {{flow_run.name}}\\n")

@task
def plain(n: int):
    return n

@task(tags=["limited"])
def limited(n: int):
    return n

@flow
def tasks(tagged: bool):
    began = time.perf_counter()
    total = sum((limited if tagged else plain).map(range({TASKS})).result())
    assert total == {TASKS} * ({TASKS} - 1) // 2
    return time.perf_counter() - began
"""


def started(cell: RunCell, name: str, entrypoint: str, **parameters: Any) -> None:
    cell.deploy(FLOW.replace("PLACE", str(cell.kubelet.folder / "turns")), f"f:{entrypoint}", entrypoint)
    cell.start(name, entrypoint, parameters=parameters)


def ended(cell: RunCell, name: str) -> Any:
    deadline = time.monotonic() + 1500
    while not (body := cell.get(name)).get("status", {}).get("settled"):
        assert time.monotonic() < deadline, cell.story()
        time.sleep(0.2)
    assert body["status"]["state"]["type"] == "Completed", cell.story()
    return (body["status"].get("result") or {}).get("inline")


class Writes:
    """The highest numbers of a run's claims and grants, which each write of them raises."""

    def __init__(self, cell: RunCell, name: str) -> None:
        self.claims = self.grants = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, args=(cell, name))
        self._thread.start()

    def _look(self, cell: RunCell, name: str) -> None:
        while not self._over.wait(0.2):
            status = cell.get(name).get("status") or {}
            self.claims = max(self.claims, (status.get("claims") or {}).get("number", 0))
            self.grants = max(self.grants, (status.get("grants") or {}).get("number", 0))

    def end(self) -> None:
        self._over.set()
        self._thread.join()


def told(what: str, seconds: list[float]) -> None:
    seconds = sorted(seconds)
    p99 = seconds[min(len(seconds) - 1, int(0.99 * len(seconds)))]
    print(
        f"\n{what}: p50 {1000 * statistics.median(seconds):.0f} ms, p99 {1000 * p99:.0f} ms (n={len(seconds)})", end=""
    )


def bench_limits(tmp_path: Path) -> None:
    with planes.running(tmp_path / "plane") as plane, ApiClient(plane.kubeconfig) as admin:
        cells.install_crds(admin)
        cells.install_policies(admin)
        admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        (tmp_path / "pods").mkdir()
        with run_cell(plane, admin, NAMESPACE, tmp_path / "pods") as cell:
            for name, spec in (("free", {}), ("contended", {}), ("limited", {"taskTag": "limited"})):
                cell.apply("ConcurrencyLimit", name, {"limit": 4 if spec else 1, **spec})
            started(cell, "free", "free")
            granted, bare = ended(cell, "free")
            told("a free slot", granted)
            told("two bare writes of the run", bare)
            print(
                f"\na free slot takes {statistics.median(granted) / statistics.median(bare):.1f} times as long", end=""
            )
            for name in ("one", "two"):
                started(cell, name, "contend", seconds=20)
            for name in ("one", "two"):
                ended(cell, name)
            lines = (line.split() for line in (cell.kubelet.folder / "turns").read_text().splitlines())
            turns = sorted((float(at), float(over), name) for at, over, name in lines)
            gaps = [later[0] - earlier[1] for earlier, later in pairwise(turns) if later[2] != earlier[2]]
            told("from one run's release to the other's turn", gaps)
            took = {}
            for tagged in (False, True):
                name = f"tasks-{str(tagged).lower()}"
                started(cell, name, "tasks", tagged=tagged)
                writes = Writes(cell, name)
                took[tagged] = ended(cell, name)
                writes.end()
            print(
                f"\n{TASKS} tasks with a limit: {took[True]:.1f} s, {took[True] / took[False]:.2f} times as long as "
                f"without; {writes.claims} writes of claims, {writes.grants} of grants"
            )
