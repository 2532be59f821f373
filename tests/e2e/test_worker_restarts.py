"""A container of a worker's pod is killed while runs go on there, and its kubelet starts it again in that pod."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from installation import ROOT, Penstock
from node_processes import executors, in_pod, running
from penstock_cluster.layout import Layout

API = "penstock.dev/v1alpha1"
Json = dict[str, Any]
POOL = "restarted"
PATIENCE = 240.0
# It goes on until its end is wanted, and leaves a line outside of Kubernetes each time that it is executed.
FLOW = """
import os, time
from pathlib import Path
from penstock import flow, task

@task
def step(n):
    return n + 1

@flow
def main(waits: bool = False):
    name = os.environ["PENSTOCK_RUN"]
    with open(f"/results/{name}.calls", "a") as file:
        file.write(f"{os.getpid()}\\n")
    count = step(0)
    while waits and not Path(f"/results/{name}.go").exists():
        time.sleep(0.2)
        count = step(count)
    return count > 0
"""


@pytest.fixture(scope="module")
def pool(penstock: Penstock, shared: str) -> Iterator[str]:
    """One warm worker with three places that reaches the folder of the pool `shared`."""
    spec = {k: v for k, v in penstock.get("workpool", shared)["spec"].items() if k in ("template", "results")}
    worker = {"min": 1, "max": 1, "concurrency": 3}
    pool = {"apiVersion": API, "kind": "WorkPool", "metadata": {"name": POOL}}
    flow = {"apiVersion": API, "kind": "Flow", "metadata": {"name": POOL}}
    penstock.apply(
        {**pool, "spec": {**spec, "type": "Process", "worker": worker}},
        {**flow, "spec": {"code": {"source": {"text": FLOW}}, "entrypoint": "f:main"}},
    )
    penstock.wait("workpool", POOL, lambda body: body.get("status", {}).get("workers") == 1, PATIENCE)
    yield POOL
    penstock.delete(pool, flow)


def start(penstock: Penstock, name: str, *, waits: bool = False, **spec: Any) -> None:
    whole = {"flowRef": {"name": POOL}, "workPool": POOL, "parameters": {"waits": waits}, **spec}
    penstock.apply({"apiVersion": API, "kind": "FlowRun", "metadata": {"name": name}, "spec": whole})


def goes_on(penstock: Penstock, name: str, attempt: int = 1) -> Json:
    """The worker of a run whose user code goes on, as its status says it."""

    def called(run: Json) -> bool:
        status = run.get("status") or {}
        if (status.get("state") or {}).get("type") != "Running" or status["attempt"] != attempt:
            return False
        return calls(penstock, status["worker"]["name"], name) == attempt

    worker: Json = penstock.wait("flowrun", name, called, PATIENCE)["status"]["worker"]
    return worker


def inside(penstock: Penstock, pod: str, *command: str) -> str:
    return penstock.kubectl("exec", pod, "-c", "flow", "--", *command, check=False)


def calls(penstock: Penstock, pod: str, name: str) -> int:
    """How often the run was executed."""
    return len(inside(penstock, pod, "cat", f"/results/{name}.calls").splitlines())


def end(penstock: Penstock, pod: str, name: str) -> Json:
    """The status of a run that is let end."""
    inside(penstock, pod, "touch", f"/results/{name}.go")
    status: Json = penstock.settled(name, PATIENCE)["status"]
    return status


def restarts(pod: Json, container: str) -> int:
    """How often the kubelet has started it again, once it runs."""
    (found,) = (status for status in pod["status"]["containerStatuses"] if status["name"] == container)
    return int(found["restartCount"]) if "running" in found["state"] else 0


def kill(pids: list[int], worker: Json) -> None:
    (pid,) = (pid for pid in pids if in_pod(pid, worker["uid"]))
    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def emptied(penstock: Penstock, pool: str) -> Penstock:
    """What a test before this session left in the folder is gone."""
    (pod,) = penstock.kubectl("get", "pods", "-l", f"penstock.dev/pool={POOL}", "--output", "name").split()
    inside(penstock, pod.removeprefix("pod/"), "sh", "-c", "rm -f /results/*.calls /results/*.go")
    return penstock


def test_runs_go_on_while_their_workers_agent_is_killed_and_comes_back(emptied: Penstock) -> None:
    start(emptied, "outlives-it", waits=True)
    worker = goes_on(emptied, "outlives-it")
    before = restarts(emptied.get("pod", worker["name"]), "agent")
    kill(running(Layout(ROOT), "penstock.worker.agent"), worker)
    start(emptied, "given-meanwhile")
    emptied.wait("pod", worker["name"], lambda pod: restarts(pod, "agent") > before, PATIENCE)
    status = emptied.settled("given-meanwhile", PATIENCE)["status"]
    assert (status["state"]["type"], status["attempt"]) == ("Completed", 1), status
    status = end(emptied, worker["name"], "outlives-it")
    assert (status["state"]["type"], status["attempt"]) == ("Completed", 1), status
    assert "exited" not in status["worker"]
    assert calls(emptied, worker["name"], "outlives-it") == 1
    start(emptied, "after-it")
    status = emptied.settled("after-it", PATIENCE)["status"]
    assert (status["state"]["type"], status["worker"]["uid"]) == ("Completed", worker["uid"])


def test_runs_end_with_their_workers_executor_and_are_tried_again_in_the_next(emptied: Penstock) -> None:
    start(emptied, "ends-with-it", waits=True)
    start(emptied, "tried-again", waits=True, infraRetries={"limit": 1, "backoffSeconds": 0})
    worker = goes_on(emptied, "ends-with-it")
    goes_on(emptied, "tried-again")
    kill(executors(Layout(ROOT), forked=False), worker)
    state = emptied.settled("ends-with-it", PATIENCE)["status"]["state"]
    assert (state["type"], state["reason"]) == ("Crashed", "ContainerExited")
    assert "the executor of its worker ended" in state["message"]
    again = goes_on(emptied, "tried-again", attempt=2)
    assert again["uid"] == worker["uid"], "its pod is the same"
    status = end(emptied, worker["name"], "tried-again")
    assert (status["state"]["type"], status["attempt"]) == ("Completed", 2)
    assert calls(emptied, worker["name"], "ends-with-it") == 1
    assert calls(emptied, worker["name"], "tried-again") == 2
