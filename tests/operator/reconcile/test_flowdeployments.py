"""The Ready condition of a FlowDeployment: its references, its parameters, its overrides."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.api import names
from penstock_operator.controller.cache import ObjectCache
from penstock_operator.reconcile.flowdeployments import AGAIN, FlowDeployments
from penstock_operator.reconcile.revisions import Revisions
from penstock_operator.reconcile.schedules import Schedules
from penstock_operator.reconcile.sources import Key, Requeue
from run_stage import NAMESPACE, Stage

Json = dict[str, Any]


def reconcile(stage: Stage, name: str = "etl") -> Requeue | None:
    cache = ObjectCache()
    body = stage.get("FlowDeployment", name)
    if body is not None:
        cache.put("FlowDeployment", body)
    schedules = Schedules(stage.cluster, cache, stage.clock, lambda _: None, lambda _: None)
    deployments = FlowDeployments(stage.cluster, cache, stage.clock, Revisions(stage.cluster), schedules)
    return asyncio.run(deployments.reconcile(Key(NAMESPACE, name)))


def status(stage: Stage) -> Json:
    body = stage.get("FlowDeployment", "etl")
    assert body is not None
    found: Json = body["status"]
    return found


def condition(stage: Stage) -> tuple[str, str, str]:
    (found,) = status(stage)["conditions"]
    return found["status"], found["reason"], found["message"]


def revision(stage: Stage) -> str:
    """Name of the revision of the deployment's generation."""
    meta = (stage.get("FlowDeployment", "etl") or {})["metadata"]
    return names.revision("FlowDeployment", "etl", meta["uid"], meta["generation"])


def test_a_deployment_whose_references_are_there_is_ready() -> None:
    stage = Stage()
    assert reconcile(stage) is None
    assert condition(stage) == ("True", "Ready", "")
    assert status(stage)["revision"] == revision(stage)
    known = len(stage.cluster.writes)
    reconcile(stage)
    assert len(stage.cluster.writes) == known


def test_what_a_run_must_still_give_is_no_fault_of_the_deployment() -> None:
    stage = Stage(deployment={"parameters": {}})
    reconcile(stage)
    assert condition(stage)[0] == "True"


def test_a_limit_of_0_is_told() -> None:
    stage = Stage(deployment={"concurrency": {"limit": 0}})
    reconcile(stage)
    assert condition(stage)[:2] == ("False", "LimitIsZero")
    assert "spec.concurrency.limit is 0" in condition(stage)[2]


@pytest.mark.parametrize(
    ("kind", "name", "reason"), [("Flow", "etl", "FlowNotFound"), ("WorkPool", "default", "WorkPoolNotFound")]
)
def test_what_is_missing_is_named(kind: str, name: str, reason: str) -> None:
    stage = Stage()
    body = stage.get(kind, name)
    assert body is not None
    stage.remove(kind, name)
    assert reconcile(stage) is None
    assert condition(stage) == (
        "False",
        reason,
        f"{kind} {name} is not in this namespace: apply it, or correct the deployment",
    )
    stage.apply(kind, name, body["spec"])
    assert reconcile(stage) is None
    assert condition(stage)[0] == "True"


def test_the_pool_that_is_named_is_the_one_that_is_looked_for() -> None:
    stage = Stage(deployment={"workPool": "big"})
    reconcile(stage)
    assert condition(stage)[2].startswith("WorkPool big is not in this namespace")


def test_a_queue_that_is_not_there_or_of_another_pool_is_told_until_it_comes() -> None:
    stage = Stage(deployment={"queue": "fast"})
    reconcile(stage)
    assert condition(stage) == (
        "False",
        "WorkQueueNotFound",
        "spec.queue: WorkQueue fast is not in this namespace, and runs wait for it: apply it, with workPoolRef "
        "default, or correct spec.queue",
    )
    stage.apply("WorkQueue", "fast", {"workPoolRef": {"name": "big"}})
    reconcile(stage)
    assert condition(stage) == (
        "False",
        "WorkQueueNotFound",
        "spec.queue: WorkQueue fast is of WorkPool big, and runs of WorkPool default wait for one of that name: name a "
        "queue of default, or set spec.workPool to big",
    )
    stage.edit("WorkQueue", "fast", workPoolRef={"name": "default"})
    reconcile(stage)
    assert condition(stage)[0] == "True"


