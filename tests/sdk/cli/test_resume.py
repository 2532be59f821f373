"""`penstock resume`: what it writes, and what it refuses before it writes."""

from __future__ import annotations

from typing import Any

import builders
from command_line import CommandLine
from https_server import TEAM, Cluster
from penstock.cli.resume import ask

SCHEMA = {
    "type": "object",
    "description": "Ship it?",
    "properties": {"approved": {"type": "boolean"}, "note": {"type": "string", "default": ""}},
    "required": ["approved"],
}


def paused(cluster: Cluster, **pause: Any) -> None:
    run = builders.flow_run("Paused", pause={"id": "abc-1", **pause})
    run["metadata"]["name"] = "publish"
    cluster.has("flowruns", run)


def asked(cluster: Cluster) -> list[Any]:
    """What was written to the run, without the tests."""
    (request,) = [request for request in cluster.requests if request.method == "PATCH"]
    assert request.path == f"{TEAM}/flowruns/publish"
    assert isinstance(request.body, list)
    assert {"op": "test", "path": "/status/pause/id", "value": "abc-1"} in request.body
    return [op for op in request.body if op["op"] != "test"]


def test_an_answer_names_the_pause_and_its_input(penstock: CommandLine, cluster: Cluster) -> None:
    paused(cluster, schema=SCHEMA)
    said = penstock.ok("resume", "publish", "--input", "approved=true", "--input", "note=fine")
    assert said == "flowrun.penstock.dev/publish is resumed\n"
    value = {"pause": "abc-1", "input": {"approved": True, "note": "fine"}}
    assert asked(cluster) == [{"op": "add", "path": "/spec/resume", "value": value}]


def test_the_input_may_be_json_as_a_whole(penstock: CommandLine, cluster: Cluster) -> None:
    paused(cluster, schema=SCHEMA)
    penstock.ok("resume", "publish", "--json", '{"approved": false}')
    assert asked(cluster)[0]["value"]["input"] == {"approved": False}


def test_a_pause_without_input_is_just_resumed(penstock: CommandLine, cluster: Cluster) -> None:
    paused(cluster)
    penstock.ok("resume", "publish")
    assert asked(cluster)[0]["value"] == {"pause": "abc-1"}


def test_what_does_not_fit_is_refused_by_its_path(penstock: CommandLine, cluster: Cluster) -> None:
    paused(cluster, schema=SCHEMA)
    for arguments, says in (
        (("--input", "approved=perhaps"), "approved: 'perhaps' is not of type 'boolean'"),
        ((), "approved: it must be given"),
        (("--json", "[]"), "the input is a JSON object"),
        (("--json", "{}", "--input", "a=1"), "--json is the whole input"),
        (("--input", "approved"), "write it as name=value"),
    ):
        said = penstock("resume", "publish", *arguments)
        assert said.code in (1, 2)
        assert says in said.err
    assert not [request for request in cluster.requests if request.method == "PATCH"]


def test_a_run_that_waits_for_nobody_is_left_alone(penstock: CommandLine, cluster: Cluster) -> None:
    cluster.has("flowruns", {**builders.flow_run("Running"), "metadata": {"name": "etl", "uid": "u"}})
    assert penstock.fails("resume", "etl") == "error: run etl is Running: it waits for nobody\n"


def test_a_terminal_is_asked_for_each_field_until_it_fits() -> None:
    typed, prompts = iter(["perhaps", "true", ""]), []

    def line(prompt: str) -> str:
        prompts.append(prompt)
        return next(typed)

    assert ask({"id": "abc-1", "schema": SCHEMA}, line) == {"approved": True}
    assert prompts == ["approved", "approved", 'note [""]']
