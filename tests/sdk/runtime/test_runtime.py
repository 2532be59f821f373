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


def test_unknown_facts_are_refused_and_the_known_listed() -> None:
    with pytest.raises(AttributeError, match=r"it has .*name"):
        flow_run.colour  # noqa: B018
    assert "name" in dir(flow_run)
