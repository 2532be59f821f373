"""`penstock suspend`: who is asked to stop."""

from __future__ import annotations

import builders
from command_line import CommandLine
from https_server import TEAM, Cluster


def test_runs_are_asked_to_stop_unless_they_have_ended(penstock: CommandLine, cluster: Cluster) -> None:
    runs = []
    for name, state in (("etl-1", "Running"), ("done", "Completed")):
        run = builders.flow_run(state)
        run["metadata"]["name"] = name
        runs.append(run)
    cluster.has("flowruns", *runs)
    said = penstock("suspend", "etl-1", "done")
    assert said.code == 1
    assert said.out == "flowrun.penstock.dev/etl-1 is asked to stop\n"
    assert said.err == "error: run done has ended already: Completed\n"
    written = [(request.path, request.body) for request in cluster.requests if request.method == "PATCH"]
    assert written == [(f"{TEAM}/flowruns/etl-1", {"spec": {"suspend": True}})]
