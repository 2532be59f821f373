"""The run that retries another, before it is made."""

from __future__ import annotations

from typing import Any

import pytest

import builders
from builders import changed
from penstock.api import labels
from penstock.api.flowrun import FlowRun
from penstock.errors import NotRetryable
from penstock.run_retries import body_of, check

SPEC = {
    "parameters": {"n": 1},
    "workPool": "big",
    "tags": ["nightly"],
    "infraRetries": {"limit": 2},
    "scheduledTime": "2026-01-01T00:00:00Z",
    "cancel": True,
    "parent": {"name": "p", "uid": "u"},
}


def test_it_asks_for_what_the_old_one_asked_for() -> None:
    """But starts at once, is nobody's child, and is not cancelled."""
    body = body_of(builders.flow_run("Cancelled", spec=SPEC), "again")
    assert body["spec"] == {
        "deploymentRef": {"name": "etl"},
        "parameters": {"n": 1},
        "workPool": "big",
        "tags": ["nightly"],
        "infraRetries": {"limit": 2},
        "retryOf": {"name": "etl-1", "uid": "run-uid"},
    }
    assert (body["metadata"]["name"], body["metadata"]["annotations"]) == ("again", {labels.CAUSE: "retry"})
    FlowRun.model_validate(changed(body, {"metadata.namespace": "team"}))


def test_each_retry_has_a_name_of_its_own() -> None:
    old = builders.flow_run("Failed")
    names = {body_of(old)["metadata"]["name"] for _ in range(20)}
    assert len(names) == 20
    assert all(name.startswith("etl-1-") and len(name) <= 52 for name in names)


@pytest.mark.parametrize(
    ("state", "spec", "said"),
    [
        (None, {}, r"etl-1 is new: .*penstock cancel etl-1"),
        ("Running", {}, r"etl-1 goes on \(Running\): wait for its end \(penstock watch etl-1\)"),
        ("Failed", {"infrastructure": "Parent", "parent": {"name": "p", "uid": "u"}}, "a subflow of p: retry that run"),
        ("Failed", {"task": {"entrypoint": "a:b"}, "parent": {"name": "p", "uid": "u"}}, "a task of p: retry that run"),
    ],
)
def test_what_cannot_be_retried(state: str | None, spec: Any, said: str) -> None:
    with pytest.raises(NotRetryable, match=said):
        check(builders.flow_run(state, spec=spec))
