"""Limits inside of runs on a real API server, with the real operator and the real runner: slots are claimed in a run,
granted there, and come back with the attempt that holds them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api_client import ApiClient
from live_cell import RunCell, run_cell
from penstock_cluster.control_plane import ControlPlane

Json = dict[str, Any]

FLOW = """
import os, time
from penstock import flow, task
from penstock.concurrency.sync import concurrency, rate_limit
from penstock.runtime import flow_run

def note(what):
    with open("PLACE", "a") as file:
        file.write(f"{time.time()} {flow_run.name} {what}\\n")

@flow
def hold(names: list = ["db"], seconds: float = 0.2, times: int = 1, occupy: int = 1, options: dict = {}):
    for _ in range(times):
        with concurrency(names, occupy=occupy, **options):
            note(f"+{occupy}")
            time.sleep(seconds)
            note(f"-{occupy}")

@task(tags=["gpu"])
def train(n, seconds):
    note("+1")
    time.sleep(seconds)
    note("-1")
    return n

@flow
def trains(n: int = 10, seconds: float = 0.01):
    return sum(train.map(range(n), seconds=seconds).result())

@flow
def calls(n: int):
    for _ in range(n):
        rate_limit("api")
        note("call")
"""


@pytest.fixture
def cell(
    control_plane: ControlPlane, admin: ApiClient, namespace: str, policies: None, tmp_path: Path
) -> Iterator[RunCell]:
    with run_cell(control_plane, admin, namespace, tmp_path) as cell:
        for entrypoint in ("hold", "trains", "calls"):
            cell.deploy(FLOW.replace("PLACE", str(tmp_path / "notes")), f"f:{entrypoint}", entrypoint)
        yield cell


def limit(cell: RunCell, name: str, slots: int, **spec: Any) -> None:
    cell.apply("ConcurrencyLimit", name, {"limit": slots, **spec})


def shown(cell: RunCell, name: str) -> Json:
    """Status of a limit."""
    status: Json = cell.admin.get("ConcurrencyLimit", cell.namespace, name).get("status") or {}
    return status


def notes(cell: RunCell) -> list[tuple[float, str, str]]:
    """What the runs noted, in order of time."""
    path = cell.kubelet.folder / "notes"
    lines = path.read_text().splitlines() if path.exists() else []
    return sorted((float(at), run, what) for at, run, what in (line.split() for line in lines))


def most(cell: RunCell) -> int:
    """How many slots were used at the same time, at most."""
    used = highest = 0
    for _, _, what in notes(cell):
        used += int(what)
        highest = max(highest, used)
    return highest


def completed(cell: RunCell, *runs: str) -> None:
    for run in runs:
        assert cell.settled(run)["status"]["state"]["type"] == "Completed", cell.story()


def test_runs_share_a_limit_and_never_exceed_it(cell: RunCell) -> None:
    limit(cell, "db", 2)
    runs = [f"run-{n}" for n in range(4)]
    for run in runs:
        cell.start(run, "hold", parameters={"seconds": 0.05, "times": 10})
    completed(cell, *runs)
    assert most(cell) == 2
    assert len(notes(cell)) == 80
    for run in runs:
        assert not {"claims", "grants"} & cell.get(run)["status"].keys(), "what is over is not kept"
    found = cell.wait(lambda: (now := shown(cell, "db"))["active"] == 0 and now)
    assert (found["queued"], found["claims"]) == (0, [])


def test_the_slots_of_a_killed_holder_come_back_when_its_pod_is_gone(cell: RunCell) -> None:
    limit(cell, "db", 1)
    cell.start("holder", "hold", parameters={"seconds": 600})
    cell.wait(lambda: notes(cell), "the first holds")
    cell.start("waiter", "hold")
    found = cell.wait(lambda: (now := shown(cell, "db")).get("queued") and now, "the other waits")
    assert [(c["run"], c["active"], c["queued"]) for c in found["claims"]] == [("holder", 1, 0), ("waiter", 0, 1)]
    assert len(notes(cell)) == 1
    cell.kubelet.kill("holder-1")
    completed(cell, "waiter")
    assert cell.settled("holder")["status"]["state"]["type"] == "Crashed"
    assert [run for _, run, _ in notes(cell)] == ["holder", "waiter", "waiter"]
