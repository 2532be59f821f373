"""A flow is deployed, run and Completed on a real node, on both pool types, and everything about it can be seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from installation import Penstock

API = "penstock.dev/v1alpha1"
FLOW = '''
from penstock import flow, get_run_logger, task


@task
def double(n: int) -> int:
    return 2 * n


@flow(log_prints=True)
def doubles(n: int = 3) -> dict:
    """Double some numbers.

    Args:
        n: how many.
    """
    print("printing works")
    get_run_logger().info("doubling %d numbers", n)
    return {"sum": sum(f.result() for f in [double.submit(i) for i in range(n)])}
'''


@pytest.fixture(scope="module")
def deployed(penstock: Penstock, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The flow, deployed on a pool of each type by the CLI."""
    file = tmp_path_factory.mktemp("flow") / "doubles.py"
    file.write_text(FLOW)
    penstock.apply({"apiVersion": API, "kind": "WorkPool", "metadata": {"name": "jobs"}, "spec": {"type": "Job"}})
    penstock.cli("deploy", str(file), "--pool", "default", "--deployment-name", "doubles-pod")
    penstock.cli("deploy", str(file), "--pool", "jobs", "--deployment-name", "doubles-job")
    return file


@pytest.mark.parametrize("deployment", ["doubles-pod", "doubles-job"])
def test_a_deployed_flow_completes(penstock: Penstock, deployed: Path, deployment: str) -> None:
    """`penstock run --watch` ends with 0, and the run's status tells its whole story."""
    name = f"{deployment}-whole"
    seen = penstock.cli("run", deployment, "--name", name, "--param", "n=4", "--watch")
    assert "Completed" in seen.stdout + seen.stderr
    run = penstock.settled(name)
    status = run["status"]
    assert status["state"]["type"] == "Completed"
    assert status["result"]["inline"] == {"sum": 12}
    assert status["tasks"]["summary"] == "4/4"
    assert status["attempt"] == 1
    assert [entry["type"] for entry in status["history"]] == ["Scheduled", "Pending", "Running", "Completed"]
    assert [entry["seq"] for entry in status["history"]] == [1, 2, 3, 4]
    assert status["history"][-1]["writer"] == status["pod"]["uid"]
    assert status["duration"]

    table = penstock.kubectl("get", "flowruns")
    row = next(line for line in table.splitlines() if line.startswith(name))
    assert "Completed" in row
    assert "4/4" in row

    events = json.loads(penstock.kubectl("get", "events.events.k8s.io", "-o", "json"))["items"]
    reasons = [e["reason"] for e in events if e["regarding"].get("uid") == run["metadata"]["uid"]]
    lasted = {"FlowRunScheduled", "FlowRunPending", "FlowRunRunning"}  # those that did: it is told of no other
    assert len(reasons) == len(set(reasons))
    assert "FlowRunCompleted" in reasons
    assert set(reasons) <= lasted | {"FlowRunCompleted"}

    pages = json.loads(penstock.kubectl("get", "taskrunpages", "-o", "json"))["items"]
    assert [page["records"] for page in pages if page["run"]["uid"] == run["metadata"]["uid"]] == [4]


def test_logs_are_structured_and_can_be_read_after_the_end(penstock: Penstock, deployed: Path) -> None:
    """`penstock logs` and `kubectl logs` show what the flow said, with the run's name on each line."""
    penstock.cli("run", "doubles-pod", "--name", "logged", "--watch")
    penstock.settled("logged")
    assert "doubling 3 numbers" in penstock.cli("logs", "logged").stdout
    lines = [json.loads(line) for line in penstock.kubectl("logs", "logged-1").splitlines() if line.startswith("{")]
    said = {line["message"]: line for line in lines}
    assert said["doubling 3 numbers"]["run"] == "logged"
    assert "printing works" in said


def test_the_image_entrypoint_delivers_code(penstock: Penstock) -> None:
    """A flow whose module is importable in the image runs without any source in its Flow."""
    meta = {"name": "from-image"}
    penstock.apply(
        {
            "apiVersion": API,
            "kind": "Flow",
            "metadata": meta,
            "spec": {"code": {"image": {}}, "entrypoint": "penstock.testing.flows:hello"},
        },
        {"apiVersion": API, "kind": "FlowRun", "metadata": meta, "spec": {"flowRef": meta}},
    )
    assert penstock.settled("from-image")["status"]["state"]["type"] == "Completed"


