"""Whoever asks for the end of a run gets it: its hooks run, whatever hangs is killed, and its children go along."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

import pytest

from installation import ROOT, Penstock

API = "penstock.dev/v1alpha1"
CODE = """
import ctypes, signal, time
from penstock import flow
from penstock.deployments import run_deployment

def told(flow, run, state):
    print("the hook ran in", state.name, flush=True)

@flow(on_cancellation=[told])
def polite():
    print("user code", flush=True)
    time.sleep(600)

@flow
def deaf():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("user code", flush=True)
    while True:
        time.sleep(1)

@flow
def stuck():
    print("user code", flush=True)
    ctypes.CDLL(None).sleep(600)

@flow
def parent():
    run_deployment("cancel-polite", timeout=0)
    run_deployment("cancel-polite")
"""
FLOWS = ("polite", "deaf", "stuck", "parent")
POOL = {"type": "Pod", "template": {"spec": {"terminationGracePeriodSeconds": 6}}}


def state(run: dict[str, Any]) -> str:
    """Type of a run's state."""
    return str(run.get("status", {}).get("state", {}).get("type"))


@pytest.fixture(scope="module", autouse=True)
def deployed(penstock: Penstock) -> None:
    penstock.apply({"apiVersion": API, "kind": "WorkPool", "metadata": {"name": "brief"}, "spec": POOL})
    penstock.apply(
        {
            "apiVersion": API,
            "kind": "WorkPool",
            "metadata": {"name": "brief-job"},
            "spec": {**POOL, "type": "Job"},
        }
    )
    for name in FLOWS:
        meta = {"name": f"cancel-{name}"}
        flow = {"code": {"source": {"text": CODE}}, "entrypoint": f"flow:{name}"}
        penstock.apply({"apiVersion": API, "kind": "Flow", "metadata": meta, "spec": flow})
        spec = {"flowRef": meta, "workPool": "brief", "infraRetries": {"limit": 3, "backoffSeconds": 600}}
        penstock.apply({"apiVersion": API, "kind": "FlowDeployment", "metadata": meta, "spec": spec})


def start(penstock: Penstock, name: str, flow: str, until: str | None = "user code", **spec: Any) -> None:
    """A run, once its user code is under way."""
    wanted = {"deploymentRef": {"name": f"cancel-{flow}"}, **spec}
    penstock.apply({"apiVersion": API, "kind": "FlowRun", "metadata": {"name": name}, "spec": wanted})
    if until is None:
        return
    penstock.wait("flowrun", name, lambda run: state(run) == "Running")
    pod = pods(penstock, name)[0]
    deadline = time.monotonic() + 60
    while until not in penstock.kubectl("logs", pod, check=False):
        assert time.monotonic() < deadline, f"{name} said nothing"
        time.sleep(0.5)


def pods(penstock: Penstock, run: str) -> list[str]:
    """Names of a run's pods that are there."""
    return penstock.kubectl("get", "pods", "-l", f"penstock.dev/run={run}", "-o", "name").split()


def test_a_cancelled_run_has_the_last_word_in_its_hooks(penstock: Penstock) -> None:
    """The pod is deleted with its log, so that is followed while the pod is there."""
    start(penstock, "cancel-by-command", "polite")
    program = str(ROOT / ".cluster/bin/kubectl")
    words = [program, "--namespace", penstock.namespace, "logs", "--follow", pods(penstock, "cancel-by-command")[0]]
    with subprocess.Popen(words, env=penstock.environment, stdout=subprocess.PIPE, text=True) as log:
        penstock.cli("cancel", "cancel-by-command")
        said, _ = log.communicate(timeout=90)
    assert "the hook ran in Cancelling" in said
    status = penstock.settled("cancel-by-command")["status"]
    assert [entry["type"] for entry in status["history"]][-2:] == ["Cancelling", "Cancelled"]
    assert (status["attempt"], status["state"]["reason"]) == (1, "CancelRequested")


@pytest.mark.parametrize("pool", ["brief", "brief-job"])
@pytest.mark.parametrize("flow", ["deaf", "stuck"])
def test_a_run_that_hangs_is_killed(penstock: Penstock, flow: str, pool: str) -> None:
    """It hears no signal, or does not come back from C."""
    name = f"cancel-{flow}-{pool}"
    start(penstock, name, flow, workPool=pool)
    penstock.kubectl("patch", "flowrun", name, "--type", "merge", "--patch", '{"spec":{"cancel":true}}')
    assert state(penstock.settled(name, 60)) == "Cancelled"
    phases = ("-o", "jsonpath={.items[*].status.phase}")
    assert "Running" not in penstock.kubectl("get", "pods", "-l", f"penstock.dev/run={name}", *phases)


def test_a_run_that_awaits_a_retry_is_cancelled_at_once(penstock: Penstock) -> None:
    start(penstock, "cancel-retry", "polite")
    penstock.kubectl("delete", *pods(penstock, "cancel-retry"), "--wait=false")
    penstock.wait("flowrun", "cancel-retry", lambda run: run["status"]["state"]["name"] == "AwaitingRetry", 60)
    penstock.cli("cancel", "cancel-retry")
    assert state(penstock.settled("cancel-retry", 15)) == "Cancelled"


def test_children_that_are_awaited_go_with_their_parent_and_others_do_not(penstock: Penstock) -> None:
    start(penstock, "cancel-parent", "parent", until=None)
    wanted = "penstock.dev/parent=cancel-parent"

    def children() -> dict[bool, dict[str, Any]]:
        items = json.loads(penstock.kubectl("get", "flowruns", "-l", wanted, "-o", "json"))["items"]
        return {item["spec"]["parent"]["awaited"]: item for item in items if state(item) == "Running"}

    deadline = time.monotonic() + 90
    while len(children()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    names = {awaited: child["metadata"]["name"] for awaited, child in children().items()}
    penstock.cli("cancel", "cancel-parent")
    assert state(penstock.settled("cancel-parent")) == "Cancelled"
    assert state(penstock.settled(names[True])) == "Cancelled"
    assert state(penstock.get("flowrun", names[False])) == "Running"
    penstock.kubectl("delete", "flowrun", "cancel-parent")
    deadline = time.monotonic() + 60
    while names[True] in penstock.kubectl("get", "flowruns", "-o", "name"):
        assert time.monotonic() < deadline, "the awaited child outlives the deletion of its parent"
        time.sleep(0.5)
    penstock.kubectl("delete", "flowrun", names[False])
    deadline = time.monotonic() + 60
    while pods(penstock, names[False]):
        assert time.monotonic() < deadline, "a pod outlives the deletion of its run"
        time.sleep(0.5)
