"""`penstock runs`: which runs are listed, in which order, and what is said when there are none."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

import builders
from command_line import CommandLine
from https_server import TEAM, Cluster, Reply, Request
from penstock.cli import objects


@pytest.fixture(autouse=True)
def seven_o_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "utc_now", lambda: datetime(2026, 1, 1, 7, tzinfo=UTC))


def run(called: str, state: str | None, minute: int, deployment: str = "etl", **state_more: Any) -> dict[str, Any]:
    body = builders.flow_run(state, spec={"deploymentRef": {"name": deployment}})
    body["metadata"].update(name=called, creationTimestamp=f"2026-01-01T06:{minute:02}:00Z")
    if state:
        body["status"]["state"].update(state_more)
    return body


RUNS = [
    run("c", "Failed", 30, name="TimedOut", reason="TimedOut", message="took\ntoo long"),
    run("a", "Completed", 10),
    run("d", None, 40, "other"),
    run("b", "Running", 20),
]


@pytest.fixture
def listed(cluster: Cluster) -> Cluster:
    """A cluster with these runs of two deployments."""

    def reply(request: Request) -> Reply:
        selector = request.query.get("fieldSelector", "")
        wanted = selector.removeprefix("spec.deploymentRef.name=")
        found = [body for body in RUNS if not selector or body["spec"]["deploymentRef"]["name"] == wanted]
        without_kind = [{k: v for k, v in body.items() if k not in ("apiVersion", "kind")} for body in found]
        return Reply({"metadata": {}, "items": without_kind})

    cluster.replies[f"{TEAM}/flowruns"] = reply
    cluster.has("flowdeployments", *(about(name) for name in ("etl", "other", "idle")))
    return cluster


def about(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"}}


def names(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines()[1:]]


def test_runs_are_a_table_with_the_newest_last(penstock: CommandLine, listed: Cluster) -> None:
    assert (
        penstock.ok("runs")
        == """\
NAME   DEPLOYMENT   STATE       REASON     TASKS   POOL      ATTEMPT   STARTED   DURATION   AGE
a      etl          Completed                      default   1                              50m
b      etl          Running                        default   1                              40m
c      etl          TimedOut    TimedOut           default   1                              30m
d      other                                                                                20m
"""
    )


def test_wide_adds_pod_and_message(penstock: CommandLine, listed: Cluster) -> None:
    head, *rows = penstock.ok("runs", "-o", "wide").splitlines()
    assert {"MESSAGE", "POD"} <= set(head.split())
    assert "took too long" in rows[2]


# Words, and the runs that are listed.
CHOSEN: dict[str, tuple[tuple[str, ...], list[str]]] = {
    "of a deployment": (("-d", "other"), ["d"]),
    "of a deployment by kind and name": (("-d", "fd/other"), ["d"]),
    "in a state by its type": (("-s", "Failed"), ["c"]),
    "in a state by its name": (("-s", "TimedOut"), ["c"]),
    "whatever its capitals": (("--state", "running"), ["b"]),
    "in one of several states": (("-s", "completed", "-s", "running"), ["a", "b"]),
    "of a deployment and in a state": (("-d", "etl", "-s", "completed"), ["a"]),
    "the newest": (("--limit", "2"), ["c", "d"]),
    "as many as there are": (("--limit", "9"), ["a", "b", "c", "d"]),
}


@pytest.mark.parametrize(("words", "found"), CHOSEN.values(), ids=CHOSEN)
def test_only_what_is_asked_for_is_listed(
    words: tuple[str, ...], found: list[str], penstock: CommandLine, listed: Cluster
) -> None:
    assert names(penstock.ok("runs", *words)) == found


def test_that_there_are_more_is_said_aside(penstock: CommandLine, listed: Cluster) -> None:
    said = penstock("runs", "--limit", "1")
    assert (names(said.out), said.err) == (["d"], "The newest 1 of 4 runs; --limit shows more.\n")
    assert penstock("runs", "--limit", "4").err == ""


@pytest.mark.parametrize("words", [(), ("-d", "other"), ("-s", "Paused")], ids=["all", "one", "none"])
def test_json_is_always_a_list(words: tuple[str, ...], penstock: CommandLine, listed: Cluster) -> None:
    told = json.loads(penstock.ok("runs", *words, "-o", "json"))
    assert told["kind"] == "List"
    assert all(item["kind"] == "FlowRun" and item["apiVersion"] == "penstock.dev/v1alpha1" for item in told["items"])
    assert len(told["items"]) == {(): 4, ("-d", "other"): 1, ("-s", "Paused"): 0}[words]


def test_yaml_is_a_document_each_that_kubectl_takes(penstock: CommandLine, listed: Cluster) -> None:
    found = list(yaml.safe_load_all(penstock.ok("runs", "-o", "yaml")))
    assert [(body["kind"], body["metadata"]["name"]) for body in found] == [("FlowRun", name) for name in "abcd"]


def test_names_are_what_other_commands_take(penstock: CommandLine, listed: Cluster) -> None:
    assert penstock.ok("runs", "-s", "running", "-o", "name") == "flowrun.penstock.dev/b\n"


# Words, and what is said instead of a table.
NONE: dict[str, tuple[tuple[str, ...], str]] = {
    "in that state": (
        ("-s", "Complete"),
        "No runs in state Complete in namespace team; did you mean Completed?",
    ),
    "in those states": (
        ("-s", "Paused", "-s", "xyz"),
        "No runs in state Paused or xyz in namespace team; there are Completed, Running, TimedOut, no state yet",
    ),
    "of that deployment": (
        ("-d", "idle"),
        "No runs of deployment idle in namespace team. Start one with: penstock run idle",
    ),
    "of a deployment that is not there": (
        ("-d", "elt"),
        "No runs: there is no deployment elt in namespace team; did you mean etl?",
    ),
}


@pytest.mark.parametrize(("words", "said"), NONE.values(), ids=NONE)
@pytest.mark.parametrize("form", [(), ("-o", "name"), ("-o", "yaml")], ids=["table", "name", "yaml"])
def test_that_there_are_none_is_said_aside(
    words: tuple[str, ...], said: str, form: tuple[str, ...], penstock: CommandLine, listed: Cluster
) -> None:
    """On stderr and with exit code 0: nothing is a good answer, and a pipe gets nothing."""
    seen = penstock("runs", *words, *form)
    assert (seen.code, seen.out, seen.err) == (0, "", said + "\n")


def test_a_run_that_its_deployment_outlived_is_listed(penstock: CommandLine, listed: Cluster) -> None:
    """Runs may outlive their deployment; nobody is told that it is missing."""
    listed.has("flowdeployments")
    assert names(penstock.ok("runs", "-d", "other")) == ["d"]


def test_the_group_lists_and_so_does_its_ls(penstock: CommandLine, listed: Cluster) -> None:
    assert penstock.ok("runs", "ls", "-d", "etl") == penstock.ok("runs", "-d", "etl")


@pytest.mark.parametrize("verb", ["cancel", "logs", "resume", "retry", "show", "suspend", "watch"])
def test_what_is_done_with_a_run_stands_here_too(verb: str, penstock: CommandLine) -> None:
    assert penstock.ok("runs", verb, "--help").startswith(f"Usage: penstock runs {verb} ")


def test_a_run_is_deleted(penstock: CommandLine, cluster: Cluster) -> None:
    cluster.has("flowruns", about("a"))
    assert penstock.ok("runs", "delete", "fr/a") == "flowrun.penstock.dev/a deleted\n"
    assert (cluster.last.method, cluster.last.path) == ("DELETE", f"{TEAM}/flowruns/a")
