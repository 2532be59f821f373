"""A pool of type Process on a real API server: the real operator gives runs to real workers outside of the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from api_client import ApiClient
from live_cell import RunCell, run_cell
from penstock.api import labels, names
from penstock.api.workers import deleted_runs
from penstock_cluster.control_plane import ControlPlane
from worker_stage import WorkerProcess

POOL = "warm"
QUICK = dedent(
    """
    import os
    from penstock import flow, task

    @task
    def double(n): return 2 * n

    @flow
    def main(n: int):
        print("user code", os.environ.get("REGION"))
        return sum(double.map(range(n)).result())
    """
)
UNTIL_TOLD = dedent(
    """
    import time
    from penstock import flow

    @flow
    def main():
        print("user code")
        time.sleep(300)
    """
)


@pytest.fixture
def cell(
    control_plane: ControlPlane, admin: ApiClient, namespace: str, policies: None, tmp_path: Path
) -> Iterator[RunCell]:
    with run_cell(control_plane, admin, namespace, tmp_path) as cell:
        cell.apply("WorkPool", POOL, {"type": "Process"})
        yield cell


def worker(cell: RunCell, name: str, *words: str) -> WorkerProcess:
    """`penstock worker start`."""
    folder = cell.kubelet.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    return WorkerProcess(cell.admin.kubeconfig, cell.namespace, POOL, folder, "--name", name, *words)


STUBBORN = dedent(
    """
    import os
    import signal
    import time
    from pathlib import Path
    from penstock import flow

    @flow
    def main(begins: str, ends: str = ""):
        def end(*_):
            time.sleep(3)
            Path(ends).write_text(str(time.time()))
            os._exit(1)

        signal.signal(signal.SIGTERM, end)
        Path(begins).write_text(str(time.time()))
        if ends:
            time.sleep(120)
    """
)


def state(cell: RunCell, name: str) -> tuple[str, str]:
    found = (cell.get(name).get("status") or {}).get("state") or {}
    return found.get("type", ""), found.get("reason", "")


def test_runs_are_given_to_a_worker_as_it_has_room(cell: RunCell) -> None:
    cell.deploy(QUICK, "flow:main")
    env = {"env": [{"name": "REGION", "value": "north"}]}
    for number in range(4):
        cell.start(f"run-{number}", workPool=POOL, parameters={"n": number}, pod=env)
    cell.wait(lambda: state(cell, "run-0") == ("Scheduled", "WorkersNotReady"), "the wait for a worker")
    with worker(cell, "laptop", "--slots", "2") as laptop:
        for number in range(4):
            status = cell.settled(f"run-{number}")["status"]
            assert status["state"]["type"] == "Completed", cell.story()
            assert status["result"] == {"inline": number * (number - 1)}
            assert status["worker"]["name"] == "laptop"
            assert status["pod"]["uid"] == status["worker"]["uid"]
            assert [entry["type"] for entry in status["history"]][-3:] == ["Pending", "Running", "Completed"]
            assert "user code north" in laptop.text(f"run-{number}")
    assert cell.admin.list("Pod", cell.namespace)["items"] == []


def test_a_run_in_a_worker_is_cancelled(cell: RunCell) -> None:
    cell.deploy(UNTIL_TOLD, "flow:main")
    with worker(cell, "laptop") as laptop:
        cell.start(workPool=POOL)
        cell.wait(lambda: "user code" in laptop.text("run"), "user code")
        cell.admin.merge("FlowRun", cell.namespace, "run", {"spec": {"cancel": True}})
        assert cell.settled()["status"]["state"]["type"] == "Cancelled"
        cell.deploy(QUICK, "flow:main")
        cell.start("next", workPool=POOL, parameters={"n": 2})
        assert cell.settled("next")["status"]["state"]["type"] == "Completed", "its place is free"


def test_a_deleted_run_holds_its_slot_until_its_process_has_ended(cell: RunCell, tmp_path: Path) -> None:
    """And no longer: its worker says so on its Lease."""
    cell.apply("WorkPool", POOL, {"type": "Process", "concurrencyLimit": 1})
    cell.deploy(STUBBORN, "flow:main")
    begun, ended, followed = (tmp_path / name for name in ("begun", "ended", "followed"))
    with worker(cell, "laptop", "--slots", "2"):
        cell.start(workPool=POOL, parameters={"begins": str(begun), "ends": str(ended)})
        cell.wait(begun.exists, "user code")
        cell.start("next", workPool=POOL, parameters={"begins": str(followed)})
        cell.wait(lambda: state(cell, "next") == ("Scheduled", "WorkPoolFull"), "the wait for its slot")
        cell.admin.delete("FlowRun", cell.namespace, "run")
        assert cell.settled("next")["status"]["state"]["type"] == "Completed"
        assert float(ended.read_text()) < float(followed.read_text())
        lease = cell.admin.get("Lease", cell.namespace, names.worker_lease("laptop"))
        (told,) = deleted_runs(lease["metadata"]["annotations"][labels.DELETED_RUNS])
        assert (told.name, told.ended) == ("run", True)


def test_a_worker_that_is_gone_takes_its_run_with_it_or_it_goes_on_elsewhere(cell: RunCell) -> None:
    cell.deploy(UNTIL_TOLD, "flow:main")
    with worker(cell, "laptop", "--slots", "2") as laptop:
        cell.start("lost", workPool=POOL)
        cell.start("moved", workPool=POOL, infraRetries={"limit": 1})
        for name in ("lost", "moved"):
            cell.wait(lambda name=name: "user code" in laptop.text(name), f"user code of {name}")  # type: ignore[misc]
    with worker(cell, "desktop") as desktop:
        cell.admin.delete("Lease", cell.namespace, names.worker_lease("laptop"))  # as its owner does that ends in peace
        assert cell.settled("lost")["status"]["state"]["reason"] == "WorkerLost"
        cell.wait(lambda: "user code" in desktop.text("moved"), "the second attempt")
        status = cell.get("moved")["status"]
        assert (status["attempt"], status["worker"]["name"]) == (2, "desktop")


def test_a_worker_that_drains_gets_no_more_runs(cell: RunCell) -> None:
    cell.deploy(QUICK, "flow:main")
    with worker(cell, "laptop") as laptop:
        cell.start("first", workPool=POOL, parameters={"n": 1})
        cell.settled("first")
        drain = {"metadata": {"annotations": {labels.DRAIN: "true"}}}
        cell.admin.merge("Lease", cell.namespace, names.worker_lease("laptop"), drain)
        cell.wait(lambda: laptop.process.poll() == 0, "its end, for it has no run")
        cell.start("second", workPool=POOL, parameters={"n": 1})
        cell.wait(lambda: state(cell, "second") == ("Scheduled", "WorkersNotReady"), "the wait for a worker")
