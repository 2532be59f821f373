"""A flow that calls flows, on a real API server with the real operator and the real runner: children are FlowRuns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from api_client import ApiClient
from live_cell import RunCell, run_cell
from penstock_cluster.control_plane import ControlPlane


@pytest.fixture
def cell(
    control_plane: ControlPlane, admin: ApiClient, namespace: str, policies: None, tmp_path: Path
) -> Iterator[RunCell]:
    with run_cell(control_plane, admin, namespace, tmp_path) as cell:
        yield cell


FAMILY = """
from penstock import flow, task

@task
def double(n): return 2 * n

@flow
def child(n: int):
    return sum(double.map(range(n)).result())

@flow
def parent():
    return [child(2), child(3), child(2)]
"""


def test_a_subflow_is_a_run_of_its_own(cell: RunCell) -> None:
    cell.deploy(FAMILY, "f:parent")
    cell.start()
    run = cell.settled()
    assert run["status"]["result"] == {"inline": [2, 6, 2]}, cell.story()
    children = cell.children()
    assert len(children) == 3, "equal calls are told apart by their number"
    for child in children:
        name = child["metadata"]["name"]
        child = cell.settled(name)
        status, spec = child["status"], child["spec"]
        assert spec["infrastructure"] == "Parent"
        assert spec["flowRef"] == {"name": "child"}
        assert spec["parent"] == {"name": "run", "uid": run["metadata"]["uid"], "awaited": True}
        assert [owner["uid"] for owner in child["metadata"]["ownerReferences"]] == [run["metadata"]["uid"]]
        n = spec["parameters"]["n"]
        assert status["result"] == {"inline": sum(2 * i for i in range(n))}
        assert status["state"]["type"] == "Completed"
        assert [entry["type"] for entry in status["history"]] == ["Running", "Completed"]
        assert {entry["writer"] for entry in status["history"]} == {run["status"]["pod"]["uid"]}
        assert status["pod"] == run["status"]["pod"]
        assert status["tasks"]["summary"] == f"{n}/{n}"
        assert status["attempt"] == 1
        assert "resolved" not in status
    assert cell.admin.list("Pod", cell.namespace)["items"].__len__() == 1


RESTARTED = """
import os, pathlib, time
from penstock import flow

@flow
def step(name: str):
    with pathlib.Path(os.environ["TRACE"]).open("a") as trace:
        trace.write(name + " ")
    return {"step": name}

@flow
def pair():
    return [step("c")["step"], step("d")["step"]]

@flow
def slow(name: str):
    step(name)
    time.sleep(120)

@flow
def parent():
    first, second, both = step("a"), step("b"), pair()
    if os.environ["PENSTOCK_ATTEMPT"] == "1":
        slow("e")
    return [first, second, both, step("f")]
"""


def traced(cell: RunCell) -> list[str]:
    """Which steps ran, in order."""
    trace = Path(cell.kubelet.environment["TRACE"])
    return trace.read_text().split() if trace.exists() else []


def recorded(cell: RunCell) -> str | None:
    """Name of the unfinished child, once all that the first attempt did is written."""
    states = {c["metadata"]["name"]: (c.get("status") or {}).get("state", {}).get("type") for c in cell.children()}
    running = [name for name, state in states.items() if state == "Running"]
    return running[0] if sorted(states.values(), key=str) == ["Completed"] * 6 + ["Running"] else None


@pytest.fixture
def tracing(cell: RunCell, tmp_path: Path) -> RunCell:
    cell.kubelet.environment["TRACE"] = str(tmp_path / "trace")
    return cell


def test_a_restarted_parent_finds_its_finished_children_again(tracing: RunCell) -> None:
    """Those that Completed are answered from their record, unfinished ones were Crashed before the next attempt."""
    cell = tracing
    cell.deploy(RESTARTED, "f:parent")
    cell.start(infraRetries={"limit": 1})
    cell.wait(lambda: traced(cell) == ["a", "b", "c", "d", "e"], "the first attempt")
    running = cell.wait(lambda: recorded(cell), "the records of the first attempt")
    cell.kubelet.kill("run-1")
    run = cell.settled()
    assert run["status"]["state"]["type"] == "Completed", cell.story()
    assert run["status"]["attempt"] == 2
    assert run["status"]["result"]["inline"] == [{"step": "a"}, {"step": "b"}, ["c", "d"], {"step": "f"}]
    assert traced(cell) == ["a", "b", "c", "d", "e", "f"], "no finished step ran again"
    lost = cell.get(running)["status"]
    assert (lost["state"]["type"], lost["state"]["reason"]) == ("Crashed", "ParentEnded")
    assert lost["history"][-1]["writer"] == "operator"
    relaunched = next(e["time"] for e in run["status"]["history"] if e["type"] == "Pending" and e["attempt"] == 2)
    assert lost["state"]["time"] < relaunched
    assert all(child["status"]["settled"] for child in map(cell.settled, names_of(cell)))


def names_of(cell: RunCell) -> list[str]:
    return [child["metadata"]["name"] for child in cell.children()]


def test_a_child_that_crashed_is_run_again_under_another_name(tracing: RunCell) -> None:
    cell = tracing
    cell.deploy(RESTARTED.replace('if os.environ["PENSTOCK_ATTEMPT"] == "1":', "if True:"), "f:parent")
    cell.start(infraRetries={"limit": 1})
    cell.wait(lambda: traced(cell) == ["a", "b", "c", "d", "e"], "the first attempt")
    cell.wait(lambda: recorded(cell), "the records of the first attempt")
    cell.kubelet.kill("run-1")
    cell.wait(lambda: len(cell.children()) == 8, "the second try of the unfinished child")
    slow = [child for child in cell.children() if child["spec"]["flowRef"]["name"] == "slow"]
    assert sorted((child.get("status") or {}).get("attempt", 2) for child in slow) == [1, 2]
    assert traced(cell) == ["a", "b", "c", "d", "e"], "what the crashed child had finished is found again as well"


def test_a_cancelled_parent_takes_its_children_with_it(tracing: RunCell) -> None:
    cell = tracing
    cell.deploy(RESTARTED, "f:parent")
    cell.start()
    cell.wait(lambda: traced(cell)[-1:] == ["e"], "the slow child")
    slow = next(child for child in cell.children() if child["spec"]["flowRef"]["name"] == "slow")
    cell.admin.merge("FlowRun", cell.namespace, "run", {"spec": {"cancel": True}})
    assert cell.settled()["status"]["state"]["type"] == "Cancelled"
    assert cell.settled(slow["metadata"]["name"])["status"]["state"]["type"] == "Cancelled"


KEPT = """
import os, pathlib, time
from dataclasses import dataclass
from penstock import flow

