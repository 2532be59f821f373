"""`run_deployment` against a real API server, the test playing the operator; and whose children are refused."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import builders
from api_client import ApiClient, Refused
from builders import GONE, changed, good
from cells import Cell, runner
from penstock.client import AlreadyExists, NotFound
from penstock.deployments import arun_deployment, run_deployment
from penstock.errors import FlowRunWaitTimeout
from penstock.flow_runs import wait_for_flow_run

PATIENCE = 60.0


def until(found: Callable[[], Any]) -> Any:
    """What `found` gives, once it gives something."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if value := found():
            return value
        time.sleep(0.05)
    pytest.fail("nothing came")


class Operator:
    """Ends runs as the operator and a pod would, in a thread."""

    def __init__(self, admin: ApiClient, namespace: str) -> None:
        self.admin, self.namespace = admin, namespace

    def runs(self) -> list[dict[str, Any]]:
        try:
            return list(self.admin.list("FlowRun", self.namespace)["items"])
        except Refused as refused:  # the API server has just heard of the kind
            if refused.code != 429:
                raise
            return []

    def end(self, name: str, state: str = "Completed", **status: Any) -> None:
        body = {"state": builders.run_state(state, 3, message="as the test said"), **status}
        self.admin.merge("FlowRun", self.namespace, name, {"status": body}, "status")

    def end_next(self, known: frozenset[str] = frozenset(), **status: Any) -> threading.Thread:
        """End the next run that appears besides `known`."""

        def work() -> None:
            run = until(lambda: [r for r in self.runs() if r["metadata"]["name"] not in known])[0]
            name = run["metadata"]["name"]
            self.admin.merge(
                "FlowRun", self.namespace, name, {"status": {"state": builders.run_state("Running", 2)}}, "status"
            )
            self.end(name, **status)

        thread = threading.Thread(target=work)
        thread.start()
        return thread


@pytest.fixture
def operator(admin: ApiClient, namespace: str, monkeypatch: pytest.MonkeyPatch) -> Operator:
    """A namespace with a deployment `etl`, which this process is outside of."""
    monkeypatch.setenv("KUBECONFIG", str(admin.kubeconfig))
    monkeypatch.setenv("PENSTOCK_NAMESPACE", namespace)
    admin.create(good("FlowDeployment", "etl", namespace))
    return Operator(admin, namespace)


def test_a_run_is_made_and_its_end_awaited(operator: Operator) -> None:
    ending = operator.end_next(result={"inline": {"rows": 3}})
    run = run_deployment("etl/etl", {"n": 5}, tags=["now"], job_variables={"image": "registry.example/x:1"})
    ending.join(PATIENCE)
    assert run.state is not None
    assert run.state.result() == {"rows": 3}
    assert (run.deployment, run.parameters, run.tags) == ("etl", {"n": 5}, ("now",))
    spec = operator.admin.get("FlowRun", operator.namespace, run.name)["spec"]
    assert spec["pod"] == {"image": "registry.example/x:1"}
    assert "parent" not in spec


def test_async_code_awaits_several_at_once(operator: Operator) -> None:
    async def main() -> list[Any]:
        waiting = [asyncio.create_task(arun_deployment("etl", {"n": n})) for n in range(5)]
        done = await asyncio.to_thread(until, lambda: runs if len(runs := operator.runs()) == 5 else None)
        for run in done:
            operator.end(run["metadata"]["name"], result={"inline": run["spec"]["parameters"]["n"]})
        return await asyncio.gather(*waiting)

    runs = asyncio.run(main())
    assert sorted(run.state.result() for run in runs) == [0, 1, 2, 3, 4]


def test_a_failed_run_is_given_and_raises_when_asked_for_its_result(operator: Operator) -> None:
    ending = operator.end_next(state="Failed")
    state = run_deployment("etl").state
    ending.join(PATIENCE)
    assert state is not None
    assert state.is_failed()
    with pytest.raises(Exception, match="as the test said"):
        state.result()


def test_it_need_not_be_waited_for(operator: Operator) -> None:
    run = run_deployment("etl", timeout=0)
    assert run.state is None
    operator.admin.merge(
        "FlowRun", operator.namespace, run.name, {"status": {"state": builders.run_state("Running", 2)}}, "status"
    )
    again = run_deployment("etl", timeout=1, idempotency_key="k")
    assert again.name != run.name
    assert again.state is None


def test_a_key_makes_one_run(operator: Operator) -> None:
    first = run_deployment("etl", {"n": 1}, idempotency_key="monday", timeout=0)
    assert run_deployment("etl", {"n": 1}, idempotency_key="monday", timeout=0).id == first.id
    assert run_deployment("etl", {"n": 1}, timeout=0).id != first.id


def test_a_name_that_is_taken_by_another_deployment_is_told(operator: Operator) -> None:
    run = run_deployment("etl", idempotency_key="k", timeout=0)
    operator.admin.delete("FlowRun", operator.namespace, run.name)
    body = changed(good("FlowRun", run.name, operator.namespace), {"spec.deploymentRef": {"name": "other"}})
    operator.admin.create(body)
    with pytest.raises(AlreadyExists, match="is of another deployment"):
        run_deployment("etl", idempotency_key="k", timeout=0)


def test_a_deployment_that_is_not_there_is_told(operator: Operator) -> None:
    with pytest.raises(NotFound, match="there is no deployment nothing in namespace"):
        run_deployment("nothing")
    with pytest.raises(NotFound, match="deployment etl is of flow etl, not of other"):
        run_deployment("other/etl")
    assert operator.runs() == []


