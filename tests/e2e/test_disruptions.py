"""The cluster takes a run's place: whether the run goes on elsewhere is what its `infraRetries` say."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from installation import IMAGE, Penstock

API = "penstock.dev/v1alpha1"
CODE = """
import os, time
from penstock import flow
from penstock.deployments import run_deployment

@flow
def main():
    first = os.environ["PENSTOCK_ATTEMPT"] == "1"
    time.sleep(600 if first else 0)
    return int(os.environ["PENSTOCK_ATTEMPT"])

@flow
def leaves():
    os._exit(int(os.environ["PENSTOCK_ATTEMPT"]))

@flow
def child():
    time.sleep(30)
    return "the child"

@flow
def parent():
    found = run_deployment("disrupted-child")
    return [found.name, found.state.name, int(os.environ["PENSTOCK_ATTEMPT"])]
"""
URGENT = {
    "apiVersion": "scheduling.k8s.io/v1",
    "kind": "PriorityClass",
    "metadata": {"name": "penstock-e2e-urgent"},
    "value": 1000,
}


def evicted(penstock: Penstock, pod: str) -> None:
    """Ask for an eviction, as `kubectl drain` does."""
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": penstock.namespace}}
    path = f"/api/v1/namespaces/{penstock.namespace}/pods/{pod}/eviction"
    penstock.kubectl("create", "--raw", path, "--filename", "-", stdin=json.dumps(body))


def pod_of(penstock: Penstock, run: str) -> str:
    """The pod that has claimed a run."""
    found: str = penstock.wait("flowrun", run, lambda body: body.get("status", {}).get("pod"))["status"]["pod"]["name"]
    return found


@pytest.fixture(scope="module", autouse=True)
def deployed(penstock: Penstock) -> Iterator[None]:
    for name, type_ in (("moved", "Pod"), ("moved-job", "Job")):
        spec: dict[str, Any] = {"type": type_, "template": {"spec": {"terminationGracePeriodSeconds": 5}}}
        penstock.apply({"apiVersion": API, "kind": "WorkPool", "metadata": {"name": name}, "spec": spec})
    for name in ("main", "leaves", "child", "parent"):
        meta = {"name": f"disrupted-{name}"}
        flow = {"code": {"source": {"text": CODE}}, "entrypoint": f"flow:{name}"}
        penstock.apply({"apiVersion": API, "kind": "Flow", "metadata": meta, "spec": flow})
        spec = {"flowRef": meta, "workPool": "moved"}
        penstock.apply({"apiVersion": API, "kind": "FlowDeployment", "metadata": meta, "spec": spec})
    penstock.apply(URGENT)
    yield
    penstock.kubectl("delete", "priorityclass", "penstock-e2e-urgent")


def start(penstock: Penstock, name: str, flow: str = "main", **spec: Any) -> None:
    wanted = {"deploymentRef": {"name": f"disrupted-{flow}"}, **spec}
    penstock.apply({"apiVersion": API, "kind": "FlowRun", "metadata": {"name": name}, "spec": wanted})


def lost(run: dict[str, Any]) -> list[str]:
    """Reasons for which attempts of a run were lost."""
    return [entry["reason"] for entry in run["status"]["history"] if entry["name"] == "AwaitingRetry"]


@pytest.mark.parametrize("pool", ["moved", "moved-job"])
def test_an_eviction_that_is_ignored_costs_nothing(penstock: Penstock, pool: str) -> None:
    name = f"evicted-{pool}"
    start(penstock, name, workPool=pool, infraRetries={"limit": 0, "onPreemption": "Ignore"})
    evicted(penstock, pod_of(penstock, name))
    run = penstock.settled(name)
    assert (run["status"]["state"]["type"], lost(run)) == ("Completed", ["Evicted"])
    assert (run["status"]["attempt"], run["status"].get("infraRetries", 0)) == (2, 0)


def test_an_eviction_may_be_the_end(penstock: Penstock) -> None:
    start(penstock, "evicted-for-good", infraRetries={"limit": 5, "onPreemption": "Fail"})
    evicted(penstock, pod_of(penstock, "evicted-for-good"))
    state = penstock.settled("evicted-for-good")["status"]["state"]
    assert (state["type"], state["reason"]) == ("Crashed", "Evicted")


def test_a_pod_of_higher_priority_takes_the_place_until_it_ends(penstock: Penstock) -> None:
    """The next attempt waits for room, and says so."""
    free = float(penstock.kubectl("get", "nodes", "-o", "jsonpath={.items[0].status.allocatable.cpu}"))
    most = {"requests": {"cpu": f"{int(free * 600)}m"}}
    start(penstock, "preempted", infraRetries={"limit": 1}, pod={"resources": most})
    pod_of(penstock, "preempted")
    secure = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {"name": "c", "image": IMAGE, "command": ["sleep", "600"], "resources": most, "securityContext": secure}
    spec = {
        "priorityClassName": "penstock-e2e-urgent",
        "terminationGracePeriodSeconds": 0,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    penstock.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "urgent"}, "spec": spec})
    try:
        waits = penstock.wait("flowrun", "preempted", lambda run: run["status"]["attempt"] == 2)
        assert lost(waits) == ["Preempted"]
        penstock.wait(
            "flowrun",
            "preempted",
            lambda run: any(c["reason"] == "Unschedulable" for c in run["status"].get("conditions", [])),
        )
    finally:
        penstock.kubectl("delete", "pod", "urgent", "--wait=false")
    run = penstock.settled("preempted", 120)
    assert (run["status"]["state"]["type"], run["status"]["infraRetries"]) == ("Completed", 1)


@pytest.mark.parametrize(
    ("name", "rules", "attempts", "reason"),
    [
        ("exit-listed", {"limit": 5, "exitCodes": [1, 2]}, 3, "ContainerExited"),
        ("reason-not-listed", {"limit": 5, "reasons": ["OOMKilled"]}, 1, "ContainerExited"),
        ("budget-spent", {"limit": 1}, 2, "ContainerExited"),
    ],
)
def test_rules_say_what_is_tried_again(
    penstock: Penstock, name: str, rules: dict[str, Any], attempts: int, reason: str
) -> None:
    """The n-th attempt of the flow ends with exit code n."""
    start(penstock, name, "leaves", infraRetries=rules)
    status = penstock.settled(name, 120)["status"]
    assert (status["state"]["type"], status["state"]["reason"]) == ("Crashed", reason)
    assert (status["attempt"], status.get("infraRetries", 0)) == (attempts, attempts - 1)
    assert f"exit code {attempts}" in status["state"]["message"]


def test_a_retry_waits_out_its_backoff(penstock: Penstock) -> None:
    start(penstock, "backs-off", "leaves", infraRetries={"limit": 1, "backoffSeconds": 6})
    history = penstock.settled("backs-off", 120)["status"]["history"]
    lost_at = next(entry["time"] for entry in history if entry["name"] == "AwaitingRetry")
    again = next(entry["time"] for entry in history if entry["type"] == "Pending" and entry["attempt"] == 2)
    assert seconds(again) - seconds(lost_at) >= 6


def seconds(text: str) -> float:
    """A timestamp as seconds."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


