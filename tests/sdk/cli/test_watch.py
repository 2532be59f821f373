"""`penstock watch`: a run followed to its end, through whatever the connection does. The real thing is in
`integration/test_cli`."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from rich.console import Console

import builders
from command_line import CommandLine
from https_server import TEAM, Cluster, Reply, Request, refusal
from penstock.cli import watch

RUN = f"{TEAM}/flowruns/etl-1"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PAUSE_SECONDS", 0.0)


def entry(seq: int, name: str, reason: str = "", message: str = "") -> dict[str, Any]:
    time = f"2026-01-01T06:00:0{seq}Z"
    return {"type": name, "name": name, "reason": reason, "message": message, "time": time, "seq": seq, "writer": "x"}


STORY = [
    entry(1, "Scheduled", "Accepted"),
    entry(2, "Pending", "Launched", "attempt 1: waiting for its pod to start"),
    entry(3, "Running", "Started"),
    entry(4, "Completed", "Completed"),
]
LINES = """\
06:00:01  Scheduled  Accepted
06:00:02  Pending  attempt 1: waiting for its pod to start
06:00:03  Running  Started
06:00:04  Completed
"""


def after(steps: int, **status: Any) -> dict[str, Any]:
    """The run after so many steps of the story; its version is their number."""
    run = builders.flow_run(
        STORY[steps - 1]["name"] if steps else None, **({"history": STORY[:steps]} if steps else {})
    )
    run["metadata"]["resourceVersion"] = str(steps)
    run.setdefault("status", {}).update(status)
    return run


def told(*runs: dict[str, Any], kind: str = "MODIFIED", cut: bool = False) -> Reply:
    """A watch that tells of these."""
    parts = [json.dumps({"type": kind, "object": run}).encode() + b"\n" for run in runs]
    return Reply(parts=parts, cut=cut)


def watched(cluster: Cluster, runs: Iterable[dict[str, Any] | Reply], watches: Iterable[Reply]) -> None:
    """What the GETs and the watches of the run answer, one after the other."""
    gets = iter([run if isinstance(run, Reply) else Reply(run) for run in runs])
    streams = iter(watches)
    cluster.replies[RUN] = lambda _: next(gets)
    cluster.replies[f"{TEAM}/taskrunpages"] = Reply({"metadata": {}, "items": []})

    def listed(request: Request) -> Reply:
        assert request.query["watch"] == "true"
        return next(streams)

    cluster.replies[f"{TEAM}/flowruns"] = listed


def versions(cluster: Cluster) -> list[str]:
    """The versions that watches began at."""
    return [request.query["resourceVersion"] for request in cluster.requests if "watch" in request.query]


class TestLines:
    """Without a terminal: a line for each thing that is new, then the whole run."""

    def test_a_run_that_has_ended_is_told_from_its_history(self, penstock: CommandLine, cluster: Cluster) -> None:
        watched(cluster, [after(4)], [])
        assert penstock.ok("watch", "etl-1").startswith(LINES + "Name:        etl-1\n")

    def test_each_step_is_told_once(self, penstock: CommandLine, cluster: Cluster) -> None:
        watched(cluster, [after(0)], [told(after(1), after(1), after(3), after(4))])
        assert penstock.ok("watch", "etl-1").startswith(LINES + "Name:")
        assert versions(cluster) == ["0"]

    def test_why_a_run_waits_is_told_once(self, penstock: CommandLine, cluster: Cluster) -> None:
        waits = after(1, conditions=[builders.held("Resolved", False, "FlowNotFound", "apply it")])
        watched(cluster, [waits], [told(waits, after(4))])
        out = penstock.ok("watch", "etl-1")
        assert out.count("          FlowNotFound: apply it\n") == 1
        assert out.index("FlowNotFound") < out.index("06:00:02")

    @pytest.mark.parametrize(("state", "code"), [("Completed", 0), ("Failed", 1), ("Crashed", 1), ("Cancelled", 1)])
    def test_the_exit_code_is_the_runs(self, state: str, code: int, penstock: CommandLine, cluster: Cluster) -> None:
        watched(cluster, [builders.flow_run(state)], [])
        assert penstock("watch", "flowrun/etl-1").code == code


class TestConnections:
    """A watch is only a hint to look again; the run goes on without it."""

    # Watches that end too early, and the GETs between them.
    BROKEN: dict[str, Reply] = {
        "it is cut": told(after(2), cut=True),
        "it is over": told(after(2)),
        "the version is too old": refusal(410, "Expired", "too old"),
        "the server says so in the stream": told(after(2), kind="ERROR"),
        "the server is ill": Reply(b"oops", 503, "text/plain"),
    }

    @pytest.mark.parametrize("first", BROKEN.values(), ids=BROKEN)
    def test_a_watch_that_ends_is_begun_again(self, first: Reply, penstock: CommandLine, cluster: Cluster) -> None:
        watched(cluster, [after(1), after(3)], [first, told(after(4))])
        assert penstock.ok("watch", "etl-1").startswith(LINES + "Name:")
        assert versions(cluster) == ["1", "3"]

    def test_an_end_that_no_watch_told_is_found(self, penstock: CommandLine, cluster: Cluster) -> None:
        watched(cluster, [after(1), after(4)], [told()])
        assert penstock.ok("watch", "etl-1").startswith(LINES + "Name:")

    def test_a_server_that_answers_nonsense_meanwhile_is_outlived(
        self, penstock: CommandLine, cluster: Cluster
    ) -> None:
        web_page = Reply(b"<html>", 200, "text/html")
        watched(cluster, [after(1), web_page, after(4)], [told(), told()])
        assert penstock.ok("watch", "etl-1").startswith(LINES)

    def test_a_run_that_is_deleted_is_no_success(self, penstock: CommandLine, cluster: Cluster) -> None:
        watched(cluster, [after(1)], [told(after(2), kind="DELETED")])
        assert penstock.fails("watch", "etl-1") == "error: run etl-1 was deleted\n"

    def test_a_run_that_was_deleted_in_between_is_none_either(self, penstock: CommandLine, cluster: Cluster) -> None:
        gone = refusal(404, "NotFound", 'flowruns.penstock.dev "etl-1" not found', name="etl-1")
        watched(cluster, [after(1), gone], [told()])
        assert penstock.fails("watch", "etl-1") == 'error: flowruns.penstock.dev "etl-1" not found\n'

    def test_who_may_not_watch_is_told_so(self, penstock: CommandLine, cluster: Cluster) -> None:
        watched(cluster, [after(1)], [refusal(403, "Forbidden", 'cannot watch resource "flowruns"')])
        assert penstock.fails("watch", "etl-1") == 'error: cannot watch resource "flowruns"\n'


class TestForPrograms:
    """With -o: nothing but the run as it ended."""

    @pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
    def test_the_end_is_printed(self, form: str, read: Any, penstock: CommandLine, cluster: Cluster) -> None:
        watched(cluster, [after(1)], [told(after(3), after(4))])
        assert read(penstock.ok("watch", "etl-1", "-o", form)) == after(4)

    def test_the_exit_code_tells_a_failure(self, penstock: CommandLine, cluster: Cluster) -> None:
        watched(cluster, [builders.flow_run("Failed")], [])
        said = penstock("watch", "etl-1", "-o", "json")
        assert (said.code, json.loads(said.out)["status"]["state"]["type"]) == (1, "Failed")


class TestPanel:
    """What a terminal shows while a run goes on."""

    def drawn(self, run: dict[str, Any] | None) -> str:
        view = watch._Live()
        if run is not None:
            view._run = run
        console = Console(file=io.StringIO(), width=100, force_terminal=False)
        console.print(view._draw())
        return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]

    @pytest.fixture(autouse=True)
    def six_o_clock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(watch, "utc_now", lambda: datetime(2026, 1, 1, 6, tzinfo=UTC))

    def test_name_state_and_time_of_a_run(self) -> None:
        assert "etl-1  Running  3600s" in self.drawn(after(3))

    def test_its_history_and_its_tasks(self) -> None:
        shown = self.drawn(after(3, tasks={"total": 20, "summary": "12/20"}))
        assert "06:00:02  Pending  attempt 1: waiting for its pod to start" in shown
        assert "tasks 12/20" in shown

    def test_why_it_waits(self) -> None:
        assert "FlowNotFound: apply it" in self.drawn(
            after(1, conditions=[builders.held("Resolved", False, "FlowNotFound", "apply it")])
        )

    def test_a_run_that_nobody_has_looked_at(self) -> None:
        assert "etl-1  waiting for the operator" in self.drawn(after(0))

    def test_nothing_before_the_first_look(self) -> None:
        assert self.drawn(None) == "\n"

    def test_text_that_looks_like_markup_is_text(self) -> None:
        run = after(3)
        run["status"]["history"][0] = entry(1, "Scheduled", "", "[red]x[/red] [/]")
        assert "[red]x[/red] [/]" in self.drawn(run)