def test_a_run_that_is_deleted_while_awaited_is_told(operator: Operator) -> None:
    def delete() -> None:
        (run,) = until(operator.runs)
        operator.admin.delete("FlowRun", operator.namespace, run["metadata"]["name"])

    deleting = threading.Thread(target=delete)
    deleting.start()
    with pytest.raises(NotFound):
        run_deployment("etl", poll_interval=0.1)
    deleting.join(PATIENCE)


def test_a_run_is_waited_for_by_name(operator: Operator) -> None:
    made = run_deployment("etl", timeout=0)
    with pytest.raises(FlowRunWaitTimeout, match=f"flow run {made.name} is not looked at after 1 s; it goes on"):
        wait_for_flow_run(made.name, timeout=1)
    ending = operator.end_next(result={"inline": 1})
    state = wait_for_flow_run(made).state
    ending.join(PATIENCE)
    assert state is not None
    assert state.result() == 1
    with pytest.raises(NotFound):
        wait_for_flow_run("nothing")


SOURCE = """
from penstock import flow, task
from penstock.deployments import run_deployment

@task
def start(n):
    return run_deployment("etl", {"n": n}).state.result()

@flow
def main(**parameters):
    first = run_deployment("etl", {"n": 1})
    second = run_deployment("etl", {"n": 1})
    later = run_deployment("etl", {"n": 3}, timeout=0)
    print(later.state)
    return [first.state.result(), second.state.result(), start(2)]
"""


def serve(cell: Cell, done: threading.Event) -> threading.Thread:
    """End the children of `run` as they appear, until the runner has ended."""

    def work() -> None:
        operator = Operator(cell.admin, cell.namespace)
        while not done.is_set():
            for body in operator.runs():
                parent = body["spec"].get("parent") or {}
                if (
                    parent.get("name") == "run"
                    and parent.get("awaited")
                    and not (body.get("status") or {}).get("state")
                ):
                    operator.end(body["metadata"]["name"], result={"inline": body["spec"]["parameters"]["n"] * 10})
            time.sleep(0.05)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_in_a_pod_runs_are_children_with_names_of_their_own(cell: Cell, tmp_path: Path) -> None:
    """Found again when the parent starts again: a second attempt makes no further run."""
    cell.admin.create(good("FlowDeployment", "etl", cell.namespace))
    ended = threading.Event()
    serving = serve(cell, ended)
    try:
        process = runner(cell, SOURCE, tmp_path)
        output = process.communicate(timeout=120)
    finally:
        ended.set()
        serving.join(PATIENCE)
    assert process.returncode == 0, output
    parent = cell.admin.get("FlowRun", cell.namespace, "run")
    assert parent["status"]["state"]["type"] == "Completed", output
    assert parent["status"]["result"] == {"inline": [10, 10, 20]}
    assert parent["status"]["tasks"]["completed"] == 4  # three children that were awaited, and the task
    children = [r for r in cell.admin.list("FlowRun", cell.namespace)["items"] if r["metadata"]["name"] != "run"]
    uid = parent["metadata"]["uid"]
    assert len({child["metadata"]["name"] for child in children}) == len(children) == 4
    for child in children:
        awaited = child["spec"]["parameters"]["n"] != 3
        assert child["spec"]["parent"] == {"name": "run", "uid": uid, "awaited": awaited}
        owners = child["metadata"].get("ownerReferences") or []
        assert [owner["uid"] for owner in owners] == ([uid] if awaited else [])
        assert child["metadata"]["annotations"]["penstock.dev/root-run-uid"] == uid
    names = {child["metadata"]["name"] for child in children}
    environment = {"PENSTOCK_RUN": "run", "PENSTOCK_RUN_UID": uid, "PENSTOCK_NAMESPACE": cell.namespace}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(cell.admin.kubeconfig))
        for name, value in environment.items():
            patch.setenv(name, value)
        again = [run_deployment("etl", {"n": n}) for n in (1, 1, 2)]
    assert {run.name for run in again} <= names
    assert len({run.name for run in again}) == 3


def child(cell: Cell, **changes: Any) -> dict[str, Any]:
    body = good("FlowRun", "child", cell.namespace)
    own = {"name": "run", "uid": cell.admin.get("FlowRun", cell.namespace, "run")["metadata"]["uid"]}
    return changed(
        body,
        {
            "spec.workPool": GONE,
            "spec.pod": GONE,
            "spec.task": GONE,
            "spec.parent": {**own, "awaited": True},
            **{k.replace("__", "."): v for k, v in changes.items()},
        },
    )


def test_a_pod_makes_children_of_its_own_run(cell: Cell) -> None:
    cell.run()
    cell.pod("run-1").client.create(child(cell))


OWNER = {"apiVersion": builders.API_VERSION, "kind": "FlowRun", "name": "other", "uid": "u"}


@pytest.mark.parametrize(
    ("pod", "changes", "message"),
    [
        ("run-1", {"spec__parent": GONE}, "cannot make this run"),
        ("run-1", {"spec__parent__name": "other"}, "cannot make this run"),
        ("run-1", {"spec__parent__name": "ru."}, "cannot make this run|Invalid"),
        ("other-1", {}, "cannot make this run"),
        ("run-1", {"metadata__ownerReferences": [OWNER]}, "owned by its parent or by nobody"),
    ],
    ids=["no child", "another run's child", "a name that is a pattern", "another run's pod", "owned by another"],
)
def test_other_runs_are_refused(pod: str, changes: dict[str, Any], message: str, cell: Cell) -> None:
    cell.run()
    with pytest.raises(Refused, match=message):
        cell.pod(pod).client.create(child(cell, **changes))
