"""Runs that wait for slots on a real node: as many at once as their pool has, the urgent ones first."""

from __future__ import annotations

import json
import time
from typing import Any

from installation import Penstock

API = "penstock.dev/v1alpha1"
SOURCE = """
import time

from penstock import flow


@flow
def work(seconds: float = 3.0) -> None:
    time.sleep(seconds)
"""
Json = dict[str, Any]


def body(kind: str, name: str, spec: Json) -> Json:
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec}


def runs(penstock: Penstock) -> list[Json]:
    found: list[Json] = json.loads(penstock.kubectl("get", "flowruns", "--output", "json"))["items"]
    return [run for run in found if run["metadata"]["name"].startswith(("work-", "urgent-"))]


def at_once(penstock: Penstock) -> int:
    """How many pods of the pool have not ended."""
    pods = json.loads(penstock.kubectl("get", "pods", "-l", "penstock.dev/pool=two", "--output", "json"))["items"]
    return sum(pod["status"].get("phase") in ("Pending", "Running") for pod in pods)


def test_a_pool_has_as_many_runs_at_once_as_it_allows_and_the_urgent_ones_first(penstock: Penstock) -> None:
    queue = {"workPoolRef": {"name": "two"}, "priority": 1, "selector": {"matchTags": ["urgent"]}}
    penstock.apply(
        body("WorkPool", "two", {"type": "Pod", "concurrencyLimit": 2}),
        body("WorkQueue", "urgent", queue),
        body("Flow", "work", {"code": {"source": {"text": SOURCE}}, "entrypoint": "flow:work"}),
        body("FlowDeployment", "work", {"flowRef": {"name": "work"}, "workPool": "two"}),
    )
    of_work: Json = {"deploymentRef": {"name": "work"}}
    penstock.apply(*(body("FlowRun", f"work-{n}", of_work) for n in range(4)))
    waiting = {"AwaitingConcurrencySlot": 2}
    penstock.wait("flowrun", "work-3", lambda run: run.get("status", {}).get("state", {}).get("name") in waiting)
    penstock.apply(body("FlowRun", "urgent-1", {**of_work, "tags": ["urgent"]}))
    most, deadline, shown = 0, time.monotonic() + 180, ""
    while not all(run.get("status", {}).get("settled") for run in runs(penstock)):
        assert time.monotonic() < deadline, penstock.kubectl("get", "flowruns", "-o", "wide")
        most = max(most, at_once(penstock))
        if not shown and (penstock.get("workpool", "two").get("status") or {}).get("queued"):
            shown = penstock.kubectl("get", "workpools,workqueues") + penstock.kubectl("get", "flowruns")
            print(shown)
    assert most == 2
    started = {
        run["metadata"]["name"]: next(e["time"] for e in run["status"]["history"] if e["type"] == "Pending")
        for run in runs(penstock)
    }
    order = sorted(started, key=lambda name: started[name])
    assert order.index("urgent-1") == 2, f"{order}: before the runs that came earlier, and after those that had a slot"
    assert penstock.get("flowrun", "urgent-1")["status"]["admitted"]["queue"] == "urgent"
    penstock.wait(
        "workpool", "two", lambda pool: (pool["status"].get("queued"), pool["status"].get("active")) == (0, 0)
    )
    penstock.wait("workqueue", "urgent", lambda found: found["status"]["conditions"][0]["status"] == "True")


def test_a_run_too_many_of_a_deployment_waits_is_refused_or_takes_the_place(penstock: Penstock) -> None:
    policies = ("Queue", "Forbid", "Replace")
    penstock.apply(
        body("Flow", "lone", {"code": {"source": {"text": SOURCE}}, "entrypoint": "flow:work"}),
        *(
            body(
                "FlowDeployment",
                f"lone-{policy.lower()}",
                {"flowRef": {"name": "lone"}, "concurrency": {"limit": 1, "policy": policy}},
            )
            for policy in policies
        ),
    )

    def start(which: str, seconds: float) -> list[str]:
        names = [f"lone-{policy.lower()}-{which}" for policy in policies]
        specs = [{"deploymentRef": {"name": name.removesuffix(f"-{which}")}} for name in names]
        runs = [{**spec, "parameters": {"seconds": seconds}} for spec in specs]
        penstock.apply(*(body("FlowRun", name, spec) for name, spec in zip(names, runs, strict=True)))
        return names

    for name in start("first", 600.0):
        penstock.wait("flowrun", name, lambda run: run.get("status", {}).get("state", {}).get("type") == "Running")
    queued, forbidden, replacing = start("second", 0.0)

    assert penstock.settled(forbidden)["status"]["state"]["reason"] == "ConcurrencyForbidden"
    ended = {run: penstock.settled(run)["status"] for run in ("lone-replace-first", replacing)}
    assert ended["lone-replace-first"]["state"]["type"] == "Cancelled"
    assert ended["lone-replace-first"]["state"]["reason"] == "Replaced"
    assert ended[replacing]["state"]["type"] == "Completed"
    launched = next(entry["time"] for entry in ended[replacing]["history"] if entry["type"] == "Pending")
    assert launched >= ended["lone-replace-first"]["state"]["time"], "its pod was gone before"

    waits = {"AwaitingConcurrencySlot"}
    penstock.wait("flowrun", queued, lambda run: run.get("status", {}).get("state", {}).get("name") in waits)
    penstock.cli("cancel", "lone-queue-first", "lone-forbid-first")
    assert penstock.settled(queued)["status"]["state"]["type"] == "Completed"
    assert penstock.settled("lone-forbid-first")["status"]["state"]["type"] == "Cancelled"