def test_a_run_proceeds_when_what_it_names_appears(penstock: Penstock) -> None:
    """Missing deployment, flow and pool are told one after the other by a condition, and none of them ends the run."""
    meta = {"name": "early"}

    def waits_for(reason: str) -> None:
        run = penstock.wait(
            "flowrun",
            "early",
            lambda run: any(c["reason"] == reason for c in run.get("status", {}).get("conditions", [])),
            seconds=20,
        )
        condition = next(c for c in run["status"]["conditions"] if c["reason"] == reason)
        assert condition["status"] == "False"
        assert "early" in condition["message"]

    penstock.apply({"apiVersion": API, "kind": "FlowRun", "metadata": meta, "spec": {"deploymentRef": meta}})
    waits_for("DeploymentNotFound")
    spec = {"flowRef": meta, "workPool": "early"}
    penstock.apply({"apiVersion": API, "kind": "FlowDeployment", "metadata": meta, "spec": spec})
    waits_for("FlowNotFound")
    code = {"source": {"text": FLOW}}
    penstock.apply(
        {"apiVersion": API, "kind": "Flow", "metadata": meta, "spec": {"code": code, "entrypoint": "f:doubles"}}
    )
    waits_for("WorkPoolNotFound")
    penstock.apply({"apiVersion": API, "kind": "WorkPool", "metadata": meta, "spec": {"type": "Pod"}})
    assert penstock.settled("early")["status"]["state"]["type"] == "Completed"


LONG = """
import time
from penstock import flow


@flow
def long():
    print("started", flush=True)
    time.sleep(120)
"""


@pytest.fixture
def running(penstock: Penstock, request: pytest.FixtureRequest) -> str:
    """A run that is Running and will be for two minutes."""
    name = request.node.name.replace("test_", "running_").replace("_", "-")[:50]
    meta = {"name": name}
    code = {"source": {"text": LONG}}
    penstock.apply(
        {"apiVersion": API, "kind": "Flow", "metadata": meta, "spec": {"code": code, "entrypoint": "f:long"}},
        {"apiVersion": API, "kind": "FlowRun", "metadata": meta, "spec": {"flowRef": meta}},
    )
    penstock.wait("flowrun", name, lambda run: run.get("status", {}).get("state", {}).get("type") == "Running")
    return name


def test_deleted_pod(penstock: Penstock, running: str) -> None:
    """A run whose pod somebody deletes is Crashed, and says so."""
    penstock.kubectl("delete", "pod", f"{running}-1", "--grace-period=1", "--wait=false")
    state = penstock.settled(running)["status"]["state"]
    assert state["type"] == "Crashed"
    assert state["reason"] in ("PodDeleted", "PodVanished")


def test_forced_deletion(penstock: Penstock, running: str) -> None:
    """A run whose pod vanishes without a trace is Crashed too."""
    penstock.kubectl("delete", "pod", f"{running}-1", "--force", "--grace-period=0", "--wait=false")
    assert penstock.settled(running)["status"]["state"]["type"] == "Crashed"


def test_cancelled(penstock: Penstock, running: str) -> None:
    """`kubectl patch` with spec.cancel ends a run as Cancelled, once its pod is gone."""
    penstock.kubectl("patch", "flowrun", running, "--type", "merge", "--patch", '{"spec":{"cancel":true}}')
    status = penstock.settled(running)["status"]
    assert status["state"]["type"] == "Cancelled"
    assert "Cancelling" in [entry["type"] for entry in status["history"]]


def test_operator_restart(penstock: Penstock, running: str) -> None:
    """A restart of the operator neither ends nor doubles a run, and what happens meanwhile is seen afterwards."""
    penstock.command(
        *(".cluster/bin/kubectl", "--namespace", "penstock-system", "delete", "pod", "--wait=false"),
        *("--selector", "app.kubernetes.io/component=operator", "--grace-period=1"),
    )
    penstock.kubectl("delete", "pod", f"{running}-1", "--force", "--grace-period=0", "--wait=false")
    status = penstock.settled(running)["status"]
    assert status["state"]["type"] == "Crashed"
    assert status["attempt"] == 1
