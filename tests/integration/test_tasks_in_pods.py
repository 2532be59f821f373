"""Tasks in pods of their own, on a real API server with the real operator and the real runner in every pod."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api_client import ApiClient
from live_cell import RunCell, run_cell
from penstock_cluster.control_plane import ControlPlane


@pytest.fixture
def cell(
    control_plane: ControlPlane, admin: ApiClient, namespace: str, policies: None, tmp_path: Path
) -> Iterator[RunCell]:
    pods = tmp_path / "pods"
    pods.mkdir()
    with run_cell(control_plane, admin, namespace, pods) as cell:
        cell.kubelet.environment |= {
            "PENSTOCK_RESULTS_STORAGE": f"file://{tmp_path}/results",
            "PENSTOCK_RESULTS_SHARED": "true",
            "TRACE": str(tmp_path / "trace"),
        }
        yield cell


FLOW = """
import os, pathlib, time
from penstock import flow, get_run_logger, runtime, task
from penstock.task_runners import KubernetesTaskRunner, PodOptions

RUNNER = KubernetesTaskRunner(max_workers=2, cpu="250m", tasks={"heavy": PodOptions(memory="1Gi", env={"SIZE": "XL"})})

def trace(word):
    with pathlib.Path(os.environ["TRACE"]).open("a") as file:
        file.write(word + " ")

@task
def square(n):
    trace(f"square{n}")
    get_run_logger().info("squaring %d", n)
    return n * n, os.environ["PENSTOCK_POD_NAME"], runtime.task_run.name

@task
def heavy():
    return os.environ["SIZE"]

@task(retries=1)
def broken():
    trace("broken")
    raise KeyError("no such key")

@task
def leaves():
    os._exit(7)

@task(timeout_seconds=0.3)
def hangs():
    time.sleep(60)

@task
def slow():
    trace("slow")
    time.sleep(60)

@flow(task_runner=RUNNER)
def squares():
    here = os.environ["PENSTOCK_POD_NAME"]
    found = square.map([2, 3]).result()
    assert here not in {pod for _, pod, _ in found}
    return {"squares": [n for n, _, _ in found], "names": [name for *_, name in found], "size": heavy.submit().result()}

@flow(task_runner=RUNNER)
def failures():
    states = [t.submit(return_state=True) for t in (broken, leaves, hangs)]
    return [[s.name, s.reason, type(s.result(raise_on_failure=False)).__name__] for s in states]

@flow(task_runner=RUNNER)
def restarted():
    first = square.submit(2).result()
    if os.environ["PENSTOCK_ATTEMPT"] == "1":
        trace("waits")
        time.sleep(60)
    return [first[0], square.submit(3).result()[0]]

@task
def patient():
    trace("patient")
    while not os.path.exists(os.environ["TRACE"] + ".back"):
        time.sleep(0.1)
    return "done"

@flow
def child():
    return patient.submit().result()

@flow(task_runner=RUNNER)
def outage():
    future = patient.submit()
    while not os.path.exists(os.environ["TRACE"] + ".back"):
        time.sleep(0.1)
    return [child(), future.result()]

@flow(task_runner=RUNNER, timeout_seconds=20)
def hasty():
    futures = [slow.submit()]
    while not os.path.exists(os.environ["TRACE"]):
        time.sleep(0.1)
    raise KeyboardInterrupt
