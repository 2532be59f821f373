"""Runs that wait for a person, on a real node: answered, stopped and taken up again in another pod, or cancelled."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from installation import Penstock

API = "penstock.dev/v1alpha1"
CODE = """
import time
from pathlib import Path
from penstock import flow, pause_flow_run, suspend_flow_run, task
from penstock.input import RunInput
from penstock.runtime import flow_run

FOLDER = Path("/results/trace") / "UID"


class Approval(RunInput):
    '''Shall these rows be published?'''

    approved: bool
    note: str = ""


def trace():
    FOLDER.mkdir(parents=True, exist_ok=True)
    return FOLDER / flow_run.name


def note(word):
    with trace().open("a") as file:
        file.write(word + " ")
    return trace().read_text().split()


@task(persist_result=True)
def load(n: int) -> int:
    note("load")
    return n


@flow
def asks():
    answer = pause_flow_run(wait_for_input=Approval)
    return [answer.approved, answer.note]


@flow
def stops(n: int = 3):
    value = load(n)
    note("flow")
    answer = suspend_flow_run(wait_for_input=Approval)
    return [value, answer.approved, note("end")]


@flow
def goes_on(n: int = 4):
    value = load(n)
    if note("flow").count("flow") == 1:
        time.sleep(600)
    return [value, note("end")]


@flow
def until_told():
    while not Path("/tmp/go").exists():
        time.sleep(0.2)
"""
FLOWS = ("asks", "stops", "goes_on", "until_told")

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module", autouse=True)
def deployed(penstock: Penstock, shared: str) -> None:
    uid = penstock.get("workpool", shared)["metadata"]["uid"]  # a folder of this session's own
    for name in FLOWS:
        code = {"code": {"source": {"text": CODE.replace("UID", uid)}}, "entrypoint": f"flow:{name}"}
        meta = {"name": f"pauses-{name.replace('_', '-')}"}
        penstock.apply({"apiVersion": API, "kind": "Flow", "metadata": meta, "spec": code})


def start(penstock: Penstock, name: str, flow: str, pool: str | None) -> None:
    """A run of a flow; None: in the pool that is the default, where nothing is shared."""
    spec: dict[str, Any] = {"flowRef": {"name": f"pauses-{flow}"}, **({"workPool": pool} if pool else {})}
    penstock.apply({"apiVersion": API, "kind": "FlowRun", "metadata": {"name": name}, "spec": spec})


def in_state(penstock: Penstock, run: str, state: str) -> dict[str, Any]:
    """The run once its state has this name."""
    return penstock.wait("flowrun", run, lambda body: name_of(body) == state, 120)


def name_of(run: dict[str, Any]) -> str:
    """Name of a run's state."""
    return str(run.get("status", {}).get("state", {}).get("name"))


def condition(run: dict[str, Any], kind: str) -> dict[str, Any]:
    """One of a run's conditions; empty where it is not told."""
    found = run.get("status", {}).get("conditions") or []
    return next((one for one in found if one["type"] == kind), {})


def live_pods(penstock: Penstock, run: str) -> list[str]:
    """Names of a run's pods that have not ended."""
    said = penstock.kubectl("get", "pods", "-l", f"penstock.dev/run={run}", "-o", "json")
    items = json.loads(said)["items"]
    return [pod["metadata"]["name"] for pod in items if pod["status"]["phase"] not in ("Succeeded", "Failed")]


def no_pod_is_left(penstock: Penstock, run: str) -> None:
    """Wait until no pod of the run goes on."""
    deadline = time.monotonic() + 60
    while left := live_pods(penstock, run):
        assert time.monotonic() < deadline, f"{left} go on"
        time.sleep(0.5)


def first_task_done(penstock: Penstock, run: str) -> None:
    """Wait until the flow of the run is beyond its first task."""
    penstock.wait("flowrun", run, lambda body: body["status"].get("tasks", {}).get("completed") == 1)


