"""Warm workers in pods, on a real node: what a run is there, and what becomes of it when parts of it end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from installation import Penstock

API = "penstock.dev/v1alpha1"
POOL = "warm"
FLOW = """
import os, time
from pathlib import Path
from penstock import flow, task

@task
def double(n):
    return 2 * n

@flow
def main(do="", **_):
    print("user code of", os.environ["PENSTOCK_RUN"], flush=True)
    places = {
        "token": Path("/var/run/secrets/kubernetes.io/serviceaccount/token").exists(),
        "user": os.getuid(),
        "folder": os.getcwd(),
    }
    if do == "exit":
        os._exit(3)
    if do == "wait":
        time.sleep(300)
    return {**places, "sum": sum(double.map([1, 2]).result())}
"""


@pytest.fixture(scope="module")
def warm(penstock: Penstock) -> Iterator[Penstock]:
    spec = {"type": "Process", "worker": {"min": 1, "max": 2, "concurrency": 2, "idleSeconds": 600}}
    pool = {"apiVersion": API, "kind": "WorkPool", "metadata": {"name": POOL}, "spec": spec}
    code = {"source": {"text": FLOW}}
    flow = {
        "apiVersion": API,
        "kind": "Flow",
        "metadata": {"name": "warm"},
        "spec": {"code": code, "entrypoint": "f:main"},
    }
    penstock.apply(pool, flow)
    penstock.wait("workpool", POOL, lambda body: body.get("status", {}).get("workers") == 1, 180)
    yield penstock
    penstock.delete(pool, flow)


def start(penstock: Penstock, name: str, do: str = "", **spec: Any) -> None:
    whole = {"flowRef": {"name": "warm"}, "workPool": POOL, "parameters": {"do": do}, **spec}
    penstock.apply({"apiVersion": API, "kind": "FlowRun", "metadata": {"name": name}, "spec": whole})


def running(penstock: Penstock, name: str) -> dict[str, Any]:
    """The run's status once user code goes on."""
    status: dict[str, Any] = penstock.wait(
        "flowrun", name, lambda run: (run.get("status", {}).get("state") or {}).get("type") == "Running"
    )["status"]
    deadline = time.monotonic() + 60
    while f"user code of {name}" not in penstock.cli("logs", name, check=False).stdout:
        assert time.monotonic() < deadline, penstock.cli("logs", name, check=False)
        time.sleep(0.5)
    return status


def test_a_run_is_a_process_without_a_token_in_a_pod_that_is_there(warm: Penstock) -> None:
    start(warm, "warm-one")
    status = warm.settled("warm-one")["status"]
    assert status["state"]["type"] == "Completed", status
    found = status["result"]["inline"]
    assert (found["token"], found["user"], found["sum"]) == (False, 65532, 6)
    pod = warm.get("pod", status["worker"]["name"])
    assert pod["metadata"]["uid"] == status["pod"]["uid"] == status["worker"]["uid"]
    start(warm, "warm-two")
    again = warm.settled("warm-two")["status"]
    assert again["worker"]["uid"] == status["worker"]["uid"], "the same pod"
    assert again["result"]["inline"]["folder"] != found["folder"]


def test_each_run_has_its_own_lines_of_the_workers_log(warm: Penstock) -> None:
    for name in ("said-a", "said-b"):
        start(warm, name)
    for name in ("said-a", "said-b"):
        warm.settled(name)
        lines = warm.cli("logs", name).stdout.splitlines()
        assert [line for line in lines if "user code" in line and name not in line] == []
        assert any(f"user code of {name}" in line for line in lines)
        assert f"user code of {name}" in warm.cli("logs", name, "-f").stdout, "it ends with its process"


def test_a_process_that_dies_is_retried_in_another(warm: Penstock) -> None:
    start(warm, "dies", "exit", infraRetries={"limit": 1, "backoffSeconds": 0})
    status = warm.settled("dies")["status"]
    assert (status["state"]["type"], status["attempt"]) == ("Crashed", 2)
    assert "exit code 3" in status["state"]["message"]


def test_a_cancelled_run_is_ended_and_the_worker_goes_on(warm: Penstock) -> None:
    start(warm, "stop-me", "wait")
    before = running(warm, "stop-me")
    warm.cli("cancel", "stop-me")
    status = warm.settled("stop-me")["status"]
    assert status["state"]["type"] == "Cancelled"
    start(warm, "after-a-cancelled-one")
    assert warm.settled("after-a-cancelled-one")["status"]["state"]["type"] == "Completed"
    assert warm.get("pod", before["worker"]["name"])["metadata"]["uid"] == before["worker"]["uid"]


def test_a_worker_that_is_deleted_loses_its_runs_to_the_next(warm: Penstock) -> None:
    start(warm, "worker-moved", "wait", infraRetries={"limit": 1, "backoffSeconds": 0})
    before = running(warm, "worker-moved")
    warm.kubectl("delete", "pod", before["worker"]["name"], "--wait=false")
    after = warm.wait(
        "flowrun",
        "worker-moved",
        lambda run: run["status"]["attempt"] == 2 and run["status"]["state"]["type"] == "Running",
        180,
    )["status"]
    assert after["worker"]["uid"] != before["worker"]["uid"]
    writers = {entry["attempt"]: entry["writer"] for entry in after["history"] if entry["writer"] != "operator"}
    assert writers[1] == before["worker"]["uid"]
    assert writers[2] == after["worker"]["uid"]
    warm.cli("cancel", "worker-moved")
    warm.settled("worker-moved")
