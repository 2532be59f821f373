"""Runs in a queue of Kueue, the real one, on a real node: it says when each of them starts, and takes their place."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import kueue
from installation import Penstock

pytestmark = pytest.mark.timeout(900)  # the first of them builds an image and installs Kueue
API = "penstock.dev/v1alpha1"
Json = dict[str, Any]
CODE = """
import os, time
from penstock import flow

@flow
def main(seconds: float):
    time.sleep(seconds if os.environ["PENSTOCK_ATTEMPT"] == "1" else 0)
    return int(os.environ["PENSTOCK_ATTEMPT"])
"""
QUEUE, PRIORITY = "kueue.x-k8s.io/queue-name", "kueue.x-k8s.io/priority-class"
URGENT = {"apiVersion": kueue.API, "kind": "WorkloadPriorityClass", "metadata": {"name": "urgent"}, "value": 1000}


def body(kind: str, name: str, spec: Json, **labels: str) -> Json:
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name, "labels": labels}, "spec": spec}


def pool(kind: str) -> Json:
    """A pool whose runs ask for 100m of CPU in the queue `team`."""
    container = {"name": "flow", "resources": {"requests": {"cpu": "100m"}}}
    template = {"metadata": {"labels": {QUEUE: "team"}}, "spec": {"containers": [container]}}
    return body("WorkPool", kind.lower(), {"type": kind, "template": template})


def run(name: str, kind: str, seconds: float, **labels: str) -> Json:
    again = {"limit": 1, "reasons": ["Preempted"], "backoffSeconds": 1}
    spec = {
        "flowRef": {"name": "queued"},
        "workPool": kind.lower(),
        "parameters": {"seconds": seconds},
        "infraRetries": again,
    }
    return body("FlowRun", name, spec, **labels)


@pytest.fixture(scope="module", autouse=True)
def queue(penstock: Penstock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A queue in which one run at a time has room."""
    with kueue.installed(penstock, tmp_path_factory.mktemp("kueue")):
        flow = body("Flow", "queued", {"code": {"source": {"text": CODE}}, "entrypoint": "flow:main"})
        made = [*kueue.quota("team", penstock.namespace, "150m"), URGENT, flow, pool("Job"), pool("Pod")]
        try:
            kueue.apply(penstock, *made)
            yield
        finally:  # while Kueue is there, which holds what it knows by finalizers
            penstock.kubectl("delete", "flowruns", "--all", "--wait=true")
            penstock.kubectl("wait", "--for=delete", "workloads", "--all", "--timeout=60s")
            penstock.delete(*reversed(made), wait=True)


def state(run: Json) -> tuple[str, str]:
    found = run.get("status", {}).get("state") or {}
    return found.get("type", ""), found.get("name", "")


def waits_for_kueue(run: Json) -> bool:
    conditions = run.get("status", {}).get("conditions") or []
    return any(
        c["type"] == "Admitted" and c["reason"] == "AwaitingKueue" and "(LocalQueue team)" in c["message"]
        for c in conditions
    )


def claimed(run: Json) -> bool:
    return state(run)[0] == "Running"


@pytest.mark.parametrize("kind", ["Job", "Pod"])
def test_kueue_starts_them_one_after_the_other(penstock: Penstock, kind: str) -> None:
    first, second = f"first-{kind.lower()}", f"second-{kind.lower()}"
    penstock.apply(run(first, kind, 20))
    penstock.wait("flowrun", first, claimed)
    penstock.apply(run(second, kind, 0))
    waiting = penstock.wait("flowrun", second, waits_for_kueue)
    assert state(waiting)[0] == "Pending"
    assert state(penstock.settled(first)) == ("Completed", "Completed")
    ended = penstock.settled(second)
    assert state(ended) == ("Completed", "Completed")
    assert ended["status"]["startTime"] >= penstock.get("flowrun", first)["status"]["endTime"]


@pytest.mark.parametrize("kind", ["Job", "Pod"])
def test_who_makes_room_for_one_that_is_urgent_goes_on_afterwards(penstock: Penstock, kind: str) -> None:
    patient, urgent = f"patient-{kind.lower()}", f"urgent-{kind.lower()}"
    penstock.apply(run(patient, kind, 600))
    penstock.wait("flowrun", patient, claimed)
    penstock.apply(run(urgent, kind, 5, **{PRIORITY: "urgent"}))
    assert state(penstock.settled(urgent)) == ("Completed", "Completed")
    ended = penstock.settled(patient)
    assert state(ended) == ("Completed", "Completed")
    assert [e["reason"] for e in ended["status"]["history"] if e["name"] == "AwaitingRetry"] == ["Preempted"]
    assert ended["status"]["result"]["inline"] == 2


@pytest.mark.parametrize("kind", ["Job", "Pod"])
def test_who_is_cancelled_while_it_waits_for_kueue_leaves_its_place(penstock: Penstock, kind: str) -> None:
    first, second, third = (f"{word}-{kind.lower()}" for word in ("holding", "waiting", "next"))
    penstock.apply(run(first, kind, 600))
    penstock.wait("flowrun", first, claimed)
    penstock.apply(run(second, kind, 0))
    penstock.wait("flowrun", second, waits_for_kueue)
    penstock.cli("runs", "cancel", second, first)
    for name in (second, first):
        assert state(penstock.settled(name))[0] == "Cancelled"
    penstock.apply(run(third, kind, 0))
    assert state(penstock.settled(third)) == ("Completed", "Completed")
