"""Facts about the current run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from penstock import flow, tags, task
from penstock.runtime import deployment, flow_run, task_run


def test_outside_of_runs_there_is_nothing() -> None:
    assert (flow_run.id, flow_run.name, flow_run.parameters, flow_run.tags, flow_run.run_count) == (
        None,
        None,
        {},
        [],
        0,
    )
    assert (task_run.id, task_run.parameters) == (None, {})
    assert (deployment.id, deployment.name, deployment.parameters) == (None, None, {})


def test_inside_of_a_run_of_a_deployment(recorder: Any) -> None:
    due = datetime(2026, 1, 2, tzinfo=UTC)

    @task
    def inner(x: int) -> Any:
        return task_run.name, task_run.parameters, task_run.run_count, flow_run.id

    @flow(name="nightly", version="7")
    def f(n: int) -> Any:
        facts = (flow_run.id, flow_run.name, flow_run.namespace, flow_run.flow_name, flow_run.flow_version)
        more = (flow_run.parameters, flow_run.tags, flow_run.run_count, flow_run.scheduled_start_time)
        return facts, more, (deployment.id, deployment.name, deployment.version), inner.submit(2).result()

    facts, more, deployed, task_facts = recorder.run(
        f,
        {"n": "1"},
        namespace="ns",
        deployment="nightly-eu",
        deployment_id="d-uid",
        tags=("a",),
        scheduled_start_time=due,
    ).result()
    assert facts == ("run-uid", "run-1", "ns", "nightly", "7")
    assert more == ({"n": 1}, ["a"], 1, due)
    assert deployed == ("d-uid", "nightly-eu", "7")
    assert task_facts == ("inner-0", {"x": 2}, 1, "run-uid")


def test_tags_reach_runs_that_start_inside() -> None:
    @task
    def inner() -> Any:
        return task_run.tags

    @flow
    def child() -> Any:
        return flow_run.tags, inner()

    @flow
    def f() -> Any:
        with tags("x"), tags("y") as current:
            assert current == {"x", "y"}
            return child()

    assert f() == (["x", "y"], ["x", "y"])


def test_the_environment_overrides_in_the_type_of_the_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK__RUNTIME__FLOW_RUN__NAME", "mine")
    monkeypatch.setenv("PENSTOCK__RUNTIME__FLOW_RUN__RUN_COUNT", "3")
    monkeypatch.setenv("PENSTOCK__RUNTIME__FLOW_RUN__TAGS", "a,b")
    monkeypatch.setenv("PENSTOCK__RUNTIME__FLOW_RUN__SCHEDULED_START_TIME", "2026-01-02T00:00:00+00:00")
    assert (flow_run.name, flow_run.run_count, flow_run.tags) == ("mine", 3, ["a", "b"])
    assert flow_run.scheduled_start_time == datetime(2026, 1, 2, tzinfo=UTC)


def test_a_mapping_is_overridden_by_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK__RUNTIME__FLOW_RUN__PARAMETERS", '{"n": 1}')
    monkeypatch.setenv("PENSTOCK__RUNTIME__FLOW_RUN__JOB_VARIABLES", "[1]")
    assert flow_run.parameters == {"n": 1}
    with pytest.raises(ValueError, match="the variable must hold a JSON object"):
        flow_run.job_variables  # noqa: B018


def test_a_subflow_knows_where_it_comes_from(recorder: Any) -> None:
    @flow
    def inner() -> Any:
        return flow_run.parent_flow_run_id, flow_run.root_flow_run_id, flow_run.parent_deployment_id

    @flow
    def outer() -> Any:
        return flow_run.root_flow_run_id, flow_run.id, inner(), flow_run.job_variables

    root, own, of_inner, variables = recorder.run(
        outer, root_id="root-uid", deployment_id="d-uid", job_variables={"image": "i"}
    ).result()
    assert (root, own, variables) == ("root-uid", "run-uid", {"image": "i"})
    assert of_inner == ("run-uid", "root-uid", "d-uid")


def test_urls_are_those_of_the_pods_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (flow_run.api_url, flow_run.ui_url, task_run.api_url) == (None, None, None)
    monkeypatch.setenv("PENSTOCK_RUN", "etl-1")
    monkeypatch.setenv("PENSTOCK_NAMESPACE", "team")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("PENSTOCK_UI_URL", "https://ui.example/")

    @task
    def inner() -> Any:
        return task_run.api_url, task_run.ui_url

    api = "https://[fd00::1]:443/apis/penstock.dev/v1alpha1/namespaces/team/flowruns/etl-1"
    assert (flow_run.api_url, flow_run.ui_url) == (api, "https://ui.example/team/flowruns/etl-1")
    assert inner() == (flow_run.api_url, flow_run.ui_url)
    assert task_run.ui_url is None


def test_unknown_facts_are_refused_and_the_known_listed() -> None:
    with pytest.raises(AttributeError, match=r"it has .*name"):
        flow_run.colour  # noqa: B018
    assert "name" in dir(flow_run)
