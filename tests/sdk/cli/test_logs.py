"""`penstock logs`: which pod's lines are shown, how they look, and what is said when there are none."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

import builders
from command_line import CommandLine
from https_server import TEAM, Cluster, Reply, Request, refusal
from penstock.archive.logs import LogAddress, LogTail
from penstock.cli import logs
from penstock.results.storage import open_storage
from penstock.results.urls import parse

Json = dict[str, Any]

PODS = "/api/v1/namespaces/team/pods"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "POLL_SECONDS", 0.0)


def line(message: str, level: str = "INFO", **more: Any) -> str:
    """A record as a run's pod writes it."""
    return json.dumps({"ts": "2026-01-01T06:00:01.250000Z", "level": level, "message": message, **more})


def attempts(cluster: Cluster, *pods: dict[str, Any]) -> None:
    """Pods of the run, each with a line that names its attempt; selectors are honoured."""

    def listed(request: Request) -> Reply:
        wanted = dict(part.split("=") for part in request.query["labelSelector"].split(","))
        found = [pod for pod in pods if wanted.items() <= pod["metadata"]["labels"].items()]
        return Reply({"metadata": {}, "items": found})

    cluster.replies[PODS] = listed
    for pod in pods:
        name = pod["metadata"]["name"]
        said = f"{line(f'said by {name}')}\n".encode()
        cluster.replies[f"{PODS}/{name}/log"] = Reply(said, content_type="text/plain")


def pod(attempt: int, phase: str = "Succeeded") -> dict[str, Any]:
    time = f"2026-01-01T06:0{attempt}:00Z"
    return builders.run_pod(phase, attempt=attempt, uid=f"uid-{attempt}", created=time)


class Script:
    """Replies one after the other; the last one stays."""

    def __init__(self, *replies: Any) -> None:
        self._left: list[Any] = list(replies)

    def __call__(self, request: Request) -> Reply:
        reply = self._left.pop(0) if len(self._left) > 1 else self._left[0]
        return reply(request) if callable(reply) else Reply(reply)


class TestRender:
    """A line for people."""

    # What the pod wrote, and what is shown.
    LINES: dict[str, tuple[str, str]] = {
        "a record": (line("3 rows"), "06:00:01.250 INFO    3 rows"),
        "a record of a task": (line("3 rows", task="load-0"), "06:00:01.250 INFO    load-0 3 rows"),
        "a long level": (line("out", "CRITICAL"), "06:00:01.250 CRITICAL out"),
        "an exception": (
            line("Failed", "ERROR", exception="Traceback\nValueError: x"),
            "06:00:01.250 ERROR   Failed\nTraceback\nValueError: x",
        ),
        "plain text": ("Segmentation fault", "Segmentation fault"),
        "nothing": ("", ""),
        "JSON of somebody else": ('{"msg": "hello"}', '{"msg": "hello"}'),
        "JSON that is no object": ("[1, 2]", "[1, 2]"),
        "a number": ("3", "3"),
        "a record with a broken time": (
            json.dumps({"ts": 3, "level": "INFO", "message": "m"}),
            json.dumps({"ts": 3, "level": "INFO", "message": "m"}),
        ),
    }

    @pytest.mark.parametrize(("written", "shown"), LINES.values(), ids=LINES)
    def test_records_are_made_readable_and_all_else_is_left(self, written: str, shown: str) -> None:
        assert click.unstyle(logs.render(written)) == shown

    @pytest.mark.parametrize(("level", "colour"), [("WARNING", "yellow"), ("ERROR", "red"), ("DEBUG", "bright_black")])
    def test_what_matters_is_coloured(self, level: str, colour: str) -> None:
        assert click.style(f"{level:<7}", fg=colour) in logs.render(line("m", level))


class TestWhichPod:
    """The newest attempt's, unless another is asked for."""

    @pytest.fixture
    def twice(self, cluster: Cluster) -> Cluster:
        cluster.has("flowruns", builders.flow_run("Completed", attempt=2))
        attempts(cluster, pod(1, "Failed"), pod(2))
        return cluster

    def test_the_last_attempt(self, penstock: CommandLine, twice: Cluster) -> None:
        assert penstock.ok("logs", "etl-1") == "06:00:01.250 INFO    said by etl-1-2\n"
        assert twice.last.query == {"container": "flow"}

    def test_another_attempt(self, penstock: CommandLine, twice: Cluster) -> None:
        assert "said by etl-1-1" in penstock.ok("logs", "etl-1", "--attempt", "1")

    def test_an_attempt_that_was_not(self, penstock: CommandLine, twice: Cluster) -> None:
        assert "its pod is gone" in penstock.fails("logs", "etl-1", "--attempt", "3")

    def test_programs_get_the_lines_as_they_are(self, penstock: CommandLine, twice: Cluster) -> None:
        assert penstock.ok("logs", "flowrun/etl-1", "-o", "json") == line("said by etl-1-2") + "\n"