@pytest.mark.parametrize("how", ["job", "pod"])
def test_a_job_or_its_pod_may_be_deleted(penstock: Penstock, how: str) -> None:
    name = f"deleted-{how}"
    start(penstock, name, workPool="moved-job")
    pod = pod_of(penstock, name)
    penstock.kubectl("delete", how, f"{name}-1" if how == "job" else pod, "--wait=false")
    state = penstock.settled(name, 120)["status"]["state"]
    assert (state["type"], state["reason"]) == ("Crashed", "JobDeleted" if how == "job" else "PodDeleted"), state


@pytest.mark.parametrize("type_", ["Pod", "Job"])
def test_a_run_starts_once_the_quota_lets_it(penstock: Penstock, type_: str) -> None:
    name = f"quota-{type_.lower()}"
    scope = {"scopeName": "PriorityClass", "operator": "In", "values": [f"penstock-e2e-{name}"]}
    spec = {"hard": {"pods": "0"}, "scopeSelector": {"matchExpressions": [scope]}}
    penstock.apply(
        {**URGENT, "metadata": {"name": f"penstock-e2e-{name}"}, "value": 0},
        {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": spec},
        {
            "apiVersion": API,
            "kind": "WorkPool",
            "metadata": {"name": name},
            "spec": {"type": type_, "template": {"spec": {"priorityClassName": f"penstock-e2e-{name}"}}},
        },
    )
    start(penstock, name, "leaves", workPool=name)
    penstock.wait(
        "flowrun",
        name,
        lambda run: any(c["reason"] == "PodCreateForbidden" for c in run.get("status", {}).get("conditions", [])),
    )
    penstock.kubectl("patch", "resourcequota", name, "--type", "merge", "--patch", '{"spec":{"hard":{"pods":"5"}}}')
    assert penstock.settled(name, 180)["status"]["state"]["reason"] == "ContainerExited"
    penstock.kubectl("delete", "priorityclass", f"penstock-e2e-{name}")


def test_a_parent_that_is_started_again_finds_the_child_it_waits_for(penstock: Penstock) -> None:
    start(penstock, "restarted-parent", "parent", infraRetries={"limit": 1})
    wanted = "penstock.dev/parent=restarted-parent"

    def children() -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(penstock.kubectl("get", "flowruns", "-l", wanted, "-o", "json"))[
            "items"
        ]
        return items

    deadline = time.monotonic() + 90
    while not (children() and children()[0].get("status", {}).get("state", {}).get("type") == "Running"):
        assert time.monotonic() < deadline, "the child does not start"
        time.sleep(0.5)
    before = children()[0]
    penstock.kubectl("delete", "pod", pod_of(penstock, "restarted-parent"), "--grace-period=1", "--wait=false")
    run = penstock.settled("restarted-parent", 180)
    name = before["metadata"]["name"]
    assert run["status"]["state"]["type"] == "Completed", run["status"]
    assert run["status"]["result"]["inline"] == [name, "Completed", 2]
    (after,) = children()
    assert (after["metadata"]["uid"], after["status"]["attempt"]) == (before["metadata"]["uid"], 1)
    assert after["status"]["pod"] == before["status"]["pod"]


def test_a_childs_crash_reaches_the_parent_that_waits_for_it(penstock: Penstock) -> None:
    start(penstock, "told-parent", "parent")
    wanted = "penstock.dev/parent=told-parent"
    deadline = time.monotonic() + 90
    while not (name := penstock.kubectl("get", "flowruns", "-l", wanted, "-o", "jsonpath={.items[*].metadata.name}")):
        assert time.monotonic() < deadline, "there is no child"
        time.sleep(0.5)
    penstock.kubectl("delete", "pod", pod_of(penstock, name), "--wait=false")
    assert penstock.settled("told-parent")["status"]["result"]["inline"] == [name, "Crashed", 1]
