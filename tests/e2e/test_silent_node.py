"""The node of the runs says nothing for a while: its kubelet is stopped, as a machine that hangs stops it.

The container runtime and the user code run on all the time, which is why nobody may take the runs for lost.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from installation import ROOT, Penstock
from penstock_cluster import supervisor
from penstock_cluster.layout import Layout

API = "penstock.dev/v1alpha1"
CODE = """
import os, time
from penstock import flow

@flow
def main(seconds: float = 90):
    time.sleep(seconds if os.environ["PENSTOCK_ATTEMPT"] == "1" else 0)
    return int(os.environ["PENSTOCK_ATTEMPT"])
"""
FORCED = {"onNodeLost": {"policy": "ForceDelete", "afterSeconds": 5}}
POOLS = {"waits": {"type": "Pod"}, "forced": {"type": "Pod", **FORCED}, "forced-job": {"type": "Job", **FORCED}}


def condition(run: dict[str, Any]) -> str | None:
    """What a run says of its node: True, False or nothing."""
    conditions = run.get("status", {}).get("conditions") or []
    return next((c["status"] for c in conditions if c["type"] == "NodeLost"), None)


def node_ready(penstock: Penstock) -> str:
    """The condition Ready of the node."""
    return penstock.kubectl("get", "nodes", "-o", 'jsonpath={.items[0].status.conditions[?(@.type=="Ready")].status}')


@pytest.fixture
def silent(penstock: Penstock) -> Iterator[float]:
    """Runs on a node whose kubelet is stopped; when the API server first told that the node is not ready."""
    meta = {"name": "silent-node"}
    flow = {"code": {"source": {"text": CODE}}, "entrypoint": "flow:main"}
    penstock.apply({"apiVersion": API, "kind": "Flow", "metadata": meta, "spec": flow})
    for name, pool in POOLS.items():
        penstock.apply({"apiVersion": API, "kind": "WorkPool", "metadata": {"name": name}, "spec": pool})
        spec = {"flowRef": meta, "workPool": name, "infraRetries": {"limit": 1, "reasons": ["NodeLost"]}}
        penstock.apply({"apiVersion": API, "kind": "FlowRun", "metadata": {"name": name}, "spec": spec})
    for name in POOLS:
        penstock.wait("flowrun", name, lambda run: run.get("status", {}).get("state", {}).get("type") == "Running")
    kubelet = next(pid for part, pid, _ in supervisor.table(Layout(ROOT).state) if part == "kubelet")
    assert kubelet is not None
    os.kill(kubelet, signal.SIGSTOP)
    try:
        deadline = time.monotonic() + 120
        while node_ready(penstock) == "True":
            assert time.monotonic() < deadline, "the node is not missed"
            time.sleep(0.5)
        yield time.monotonic()
    finally:
        os.kill(kubelet, signal.SIGCONT)
        penstock.kubectl("wait", "--for=condition=Ready", "nodes", "--all", "--timeout=60s")


def test_runs_say_that_their_node_is_silent_and_go_on(penstock: Penstock, silent: float) -> None:
    """The run that waits completes in its first attempt, as if nothing had been."""
    penstock.wait("flowrun", "waits", lambda run: condition(run) == "True", 20)
    print(f"\nNodeLost {time.monotonic() - silent:.1f} s after the node's condition")
    for name in ("forced", "forced-job"):
        run = penstock.wait("flowrun", name, lambda run: run["status"]["attempt"] == 2, 60)
        lost = next(entry for entry in run["status"]["history"] if entry["name"] == "AwaitingRetry")
        assert lost["reason"] == "NodeLost"
        first = f"penstock.dev/run={name},penstock.dev/attempt=1"
        assert penstock.kubectl("get", "pods", "-l", first, "-o", "name") == ""


def test_the_runs_end_once_the_node_is_back(penstock: Penstock) -> None:
    for name, attempt in (("waits", 1), ("forced", 2), ("forced-job", 2)):
        status = penstock.settled(name, 180)["status"]
        assert (status["state"]["type"], status["attempt"]) == ("Completed", attempt), status
        assert status["result"] == {"inline": attempt}
    assert condition(penstock.get("flowrun", "waits")) == "False"