# The run's state, its pod if there is one, and what is said.
WITHOUT: dict[str, tuple[dict[str, Any], list[dict[str, Any]], str]] = {
    "the run ended and its pod was deleted": (
        builders.flow_run("Failed"),
        [],
        "etl-1 is Failed and its pod is gone: pods are kept for the pool's podTTLSecondsAfterFinished.",
    ),
    "the run was cancelled": (
        builders.flow_run("Cancelled"),
        [],
        "etl-1 is Cancelled and its pod is gone: cancelling a run deletes its pod.",
    ),
    "the run was not accepted": (builders.flow_run(), [], "etl-1 has no pod yet (not accepted)."),
    "the run waits": (
        builders.flow_run("Scheduled", conditions=[builders.held("Resolved", False, "FlowNotFound", "apply it")]),
        [],
        "etl-1 has no pod yet (Scheduled). FlowNotFound: apply it",
    ),
    "the pod waits": (
        builders.flow_run("Pending"),
        [pod(1, "Pending")],
        "the pod of etl-1 has not started yet. Try -f to wait for it.",
    ),
    "the pod waits for a reason": (
        builders.flow_run("Pending", conditions=[builders.held("PodReady", False, "ImagePullFailed", "no such image")]),
        [pod(1, "Pending")],
        "the pod of etl-1 has not started yet. ImagePullFailed: no such image",
    ),
}


@pytest.mark.parametrize(("run", "pods", "message"), WITHOUT.values(), ids=WITHOUT)
def test_why_there_are_no_logs_is_said(
    run: dict[str, Any], pods: list[dict[str, Any]], message: str, penstock: CommandLine, cluster: Cluster
) -> None:
    cluster.has("flowruns", run)
    attempts(cluster, *pods)
    assert message in penstock.fails("logs", "etl-1")


