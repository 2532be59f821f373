"""Warm workers in pods on a real node: they come as runs wait, take runs, are lost with them, and go when idle."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from installation import Penstock

API = "penstock.dev/v1alpha1"
PATIENCE = 240.0
SOURCE = """
import os
import time

from penstock import flow


@flow
def main(seconds: float = 0):
    token = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    print("user code", flush=True)
    time.sleep(seconds)
    return {"pid": os.getpid(), "token": os.path.exists(token)}
"""


@pytest.fixture
def pool(penstock: Penstock) -> Iterator[str]:
    """A pool of up to two workers, each with two places."""
    worker = {"min": 0, "max": 2, "concurrency": 2, "idleSeconds": 15}
    pool = {"apiVersion": API, "kind": "WorkPool", "metadata": {"name": "warm"}}
    flow = {"apiVersion": API, "kind": "Flow", "metadata": {"name": "warm"}}
    penstock.apply(
        {**pool, "spec": {"type": "Process", "worker": worker}},
        {**flow, "spec": {"code": {"source": {"text": SOURCE}}, "entrypoint": "flow:main"}},
    )
    yield "warm"
    penstock.delete(pool, flow)


def start(penstock: Penstock, name: str, seconds: float = 0, **spec: Any) -> None:
    wanted = {"flowRef": {"name": "warm"}, "workPool": "warm", "parameters": {"seconds": seconds}, **spec}
    penstock.apply({"apiVersion": API, "kind": "FlowRun", "metadata": {"name": name}, "spec": wanted})


def running(penstock: Penstock, name: str, attempt: int = 1) -> dict[str, Any]:
    """The run once its user code runs."""

    def goes_on(run: dict[str, Any]) -> bool:
        status = run.get("status") or {}
        return status.get("attempt") == attempt and status["state"]["type"] == "Running"

    status: dict[str, Any] = penstock.wait("flowrun", name, goes_on, PATIENCE)["status"]
    return status


def pods(penstock: Penstock) -> list[str]:
    """The pods of workers that are not being deleted."""
    listed = penstock.kubectl("get", "pods", "-l", "app.kubernetes.io/component=worker", "--output", "json")
    found = (pod["metadata"] for pod in json.loads(listed)["items"])
    return sorted(meta["name"] for meta in found if "deletionTimestamp" not in meta)


def comes(penstock: Penstock, holds: Callable[[dict[str, Any]], bool]) -> None:
    penstock.wait("workpool", "warm", holds, PATIENCE)


def test_workers_come_take_runs_and_go(penstock: Penstock, pool: str) -> None:
    assert pods(penstock) == []
    start(penstock, "first")
    status = penstock.settled("first", PATIENCE)["status"]
    assert status["state"]["type"] == "Completed", status
    (pod,) = pods(penstock)
    assert status["worker"]["name"] == status["pod"]["name"] == pod
    assert status["result"]["inline"]["token"] is False, "user code has no token"
    start(penstock, "second")
    again = penstock.settled("second", PATIENCE)["status"]
    assert again["pod"] == status["pod"], "the same worker"
    assert again["result"]["inline"]["pid"] != status["result"]["inline"]["pid"], "in another process"
    for number in range(3):
        start(penstock, f"long-{number}", seconds=600)
    for number in range(3):
        running(penstock, f"long-{number}")
    assert len(pods(penstock)) == 2, "there was no room for the third run"
    for number in range(3):
        penstock.kubectl("patch", "flowrun", f"long-{number}", "--type", "merge", "-p", '{"spec":{"cancel":true}}')
    for number in range(3):
        assert penstock.settled(f"long-{number}", PATIENCE)["status"]["state"]["type"] == "Cancelled"
    comes(penstock, lambda body: body["status"].get("workers") == 0)
    assert pods(penstock) == []


def test_a_worker_pod_that_is_deleted_takes_its_runs_with_it(penstock: Penstock, pool: str) -> None:
    start(penstock, "lost", seconds=600)
    start(penstock, "pod-moved", seconds=600, infraRetries={"limit": 1})
    for name in ("lost", "pod-moved"):
        running(penstock, name)
    (pod,) = pods(penstock)
    uid = penstock.get("pod", pod)["metadata"]["uid"]
    penstock.kubectl("delete", "pod", pod, "--grace-period=0", "--force")
    status = penstock.settled("lost", PATIENCE)["status"]
    assert status["state"]["type"] == "Crashed"
    assert status["state"]["reason"] in ("WorkerLost", "WorkerStopped"), status["state"]
    assert running(penstock, "pod-moved", attempt=2)["worker"]["uid"] != uid, "another, maybe of the same name"
    penstock.kubectl("patch", "flowrun", "pod-moved", "--type", "merge", "-p", '{"spec":{"cancel":true}}')
    assert penstock.settled("pod-moved", PATIENCE)["status"]["state"]["type"] == "Cancelled"
