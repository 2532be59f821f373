"""Limits inside of runs on a real API server, with the real operator and the real runner: slots are claimed in a run,
granted there, and come back with the attempt that holds them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api_client import ApiClient
from cells import rendered
from live_cell import Kubelet, RunCell, run_cell
from operator_process import OperatorProcess
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


def test_several_limits_are_taken_together_by_runs_that_name_them_in_any_order(cell: RunCell) -> None:
    limit(cell, "db", 1)
    limit(cell, "api", 1)
    for run, names in (("one", ["db", "api"]), ("two", ["api", "db"])):
        cell.start(run, "hold", parameters={"names": names, "seconds": 0.02, "times": 10})
    completed(cell, "one", "two")
    assert (most(cell), len(notes(cell))) == (1, 40)


def test_many_slots_at_once_are_not_overtaken_for_ever(cell: RunCell) -> None:
    limit(cell, "db", 2)
    for run in ("one", "two"):
        cell.start(run, "hold", parameters={"seconds": 0.05, "times": 40})
    cell.wait(lambda: len(notes(cell)) > 4, "both work")
    cell.start("both", "hold", parameters={"occupy": 2, "seconds": 0.2})
    completed(cell, "one", "two", "both")
    assert most(cell) == 2
    ends = [run for _, run, what in notes(cell) if what.startswith("-")]
    assert ends.index("both") < len(ends) - 5, "it had its turn while the others still worked"


def test_who_waits_too_long_fails_and_leaves_the_queue(cell: RunCell) -> None:
    limit(cell, "db", 1)
    cell.start("holder", "hold", parameters={"seconds": 600})
    cell.wait(lambda: notes(cell), "the first holds")
    cell.start("late", "hold", parameters={"options": {"timeout_seconds": 0.5}})
    cell.start("never", "hold", parameters={"options": {"max_retries": 0}})
    cell.start("strict", "hold", parameters={"names": ["nobody"], "options": {"strict": True}})
    cell.start("much", "hold", parameters={"occupy": 2})
    ends = {run: cell.settled(run)["status"]["state"] for run in ("late", "never", "strict", "much")}
    assert {run: (state["type"], state["reason"]) for run, state in ends.items()} == {
        "late": ("Failed", "ConcurrencySlotsTimedOut"),
        "never": ("Failed", "ConcurrencySlotsTimedOut"),
        "strict": ("Failed", "ConcurrencySlotsRefused"),
        "much": ("Failed", "ConcurrencySlotsRefused"),
    }
    assert "penstock limits create nobody 3" in ends["strict"]["message"]
    cell.wait(lambda: shown(cell, "db").get("queued") == 0, "nobody waits")
    cell.admin.merge("FlowRun", cell.namespace, "holder", {"spec": {"cancel": True}})
    assert cell.settled("holder")["status"]["state"]["type"] == "Cancelled"


def test_a_limit_that_is_changed_while_it_is_held(cell: RunCell) -> None:
    limit(cell, "db", 1)
    for run in ("one", "two"):
        cell.start(run, "hold", parameters={"seconds": 4})
    cell.wait(lambda: notes(cell) and shown(cell, "db").get("queued"), "one holds, the other waits")
    limit(cell, "db", 2)
    cell.wait(lambda: len(notes(cell)) == 2, "the other holds, too")
    limit(cell, "db", 0)
    cell.start("three", "hold")
    assert cell.settled("three")["status"]["state"]["reason"] == "ConcurrencySlotsRefused"
    completed(cell, "one", "two")


def test_tasks_of_all_runs_share_the_limit_of_their_tag(cell: RunCell) -> None:
    limit(cell, "cards", 2, taskTag="gpu")
    for run in ("one", "two"):
        cell.start(run, "trains", parameters={"n": 30})
    completed(cell, "one", "two")
    assert (most(cell), len(notes(cell))) == (2, 120)


def test_runs_share_a_rate(cell: RunCell) -> None:
    limit(cell, "api", 5, slotDecayPerSecond=10)
    for run in ("one", "two"):
        cell.start(run, "calls", parameters={"n": 15})
    completed(cell, "one", "two")
    times = [at for at, _, _ in notes(cell)]
    assert len(times) == 30
    late = 1.0  # a token may be used a second after it was granted, and the next were granted meanwhile
    for first, began in enumerate(times):
        for last, ended in enumerate(times[first:], 1):
            assert last <= 5 + 10 * (ended - began + late) + 1


def test_while_the_operator_is_away_nothing_is_granted_and_what_is_held_is_held(
    control_plane: ControlPlane, admin: ApiClient, namespace: str, policies: None, tmp_path: Path
) -> None:
    for body in rendered("runs.yaml", f"runs.namespaces={{{namespace}}}"):
        admin.apply(body)
    kubelet = Kubelet(control_plane, admin, namespace, tmp_path)
    cell = RunCell(admin, namespace, kubelet)
    cell.deploy(FLOW.replace("PLACE", str(tmp_path / "notes")), "f:hold", "hold")
    limit(cell, "db", 1)
    thread = threading.Thread(target=kubelet.run)
    thread.start()
    try:
        with OperatorProcess(control_plane, tmp_path, "first", namespace) as operator:
            cell.start("holder", "hold", parameters={"seconds": 3})
            cell.wait(lambda: notes(cell), "the first holds")
            cell.start("waiter", "hold")
            cell.wait(lambda: shown(cell, "db").get("queued"), "the other waits")
            operator.kill()
            cell.wait(lambda: len(notes(cell)) == 2, "the first is done")
            time.sleep(1)
            assert len(notes(cell)) == 2
        with OperatorProcess(control_plane, tmp_path, "second", namespace):
            completed(cell, "holder", "waiter")
        assert [run for _, run, _ in notes(cell)] == ["holder", "holder", "waiter", "waiter"]
    finally:
        kubelet.stop()
        thread.join()