class TestArchived:
    """Of a pod that is gone, from the archive."""

    UID = "0a1b2c3d-0000-4000-8000-000000000001"

    @pytest.fixture
    def archive(self, tmp_path: Path) -> str:
        """Two attempts of the run, the first of which is cut."""
        url = f"file://{tmp_path}/archive"
        storage = open_storage(parse(url))
        for attempt in (1, 2):
            tail = LogTail(LogAddress("2026-01-01", "team", "etl-1", self.UID, attempt))
            tail.feed(f"2026-01-01T06:00:01Z {line(f'said by attempt {attempt}')}\n".encode())
            storage.put(
                f"logs/date=2026-01-01/team/etl-1-{self.UID}-{attempt}.jsonl.gz",
                tail.packed("the log broke off" if attempt == 1 else ""),
            )
        return url

    @pytest.fixture
    def ended(self, cluster: Cluster) -> dict[str, Any]:
        """The run, without pods."""
        run = builders.flow_run("Completed", attempt=2, endTime="2026-01-01T06:10:00Z")
        run["metadata"] |= {"uid": self.UID, "creationTimestamp": "2026-01-01T05:59:00Z"}
        cluster.has("flowruns", run)
        attempts(cluster)
        return run

    def test_the_last_attempt(self, penstock: CommandLine, ended: Json, archive: str) -> None:
        assert penstock.ok("logs", "etl-1", "--archive", archive) == "06:00:01.250 INFO    said by attempt 2\n"

    def test_the_archive_of_the_settings(
        self, penstock: CommandLine, ended: Json, archive: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PENSTOCK_ARCHIVE", archive)
        assert penstock.ok("logs", "etl-1", "-o", "json") == line("said by attempt 2") + "\n"

    def test_another_attempt_and_what_is_missing_of_it(self, penstock: CommandLine, ended: Json, archive: str) -> None:
        shown = penstock("logs", "etl-1", "--archive", archive, "--attempt", "1")
        assert (shown.code, shown.out, shown.err) == (
            0,
            "06:00:01.250 INFO    said by attempt 1\n",
            "the log broke off\n",
        )

    def test_a_run_that_is_deleted(self, penstock: CommandLine, cluster: Cluster, archive: str) -> None:
        cluster.has("flowruns")
        assert "said by attempt 2" in penstock.ok("logs", "etl-1", "--archive", archive)
        assert "etl-2" in penstock.fails("logs", "etl-2", "--archive", archive)

    def test_a_pod_that_is_there_is_asked_first(
        self, penstock: CommandLine, ended: Json, archive: str, cluster: Cluster
    ) -> None:
        attempts(cluster, pod(2))
        assert penstock.ok("logs", "etl-1", "--archive", archive) == "06:00:01.250 INFO    said by etl-1-2\n"

    def test_a_namesake_is_not_the_run(self, penstock: CommandLine, ended: Json, archive: str) -> None:
        ended["metadata"]["uid"] = "0a1b2c3d-0000-4000-8000-000000000002"
        said = penstock.fails("logs", "etl-1", "--archive", archive)
        assert said.rstrip().endswith(f"Nor is its log in the archive {archive}")

    def test_without_an_archive_it_is_said_how_to_name_one(self, penstock: CommandLine, ended: Json) -> None:
        assert "If its pool archives logs, say where: --archive URL, or PENSTOCK_ARCHIVE" in penstock.fails(
            "logs", "etl-1"
        )

    def test_an_archive_that_cannot_be_read_is_said(self, penstock: CommandLine, ended: Json) -> None:
        assert "http" in penstock.fails("logs", "etl-1", "--archive", "http://archive")


def test_the_servers_refusal_is_said(penstock: CommandLine, cluster: Cluster) -> None:
    cluster.has("flowruns", builders.flow_run("Running"))
    attempts(cluster, pod(1, "Running"))
    cluster.replies[f"{PODS}/etl-1-1/log"] = refusal(403, "Forbidden", 'cannot get resource "pods/log"')
    assert penstock.fails("logs", "etl-1") == 'error: no logs of etl-1: cannot get resource "pods/log"\n'


def test_a_misspelt_run_is_told_the_right_one(penstock: CommandLine, cluster: Cluster) -> None:
    cluster.has("flowruns", builders.flow_run("Running"))
    assert penstock.fails("logs", "etl-2").endswith("did you mean etl-1?\n")


class TestFollow:
    """Until the run ends, whatever pods it takes."""

    def following(self, cluster: Cluster, runs: Iterator[Any] | Any, *lists: list[dict[str, Any]]) -> None:
        """The run and the list of its pods, as they are at each look."""
        every = {each["metadata"]["name"]: each for pods in lists for each in pods}
        attempts(cluster, *every.values())
        pages: list[Callable[[Request], Reply]] = [
            lambda _, found=found: Reply({"metadata": {}, "items": found})  # type: ignore[misc]
            for found in lists
        ]
        cluster.replies[f"{TEAM}/flowruns/etl-1"] = Script(*runs)
        cluster.replies[PODS] = Script(*pages)

    def test_a_pod_that_has_not_started_is_waited_for(self, penstock: CommandLine, cluster: Cluster) -> None:
        runs = [builders.flow_run("Scheduled"), builders.flow_run("Pending"), builders.flow_run("Completed")]
        self.following(cluster, runs, [], [pod(1, "Pending")], [pod(1)])
        assert penstock.ok("logs", "-f", "etl-1") == "06:00:01.250 INFO    said by etl-1-1\n"

    def test_the_next_attempt_is_followed_too(self, penstock: CommandLine, cluster: Cluster) -> None:
        """A retry is the same run; nothing is shown twice."""
        runs = [builders.flow_run(state) for state in ("Running", "Scheduled", "Pending", "Running", "Completed")]
        first, both = [pod(1, "Failed")], [pod(1, "Failed"), pod(2)]
        self.following(cluster, runs, first, first, [*first, pod(2, "Pending")], both, both)
        assert penstock.ok("logs", "-f", "etl-1").splitlines() == [
            "06:00:01.250 INFO    said by etl-1-1",
            "06:00:01.250 INFO    said by etl-1-2",
        ]
        followed = [request.query for request in cluster.requests if request.path.endswith("/log")]
        assert followed == [{"container": "flow", "follow": "true"}] * 2

    def test_one_attempt_is_followed_to_its_own_end(self, penstock: CommandLine, cluster: Cluster) -> None:
        self.following(cluster, [builders.flow_run("Running")], [pod(1, "Running")])
        assert "said by etl-1-1" in penstock.ok("logs", "-f", "etl-1", "--attempt", "1")

    def test_a_run_that_ends_without_a_pod_says_why(self, penstock: CommandLine, cluster: Cluster) -> None:
        cancelled = builders.flow_run("Cancelled")
        cancelled["status"]["state"]["message"] = "the run had not started"
        self.following(cluster, [builders.flow_run("Scheduled"), cancelled], [])
        assert "etl-1 is Cancelled" in penstock.fails("logs", "-f", "etl-1")
