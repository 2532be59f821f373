"""Events that user code emits in a pod, on a real API server: what arrives, and whose Events are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import builders
from api_client import Refused
from builders import changed
from cells import Cell, emitted, runner

SOURCE = """
import threading
from datetime import UTC, datetime
from penstock import flow, task
from penstock.events import emit_event

@task
def ship(order):
    return emit_event("order.packed", {"penstock.resource.id": order}, id=f"packed-{order}").id

@flow
def child():
    emit_event("from.child", {"penstock.resource.id": "child"})

@flow
def main(**parameters):
    first = emit_event(
        "order.shipped",
        {"penstock.resource.id": "order-7", "team": "data"},
        occurred=datetime(2026, 1, 1, 6, tzinfo=UTC),
        related=[{"penstock.resource.id": "van-1", "penstock.resource.role": "carrier"}],
        payload={"weight": 7.5},
        id="shipped-7",
    )
    emit_event("order.shipped", {"penstock.resource.id": "again"}, id="shipped-7")
    emit_event(
        "order.billed",
        {"penstock.resource.id": "order-7"},
        occurred=datetime(2026, 1, 1, 6, 1, tzinfo=UTC),
        follows=first,
    )
    ship.submit("order-8").result()
    child()
    thread = threading.Thread(target=emit_event, args=("from.thread", {"penstock.resource.id": "x"}))
    thread.start()
    thread.join()
"""


def of_run(cell: Cell, run: str = "run") -> dict[str, Any]:
    """The Events about a run by reason."""
    items = cell.admin.list("Event", cell.namespace)["items"]
    return {item["reason"]: item for item in items if item["regarding"].get("name") == run}


def test_events_of_a_run_arrive_before_its_end(cell: Cell, tmp_path: Path) -> None:
    done = runner(cell, SOURCE, tmp_path)
    output = done.communicate(timeout=120)
    assert done.returncode == 0, output
    run = cell.admin.get("FlowRun", cell.namespace, "run")
    assert run["status"]["state"]["type"] == "Completed", run["status"]
    found = of_run(cell)
    assert set(found) == {"order.shipped", "order.billed", "order.packed", "from.child", "from.thread"}
    shipped = found["order.shipped"]
    assert shipped["regarding"] == {
        "apiVersion": builders.API_VERSION,
        "kind": "FlowRun",
        "name": "run",
        "namespace": cell.namespace,
        "uid": run["metadata"]["uid"],
    }
    assert shipped["eventTime"] == "2026-01-01T06:00:00.000000Z"
    assert (shipped["note"], shipped["type"]) == ("order.shipped: order-7", "Normal")
    assert (shipped["reportingController"], shipped["reportingInstance"]) == ("penstock.dev/run", "run-1")
    assert shipped["metadata"]["labels"]["penstock.dev/run"] == "run"
    more = shipped["metadata"]["annotations"]
    assert more["penstock.dev/event-id"] == "shipped-7"
    assert json.loads(more["penstock.dev/event-resource"]) == {"penstock.resource.id": "order-7", "team": "data"}
    assert json.loads(more["penstock.dev/event-related"])[0]["penstock.resource.role"] == "carrier"
    assert json.loads(more["penstock.dev/event-payload"]) == {"weight": 7.5}
    assert found["order.billed"]["metadata"]["annotations"]["penstock.dev/event-follows"] == "shipped-7"


def test_events_that_find_no_room_are_dropped_counted_and_told_once(cell: Cell, tmp_path: Path) -> None:
    source = """
from penstock import flow
from penstock.events import emit_event

@flow
def main(**parameters):
    for number in range(50):
        emit_event(f"n.{number}", {"penstock.resource.id": "x"})
"""
    done = runner(cell, source, tmp_path, PENSTOCK_EVENTS_QUEUE_SIZE="5")
    out, _ = done.communicate(timeout=120)
    assert done.returncode == 0
    told = [line["message"] for line in map(json.loads, out.splitlines()) if line["logger"] == "penstock.events"]
    sent = len(of_run(cell))
    assert 5 <= sent < 50
    assert told == [
        "5 events wait to be sent: more are dropped, and counted until the run ends",
        f"{50 - sent} events of this run were not sent ({50 - sent} dropped, 0 refused)",
    ]


def own(cell: Cell, **more: Any) -> dict[str, Any]:
    regarding = {"apiVersion": builders.API_VERSION, "kind": "FlowRun", "name": "run", "namespace": cell.namespace}
    return emitted(regarding, cell.namespace, **more)


def test_a_pod_emits_events_about_its_own_run(cell: Cell) -> None:
    cell.run()
    cell.pod("run-1").client.create(own(cell))
    cell.pod("run-2-x7k2m").client.create(own(cell, name="run.e2"))


@pytest.mark.parametrize(
    ("pod", "changes", "message"),
    [
        ("other-1", {}, "cannot emit this Event"),
        ("run", {}, "cannot emit this Event"),
        ("run-1", {"regarding.name": "other"}, "cannot emit this Event"),
        ("run-1", {"regarding.name": ".*"}, "cannot emit this Event"),
        ("run-1", {"regarding.kind": "FlowDeployment"}, "cannot emit this Event"),
        ("run-1", {"regarding.apiVersion": "v1"}, "cannot emit this Event"),
        ("run-1", {"reportingController": "penstock.dev/operator"}, "a run emits Events as reportingController"),
        ("run-1", {"metadata.name": "run.abcdefgh.3"}, "a run emits Events as reportingController"),
    ],
    ids=[
        "another run's pod",
        "a pod named like the run",
        "another run",
        "a name that is a pattern",
        "another kind",
        "another group",
        "as the operator",
        "under a name of the operator's",
    ],
)
def test_other_events_are_refused(pod: str, changes: dict[str, Any], message: str, cell: Cell) -> None:
    cell.run()
    with pytest.raises(Refused, match=message) as refusal:
        cell.pod(pod).client.create(changed(own(cell), changes))
    assert (refusal.value.code, refusal.value.reason) == (403, "Forbidden")


def test_pods_of_other_programs_emit_what_they_like(cell: Cell) -> None:
    """The policy is for accounts of runs: any controller of the cluster emits Events with a token bound to its pod."""
    for body in (
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "other", "namespace": cell.namespace}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "other", "namespace": cell.namespace},
            "rules": [{"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "other", "namespace": cell.namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "other"},
            "subjects": [{"kind": "ServiceAccount", "name": "other", "namespace": cell.namespace}],
        },
    ):
        cell.admin.create(body)
    regarding = {"apiVersion": "v1", "kind": "Pod", "name": "any", "namespace": cell.namespace}
    cell.pod("controller-0", "other").client.create(emitted(regarding, cell.namespace, reportingController="a.b/c"))
