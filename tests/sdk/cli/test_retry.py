"""`penstock retry`: a new run of what has ended."""

from __future__ import annotations

import json
from typing import Any

import pytest

import builders
from command_line import CommandLine
from https_server import TEAM, Cluster, Reply
from penstock.flow_runs import retry_flow_run

POOL = {"metadata": {"name": "default"}, "spec": {"type": "Pod", "results": {"url": "s3://bucket"}}}


@pytest.fixture
def runs(cluster: Cluster) -> Cluster:
    """A run that failed, one under way, and the pool of both, with a bucket for results."""
    found = []
    for name, state in (("etl-1", "Failed"), ("etl-2", "Running")):
        run = builders.flow_run(state)
        run["metadata"]["name"] = name
        found.append(run)
    cluster.has("flowruns", *found)
    cluster.has("workpools", POOL)

    def created(request: Any) -> Reply:
        meta = {**request.body["metadata"], "uid": "new-uid", "namespace": "team", "resourceVersion": "8"}
        return Reply({**request.body, "metadata": meta}, 201)

    listed = cluster.replies.get(f"{TEAM}/flowruns")
    cluster.replies[f"{TEAM}/flowruns"] = lambda request: (
        created(request) if request.method == "POST" else listed(request) if callable(listed) else listed
    )
    return cluster


def made(cluster: Cluster) -> list[Any]:
    return [request.body for request in cluster.requests if request.method == "POST"]


def test_a_run_that_ended_is_retried(penstock: CommandLine, runs: Cluster) -> None:
    said = penstock("retry", "fr/etl-1", "--name", "again")
    assert (said.code, said.err) == (0, "")
    assert said.out == "flowrun.penstock.dev/again retries etl-1. Follow it with: penstock watch again\n"
    (body,) = made(runs)
    assert body["spec"]["retryOf"] == {"name": "etl-1", "uid": "run-uid"}


def test_the_output_is_for_programs_too(penstock: CommandLine, runs: Cluster) -> None:
    assert json.loads(penstock.ok("retry", "etl-1", "-o", "json"))["spec"]["retryOf"]["name"] == "etl-1"
    assert penstock.ok("retry", "etl-1", "--name", "x", "-o", "name") == "flowrun.penstock.dev/x\n"


def test_where_pods_share_no_store_the_user_is_warned(penstock: CommandLine, runs: Cluster) -> None:
    runs.has("workpools", {**POOL, "spec": {"type": "Pod"}})
    said = penstock("retry", "etl-1")
    assert said.code == 0
    assert said.err.startswith("warning: every task runs again: WorkPool default has no result store that pods share (")
    assert len(made(runs)) == 1


def test_a_run_that_goes_on_is_not_retried(penstock: CommandLine, runs: Cluster) -> None:
    assert penstock.fails("retry", "etl-2") == (
        "error: etl-2 goes on (Running): wait for its end (penstock watch etl-2) or cancel it (penstock cancel etl-2)\n"
    )
    assert made(runs) == []


def test_a_name_that_is_not_there(penstock: CommandLine, runs: Cluster) -> None:
    assert "did you mean etl-1" in penstock.fails("retry", "elt-1")


def test_code_retries_runs_as_well(penstock: CommandLine, runs: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    runs.has("workpools", {**POOL, "spec": {"type": "Pod"}})
    run = retry_flow_run("etl-1", timeout=0, name="again")
    assert (run.name, run.body["spec"]["retryOf"]["name"], run.state) == ("again", "etl-1", None)
    assert "Retry of etl-1: every task runs again" in caplog.text
