"""Whatever goes wrong with a run ends it in the right state, with a reason and a message that say what to do.

All runs are started together and awaited one by one, for on a small machine the pods cost the time, not the tests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from installation import IMAGE, Penstock

API = "penstock.dev/v1alpha1"
HEADER = "import os, sys, time\nfrom penstock import flow, task\n\n"


@dataclass(frozen=True)
class Case:
    """A run that must not succeed: its code and how it must end."""

    code: str
    state: str
    reason: str
    message: tuple[str, ...]
    flow: dict[str, Any] = field(default_factory=dict)
    deployment: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    jobs: bool = False  # whether it is tried in a Job as well


OK = "@flow\ndef main():\n    return 1\n"

CASES = {
    "user code raises": Case(
        "@flow\ndef main():\n    raise ValueError('the disk is full')\n",
        "Failed",
        "Exception",
        ("ValueError", "the disk is full"),
    ),
    "a task raises": Case(
        "@task\ndef broken():\n    return 1 / 0\n\n@flow\ndef main():\n    return broken.submit().result()\n",
        "Failed",
        "Exception",
        ("ZeroDivisionError",),
    ),
    "user code leaves the process": Case(
        "@flow\ndef main():\n    os._exit(3)\n", "Crashed", "ContainerExited", ("exit code 3",), jobs=True
    ),
    "user code takes longer than its flow may": Case(
        "@flow(timeout_seconds=2)\ndef main():\n    time.sleep(60)\n", "Failed", "TimedOut", ("2",)
    ),
    "user code needs too much memory": Case(
        "@flow\ndef main():\n    return len(bytearray(512 * 1024 * 1024))\n",
        "Crashed",
        "OOMKilled",
        ("memory",),
        deployment={"pod": {"resources": {"limits": {"memory": "96Mi"}}}},
        jobs=True,
    ),
    "user code needs too much disk": Case(
        "@flow\ndef main():\n    open('/tmp/full', 'wb').write(bytes(40 * 1024 * 1024))\n    time.sleep(120)\n",
        "Crashed",
        "Evicted",
        ("ephemeral",),
        deployment={"pod": {"resources": {"limits": {"ephemeral-storage": "8Mi"}}}},
        jobs=True,
    ),
    "the file does not import": Case("import no_such_module\n\n" + OK, "Failed", "ImportFailed", ("no_such_module",)),
    "the entrypoint is not a flow": Case("def main():\n    return 1\n", "Failed", "EntrypointNotFlow", ("main",)),
    "the entrypoint is missing": Case("@flow\ndef other():\n    return 1\n", "Failed", "EntrypointNotFlow", ("other",)),
    "a parameter does not fit": Case(
        "@flow\ndef main(n: int):\n    return n\n",
        "Failed",
        "InvalidParameters",
        ("n", "integer"),
        flow={"parameters": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}},
        run={"parameters": {"n": "many"}},
    ),
    "an override is not allowed": Case(
        OK,
        "Failed",
        "InvalidOverrides",
        ("nodeSelector", "default"),
        deployment={"pod": {"nodeSelector": {"disk": "fast"}}},
    ),
    "the image cannot be pulled": Case(
        OK,
        "Crashed",
        "ImagePullFailed",
        ("localhost/nowhere:1",),
        deployment={"pod": {"image": "localhost/nowhere:1"}, "pendingDeadlineSeconds": 8},
        jobs=True,
    ),
    "a Secret of a volume is missing": Case(
        OK,
        "Crashed",
        "MountFailed",
        ("no-such-secret",),
        deployment={"workPool": "no-volume", "pendingDeadlineSeconds": 15},
        jobs=True,
    ),
    "a Secret of the environment is missing": Case(
        OK,
        "Crashed",
        "ContainerConfigError",
        ("no-such-secret",),
        deployment={"workPool": "no-secret", "pendingDeadlineSeconds": 15},
    ),
    "an init container fails": Case(
        OK, "Crashed", "InitContainerFailed", ("prepare", "exit code 1"), deployment={"workPool": "no-init"}, jobs=True
    ),
    "a quota refuses the pod": Case(
        OK,
        "Crashed",
        "PodCreateForbidden",
        ("exceeded quota",),
        deployment={"workPool": "no-quota", "pendingDeadlineSeconds": 15},
        jobs=True,
    ),
    "the pod cannot be scheduled": Case(
        OK,
        "Crashed",
        "Unschedulable",
        ("cpu",),
        deployment={"pod": {"resources": {"requests": {"cpu": "1000"}}}, "pendingDeadlineSeconds": 5},
        jobs=True,
    ),
    "the command is missing in the image": Case(
        OK, "Crashed", "StartFailed", ("no-such-program",), deployment={"workPool": "no-command"}, jobs=True
    ),
    "the image has no runner": Case(
        OK, "Crashed", "NeverClaimed", ("penstock",), deployment={"workPool": "no-runner"}, jobs=True
    ),
    "the run is active for too long": Case(
        "@flow\ndef main():\n    time.sleep(120)\n",
        "Failed",
        "ActiveDeadlineExceeded",
        ("activeDeadlineSeconds",),
        deployment={"activeDeadlineSeconds": 4},
        jobs=True,
    ),
}
CASES |= {
    f"{title}, in a Job": replace(
        case, deployment={**case.deployment, "workPool": f"{case.deployment.get('workPool', 'plain')}-job"}
    )
    for title, case in CASES.items()
    if case.jobs
}

RESTRICTED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
MISSING = {"secretKeyRef": {"name": "no-such-secret", "key": "k"}}
POOLS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no-command": {"containers": [{"name": "flow", "command": ["no-such-program"]}]},
    "no-runner": {"containers": [{"name": "flow", "command": ["/bin/true"]}]},
    "no-volume": {
        "containers": [{"name": "flow", "volumeMounts": [{"name": "db", "mountPath": "/db"}]}],
        "volumes": [{"name": "db", "secret": {"secretName": "no-such-secret"}}],
    },
    "no-secret": {"containers": [{"name": "flow", "env": [{"name": "KEY", "valueFrom": MISSING}]}]},
    "no-init": {
        "initContainers": [
            {"name": "prepare", "image": IMAGE, "command": ["/bin/false"], "securityContext": RESTRICTED}
        ]
    },
    "no-quota": {"priorityClassName": "penstock-e2e-refused"},
}
REFUSING = (
    {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "penstock-e2e-refused"},
        "value": 0,
    },
    {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "refused"},
        "spec": {
            "hard": {"pods": "0"},
            "scopeSelector": {
                "matchExpressions": [
                    {"scopeName": "PriorityClass", "operator": "In", "values": ["penstock-e2e-refused"]}
                ]
            },
        },
    },
)


def pools() -> list[dict[str, Any]]:
    """Pools of both types for each template."""
    return [
        {
            "apiVersion": API,
            "kind": "WorkPool",
            "metadata": {"name": f"{name}{suffix}"},
            "spec": {"type": type_, "template": {"spec": spec}},
        }
        for name, spec in POOLS.items()
        for type_, suffix in (("Pod", ""), ("Job", "-job"))
    ]


def objects(slug: str, case: Case) -> list[dict[str, Any]]:
    """Flow, deployment and run of a case."""
    meta = {"name": slug}
    spec = {"code": {"source": {"text": HEADER + case.code}}, "entrypoint": "flow:main", **case.flow}
    return [
        {"apiVersion": API, "kind": "Flow", "metadata": meta, "spec": spec},
        {"apiVersion": API, "kind": "FlowDeployment", "metadata": meta, "spec": {"flowRef": meta, **case.deployment}},
        {"apiVersion": API, "kind": "FlowRun", "metadata": meta, "spec": {"deploymentRef": meta, **case.run}},
    ]


def slug_of(title: str) -> str:
    """A run name made of a case's title."""
    return re.sub("[^a-z0-9]+", "-", title.lower())[-50:].strip("-")


