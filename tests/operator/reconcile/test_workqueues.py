"""The Ready condition of a WorkQueue: its pool, whether it may start runs, and whether its selector takes any."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock_operator.reconcile.sources import Key, Requeue
from penstock_operator.reconcile.workqueues import AGAIN, WorkQueues
from run_stage import NAMESPACE, Stage

Json = dict[str, Any]
OF_DEFAULT = {"workPoolRef": {"name": "default"}}


def reconcile(stage: Stage) -> Requeue | None:
    stage.hear()
    return asyncio.run(WorkQueues(stage.cluster, stage.clock, stage.slots.selected).reconcile(Key(NAMESPACE, "q")))


def condition(stage: Stage) -> tuple[str, str, str]:
    body = stage.get("WorkQueue", "q")
    assert body is not None
    (found,) = body["status"]["conditions"]
    return found["status"], found["reason"], found["message"]


@pytest.mark.parametrize(
    ("spec", "status", "reason", "said"),
    [
        ({}, "True", "Ready", ""),
        ({"suspend": True}, "False", "WorkQueueSuspended", "spec.suspend is set"),
        ({"concurrencyLimit": 0}, "False", "LimitIsZero", "spec.concurrencyLimit is 0: no runs are started; raise"),
        ({"concurrencyLimit": 1}, "True", "Ready", ""),
        ({"selector": {}}, "True", "Ready", ""),
        ({"selector": {"matchTags": ["nightly"]}}, "True", "Ready", ""),
        ({"selector": {"matchLabels": {"team": "data"}}}, "True", "Ready", ""),
        ({"selector": {"matchTags": ["nightly", "x"]}}, "True", "NoRunMatches", "spec.selector matches no deployment"),
        ({"selector": {"matchLabels": {"team": "x"}}}, "True", "NoRunMatches", "matchLabels and matchTags"),
    ],
)
def test_what_is_told_of_a_queue(spec: Json, status: str, reason: str, said: str) -> None:
    stage = Stage(deployment={"tags": ["nightly"], "labels": {"team": "data"}})
    stage.apply("WorkQueue", "q", {**OF_DEFAULT, **spec})
    again = reconcile(stage)
    found = condition(stage)
    assert found[:2] == (status, reason)
    assert said in found[2]
    assert again == Requeue(stage.clock() + AGAIN if "selector" in spec else None)


def test_a_run_that_is_there_is_something_that_matches() -> None:
    stage = Stage()
    stage.apply("WorkQueue", "q", {**OF_DEFAULT, "selector": {"matchTags": ["now"]}})
    stage.submit(tags=["now"])
    stage.reconcile()
    reconcile(stage)
    assert condition(stage)[1] == "Ready"


def test_its_pool_is_waited_for() -> None:
    stage = Stage()
    stage.remove("WorkPool", "default")
    stage.apply("WorkQueue", "q", OF_DEFAULT)
    assert reconcile(stage) == Requeue(waits_for=("WorkPool", "default"))
    assert condition(stage)[:2] == ("False", "WorkPoolNotFound")
    assert "spec.workPoolRef: WorkPool default is not in this namespace" in condition(stage)[2]
    stage.remove("WorkQueue", "q")
    assert reconcile(stage) is None
