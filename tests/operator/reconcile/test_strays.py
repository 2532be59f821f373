"""A create whose answer was lost may be carried out long afterwards: what it makes is fenced, and does not live on."""

from __future__ import annotations

from typing import Any

import pytest

from penstock_operator.cluster import Invalid
from run_stage import KINDS, NAMESPACE, Stage, at_once

Json = dict[str, Any]


def second_attempt(pool_type: str = "Pod") -> tuple[Stage, Json]:
    """A run whose second attempt is launched, and what the first was launched as, as it was asked for."""
    stage = Stage(pool_type=pool_type, deployment={"infraRetries": {"limit": 1}})
    stage.submit()
    stage.reconcile()
    asked = stage.get(pool_type, "run-1")
    assert asked is not None
    pod = "run-1" if pool_type == "Pod" else stage.make_pod_of_job()
    stage.start_pod(pod)
    stage.claim(pod)
    stage.reconcile()
    stage.remove("Pod", pod)
    if pool_type == "Job":
        stage.remove("Job", "run-1")
    stage.reconcile()
    stage.reconcile()
    assert (stage.run()["attempt"], stage.names(pool_type)) == (2, ["run-2"])
    return stage, asked


def arrives(stage: Stage, asked: Json) -> None:
    """The request that was lost is carried out now."""
    kept = ("name", "labels", "annotations", "ownerReferences")
    meta = {name: value for name, value in asked["metadata"].items() if name in kept}
    stage.create({**asked, "metadata": meta, "status": {}})


@pytest.mark.parametrize("pool_type", ["Pod", "Job"])
def test_a_late_pod_of_an_earlier_attempt_is_deleted_and_nothing_else(pool_type: str) -> None:
    stage, asked = second_attempt(pool_type)
    arrives(stage, asked)
    assert stage.names(pool_type) == ["run-2", "run-1"]
    stage.taken()
    stage.reconcile()
    assert stage.names(pool_type) == ["run-2"]
    assert stage.taken() == [f"delete {pool_type} run-1"]
    assert stage.state() == ("Pending", "Launched")


def test_it_cannot_claim_before_that_happens() -> None:
    """By the tests of the claim: its attempt is not the run's, whatever the run does now."""
    stage, asked = second_attempt()
    arrives(stage, asked)
    late, run = stage.get("Pod", "run-1"), stage.run()
    assert late is not None
    claim = [
        {"op": "test", "path": "/status/attempt", "value": 1},
        {"op": "add", "path": "/status/pod", "value": {"name": "run-1", "uid": late["metadata"]["uid"]}},
    ]
    with pytest.raises(Invalid):
        at_once(stage.cluster.patch(KINDS["FlowRun"], NAMESPACE, "run", claim, subresource="status"))
    assert stage.run() == run


def test_what_comes_after_the_run_is_settled_is_deleted_too() -> None:
    stage, asked = second_attempt()
    stage.start_pod("run-2")
    stage.claim("run-2")
    stage.enter("Completed", "Completed")
    stage.end_pod("run-2")
    stage.reconcile()
    assert stage.run()["settled"]
    arrives(stage, asked)
    stage.reconcile()
    assert stage.names("Pod") == ["run-2"]
    reads: list[str] = []
    get = stage.cluster.get

    async def counted(resource: Any, namespace: str | None, name: str) -> Json | None:
        reads.append(resource.kind)
        return await get(resource, namespace, name)

    stage.cluster.get = counted  # type: ignore[method-assign]
    stage.reconcile()
    assert reads == []  # once nothing is alive, nothing is asked


def test_the_pods_of_a_deleted_run_are_left_to_the_collector() -> None:
    stage, _ = second_attempt()
    stage.remove("FlowRun", "run")
    stage.taken()
    stage.reconcile()
    assert stage.taken() == []
