"""The Ready condition of a WorkPool: what the API server says to a pod of its template, without creating it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from memory_cluster import Write
from penstock.results import urls
from penstock_operator.cluster import Forbidden, Invalid, Unavailable
from penstock_operator.controller.controller import Controller
from penstock_operator.launch.pods import Defaults
from penstock_operator.reconcile import workpools
from penstock_operator.reconcile.sources import Key, Requeue
from penstock_operator.reconcile.workers import WorkerPods
from penstock_operator.reconcile.workpools import AGAIN, PROBE, WorkPools
from run_stage import NAMESPACE, Stage

Json = dict[str, Any]

DEFAULTS = Defaults("registry.example/penstock:1")


def warm(stage: Stage) -> WorkerPods:
    """Who sees to workers; there are none."""
    controller = Controller(stage.cluster, DEFAULTS, clock=stage.clock)
    return controller.worker_pods


def reconcile(stage: Stage, error: Exception | None = None) -> tuple[str, str, str]:
    """Status, reason and message of the pool's condition; `error`: what the API server says to its pod."""

    def before(write: Write) -> None:
        if error and write.kind == "Pod":
            raise error

    stage.cluster.before = before
    reconciler = WorkPools(stage.cluster, DEFAULTS, stage.clock, warm(stage))
    again = asyncio.run(reconciler.reconcile(Key(NAMESPACE, "default")))
    body = stage.get("WorkPool", "default")
    assert body is not None
    (found,) = body["status"]["conditions"]
    refused = found["reason"] in ("PodInvalid", "PodCreateForbidden")
    assert again == (Requeue(stage.clock() + AGAIN) if refused else None), "what was refused is tried again"
    return found["status"], found["reason"], found["message"]


def test_a_template_that_the_api_server_takes_makes_a_pool_ready_and_leaves_no_pod() -> None:
    stage = Stage()
    assert reconcile(stage) == ("True", "Ready", "")
    assert stage.names("Pod") == []
    written = list(stage.cluster.writes)
    assert reconcile(stage) == ("True", "Ready", "")
    assert stage.cluster.writes == written, "what was found good is neither asked nor written again"
    stage.edit("WorkPool", "default", image="another:1")
    assert reconcile(stage, Invalid(422, "Invalid", "no"))[1] == "PodInvalid", "a changed pool is"
    assert reconcile(stage)[0] == "True", "and one that was refused"


def test_a_limit_of_0_is_told() -> None:
    status, reason, message = reconcile(Stage(pool={"concurrencyLimit": 0}))
    assert (status, reason) == ("False", "LimitIsZero")
    assert message == "spec.concurrencyLimit is 0: no runs are started; raise or unset it"


@pytest.mark.parametrize(
    ("error", "condition"),
    [
        pytest.param(
            Invalid(422, "Invalid", "spec.containers[0].image: Required value"),
            ("False", "PodInvalid", "spec.template makes no valid pod: spec.containers[0].image: Required value"),
            id="it is invalid",
        ),
        pytest.param(
            Forbidden(403, "Forbidden", "violates PodSecurity"),
            ("False", "PodCreateForbidden", "the API server refuses its pods: violates PodSecurity"),
            id="it is forbidden",
        ),
        pytest.param(
            Forbidden(403, "Forbidden", "pods is forbidden: exceeded quota: pods"),
            ("True", "Ready", ""),
            id="the quota of the moment is no fault of the template",
        ),
    ],
)
def test_what_the_api_server_says_becomes_the_condition(error: Exception, condition: tuple[str, str, str]) -> None:
    assert reconcile(Stage(), error) == condition


def test_a_server_that_is_away_says_nothing_of_the_template() -> None:
    stage = Stage()
    with pytest.raises(Unavailable):
        reconcile(stage, Unavailable(503, "", ""))
    assert "status" not in (stage.get("WorkPool", "default") or {})


def test_a_template_that_is_none_is_not_even_sent() -> None:
    stage = Stage(pool={"template": {"spec": {"containers": "flow"}}})
    status, reason, message = reconcile(stage)
    assert (status, reason) == ("False", "PodInvalid")
    assert message.startswith("spec.template is no pod template")
    assert not [write for write in stage.cluster.writes if write.kind == "Pod"]


def test_a_suspended_pool_says_so_and_is_ready_when_it_is_not() -> None:
    stage = Stage(pool={"suspend": True})
    assert reconcile(stage) == ("False", "WorkPoolSuspended", "spec.suspend is set: no runs are started")
    stage.edit("WorkPool", "default", suspend=False)
    assert reconcile(stage)[0] == "True"


@pytest.mark.parametrize(
    ("url", "condition"),
    [
        ("s3://team/logs/etl", ("True", "Ready", "")),
        (
            "s3://other/logs",
            (
                "False",
                "LogsArchiveForbidden",
                "runs start, but their logs are not kept: spec.logs.archive.url is not at a place that the "
                "administrator allows for logs: use one of them, or a path below: s3://team/logs",
            ),
        ),
    ],
)
def test_where_logs_may_not_go_is_said_whatever_is_known_of_the_template(
    url: str, condition: tuple[str, str, str]
) -> None:
    stage = Stage(pool={"logs": {"archive": {"url": url}}})
    reconciler = WorkPools(stage.cluster, DEFAULTS, stage.clock, warm(stage), (urls.parse("s3://team/logs"),))
    for _ in range(2):
        asyncio.run(reconciler.reconcile(Key(NAMESPACE, "default")))
        (found,) = (stage.get("WorkPool", "default") or {})["status"]["conditions"]
        assert (found["status"], found["reason"], found["message"]) == condition


@pytest.mark.parametrize(
    ("spec", "image"),
    [
        pytest.param({}, "registry.example/penstock:1", id="the operator's own image"),
        pytest.param({"image": "flows:1"}, "flows:1", id="the pool's"),
        pytest.param(
            {"template": {"spec": {"containers": [{"name": "flow", "image": "flows:2"}]}}},
            "flows:2",
            id="the template's",
        ),
    ],
)
def test_the_probe_is_the_pod_that_a_run_would_get(spec: Json, image: str) -> None:
    meta = {"name": "default", "namespace": "team", "uid": "p-uid"}
    body = workpools.probe({"metadata": meta, "spec": {"type": "Pod", **spec}}, DEFAULTS)
    assert body["metadata"]["name"].startswith(PROBE)
    assert "ownerReferences" not in body["metadata"]
    assert body["spec"]["containers"][0]["image"] == image
    assert body["spec"]["securityContext"]["runAsNonRoot"] is True