"""


def traced(cell: RunCell) -> list[str]:
    trace = Path(cell.kubelet.environment["TRACE"])
    return trace.read_text().split() if trace.exists() else []


def run(cell: RunCell, flow: str, **spec: Any) -> dict[str, Any]:
    cell.deploy(FLOW, f"f:{flow}")
    cell.start(**spec)
    return cell.settled()


def test_each_task_runs_once_in_a_pod_of_its_own(cell: RunCell) -> None:
    status = run(cell, "squares")["status"]
    assert status.get("result") == {"inline": {"squares": [4, 9], "names": ["square-0", "square-1"], "size": "XL"}}, (
        cell.story()
    )
    assert status["tasks"]["summary"] == "3/3"
    children = [cell.settled(child["metadata"]["name"]) for child in cell.children()]
    assert [child["status"]["state"]["type"] for child in children] == ["Completed"] * 3
    assert {child["spec"]["task"]["entrypoint"] for child in children} == {"f:square", "f:heavy"}
    assert {child["metadata"]["labels"]["penstock.dev/task"] for child in children} == {"square", "heavy"}
    parent = cell.get()["status"]["resolved"]
    for child in children:
        assert child["status"]["resolved"] == {**parent, "entrypoint": child["spec"]["task"]["entrypoint"]}
        pod = cell.admin.get("Pod", cell.namespace, child["status"]["pod"]["name"])
        container = pod["spec"]["containers"][0]
        assert container["resources"]["requests"]["cpu"] == "250m"
        heavy = child["spec"]["task"]["entrypoint"] == "f:heavy"
        assert ("memory" in container["resources"].get("limits", {})) is heavy
        if not heavy:
            assert "squaring" in cell.kubelet.output(child["status"]["pod"]["name"])
    assert sorted(traced(cell)) == ["square2", "square3"]


def test_failures_come_back_as_what_they_were(cell: RunCell) -> None:
    """An exception as itself after its retries, an end of the pod as a crash with its reason, a timeout as one."""
    status = run(cell, "failures")["status"]
    assert status["result"] == {
        "inline": [
            ["Failed", "Exception", "KeyError"],
            ["Crashed", "ContainerExited", "PodLost"],
            ["TimedOut", "TimedOut", "TaskRunTimedOut"],
        ]
    }, cell.story()
    assert traced(cell) == ["broken", "broken"], "the retry is the flow's: a pod for each try"
    crashed = [c["status"]["state"] for c in cell.children() if c["status"]["state"]["type"] == "Crashed"]
    assert [(state["reason"], "exit code 7" in state["message"]) for state in crashed] == [("ContainerExited", True)]


def test_a_restarted_flow_finds_its_finished_tasks_again(cell: RunCell) -> None:
    cell.deploy(FLOW, "f:restarted")
    cell.start(infraRetries={"limit": 1})
    cell.wait(lambda: traced(cell) == ["square2", "waits"], "the first attempt")
    cell.kubelet.kill("run-1")
    status = cell.settled()["status"]
    assert status["result"] == {"inline": [4, 9]}, cell.story()
    assert traced(cell) == ["square2", "waits", "square3"]
    assert len(cell.children()) == 2


def test_tasks_of_a_flow_that_has_ended_are_cancelled(cell: RunCell) -> None:
    assert run(cell, "hasty")["status"]["state"]["type"] == "Crashed"
    assert cell.settled(cell.children()[0]["metadata"]["name"])["status"]["state"]["type"] == "Cancelled"


def test_an_outage_of_the_api_server_is_sat_out(cell: RunCell, control_plane: ControlPlane) -> None:
    """The watch is taken up again, and a subflow that starts meanwhile is made known later."""
    cell.deploy(FLOW, "f:outage")
    cell.start()
    cell.wait(lambda: traced(cell) == ["patient"], "the task")
    control_plane.kill("kube-apiserver")
    Path(cell.kubelet.environment["TRACE"] + ".back").touch()
    control_plane.wait_ready()
    status = cell.settled()["status"]
    assert status.get("result") == {"inline": ["done", "done"]}, cell.story()
    ends = {
        c["spec"].get("infrastructure", "Pool"): cell.settled(c["metadata"]["name"])["status"]["state"]["type"]
        for c in cell.children()
    }
    assert ends == {"Pool": "Completed", "Parent": "Completed"}


def test_the_code_is_the_parents_whatever_was_deployed_since(cell: RunCell) -> None:
    cell.deploy(FLOW, "f:restarted")
    cell.start(infraRetries={"limit": 1})
    cell.wait(lambda: traced(cell) == ["square2", "waits"], "the first attempt")
    cell.deploy(FLOW.replace("n * n", "-1"), "f:restarted")
    cell.kubelet.kill("run-1")
    assert cell.settled()["status"]["result"] == {"inline": [4, 9]}


@pytest.mark.parametrize(
    ("results", "says"),
    [("", "needs a result store that pods can reach"), ("file:///tmp/nowhere", "other pods cannot reach")],
)
def test_without_a_store_that_pods_reach_it_says_what_to_do(cell: RunCell, results: str, says: str) -> None:
    cell.kubelet.environment |= {"PENSTOCK_RESULTS_STORAGE": results, "PENSTOCK_RESULTS_SHARED": ""}
    state = run(cell, "squares")["status"]["state"]
    assert state["type"] == "Failed"
    assert says in state["message"]
    assert "spec.results.url of the work pool" in state["message"]


def test_overrides_that_the_pool_refuses_are_told(cell: RunCell) -> None:
    cell.apply("WorkPool", "strict", {"type": "Pod", "overrides": {"allow": ["env"]}})
    state = run(cell, "squares", workPool="strict")["status"]["state"]
    assert state["type"] == "Failed"
    assert "pod.resources: WorkPool strict does not allow it" in json.dumps(state)
