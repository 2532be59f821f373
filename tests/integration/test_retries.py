"""What a run kept is not done again: by its next attempt, and by a run that retries it. Real operator, real runner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api_client import ApiClient
from live_cell import RunCell, run_cell
from penstock.run_retries import body_of
from penstock_cluster.control_plane import ControlPlane

FLOW = """
import os, signal
from pathlib import Path
from penstock import flow, task

FOLDER = Path(os.environ["TRACE"])

def trace(word):
    with (FOLDER / "trace").open("a") as file:
        file.write(word + " ")

def once(name):
    path = FOLDER / name
    first = not path.exists()
    path.touch()
    return first

@task(persist_result=True)
def load():
    trace("load")
    return 20

@task(persist_result=True)
def double(n):
    trace("double")
    if once("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * n

@task(persist_result=True)
def part(n):
    trace("part")
    return n

@task
def check(n):
    trace("check")
    if not (FOLDER / "mended").exists():
        raise ValueError("not yet")
    return n

@flow
def sub(n):
    return check(part(n))

@flow
def etl(more: int = 1):
    return sub(double(load()) + more)
"""


@pytest.fixture
def cell(
    control_plane: ControlPlane, admin: ApiClient, namespace: str, policies: None, tmp_path: Path
) -> Iterator[RunCell]:
    """Runs whose pods share a folder for results."""
    folder = tmp_path / "pods"
    folder.mkdir()
    with run_cell(control_plane, admin, namespace, folder) as cell:
        cell.kubelet.environment["TRACE"] = str(tmp_path)
        results = {"url": f"file://{tmp_path}/results", "shared": True}
        cell.apply("WorkPool", "default", {"type": "Pod", "results": results})
        cell.deploy(FLOW, "f:etl")
        yield cell


def traced(cell: RunCell) -> Counter[str]:
    """How often each task ran."""
    return Counter((Path(cell.kubelet.environment["TRACE"]) / "trace").read_text().split())


def retry(cell: RunCell, of: str, name: str) -> dict[str, Any]:
    body = body_of(cell.get(of), name)
    body["metadata"]["namespace"] = cell.namespace
    return cell.admin.create(body)


def test_attempts_and_retries_take_up_where_the_run_was_left(cell: RunCell) -> None:
    cell.start(parameters={"more": 2}, infraRetries={"limit": 1, "backoffSeconds": 0})
    run = cell.settled()
    assert (run["status"]["state"]["type"], run["status"]["attempt"]) == ("Failed", 2), cell.story()
    assert traced(cell) == {"load": 1, "double": 2, "part": 1, "check": 1}, "the second attempt loads nothing again"

    cell.deploy(FLOW.replace("return 20", "return 30"), "f:etl")
    (Path(cell.kubelet.environment["TRACE"]) / "mended").touch()
    retry(cell, "run", "again")
    again = cell.settled("again")
    assert again["status"]["state"]["type"] == "Completed", cell.story()
    assert again["status"]["result"] == {"inline": 42}, "the code and the parameters are those of the old run"
    assert again["status"]["resolved"] == {**run["status"]["resolved"], "resultsOf": run["metadata"]["uid"]}
    assert again["status"]["history"][0]["message"] == "retry of run"
    assert traced(cell) == {"load": 1, "double": 2, "part": 1, "check": 2}
    assert again["status"]["tasks"]["cached"] == 3

    cell.deploy(FLOW, "f:etl")
    retry(cell, "again", "third")
    third = cell.settled("third")
    assert third["status"]["result"] == {"inline": 42}
    assert third["status"]["resolved"]["resultsOf"] == run["metadata"]["uid"]
    assert traced(cell)["load"] == 1


def test_a_run_that_is_no_retry_finds_nothing_of_others(cell: RunCell) -> None:
    for name in ("mended", "killed"):
        (Path(cell.kubelet.environment["TRACE"]) / name).touch()
    for name in ("one", "two"):
        cell.start(name)
        assert cell.settled(name)["status"]["state"]["type"] == "Completed", cell.story()
    assert traced(cell) == {"load": 2, "double": 2, "part": 2, "check": 2}


def test_a_run_that_goes_on_is_not_retried(cell: RunCell) -> None:
    cell.deploy("import time\nfrom penstock import flow\n@flow\ndef etl():\n    time.sleep(60)\n", "f:etl")
    cell.start()
    run = cell.wait(lambda: (b := cell.get()).get("status", {}).get("state", {}).get("type") == "Running" and b)
    spec = {"flowRef": {"name": "sample"}, "retryOf": {"name": "run", "uid": run["metadata"]["uid"]}}
    cell.apply("FlowRun", "again", spec)
    state = cell.settled("again")["status"]["state"]
    assert (state["type"], state["reason"]) == ("Failed", "NotRetryable")
    assert "run goes on (Running)" in state["message"]
    cell.admin.merge("FlowRun", cell.namespace, "run", {"spec": {"cancel": True}})
    cell.settled()
