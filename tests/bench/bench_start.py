"""One run alone: from the answer to its creation to the first line of user code, against a bare Pod, and a bare Job.

The bare ones print the time as soon as Python runs, on the same image; the flow's file notes it in its first lines. All
on one machine, so by one clock. Both in turn, each alone; the ratio is that of the medians. What is above 1 is the
operator's reaction, the runner's imports and its claim.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from api_client import ApiClient
from bench.bench_makespan import API, POD_SPEC
from installation import ROOT, Penstock

TIMES = 10
PATIENCE = 120.0
POOLS = {"Pod": "default", "Job": "jobs"}
SOURCE = "import time\nBEGUN = time.time()\nfrom penstock import flow\n\n\n@flow\ndef main():\n    return BEGUN\n"
WORDS = ["python3", "-c", "import time; print(time.time())"]
Json = dict[str, Any]


class Stage:
    """A namespace with the flow, and pools of both kinds."""

    def __init__(self, penstock: Penstock, admin: ApiClient) -> None:
        self.admin, self.namespace, self._user = admin, penstock.namespace, penstock
        flow = {"code": {"source": {"text": SOURCE}}, "entrypoint": "f:main"}
        made = [("Flow", "begin", flow), ("WorkPool", "jobs", {"type": "Job"})]
        made += [("FlowDeployment", pool, {"flowRef": {"name": "begin"}, "workPool": pool}) for pool in POOLS.values()]
        penstock.apply(*({"apiVersion": API, "kind": k, "metadata": {"name": n}, "spec": s} for k, n, s in made))

    def make(self, kind: str, name: str, spec: Json, version: str = API) -> None:
        meta = {"name": name, "namespace": self.namespace}
        self.admin.create({"apiVersion": version, "kind": kind, "metadata": meta, "spec": spec})

    def bare(self, kind: str, name: str) -> float:
        """Seconds that a bare Pod or Job took."""
        container = {**POD_SPEC["containers"][0], "command": WORDS}
        spec: Json = {**POD_SPEC, "containers": [container]}
        if kind == "Pod":
            self.make("Pod", name, spec, "v1")
        else:
            self.make("Job", name, {"backoffLimit": 0, "template": {"spec": spec}}, "batch/v1")
        created = time.time()
        self._until(lambda: self._phase(kind, name) == "Succeeded")
        begun = float(self._user.kubectl("logs", name if kind == "Pod" else f"job/{name}"))
        self._user.kubectl("delete", kind, name, "--wait=true")
        return begun - created

    def _phase(self, kind: str, name: str) -> str:
        status = self.admin.get(kind, self.namespace, name).get("status") or {}
        return str(status.get("phase")) if kind == "Pod" else "Succeeded" if status.get("succeeded") else ""

    def run(self, pool: str, name: str) -> list[float]:
        """Seconds that a run took: until it was launched, until its runner was about to claim it, until user code."""
        self.make("FlowRun", name, {"deploymentRef": {"name": pool}})
        created = time.time()

        def status() -> Json:
            found: Json = self.admin.get("FlowRun", self.namespace, name).get("status") or {}
            state = found.get("state") or {}
            assert state.get("type") not in ("Failed", "Crashed", "Cancelled"), state
            return found

        self._until(lambda: status().get("settled"))
        found = status()
        at = {entry["type"]: seconds(entry["time"]) for entry in found["history"]}
        self._user.kubectl("delete", "flowrun", name, "--wait=true")
        return [at["Pending"] - created, at["Running"] - created, float(found["result"]["inline"]) - created]

    def _until(self, holds: Callable[[], Any]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(0.5)  # what ends is not yet what is gone


def seconds(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


@pytest.mark.parametrize(("kind", "pool"), POOLS.items())
def bench_start(penstock: Penstock, kind: str, pool: str) -> None:
    """Medians of both, and their ratio."""
    with ApiClient(ROOT / ".cluster/kubeconfig") as admin:
        stage = Stage(penstock, admin)
        stage.bare(kind, "bare-first")  # what is new once: the image's files in memory, the revisions of the pool
        stage.run(pool, "run-first")
        theirs: list[float] = []
        ours: list[list[float]] = []
        for number in range(TIMES):
            theirs.append(stage.bare(kind, f"bare-{number}"))
            ours.append(stage.run(pool, f"run-{number}"))
    launched, claiming, begun = (statistics.median(times) for times in zip(*ours, strict=True))
    bare, load = statistics.median(theirs), os.getloadavg()[0]
    print(f"\na bare {kind}: first line of Python after p50 {bare:.2f} s, {[round(s, 2) for s in sorted(theirs)]}")
    print(f"a run of a {kind} pool: launched after p50 {launched:.2f} s, claimed {claiming:.2f} s, ", end="")
    print(f"user code {begun:.2f} s, {sorted(round(times[2], 2) for times in ours)}")
    print(f"create to the first line of user code: ratio of medians {begun / bare:.2f} (target 1.1); load {load:.1f}")
