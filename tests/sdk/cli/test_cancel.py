"""`penstock cancel`: who is asked to end, and what is said of the others."""

from __future__ import annotations

import pytest

import builders
from command_line import CommandLine
from https_server import TEAM, Cluster, Reply


@pytest.fixture
def runs(cluster: Cluster) -> Cluster:
    """Three runs under way, and one that has ended."""
    found = []
    for name, state in (("etl-1", "Running"), ("etl-2", "Scheduled"), ("new", None), ("done", "Completed")):
        run = builders.flow_run(state)
        run["metadata"]["name"] = name
        found.append(run)
    cluster.has("flowruns", *found)
    return cluster


def asked(cluster: Cluster) -> list[tuple[str, object]]:
    """The runs that were written to, and what was written."""
    return [(request.path, request.body) for request in cluster.requests if request.method == "PATCH"]


def test_runs_are_asked_to_end(penstock: CommandLine, runs: Cluster) -> None:
    assert penstock.ok("cancel", "etl-1", "flowrun.penstock.dev/etl-2", "new") == (
        "flowrun.penstock.dev/etl-1 is asked to end\n"
        "flowrun.penstock.dev/etl-2 is asked to end\n"
        "flowrun.penstock.dev/new is asked to end\n"
    )
    assert asked(runs) == [
        (f"{TEAM}/flowruns/{name}", {"spec": {"cancel": True}}) for name in ("etl-1", "etl-2", "new")
    ]


def test_a_run_that_has_ended_is_left_alone(penstock: CommandLine, runs: Cluster) -> None:
    assert penstock.ok("cancel", "done") == "flowrun.penstock.dev/done has ended already: Completed\n"
    assert asked(runs) == []


def test_a_name_that_is_not_there_does_not_spare_the_others(penstock: CommandLine, runs: Cluster) -> None:
    said = penstock("cancel", "elt-1", "etl-2", "")
    assert said.code == 1
    assert said.out == "flowrun.penstock.dev/etl-2 is asked to end\n"
    assert said.err == (
        "error: there is no run elt-1 in namespace team; did you mean etl-1 or etl-2?; "
        "'' is no name of a run: write NAME or flowrun/NAME\n"
    )


def test_the_servers_refusal_is_said(penstock: CommandLine, runs: Cluster) -> None:
    body = builders.flow_run("Running")
    runs.replies[f"{TEAM}/flowruns/etl-1"] = lambda request: (
        Reply(body)
        if request.method == "GET"
        else Reply({"message": "flowruns is forbidden", "reason": "Forbidden"}, 403)
    )
    assert penstock.fails("cancel", "etl-1") == "error: flowruns is forbidden\n"