@dataclass
class Report:
    total: int

@flow(persist_result=True)
def report(n: int):
    with pathlib.Path(os.environ["TRACE"]).open("a") as trace:
        trace.write("ran ")
    return Report(n)

@flow
def parent():
    total = report(3).total
    if os.environ["PENSTOCK_ATTEMPT"] == "1":
        time.sleep(120)
    return total
"""


def test_a_value_that_only_the_result_store_has_is_answered_from_there(tracing: RunCell, tmp_path: Path) -> None:
    """The completed child stays the only one of its call."""
    cell = tracing
    cell.kubelet.environment["PENSTOCK_RESULTS_STORAGE"] = str(tmp_path / "results")
    cell.deploy(KEPT, "f:parent")
    cell.start(infraRetries={"limit": 1})
    child = cell.wait(
        lambda: next((c for c in cell.children() if "result" in (c.get("status") or {})), None), "the child's end"
    )
    assert child["status"]["result"]["reference"].startswith("file:")
    cell.kubelet.kill("run-1")
    run = cell.settled()
    assert (run["status"]["attempt"], run["status"]["result"]) == (2, {"inline": 3}), cell.story()
    assert traced(cell) == ["ran"]
    assert names_of(cell) == [child["metadata"]["name"]]


MANY = """
import asyncio
from penstock import flow, runtime

@flow
async def leaf(n: int, thing=None):
    return runtime.flow_run.id

@flow
async def parent():
    ids = await asyncio.gather(*(leaf(n) for n in range(104)))
    await leaf(0, object())
    return len(set(ids))
"""


def test_beyond_a_hundred_children_stand_in_the_task_records_only(cell: RunCell) -> None:
    cell.deploy(MANY, "f:parent")
    cell.start()
    run = cell.settled()
    assert run["status"]["result"] == {"inline": 104}, cell.story()
    assert run["status"]["tasks"]["summary"] == "105/105", "each subflow is a task run of its parent"
    assert len(cell.children()) == 100
    child = cell.settled(names_of(cell)[0])
    assert child["status"]["result"] == {"inline": child["metadata"]["uid"]}, "runtime shows the FlowRun's identity"


FAILING = """
from penstock import flow

@flow(retries=1)
def broken(thing):
    raise ValueError("no such thing")

@flow(retries=1)
def parent():
    good(1)
    return broken(object())

@flow
def good(n: int):
    return n
"""


def test_a_failed_child_says_why_and_a_retried_parent_does_not_repeat_a_completed_one(cell: RunCell) -> None:
    cell.deploy(FAILING, "f:parent")
    cell.start()
    run = cell.settled()
    assert run["status"]["state"]["message"] == "ValueError: no such thing"
    children = [cell.settled(name) for name in names_of(cell)]
    states = sorted((c["spec"]["flowRef"]["name"], c["status"]["state"]["type"]) for c in children)
    assert states == [("broken", "Failed"), ("broken", "Failed"), ("good", "Completed")]
    broken = next(child for child in children if child["spec"]["flowRef"]["name"] == "broken")
    assert broken["spec"]["parameters"] == {"thing": "<object>"}
    assert broken["status"]["state"]["message"] == "ValueError: no such thing"
    assert broken["status"]["runCount"] == 2
    assert [e["name"] for e in broken["status"]["history"]] == ["Running", "Retrying", "Failed"]


def test_a_short_subflow_costs_two_writes(cell: RunCell, control_plane: ControlPlane) -> None:
    cell.deploy(FAMILY, "f:parent")
    cell.start()
    cell.settled()
    child = names_of(cell)[0]
    written = [
        event
        for event in control_plane.audited()
        if event["verb"] in ("create", "patch", "update")
        and event["stage"] == "ResponseComplete"
        and (event.get("objectRef") or {}).get("namespace") == cell.namespace
        and event["objectRef"]["resource"] == "flowruns"
        and event["user"]["username"].endswith(":penstock-run")
    ]
    mine = [e for e in written if e["objectRef"].get("name") == child or child in json.dumps(e.get("requestURI"))]
    creations = [event for event in written if event["verb"] == "create"]
    assert len(creations) == 3
    assert len(mine) <= 2
