"""`task.delay` in a run on a real node: the task runs elsewhere in its pool, with its code, and the result is had."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from installation import Penstock

Json = dict[str, Any]
API = "penstock.dev/v1alpha1"
POOL = "warm-tasks"
FLOW = """
import os
from pathlib import Path
from penstock import flow, task


@task(retries=1)
def double(n: int, tries: str) -> int:
    with Path(tries).open("a") as file:
        file.write("x")
    if n == 2 and Path(tries).stat().st_size == 1:
        raise ValueError("not the first time")
    return 2 * n


@task
def breaks() -> None:
    raise LookupError("nothing there")


@flow
def main() -> dict:
    folder = Path("/results/tries") / os.environ["PENSTOCK_RUN_UID"]
    folder.mkdir(parents=True)
    runs = [double.delay(n, str(folder / str(n))) for n in (1, 2)]
    failing = breaks.delay()
    found = {"names": [run.name for run in runs], "sums": [run.result(timeout=200) for run in runs]}
    return {**found, "error": repr(failing.result(timeout=200, raise_on_failure=False)), "failed": failing.name}
"""


@pytest.fixture(scope="module")
def pool(penstock: Penstock, shared: str) -> Iterator[str]:
    """Warm workers that reach the folder of the pool `shared`, by its own template and results."""
    spec = {k: v for k, v in penstock.get("workpool", shared)["spec"].items() if k in ("template", "results")}
    worker = {"min": 1, "max": 1, "concurrency": 2}
    meta = {"name": POOL}
    objects: list[Json] = [
        {
            "apiVersion": API,
            "kind": "WorkPool",
            "metadata": meta,
            "spec": {**spec, "type": "Process", "worker": worker},
        },
        {
            "apiVersion": API,
            "kind": "Flow",
            "metadata": {"name": "delays"},
            "spec": {"code": {"source": {"text": FLOW}}, "entrypoint": "f:main"},
        },
    ]
    penstock.apply(*objects)
    yield POOL
    penstock.delete(*objects)


@pytest.mark.parametrize("type_", ["Process", "Pod"])
def test_tasks_that_a_run_delays_are_runs_of_its_pool(penstock: Penstock, pool: str, shared: str, type_: str) -> None:
    """Taken by the worker that runs their parent, or each in a pod of its own."""
    name = f"delays-{type_.lower()}"
    spec = {"flowRef": {"name": "delays"}, "workPool": pool if type_ == "Process" else shared}
    penstock.apply({"apiVersion": API, "kind": "FlowRun", "metadata": {"name": name}, "spec": spec})
    parent = penstock.settled(name, 240)
    status = parent["status"]
    assert status["state"]["type"] == "Completed", status["state"]
    found = status["result"]["inline"]
    assert found["sums"] == [2, 4]
    assert found["error"] == "LookupError('nothing there')"
    label = f"penstock.dev/parent={name}"
    children = json.loads(penstock.kubectl("get", "flowruns", "-l", label, "-o", "json"))["items"]
    assert sorted(child["metadata"]["name"] for child in children) == sorted([*found["names"], found["failed"]])
    for child in children:
        state = penstock.settled(child["metadata"]["name"])["status"]
        assert (state["pod"] == status["pod"]) is (type_ == "Process")
        assert child["spec"]["parent"] == {"name": name, "uid": parent["metadata"]["uid"], "awaited": False}
        failed = child["metadata"]["name"] == found["failed"]
        assert state["state"]["type"] == ("Failed" if failed else "Completed"), state["state"]
