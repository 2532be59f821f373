"""Nodes with dozens of pods go, or fall silent: real API server and scheduler, nodes and kubelets played by kwok."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

import cells
from bench.simulated_cluster import NAMESPACE, PLAYER, SimulatedCluster, add_node, running, wait
from bench.simulated_runners import SimulatedRunners
from penstock.api import labels
from penstock_operator.cluster import ApiCluster, Connection

Json = dict[str, Any]
RUNS = 40
CODE = "from penstock import flow\n\n@flow\ndef main(): ...\n"
EVENLY = {  # of its own the scheduler may put them all on one node: to its scores, two huge nodes are alike
    "maxSkew": 1,
    "topologyKey": "kubernetes.io/hostname",
    "whenUnsatisfiable": "DoNotSchedule",
    "labelSelector": {"matchExpressions": [{"key": labels.RUN, "operator": "Exists"}]},
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedCluster]:
    """Two nodes, and an operator that may look at them."""
    with running(tmp_path_factory.mktemp("nodes")) as found:
        add_node(found.admin, "kwok-2")
        found.start_operator(PENSTOCK_OPERATOR_NAMESPACES="")
        for kind, name, spec in (
            ("Flow", "main", {"code": {"source": {"text": CODE}}, "entrypoint": "flow:main"}),
            ("WorkPool", "default", {"type": "Pod", "template": {"spec": {"topologySpreadConstraints": [EVENLY]}}}),
        ):
            meta = {"name": name, "namespace": NAMESPACE}
            found.admin.apply({"apiVersion": labels.API_VERSION, "kind": kind, "metadata": meta, "spec": spec})
        with playing(found):
            yield found


@contextmanager
def playing(cluster: SimulatedCluster) -> Iterator[None]:
    """Runners that claim their runs and go on for ever, in a thread of their own."""
    config = yaml.safe_load(cluster.account(cells.SYSTEM, PLAYER).read_text())
    token = config["users"][0]["user"]["token"]
    context = ssl.create_default_context(cafile=str(cluster.plane.certificate_authority))
    loop = asyncio.new_event_loop()

    async def play() -> None:
        async with ApiCluster(Connection(cluster.plane.url, context, lambda: token)) as client:
            await SimulatedRunners(client, NAMESPACE, hold=True).run()

    task = loop.create_task(play())
    thread = threading.Thread(target=lambda: loop.run_until_complete(asyncio.wait([task])), name="runners")
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(60)
        loop.close()


def runs(cluster: SimulatedCluster) -> dict[str, Json]:
    """Status of each run."""
    return {
        run["metadata"]["name"]: run.get("status") or {} for run in cluster.admin.list("FlowRun", NAMESPACE)["items"]
    }


def on(cluster: SimulatedCluster, node: str) -> set[str]:
    """Runs of which a pod is bound to the node."""
    pods = cluster.admin.list("Pod", NAMESPACE)["items"]
    return {pod["metadata"]["labels"][labels.RUN] for pod in pods if pod["spec"].get("nodeName") == node}


def all_run(cluster: SimulatedCluster, attempt: Callable[[str], int]) -> bool:
    """Whether each run is claimed in the attempt in which it should be."""
    found = runs(cluster)
    return len(found) == RUNS and all(
        (status.get("state") or {}).get("type") == "Running" and status.get("attempt") == attempt(name)
        for name, status in found.items()
    )


def node_lost(status: Json) -> str | None:
    """What a run says of its node."""
    return next((c["status"] for c in status.get("conditions") or [] if c["type"] == "NodeLost"), None)


def test_all_runs_of_a_deleted_node_go_on_elsewhere_and_no_other_is_touched(cluster: SimulatedCluster) -> None:
    for number in range(RUNS):
        spec = {"flowRef": {"name": "main"}, "infraRetries": {"limit": 1, "reasons": ["NodeLost"]}}
        meta = {"name": f"run-{number}", "namespace": NAMESPACE}
        cluster.admin.create({"apiVersion": labels.API_VERSION, "kind": "FlowRun", "metadata": meta, "spec": spec})
    wait(lambda: all_run(cluster, lambda _: 1), "the start of all runs")
    lost = on(cluster, "kwok-1")
    assert len(lost) == RUNS // 2
    cluster.admin.request("DELETE", "/api/v1/nodes/kwok-1")
    wait(lambda: all_run(cluster, lambda name: 2 if name in lost else 1), "the second attempt of those that were on it")
    for name, status in runs(cluster).items():
        reasons = [entry["reason"] for entry in status["history"] if entry["name"] == "AwaitingRetry"]
        assert reasons == (["NodeLost"] if name in lost else [])
    assert on(cluster, "kwok-2") == set(runs(cluster))


def test_all_runs_of_a_silent_node_say_so_and_go_on_when_it_is_back(cluster: SimulatedCluster) -> None:
    before = {name: status["attempt"] for name, status in runs(cluster).items()}
    kwok = cluster.pids["kwok"]
    os.kill(kwok, signal.SIGSTOP)
    try:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        told = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet is silent."}
        condition = {**told, "lastTransitionTime": now, "lastHeartbeatTime": now}
        cluster.admin.merge("Node", None, "kwok-2", {"status": {"conditions": [condition]}}, "status")
        wait(lambda: {node_lost(status) for status in runs(cluster).values()} == {"True"}, "the condition of all")
    finally:
        os.kill(kwok, signal.SIGCONT)
    wait(lambda: {node_lost(status) for status in runs(cluster).values()} == {"False"}, "the end of the condition")
    assert all_run(cluster, before.__getitem__)
