"""Whatever goes wrong with a run ends it in the right state, with a reason and a message that say what to do.

All runs are started together and awaited one by one, for on a small machine the pods cost the time, not the tests.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from installation import Penstock

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
        "@flow\ndef main():\n    os._exit(3)\n", "Crashed", "ContainerExited", ("exit code 3",)
    ),
    "user code needs too much memory": Case(
        "@flow\ndef main():\n    return len(bytearray(512 * 1024 * 1024))\n",
        "Crashed",
        "OOMKilled",
        ("memory",),
        deployment={"pod": {"resources": {"limits": {"memory": "96Mi"}}}},
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
    ),
    "the pod cannot be scheduled": Case(
        OK,
        "Crashed",
        "Unschedulable",
        ("cpu",),
        deployment={"pod": {"resources": {"requests": {"cpu": "1000"}}}, "pendingDeadlineSeconds": 5},
    ),
    "the command is missing in the image": Case(
        OK, "Crashed", "StartFailed", ("no-such-program",), deployment={"workPool": "no-command"}
    ),
    "the image has no runner": Case(OK, "Crashed", "NeverClaimed", ("penstock",), deployment={"workPool": "no-runner"}),
    "the run is active for too long": Case(
        "@flow\ndef main():\n    time.sleep(120)\n",
        "Failed",
        "ActiveDeadlineExceeded",
        ("activeDeadlineSeconds",),
        deployment={"activeDeadlineSeconds": 4},
    ),
}


def pool(name: str, command: list[str]) -> dict[str, Any]:
    """A Pod pool whose flow container has another command."""
    template = {"spec": {"containers": [{"name": "flow", "command": command}]}}
    return {
        "apiVersion": API,
        "kind": "WorkPool",
        "metadata": {"name": name},
        "spec": {"type": "Pod", "template": template},
    }


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
    return title.replace(" ", "-")[:50]


@pytest.fixture(scope="module")
def started(penstock: Penstock) -> None:
    """All cases applied at once."""
    penstock.apply(pool("no-command", ["no-such-program"]), pool("no-runner", ["/bin/true"]))
    for title, case in CASES.items():
        penstock.apply(*objects(slug_of(title), case))


@pytest.mark.parametrize("title", CASES)
def test_a_bad_run_ends_with_a_reason_and_a_remedy(penstock: Penstock, started: None, title: str) -> None:
    """State, reason and message are those of the table, and nothing is left running."""
    case = CASES[title]
    run = penstock.settled(slug_of(title), seconds=120)
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
