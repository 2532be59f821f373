"""Slots that code holds, on a real node: shared by pods and warm workers, and back as soon as who held them is gone."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from installation import Penstock

Json = dict[str, Any]
API = "penstock.dev/v1alpha1"
PODS, WARM = "default", "warm-limits"
FLOW = """
import os, time
from penstock import flow
from penstock.concurrency.sync import concurrency, rate_limit


@flow
def hold(seconds: float = 0):
    with concurrency("db", occupy=1):
        print("process", os.getpid(), "holds", flush=True)
        time.sleep(seconds)
        return time.time()


@flow
def call(n: int):
    times = []
    for _ in range(n):
        rate_limit("api")
        times.append(time.time())
    return times
"""


def body(kind: str, name: str, spec: Json) -> Json:
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec}


@pytest.fixture(scope="module")
def limits(penstock: Penstock) -> Iterator[Penstock]:
    """A slot `db`, a rate `api`, and a warm worker with two places."""
    code = {"source": {"text": FLOW}}
    objects = [
        body("WorkPool", WARM, {"type": "Process", "worker": {"min": 1, "max": 1, "concurrency": 2}}),
        body("ConcurrencyLimit", "db", {"limit": 1}),
        body("ConcurrencyLimit", "api", {"limit": 4, "slotDecayPerSecond": 2}),
        body("Flow", "hold", {"code": code, "entrypoint": "f:hold"}),
        body("Flow", "call", {"code": code, "entrypoint": "f:call"}),
    ]
    penstock.apply(*objects)
    penstock.wait("workpool", WARM, lambda pool: pool.get("status", {}).get("workers") == 1, 180)
    yield penstock
    penstock.delete(*objects)


def run(name: str, flow: str, pool: str, **parameters: Any) -> Json:
    return body("FlowRun", name, {"flowRef": {"name": flow}, "workPool": pool, "parameters": parameters})


def claims(penstock: Penstock, until: Callable[[list[tuple[str, int, int]]], bool]) -> None:
    """Wait until the claims of `db` (run, slots held, slots wanted) are so, in the order of who is next."""

    def seen(limit: Json) -> bool:
        found = (limit.get("status") or {}).get("claims") or []
        return until([(claim["run"], claim["active"], claim["queued"]) for claim in found])

    penstock.wait("concurrencylimit", "db", seen, 120)


def test_slots_come_back_from_the_killed_and_go_to_who_waits_longest(limits: Penstock) -> None:
    """A pod that is gone by force, and a process that is killed in a worker that goes on: neither had a lease."""
    waiting: list[tuple[str, int, int]] = []
    for name, pool, seconds in (("pod", PODS, 600), ("warm", WARM, 600), ("other", WARM, 0), ("last", PODS, 0)):
        limits.apply(run(f"hold-{name}", "hold", pool, seconds=seconds))
        waiting.append((f"hold-{name}", 0 if waiting else 1, 1 if waiting else 0))
        claims(limits, lambda found: found == waiting)
    limits.kubectl("delete", "pod", "hold-pod-1", "--grace-period=0", "--force")
    killed = time.monotonic()
    claims(limits, lambda found: found[0] == ("hold-warm", 1, 0))
    print(f"the slot of the killed pod went on within {time.monotonic() - killed:.1f} s")
    status = limits.get("flowrun", "hold-warm")["status"]
    kill = f"import os; os.kill({process(limits, status['worker']['name'])}, 9)"
    limits.kubectl("exec", status["worker"]["name"], "-c", "flow", "--", "python3", "-c", kill)
    ends = {name: limits.settled(name, 120)["status"] for name in ("hold-pod", "hold-warm", "hold-last", "hold-other")}
    assert {name: status["state"]["type"] for name, status in ends.items()} == {
        "hold-pod": "Crashed",
        "hold-warm": "Crashed",
        "hold-last": "Completed",
        "hold-other": "Completed",
    }
    assert ends["hold-other"]["result"]["inline"] < ends["hold-last"]["result"]["inline"], "it asked first"
    assert ends["hold-other"]["worker"]["uid"] == status["worker"]["uid"], "the worker went on"
    limits.wait("concurrencylimit", "db", lambda limit: limit["status"]["active"] == limit["status"]["queued"] == 0)


def test_pods_and_warm_workers_share_a_rate(limits: Penstock) -> None:
    limits.apply(run("call-pod", "call", PODS, n=8), run("call-warm", "call", WARM, n=8))
    ends = {name: limits.settled(name, 120)["status"] for name in ("call-pod", "call-warm")}
    times = sorted(at for status in ends.values() for at in status["result"]["inline"])
    assert len(times) == 16
    late = 1.0  # a token may be used a second after it was granted, and the next were granted meanwhile
    for first, began in enumerate(times):
        for last, ended in enumerate(times[first:], 1):
            assert last <= 4 + 2 * (ended - began + late) + 1, (first, last, times)


def process(penstock: Penstock, worker: str) -> str:
    """The process that holds, once it has said so."""
    deadline = time.monotonic() + 60
    while not (found := re.search(r"process (\d+) holds", penstock.kubectl("logs", worker, "-c", "flow"))):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return found[1]
