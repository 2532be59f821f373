"""Whose a pod is stands in its owner, or, of a Job's, in what the Job's template says."""

from __future__ import annotations

from typing import Any

import pytest

from builders import flow_run, run_pod
from penstock.api import labels
from penstock_operator.core import owners
from penstock_operator.core.views import RunView

Json = dict[str, Any]
RUN = RunView(flow_run("Running"))
JOB: Json = {"kind": "Job", "name": "etl-1-1", "uid": "job-uid", "controller": True}


def pod(owner: Json | None, run_uid: str | None = None) -> Json:
    """A pod with that owner, whose container is told that uid."""
    environment = [{"name": "OTHER"}, *([{"name": labels.ENV_RUN_UID, "value": run_uid}] if run_uid else [])]
    body = run_pod(spec={"env": environment})
    if owner is not None:
        body["metadata"]["ownerReferences"] = [{"kind": "Team", "uid": "x", "name": "x"}, owner]
    return body


@pytest.mark.parametrize(
    ("body", "belongs"),
    [
        pytest.param(pod({"kind": "FlowRun", "uid": "run-uid", "controller": True}), True, id="the run owns it"),
        pytest.param(pod({"kind": "FlowRun", "uid": "namesake", "controller": True}), False, id="a namesake does"),
        pytest.param(pod(JOB, "run-uid"), True, id="a Job of the run"),
        pytest.param(pod(JOB, "namesake"), False, id="a Job of a namesake"),
        pytest.param(pod(JOB), False, id="a Job of something else"),
        pytest.param(pod(None, "run-uid"), False, id="nobody's"),
        pytest.param(pod({"kind": "FlowRun", "uid": "run-uid"}), False, id="not controlled by it"),
    ],
)
def test_a_pod_belongs_to_its_run(body: Json, belongs: bool) -> None:
    assert owners.belongs(body, RUN) is belongs
