"""Which Events tell why an attempt does not start, and of which objects that is asked."""

from __future__ import annotations

from typing import Any

import pytest

from builders import held, run_job, run_pod
from penstock.api import reasons
from penstock_operator.core import pod_events
from penstock_operator.core.views import JobView, PodView

Json = dict[str, Any]


def event(kind: str, reason: str) -> Json:
    """An Event as Kubernetes posts it."""
    return {"regarding": {"kind": kind, "uid": "u"}, "reason": reason, "note": "secret not found", "type": "Warning"}


@pytest.mark.parametrize(
    ("kind", "reason", "told"),
    [
        ("Pod", "FailedMount", reasons.MOUNT_FAILED),
        ("Pod", "FailedAttachVolume", reasons.MOUNT_FAILED),
        ("Pod", "FailedCreatePodSandBox", reasons.SANDBOX_FAILED),
        ("Job", "FailedCreate", reasons.POD_CREATE_FORBIDDEN),
        ("ReplicaSet", "FailedCreate", None),
        ("Pod", "BackOff", None),
        ("Pod", "FailedScheduling", None),
        ("FlowRun", "FlowRunCrashed", None),
        ("Node", "FailedMount", None),
    ],
)
def test_only_what_is_said_nowhere_else_is_taken_from_events(kind: str, reason: str, told: str | None) -> None:
    found = pod_events.cause(event(kind, reason))
    assert (found.reason if found else None) == told
    if found:
        assert "secret not found" in found.message


READY = held("PodReadyToStartContainers", True, "")


@pytest.mark.parametrize(
    ("pods", "job", "asked"),
    [
        pytest.param((run_pod("Pending"),), None, ("pod-uid",), id="a pod that its node sets up"),
        pytest.param((run_pod("Pending", node=None),), None, (), id="a pod without a node"),
        pytest.param((run_pod("Pending", conditions=[READY]),), None, (), id="a pod that is set up"),
        pytest.param((run_pod("Pending", deleting=True),), None, (), id="a pod that is being deleted"),
        pytest.param((run_pod("Running"),), None, (), id="a pod that runs"),
        pytest.param((run_pod("Pending"),), run_job(), ("pod-uid",), id="the pod of a Job"),
        pytest.param((), run_job(), ("job-uid",), id="a Job without a pod"),
        pytest.param((), run_job(held("Failed", True, "")), (), id="a Job that has failed"),
        pytest.param((), None, (), id="nothing"),
    ],
)
def test_events_are_asked_for_where_nothing_else_can_tell(
    pods: tuple[Json, ...], job: Json | None, asked: tuple[str, ...]
) -> None:
    assert pod_events.subjects(tuple(map(PodView, pods)), JobView(job) if job else None) == asked
