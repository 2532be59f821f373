"""What nothing waits for any more is deleted; what is of now, of somebody else, or ending anyway is left alone."""

from __future__ import annotations

from typing import Any

import pytest

from builders import flow_run, run_job, run_pod
from penstock.api import labels
from penstock_operator.core.attempts import Doomed
from penstock_operator.core.strays import strays
from penstock_operator.core.views import JobView, PodView, RunView

Json = dict[str, Any]
OWNER: Json = {"kind": "FlowRun", "name": "etl-1", "uid": "run-uid", "controller": True}


def pod(attempt: int = 1, phase: str = "Pending", owner: Json = OWNER, **more: Any) -> Json:
    told = {"env": [{"name": labels.ENV_RUN_UID, "value": "run-uid"}]}
    body = run_pod(phase, attempt=attempt, spec=told, **more)
    body["metadata"]["ownerReferences"] = [owner]
    return body


def job(*conditions: Json, owner: Json = OWNER, **more: Any) -> Json:
    body = run_job(*conditions, **more)
    body["metadata"]["ownerReferences"] = [owner]
    return body


OF_JOB: Json = {"kind": "Job", "name": "etl-1-1", "uid": "job-uid", "controller": True}
NOW = flow_run("Pending", attempt=2)
SETTLED = flow_run("Completed", attempt=2, settled=True)
POD, JOB = Doomed("Pod", "etl-1-1", "pod-uid"), Doomed("Job", "etl-1-1", "job-uid")
ENDED = {"type": "Failed", "status": "True"}


@pytest.mark.parametrize(
    ("run", "found", "doomed"),
    [
        pytest.param(NOW, [pod()], [POD], id="a pod of an earlier attempt"),
        pytest.param(NOW, [pod(phase="Running")], [POD], id="though it runs"),
        pytest.param(NOW, [pod(2)], [], id="one of the current attempt"),
        pytest.param(NOW, [pod(3)], [], id="one of an attempt that was not heard of yet"),
        pytest.param(NOW, [pod(phase="Failed")], [], id="one that has ended is evidence"),
        pytest.param(NOW, [pod(deleting=True)], [], id="one that is being deleted"),
        pytest.param(NOW, [pod(owner={**OWNER, "uid": "namesake"})], [], id="a namesake's"),
        pytest.param(NOW, [job()], [JOB], id="a Job of an earlier attempt"),
        pytest.param(NOW, [job(), pod(owner=OF_JOB)], [JOB], id="a Job takes its pods with it"),
        pytest.param(NOW, [job(deleting=True), pod(owner=OF_JOB)], [], id="also while it is being deleted"),
        pytest.param(NOW, [job(ENDED)], [], id="a Job that has ended"),
        pytest.param(NOW, [pod(owner=OF_JOB)], [POD], id="a pod whose Job is gone"),
        pytest.param(NOW, [job(owner={**OWNER, "uid": "namesake"})], [], id="a namesake's Job"),
        pytest.param(SETTLED, [pod(2)], [Doomed("Pod", "etl-1-2", "pod-uid")], id="of a settled run, any"),
        pytest.param(SETTLED, [pod(2, "Succeeded")], [], id="but not its evidence"),
    ],
)
def test_what_is_deleted(run: Json, found: list[Json], doomed: list[Doomed]) -> None:
    pods = [PodView(body) for body in found if body["kind"] == "Pod"]
    jobs = [JobView(body) for body in found if body["kind"] == "Job"]
    assert list(strays(RunView(run), pods, jobs)) == doomed


def test_a_pod_on_a_lost_node_is_gone_until_the_node_is_back() -> None:
    found = [PodView(pod(phase="Running"))]
    assert strays(RunView(NOW), found, (), frozenset({"node-1"})) == ()
    assert strays(RunView(NOW), found, ()) == (POD,)
