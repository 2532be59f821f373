"""Flows that write down what they do, and the runs that are made of them: which, and when, one seed decides."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chaos.invariants import Wanted
from penstock.api import labels
from penstock.api.states import StateType

Json = dict[str, Any]
S = StateType

MARKS = "/marks"
RETRIES = 6
SOURCE = """
import os
import time

from penstock import flow, pause_flow_run, suspend_flow_run, task
from penstock.concurrency.sync import concurrency


def mark(what):
    words = [os.environ[name] for name in ("PENSTOCK_RUN", "PENSTOCK_ATTEMPT", "PENSTOCK_POD_UID")]
    words += [what, f"{time.clock_gettime(time.CLOCK_BOOTTIME):.6f}", f"{time.time():.6f}"]
    out = os.open("/marks/marks", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(out, (" ".join(words) + "\\n").encode())
    os.close(out)


def work(seconds):
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 0.2))
        mark("beat")


@task
def step(seconds):
    work(seconds)


@flow
def inner(seconds):
    work(seconds)


@flow
def plain(seconds):
    mark("start")
    step(seconds)
    mark("end")


@flow
def outer(seconds):
    mark("start")
    for number in range(2):
        inner(seconds / 2 + number / 1000)
    mark("end")


@flow
def asks(seconds):
    mark("start")
    step(seconds / 2)
    if pause_flow_run(wait_for_input=int) != 7:
        raise ValueError("a wrong answer")
    work(seconds / 2)
    mark("end")


@flow
def stops(seconds):
    mark("start")
    step(seconds / 2)
    if suspend_flow_run(wait_for_input=int) != 7:
        raise ValueError("a wrong answer")
    work(seconds / 2)
    mark("end")


@flow
def holds(seconds):
    mark("start")
    with concurrency("chaos"):
        mark("held")
        work(seconds)
        mark("freed")
    mark("end")


@flow(retries=1)
def flaky(seconds):
    from penstock.runtime import flow_run

    mark("start")
    work(seconds)
    if flow_run.run_count % 2:
        raise ValueError("the first time")
    mark("end")


@flow
def broken(seconds):
    mark("start")
    work(seconds)
    raise ValueError("always")
"""
FLOWS = {"plain": 6, "outer": 2, "flaky": 2, "broken": 1, "asks": 2, "stops": 2, "holds": 3}  # with their weights
POOLS = {"chaos": 6, "chaos-jobs": 3, "chaos-warm": 3}
POOL_LIMIT, TAG, TAG_LIMIT, CODE_LIMIT = 4, "scarce", 2, 1
ANSWER = {"value": 7}


@dataclass(frozen=True)
class Submission:
    """A run that is to be made, and when after its start it is cancelled or stopped for a while, if it is."""

    name: str
    flow: str
    seconds: float
    pool: str
    scarce: bool
    cancel_after: float | None
    suspend_after: float | None

    @property
    def body(self) -> Json:
        """The FlowRun."""
        spec = {
            "flowRef": {"name": self.flow},
            "parameters": {"seconds": self.seconds},
            "workPool": self.pool,
            "infraRetries": {"limit": RETRIES, "backoffSeconds": 1},
            "tags": [TAG] if self.scarce else [],
        }
        return {"apiVersion": labels.API_VERSION, "kind": "FlowRun", "metadata": {"name": self.name}, "spec": spec}

    @property
    def wanted(self) -> Wanted:
        """How it may end."""
        end = frozenset({S.FAILED if self.flow == "broken" else S.COMPLETED})
        cancelled = frozenset({S.CANCELLED} if self.cancel_after is not None else ())
        stops = (self.flow == "stops") + (self.suspend_after is not None)
        return Wanted(end | cancelled, RETRIES, stops)


def submissions(seed: int, count: int) -> list[Submission]:
    """The runs of a seed: most are short, one of six is long, one of eight is cancelled, one of eight stopped."""
    chance = random.Random(f"workload {seed}")
    found = []
    for number in range(count):
        long = chance.random() < 1 / 6
        seconds = round(chance.uniform(6, 15) if long else chance.uniform(0.1, 1.5), 2)
        cancel = round(chance.uniform(0.5, 12), 1) if chance.random() < 1 / 8 else None
        suspend = round(chance.uniform(0.5, 12), 1) if chance.random() < 1 / 8 else None
        flow = chance.choices(list(FLOWS), list(FLOWS.values()))[0]
        pool = chance.choices(list(POOLS), list(POOLS.values()))[0]
        scarce = chance.random() < 1 / 3
        found.append(Submission(f"chaos-{seed}-{number}", flow, seconds, pool, scarce, cancel, suspend))
    return found


def limited(wanted: Sequence[Submission]) -> dict[str, tuple[int, set[str]]]:
    """The limits that runs are admitted by: slots, and whom they are for."""
    return {
        "pool chaos": (POOL_LIMIT, {one.name for one in wanted if one.pool == "chaos"}),
        f"tag {TAG}": (TAG_LIMIT, {one.name for one in wanted if one.scarce}),
    }


def manifests(folder: str) -> list[Json]:
    """The flows, limits, and pools whose pods see a folder of the node, in which their results are too."""
    template = {
        "spec": {
            "volumes": [{"name": "marks", "hostPath": {"path": folder, "type": "Directory"}}],
            "containers": [{"name": labels.CONTAINER, "volumeMounts": [{"name": "marks", "mountPath": MARKS}]}],
        }
    }
    results = {"url": f"file://{MARKS}/results", "shared": True}
    common = {"template": template, "pendingDeadlineSeconds": 240, "results": results}
    worker = {"min": 1, "max": 2, "concurrency": 2, "idleSeconds": 60}
    pools = [
        ("WorkPool", "chaos", {"type": "Pod", "concurrencyLimit": POOL_LIMIT, **common}),
        ("WorkPool", "chaos-jobs", {"type": "Job", **common}),
        ("WorkPool", "chaos-warm", {"type": "Process", "worker": worker, **common}),
    ]
    limits = [
        ("ConcurrencyLimit", "chaos", {"limit": CODE_LIMIT}),
        ("ConcurrencyLimit", TAG, {"limit": TAG_LIMIT, "tag": TAG}),
    ]
    parameters = {"type": "object", "properties": {"seconds": {"type": "number"}}, "required": ["seconds"]}
    flows = [
        ("Flow", name, {"code": {"source": {"text": SOURCE}}, "entrypoint": f"flow:{name}", "parameters": parameters})
        for name in FLOWS
    ]
    return [
        {"apiVersion": labels.API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
        for kind, name, spec in (*flows, *pools, *limits)
    ]
