"""Subflows as runs, and tasks in pods of their own, on a real node."""

from __future__ import annotations

import json
from typing import Any

import pytest

from installation import Penstock

API = "penstock.dev/v1alpha1"

SUBFLOWS = """
import time
from penstock import flow, task


@task
def double(n: int) -> int:
    return 2 * n


@flow
def child(n: int) -> int:
    return sum(double.map(range(n)).result())


@flow
def long() -> None:
    time.sleep(120)


@flow
def parent(wait: bool = False) -> list:
    found = [child(2), child(3), child(2)]
    if wait:
        long()
    return found
"""

TASKS = """
import os
from penstock import flow, task
from penstock.task_runners import KubernetesTaskRunner, PodOptions


@task
def square(n: int) -> tuple:
    return n * n, os.environ["PENSTOCK_POD_NAME"]


@task
def leaves() -> None:
    os._exit(7)


@task(retries=1)
def broken() -> None:
    raise KeyError("no such key")


@task
def hungry() -> int:
    return len(bytearray(512 * 1024 * 1024))


RUNNER = KubernetesTaskRunner(max_workers=2, cpu="50m", memory="96Mi", tasks={"square": PodOptions(env={"A": "b"})})


@flow(task_runner=RUNNER)
def main() -> dict:
    found = square.map([2, 3, 4]).result()
    states = [task.submit(return_state=True) for task in (leaves, broken, hungry)]
    return {
        "squares": [value for value, _ in found],
        "pods": len({pod for _, pod in found} | {os.environ["PENSTOCK_POD_NAME"]}),
        "ends": [[state.type.value, state.reason] for state in states],
    }
"""


def children(penstock: Penstock, parent: str) -> list[dict[str, Any]]:
    """Runs that name `parent` as theirs."""
    found: list[dict[str, Any]] = json.loads(penstock.kubectl("get", "flowruns", "--output", "json"))["items"]
    return [run for run in found if run["spec"].get("parent", {}).get("name") == parent]


@pytest.fixture(scope="module")
def family(penstock: Penstock) -> None:
    code = {"source": {"text": SUBFLOWS}}
    penstock.apply(
        {
            "apiVersion": API,
            "kind": "Flow",
            "metadata": {"name": "family"},
            "spec": {"code": code, "entrypoint": "f:parent"},
        }
    )


def start(penstock: Penstock, name: str, flow: str, **spec: Any) -> None:
    body = {
        "apiVersion": API,
        "kind": "FlowRun",
        "metadata": {"name": name},
        "spec": {"flowRef": {"name": flow}, **spec},
    }
    penstock.apply(body)


def test_subflows_are_runs_without_pods(penstock: Penstock, family: None) -> None:
    start(penstock, "with-children", "family")
    run = penstock.settled("with-children")
    assert run["status"]["result"] == {"inline": [2, 6, 2]}
    found = children(penstock, "with-children")
    assert len(found) == 3
    for child in found:
        status = penstock.settled(child["metadata"]["name"])["status"]
        assert status["state"]["type"] == "Completed"
        assert status["pod"] == run["status"]["pod"]
        assert status["tasks"]["summary"] in ("2/2", "3/3")
    pods = json.loads(penstock.kubectl("get", "pods", "--output", "json"))["items"]
    names = {child["metadata"]["name"] for child in found}
    assert not [pod for pod in pods if pod["metadata"].get("labels", {}).get("penstock.dev/run") in names]


def test_a_lost_parent_is_restarted_and_keeps_its_finished_children(penstock: Penstock, family: None) -> None:
    start(penstock, "restarted", "family", parameters={"wait": True}, infraRetries={"limit": 1})

    def unfinished() -> list[str]:
        states = [child.get("status", {}).get("state", {}).get("type") for child in children(penstock, "restarted")]
        return states if sorted(map(str, states)) == ["Completed"] * 3 + ["Running"] else []

    penstock.wait("flowrun", "restarted", lambda _: bool(unfinished()))
    penstock.kubectl("delete", "pod", "restarted-1", "--force", "--grace-period=0", "--wait=false")
    penstock.wait("flowrun", "restarted", lambda run: run["status"].get("attempt") == 2)
    penstock.wait("flowrun", "restarted", lambda _: len(children(penstock, "restarted")) == 5)
    ends = sorted(
        str(child.get("status", {}).get("state", {}).get("type")) for child in children(penstock, "restarted")
    )
    assert ends[:4] == ["Completed", "Completed", "Completed", "Crashed"]
    penstock.kubectl("patch", "flowrun", "restarted", "--type", "merge", "--patch", '{"spec":{"cancel":true}}')
    assert penstock.settled("restarted")["status"]["state"]["type"] == "Cancelled"
    for child in children(penstock, "restarted"):
        penstock.settled(child["metadata"]["name"])


def test_tasks_run_in_pods_of_their_own(penstock: Penstock, shared: str) -> None:
    """Values, exceptions and crashes come home; the kubelet's word for a crash is the task's reason."""
    code = {"source": {"text": TASKS}}
    penstock.apply(
        {
            "apiVersion": API,
            "kind": "Flow",
            "metadata": {"name": "tasks"},
            "spec": {"code": code, "entrypoint": "f:main"},
        }
    )
    start(penstock, "tasks", "tasks", workPool=shared)
    status = penstock.settled("tasks", seconds=240)["status"]
    assert status["state"]["type"] == "Completed", status["state"]
    assert status["result"]["inline"] == {
        "squares": [4, 9, 16],
        "pods": 4,
        "ends": [["Crashed", "ContainerExited"], ["Failed", "Exception"], ["Crashed", "OOMKilled"]],
    }
    assert status["tasks"]["summary"] == "6/6"
    found = [penstock.settled(child["metadata"]["name"]) for child in children(penstock, "tasks")]
    assert len(found) == 7, "three squares, one that leaves, two tries of the broken one, one that is too hungry"
    assert {child["status"]["resolved"]["pool"]["name"] for child in found} == {shared}
    limits = json.loads(penstock.kubectl("get", "pods", "--output", "json"))["items"]
    of_tasks = [p for p in limits if p["metadata"].get("labels", {}).get("penstock.dev/run", "").startswith("square-")]
    assert [p["spec"]["containers"][0]["resources"]["limits"]["memory"] for p in of_tasks] == ["96Mi"] * 3
