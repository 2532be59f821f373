"""What `run_deployment` makes; that it runs is tested on a real API server."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from penstock import flow, task
from penstock.deployments import Parent, flow_run_body, jsonable, run_deployment
from penstock.errors import ParameterError, UpstreamNotReady


def test_a_run_says_only_what_was_asked() -> None:
    body = flow_run_body("etl", "etl-1", {})
    assert body == {
        "apiVersion": "penstock.dev/v1alpha1",
        "kind": "FlowRun",
        "metadata": {"name": "etl-1", "annotations": {"penstock.dev/cause": "run_deployment"}},
        "spec": {"deploymentRef": {"name": "etl"}},
    }


def test_every_option_has_its_field() -> None:
    due = datetime(2026, 1, 1, 7, tzinfo=timezone(timedelta(hours=1)))
    spec = flow_run_body(
        "etl", "etl-1", {"n": 1}, scheduled_time=due, tags=("b", "a", "b"), queue="fast", pod={"image": "i"}
    )["spec"]
    assert spec == {
        "deploymentRef": {"name": "etl"},
        "parameters": {"n": 1},
        "scheduledTime": "2026-01-01T06:00:00.000000Z",
        "tags": ["a", "b"],
        "queue": "fast",
        "pod": {"image": "i"},
    }


@pytest.mark.parametrize("awaited", [True, False])
def test_a_child_is_owned_by_its_parent_only_if_awaited(awaited: bool) -> None:
    body = flow_run_body("etl", "etl-1", {}, parent=Parent("up", "up-uid", "root-uid", awaited))
    assert body["spec"]["parent"] == {"name": "up", "uid": "up-uid", "awaited": awaited}
    assert body["metadata"]["labels"] == {"penstock.dev/parent": "up"}
    assert body["metadata"]["annotations"]["penstock.dev/root-run-uid"] == "root-uid"
    owner = {"apiVersion": "penstock.dev/v1alpha1", "kind": "FlowRun", "name": "up", "uid": "up-uid"}
    assert body["metadata"].get("ownerReferences") == ([owner] if awaited else None)


@dataclass
class Point:
    x: int


def test_parameters_become_json_and_futures_their_results() -> None:
    @task
    def one() -> int:
        return 1

    @task
    def bad() -> None:
        raise ValueError

    @flow
    def f() -> Any:
        return jsonable({"day": date(2026, 1, 2), "point": Point(3), "later": [one.submit()]})

    @flow
    def g() -> Any:
        return jsonable({"later": bad.submit()})

    assert f() == {"day": "2026-01-02", "point": {"x": 3}, "later": [1]}
    with pytest.raises(UpstreamNotReady):
        g()
    with pytest.raises(ParameterError, match="parameter thing of a deployment must be JSON"):
        jsonable({"thing": object()})


def test_a_time_without_a_timezone_is_refused() -> None:
    with pytest.raises(ParameterError, match="scheduled_time: must have a timezone"):
        run_deployment("etl", scheduled_time=datetime.now(UTC).replace(tzinfo=None))
