"""Makespan of 20 runs of a flow that does nothing, against 20 bare Pods (and Jobs) of the same image.

The bare ones run `python3 -c pass`: what Kubernetes itself costs. Both kinds in turn, three times; the ratio is that
of the medians. What is above 1 is what Penstock adds: its operator, its runner's start and their API calls.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

import pytest

from installation import Penstock

COUNT, ROUNDS = 20, 3
API = "penstock.dev/v1alpha1"
NOOP = "from penstock import flow\n\n\n@flow\ndef noop():\n    pass\n"
IMAGE = "localhost/penstock:dev"
SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER = {
    "name": "flow",
    "image": IMAGE,
    "imagePullPolicy": "IfNotPresent",
    "command": ["python3", "-c", "pass"],
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
}
POD_SPEC = {
    "restartPolicy": "Never",
    "serviceAccountName": "penstock-run",
    "securityContext": SECURITY,
    "containers": [CONTAINER],
}


def bare(kind: str, name: str) -> dict[str, Any]:
    """A Pod or a Job that does nothing."""
    metadata = {"name": name, "labels": {"bench": name.rsplit("-", 1)[0]}}
    if kind == "Pod":
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": POD_SPEC}
    spec = {"backoffLimit": 0, "template": {"spec": POD_SPEC}}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def flow_run(pool: str, name: str) -> dict[str, Any]:
    """A run of the flow that does nothing."""
    metadata = {"name": name, "labels": {"bench": name.rsplit("-", 1)[0]}}
    spec = {"flowRef": {"name": "noop"}, "workPool": pool}
    return {"apiVersion": API, "kind": "FlowRun", "metadata": metadata, "spec": spec}


def ended(kind: str, body: dict[str, Any]) -> bool:
    """Whether the object is done; anything but success stops the benchmark."""
    status = body.get("status", {})
    if kind == "Pod":
        assert status.get("phase") != "Failed", status
        return status.get("phase") == "Succeeded"
    if kind == "Job":
        assert not status.get("failed"), status
        return bool(status.get("succeeded"))
    state = status.get("state", {})
    assert state.get("type") not in ("Failed", "Crashed", "Cancelled"), state
    return bool(status.get("settled"))  # its pod has ended, as a bare one has


def makespan(user: Penstock, kind: str, label: str, objects: list[dict[str, Any]]) -> float:
    """Seconds from the request to create all to the end of the last."""
    start = time.monotonic()
    user.apply(*objects)
    while True:
        found = json.loads(user.kubectl("get", kind, "--selector", f"bench={label}", "--output", "json"))["items"]
        if len(found) == len(objects) and all(ended(kind, body) for body in found):
            break
        if time.monotonic() - start > 300:
            pytest.fail(f"{kind} {label}: not done after 300 s")
        time.sleep(0.5)
    seconds = time.monotonic() - start
    user.kubectl("delete", kind, "--selector", f"bench={label}", "--wait=true")
    user.kubectl("wait", "pod", "--all", "--for=delete", "--timeout=60s", check=False)
    return seconds


@pytest.mark.parametrize(("kind", "pool"), [("Pod", "default"), ("Job", "jobs")])
def bench_makespan(penstock: Penstock, kind: str, pool: str) -> None:
    """Ratio of the medians, printed with the single figures."""
    code = {"source": {"text": NOOP}}
    penstock.apply(
        {
            "apiVersion": API,
            "kind": "Flow",
            "metadata": {"name": "noop"},
            "spec": {"code": code, "entrypoint": "f:noop"},
        },
        {"apiVersion": API, "kind": "WorkPool", "metadata": {"name": "jobs"}, "spec": {"type": "Job"}},
    )
    ours: list[float] = []
    theirs: list[float] = []
    for round_ in range(ROUNDS):
        label = f"bare-{kind.lower()}-{round_}"
        theirs.append(makespan(penstock, kind, label, [bare(kind, f"{label}-{n}") for n in range(COUNT)]))
        label = f"run-{kind.lower()}-{round_}"
        ours.append(makespan(penstock, "FlowRun", label, [flow_run(pool, f"{label}-{n}") for n in range(COUNT)]))
    ratio = statistics.median(ours) / statistics.median(theirs)
    print(f"\n{COUNT} runs through {pool}: {[round(s, 1) for s in ours]} s", end="; ")
    print(f"{COUNT} bare {kind}s: {[round(s, 1) for s in theirs]} s; ratio of medians {ratio:.2f} (target 1.25)")