@pytest.fixture(scope="module")
def started(penstock: Penstock) -> None:
    """All cases applied at once."""
    penstock.apply(*pools(), *REFUSING)
    for title, case in CASES.items():
        penstock.apply(*objects(slug_of(title), case))


@pytest.mark.parametrize("title", CASES)
def test_a_bad_run_ends_with_a_reason_and_a_remedy(penstock: Penstock, started: None, title: str) -> None:
    """State, reason and message are those of the table, and nothing is left running."""
    case = CASES[title]
    run = penstock.settled(slug_of(title), seconds=180)
    state = run["status"]["state"]
    assert (state["type"], state["reason"]) == (case.state, case.reason), state
    for part in case.message:
        assert part in state["message"], state
    pods = penstock.kubectl(
        "get", "pods", "-l", f"penstock.dev/run={slug_of(title)}", "-o", "jsonpath={.items[*].status.phase}"
    )
    assert not {"Running", "Pending"} & set(pods.split()), pods
    entry = run["status"]["history"][-1]
    assert (entry["type"], entry["reason"]) == (case.state, case.reason)


def test_a_run_that_cannot_start_is_late_until_it_does(penstock: Penstock) -> None:
    """`kubectl get` says so, with the reason; it starts once its pool is open."""
    meta = {"name": "late"}
    flow = {"code": {"source": {"text": HEADER + OK}}, "entrypoint": "flow:main"}
    penstock.apply(
        {"apiVersion": API, "kind": "Flow", "metadata": meta, "spec": flow},
        {"apiVersion": API, "kind": "WorkPool", "metadata": meta, "spec": {"type": "Pod", "suspend": True}},
        {"apiVersion": API, "kind": "FlowRun", "metadata": meta, "spec": {"flowRef": meta, "workPool": "late"}},
    )
    penstock.wait("flowrun", "late", lambda run: run.get("status", {}).get("state", {}).get("name") == "Late", 40)
    assert penstock.kubectl("get", "flowrun", "late", "--no-headers").split()[:3] == [
        "late",
        "Late",
        "WorkPoolSuspended",
    ]
    penstock.kubectl("patch", "workpool", "late", "--type", "merge", "--patch", '{"spec":{"suspend":false}}')
    assert penstock.settled("late")["status"]["state"]["type"] == "Completed"