def test_parameters_that_do_not_fit_are_told_by_path() -> None:
    stage = Stage(deployment={"parameters": {"n": "many", "k": 1}})
    assert reconcile(stage) is None
    ok, reason, message = condition(stage)
    assert (ok, reason) == ("False", "InvalidParameters")
    assert "n: 'many' is not of type 'integer'" in message
    assert "k: there is no such name; there are n" in message


def test_overrides_that_the_pool_does_not_allow_are_told() -> None:
    stage = Stage(deployment={"pod": {"nodeSelector": {"disk": "ssd"}}})
    reconcile(stage)
    ok, reason, message = condition(stage)
    assert (ok, reason) == ("False", "InvalidOverrides")
    assert message.startswith("pod.nodeSelector: WorkPool default does not allow it")
    stage.edit("WorkPool", "default", overrides={"allow": ["nodeSelector"]})
    reconcile(stage)
    assert condition(stage)[0] == "True"


def test_schedules_that_cannot_be_read_or_never_fire_are_told_with_field_and_remedy() -> None:
    stage = Stage(
        deployment={
            "schedules": [
                {"slug": "leap", "cron": {"expression": "0 0 30 2 *"}},
                {"slug": "moon", "cron": {"expression": "@daily"}, "timezone": "Moon/Tycho"},
                {"slug": "fine", "cron": {"expression": "@daily"}},
            ]
        }
    )
    reconcile(stage)
    ok, reason, message = condition(stage)
    assert (ok, reason) == ("False", "InvalidSchedule")
    assert message == (
        "schedules[leap].cron.expression: it never fires; no time matches all of its fields; schedules[moon].timezone: "
        "'Moon/Tycho' is no time zone of the IANA database; write it like Europe/Berlin or UTC"
    )


def test_parameters_of_a_schedule_that_do_not_fit_are_told_with_its_slug_until_they_do() -> None:
    daily: Json = {"slug": "daily", "cron": {"expression": "@daily"}}
    bad = {**daily, "slug": "bad", "parameters": {"n": "x", "zz": 1}}
    stage = Stage(deployment={"schedules": [daily, bad, {"slug": "gone", "suspend": True}]})
    reconcile(stage)
    assert condition(stage) == (
        "False",
        "InvalidParameters",
        "runs of these schedules fail, for their parameters do not fit the flow: schedules[bad].parameters.zz: "
        "there is no such name; there are n, m; schedules[bad].parameters.n: 'x' is not of type 'integer'",
    )
    stage.edit("FlowDeployment", "etl", schedules=[daily, {**bad, "parameters": {"n": 5}}])
    reconcile(stage)
    assert condition(stage)[0] == "True"
    stage.edit("FlowDeployment", "etl", parameters={})
    reconcile(stage)
    assert "schedules[daily].parameters.n: it must be given" in condition(stage)[2]


def test_a_status_that_was_written_meanwhile_is_looked_at_again_soon() -> None:
    stage = Stage()

    def meanwhile(_: object) -> None:
        stage.cluster.before = lambda _: None
        stage.edit("FlowDeployment", "etl", suspend=True)

    stage.cluster.before = meanwhile
    again = reconcile(stage)
    assert again is not None
    assert again.at == stage.clock() + AGAIN
    assert reconcile(stage) is None
    assert condition(stage)[0] == "True"


def test_the_revision_is_that_of_the_observed_generation_though_it_is_not_ready() -> None:
    stage = Stage()
    reconcile(stage)
    stage.edit("FlowDeployment", "etl", parameters={"n": "many"})
    reconcile(stage)
    assert condition(stage)[0] == "False"
    assert (status(stage)["observedGeneration"], status(stage)["revision"]) == (2, revision(stage))


def test_a_deployment_that_is_gone_is_no_work() -> None:
    stage = Stage()
    known = len(stage.cluster.writes)
    assert reconcile(stage, "absent") is None
    assert len(stage.cluster.writes) == known
