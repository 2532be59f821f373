"""`penstock deploy`: refusals that leave nothing half done. What it applies is tried in `integration/test_cli`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from command_line import CommandLine
from https_server import TEAM, Cluster, Reply, Request, refusal
from penstock import readiness

Write = Callable[[str, str], Path]
ETL = "from penstock import flow\n\n@flow\ndef etl(n: int = 1): ...\n"
OBJECTS = (f"{TEAM}/flows/etl", f"{TEAM}/flowdeployments/etl")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "READY_SECONDS", 0.0)
    monkeypatch.setattr(readiness, "POLL_SECONDS", 0.0)


def accepting(cluster: Cluster, *paths: str, before: dict[str, Any] | None = None, **status: Any) -> None:
    """Objects at these paths are applied; a GET finds `before` first, and what was applied after."""
    for path in paths:
        applied: list[dict[str, Any]] = []

        def reply(request: Request, applied: list[dict[str, Any]] = applied) -> Reply:
            if request.method == "PATCH":
                body = {**request.body, "metadata": {**request.body["metadata"], "generation": 1}, "status": status}
                if "dryRun" not in request.query:
                    applied.append(body)
                return Reply(body)
            found = applied[-1] if applied else before
            return Reply(found) if found else refusal(404, "NotFound", "not found", name="etl")

        cluster.replies[path] = reply


def writes(cluster: Cluster) -> list[tuple[str, bool]]:
    """Kind and whether it was a dry run, of each write."""
    return [(r.body["kind"], "dryRun" in r.query) for r in cluster.requests if r.method == "PATCH"]


def ready(status: str, reason: str, message: str, generation: int = 1) -> dict[str, Any]:
    return {
        "type": "Ready",
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
    }


def test_everything_is_checked_before_anything_is_written(
    penstock: CommandLine, write: Write, cluster: Cluster
) -> None:
    write("etl.py", ETL)
    accepting(cluster, *OBJECTS, conditions=[ready("True", "Ready", "")])
    said = penstock("deploy", "etl.py")
    assert said.out == (
        "KIND             NAME   RESULT\nFlow             etl    created\nFlowDeployment   etl    created\n"
    )
    assert said.err == "\netl is ready. Start it with: penstock run etl --watch\n"
    assert writes(cluster) == [("Flow", True), ("FlowDeployment", True), ("Flow", False), ("FlowDeployment", False)]


def test_what_the_server_refuses_leaves_nothing_half_done(
    penstock: CommandLine, write: Write, cluster: Cluster
) -> None:
    write("etl.py", ETL)
    accepting(cluster, OBJECTS[0])
    cluster.replies[OBJECTS[1]] = lambda request: (
        refusal(422, "Invalid", "spec.workPool: Invalid value") if request.method == "PATCH" else Reply({"spec": {}})
    )
    said = penstock.fails("deploy", "etl.py")
    assert said == "error: FlowDeployment etl: spec.workPool: Invalid value. Nothing was changed.\n"
    assert writes(cluster) == [("Flow", True), ("FlowDeployment", True)]


def test_a_dry_run_writes_nothing_and_waits_for_nobody(penstock: CommandLine, write: Write, cluster: Cluster) -> None:
    write("etl.py", ETL)
    accepting(cluster, *OBJECTS)
    said = penstock("deploy", "etl.py", "--dry-run")
    assert (said.code, said.err) == (0, "")
    assert said.out.count("created (dry run)") == 2
    assert writes(cluster) == [("Flow", True), ("FlowDeployment", True)]


# What the operator says of the deployment, the exit code, and what the command says of that.
WORDS: dict[str, tuple[dict[str, Any], int, str]] = {
    "it is ready": (ready("True", "Ready", ""), 0, "etl is ready. Start it with: penstock run etl --watch"),
    "what it needs may come": (
        ready("False", "WorkPoolNotFound", "WorkPool gpu is not in this namespace"),
        0,
        "etl is not ready: WorkPoolNotFound: WorkPool gpu is not in this namespace",
    ),
    "it must be mended": (
        ready("False", "InvalidOverrides", "spec.pod.image: the pool does not allow it"),
        1,
        "etl is not ready: InvalidOverrides: spec.pod.image: the pool does not allow it",
    ),
    "it was ready, before this change": (
        ready("True", "Ready", "", generation=0),
        0,
        "The operator has not looked at etl yet: is it running?",
    ),
}


@pytest.mark.parametrize(("condition", "code", "said"), WORDS.values(), ids=WORDS)
def test_the_operators_word_is_told_aside(
    condition: dict[str, Any], code: int, said: str, penstock: CommandLine, write: Write, cluster: Cluster
) -> None:
    """On stderr: programs that read the output do not meet it, and all of that is there whatever the word is."""
    write("etl.py", ETL)
    accepting(cluster, *OBJECTS, conditions=[condition])
    seen = penstock("deploy", "etl.py", "-o", "name")
    assert seen.code == code
    assert seen.out == "flow.penstock.dev/etl\nflowdeployment.penstock.dev/etl\n"
    assert seen.err == f"\n{said}\n"


def test_an_operator_that_says_nothing_is_asked_about(penstock: CommandLine, write: Write, cluster: Cluster) -> None:
    write("etl.py", ETL)
    accepting(cluster, *OBJECTS)
    assert penstock("deploy", "etl.py").err == "\nThe operator has not looked at etl yet: is it running?\n"


def test_a_cluster_without_penstock_is_told_so(penstock: CommandLine, write: Write, cluster: Cluster) -> None:
    write("etl.py", ETL)
    for path in OBJECTS:
        cluster.replies[path] = Reply(b"404 page not found\n", 404, "text/plain")
    said = penstock.fails("deploy", "etl.py")
    assert said == "error: Penstock's resources are not in this cluster: install its chart first\n"


def test_a_broken_file_asks_no_server(penstock: CommandLine, write: Write, cluster: Cluster) -> None:
    write("etl.py", "def f(:\n")
    assert "etl.py, line 1" in penstock.fails("deploy", "etl.py")
    assert cluster.requests == []