def test_a_person_answers_while_no_operator_is_there(penstock: Penstock) -> None:
    start(penstock, "pause-asks", "asks", None)
    pause = in_state(penstock, "pause-asks", "Paused")["status"]["pause"]
    assert pause["schema"]["required"] == ["approved"]
    shown = penstock.cli("show", "pause-asks").stdout
    assert "penstock resume pause-asks" in shown, shown

    wrong = penstock.cli("resume", "pause-asks", "--input", "approved=perhaps", check=False)
    assert wrong.returncode == 1
    assert "approved: 'perhaps' is not of type 'boolean'" in wrong.stderr
    asked = {"spec": {"resume": {"pause": pause["id"], "input": {"approved": "perhaps"}}}}
    penstock.kubectl("patch", "flowrun", "pause-asks", "--type", "merge", "--patch", json.dumps(asked))
    told = penstock.wait("flowrun", "pause-asks", lambda run: condition(run, "Answered").get("status") == "False")
    assert condition(told, "Answered")["reason"] == "InvalidInput"
    assert "approved" in condition(told, "Answered")["message"]
    assert name_of(told) == "Paused"

    penstock.command(
        *(".cluster/bin/kubectl", "--namespace", "penstock-system", "delete", "pod", "--wait=false"),
        *("--selector", "app.kubernetes.io/component=operator", "--grace-period=1"),
    )
    penstock.cli("resume", "pause-asks", "--input", "approved=true", "--input", "note=fine")
    run = penstock.settled("pause-asks", 120)
    status = run["status"]
    assert (name_of(run), status["attempt"], status["result"]["inline"]) == ("Completed", 1, [True, "fine"])
    assert [entry["name"] for entry in status["history"]][-4:] == ["Running", "Paused", "Running", "Completed"]
    assert [answer["input"] for answer in status["answers"]] == [{"approved": True, "note": "fine"}]
    assert condition(run, "Answered")["status"] == "True"


def test_a_flow_suspends_and_goes_on_in_another_pod(penstock: Penstock, shared: str) -> None:
    start(penstock, "pause-stops", "stops", shared)
    in_state(penstock, "pause-stops", "Suspended")
    no_pod_is_left(penstock, "pause-stops")
    wrong = penstock.cli("resume", "pause-stops", "--input", "note=3", check=False)
    assert (wrong.returncode, "approved" in wrong.stderr) == (1, True), wrong.stderr
    penstock.cli("resume", "pause-stops", "--input", "approved=true")
    run = penstock.settled("pause-stops", 120)
    status = run["status"]
    assert (name_of(run), status["attempt"]) == ("Completed", 2), status["history"]
    assert status["result"]["inline"] == [3, True, ["load", "flow", "flow", "end"]]
    assert (status["tasks"]["cached"], status.get("infraRetries", 0)) == (1, 0)


def test_a_run_is_stopped_from_outside_and_goes_on(penstock: Penstock, shared: str) -> None:
    start(penstock, "pause-outside", "goes-on", shared)
    first_task_done(penstock, "pause-outside")
    penstock.cli("suspend", "pause-outside")
    stopped = in_state(penstock, "pause-outside", "Suspended")
    assert stopped["status"]["state"]["reason"] == "SuspendRequested"
    assert live_pods(penstock, "pause-outside") == []
    assert condition(stopped, "Suspendable")["status"] == "True"
    assert "penstock resume pause-outside" in penstock.cli("show", "pause-outside").stdout
    penstock.cli("resume", "pause-outside")
    run = penstock.settled("pause-outside", 120)
    status = run["status"]
    assert (name_of(run), status["attempt"]) == ("Completed", 2), status["history"]
    assert status["result"]["inline"] == [4, ["load", "flow", "flow", "end"]]


def test_a_run_whose_results_would_be_lost_is_not_stopped(penstock: Penstock) -> None:
    start(penstock, "pause-alone", "until-told", None)
    in_state(penstock, "pause-alone", "Running")
    penstock.cli("suspend", "pause-alone")
    told = penstock.wait("flowrun", "pause-alone", lambda run: bool(condition(run, "Suspendable")))
    suspendable = condition(told, "Suspendable")
    assert (suspendable["status"], suspendable["reason"]) == ("False", "NotSuspendable")
    assert "spec.results.shared: true" in suspendable["message"]
    assert name_of(told) == "Running"
    penstock.kubectl("exec", "pause-alone-1", "--", "python3", "-c", "open('/tmp/go', 'w')")
    run = penstock.settled("pause-alone")
    assert (name_of(run), run["status"]["attempt"]) == ("Completed", 1)


@pytest.mark.parametrize(("flow", "state"), [("asks", "Paused"), ("stops", "Suspended")])
def test_a_run_that_waits_is_cancelled(penstock: Penstock, shared: str, flow: str, state: str) -> None:
    name = f"pause-cancelled-{flow}"
    start(penstock, name, flow, shared)
    in_state(penstock, name, state)
    penstock.cli("cancel", name)
    run = penstock.settled(name, 60)
    assert (name_of(run), "pause" in run["status"]) == ("Cancelled", False)
    assert live_pods(penstock, name) == []
    late = penstock.cli("resume", name, "--input", "approved=true", check=False)
    assert (late.returncode, "Cancelled" in late.stderr) == (1, True), late.stderr
