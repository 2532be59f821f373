"""`penstock show`: a run in full, for people and for programs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import click
import pytest
import yaml

import builders
from command_line import CommandLine
from https_server import Cluster
from penstock.cli import show


@pytest.fixture(autouse=True)
def seven_o_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show, "utc_now", lambda: datetime(2026, 1, 1, 7, tzinfo=UTC))


def entry(seq: int, name: str, reason: str) -> dict[str, Any]:
    time = f"2026-01-01T06:5{seq}:00Z"
    return {"type": name, "name": name, "reason": reason, "message": "", "time": time, "seq": seq, "writer": "operator"}


def page(uid: str = "run-uid", **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": f"page-{uid}"}, "run": {"name": "etl-1", "uid": uid}, **more}


def failed() -> dict[str, Any]:
    """A run that failed in one of three tasks."""
    run = builders.flow_run(
        "Failed",
        spec={"parameters": {"day": "2026-01-01"}, "tags": ["nightly", "big"]},
        parameters={"day": "2026-01-01", "parts": 3},
        pod={"name": "etl-1-1", "uid": "pod-uid"},
        startTime="2026-01-01T06:52:00.123456Z",
        duration="3m",
        tasks={"total": 3, "summary": "3/3"},
        history=[entry(1, "Scheduled", "Accepted"), entry(2, "Running", "Started"), entry(3, "Failed", "Exception")],
    )
    run["status"]["state"].update(reason="Exception", message="ValueError: the disk is full")
    return run


TASKS = page(
    summary=[{"task": "extract", "states": {"Completed": 2}}, {"task": "load", "states": {"Failed": 1}}],
    failures=[{"id": "t", "name": "load-0", "state": "Failed", "message": "ValueError: the disk is full"}],
)


def text(run: dict[str, Any], *pages: dict[str, Any]) -> str:
    return click.unstyle("\n".join(show.lines(run, list(pages))))


def test_all_that_is_known_of_a_run() -> None:
    more = page(summary=[{"task": "load", "states": {"Completed": 4}}], failures=None)
    assert (
        text(failed(), TASKS, more)
        == """\
Name:        etl-1
Deployment:  etl
State:       Failed  Exception
Message:     ValueError: the disk is full
Pool:        default
Attempt:     1  (pod etl-1-1)
Created:     2026-01-01T05:00:00Z  (2h ago)
Started:     2026-01-01T06:52:00Z  (7m ago)
Duration:    3m
Tags:        nightly, big
Parameters:
  day = "2026-01-01"
  parts = 3
History:
  SEQ   STATE       REASON      AGE
  1     Scheduled   Accepted    9m
  2     Running     Started     8m
  3     Failed      Exception   7m
Tasks:       3/3
  extract: 2 Completed
  load: 1 Failed, 4 Completed
Failures:
  load-0: Failed: ValueError: the disk is full"""
    )


def test_a_run_that_nobody_has_looked_at() -> None:
    assert (
        text(builders.flow_run(spec={"workPool": "gpu"}))
        == """\
Name:        etl-1
Deployment:  etl
State:       not accepted yet
Pool:        gpu
Attempt:     -
Created:     2026-01-01T05:00:00Z  (2h ago)
Started:     -
Duration:    -"""
    )


def test_why_a_run_waits_is_told_once() -> None:
    """By its state, and by a condition only where that says something else."""
    why = "WorkPool gpu is not in this namespace"
    run = builders.flow_run("Scheduled", conditions=[builders.held("Resolved", False, "WorkPoolNotFound", why)])
    assert f"Condition:   Resolved: WorkPoolNotFound: {why}" in text(run)
    run["status"]["state"].update(reason="WorkPoolNotFound", message=why)
    assert text(run).count(why) == 1
    run["status"]["state"].update(name="Late", message=f"due since 2026-01-01T06:00:00Z: {why}")
    assert text(run).count(why) == 1


def test_a_run_in_a_worker_names_the_worker() -> None:
    given = {"name": "mill", "uid": "u"}
    assert "  (worker mill)\n" in text(builders.flow_run("Running", pod=given, worker={**given, "attempt": 1}))


def test_a_run_of_a_flow_names_the_flow() -> None:
    run = builders.flow_run()
    run["spec"] = {"flowRef": {"name": "etl"}}
    assert "\nFlow:        etl\n" in text(run)


# The result in the status, and the lines that show it.
RESULTS: dict[str, tuple[dict[str, Any], str]] = {
    "text": ({"inline": "two\nlines"}, "Result:\n  two\n  lines"),
    "a number": ({"inline": 15}, "Result:\n  15"),
    "an object": ({"inline": {"rows": 9}}, 'Result:\n  {\n    "rows": 9\n  }'),
    "nothing": ({"inline": None}, "Result:\n  null"),
    "false": ({"inline": False}, "Result:\n  false"),
    "none that fits": ({"omitted": "the result has 3000 bytes"}, "Result:      the result has 3000 bytes"),
}


@pytest.mark.parametrize(("result", "said"), RESULTS.values(), ids=RESULTS)
def test_the_result_is_shown(result: dict[str, Any], said: str) -> None:
    assert text(builders.flow_run("Completed", result=result)).endswith(said)


def test_without_a_result_nothing_is_said_of_it() -> None:
    assert "Result" not in text(builders.flow_run("Completed"))


def test_of_many_failures_the_first_are_shown() -> None:
    failures = [{"name": f"load-{n}", "state": "Failed", "message": "m"} for n in range(25)]
    seen = text(failed(), page(failures=failures))
    assert "load-19: Failed: m\n  and 5 more" in seen


class TestCommand:
    """With a cluster."""

    def test_people_get_the_run_and_its_own_tasks(self, penstock: CommandLine, cluster: Cluster) -> None:
        """Not those of an earlier run that had its name."""
        cluster.has("flowruns", failed())
        cluster.has("taskrunpages", TASKS, page("other", summary=[{"task": "old", "states": {"Completed": 1}}]))
        assert penstock.ok("show", "etl-1") == text(failed(), TASKS) + "\n"
        assert cluster.last.query["fieldSelector"] == "run.name=etl-1"

    @pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
    def test_programs_get_the_object(self, form: str, read: Any, penstock: CommandLine, cluster: Cluster) -> None:
        run = failed()
        run["metadata"]["managedFields"] = [{"manager": "m"}]
        cluster.has("flowruns", run)
        assert read(penstock.ok("show", "fr/etl-1", "-o", form)) == failed()

    def test_a_misspelt_name_is_told_the_right_one(self, penstock: CommandLine, cluster: Cluster) -> None:
        cluster.has("flowruns", failed())
        said = penstock.fails("show", "etl-2")
        assert said == "error: there is no run etl-2 in namespace team; did you mean etl-1?\n"
