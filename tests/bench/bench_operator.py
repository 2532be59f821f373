"""What the operator takes and what it costs: simulated pods on a real API server, against bare pods of the same kind.

Bare pods are created, started by kwok and ended by the same player at the same pace: what Kubernetes itself takes here.
`PENSTOCK_BENCH_RUNS` sets how many runs are taken through, `PENSTOCK_BENCH_LIVE` how many are held at once.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

import cells
from bench.simulated_cluster import (
    NAMESPACE,
    OPERATOR,
    PLAYER,
    RUNNER,
    SimulatedCluster,
    memory_mib,
    running,
    wait,
)
from bench.simulated_runners import BARE, SimulatedRunners
from penstock.api import labels
from penstock_operator.cluster import FLOW_RUNS, PODS, ApiCluster, Connection

Json = dict[str, Any]

RUNS = int(os.environ.get("PENSTOCK_BENCH_RUNS", "300"))
LIVE = int(os.environ.get("PENSTOCK_BENCH_LIVE", "10000"))
ROUNDS = 2
RATE, SECONDS = 10, 20
CODE = """
from penstock import flow, task


@task
def square(n):
    return n * n


@flow
def main(n=5, nested=None):
    return square(n)
"""
SCHEMA = {
    "type": "object",
    "properties": {
        "n": {"type": "integer", "default": 5, "position": 0},
        "nested": {"default": None, "position": 1},
    },
}
REFERENCES = ("flows", "workpools")
CREATORS = 16
PATIENCE = float(os.environ.get("PENSTOCK_BENCH_PATIENCE", "300"))  # seconds within which a batch is through


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedCluster]:
    """Everything up, and one run gone through, whose revisions the others share."""
    with running(tmp_path_factory.mktemp("bench")) as found:
        found.start_operator()
        code = {"code": {"source": {"text": CODE}}, "entrypoint": "flow:main", "parameters": SCHEMA}
        meta = {"name": "main", "namespace": NAMESPACE}
        found.admin.create({"apiVersion": labels.API_VERSION, "kind": "Flow", "metadata": meta, "spec": code})
        asyncio.run(_through(found, [flow_run("first")]))
        yield found


def flow_run(name: str, **spec: Any) -> Json:
    """A run of the flow."""
    meta = {"name": name, "namespace": NAMESPACE}
    return {
        "apiVersion": labels.API_VERSION,
        "kind": "FlowRun",
        "metadata": meta,
        "spec": {"flowRef": {"name": "main"}, "parameters": {"n": 7}, **spec},
    }


def bare_pod(name: str) -> Json:
    """A pod as small as they are."""
    meta = {"name": name, "namespace": NAMESPACE, "labels": {BARE: "true"}}
    container = {"name": labels.CONTAINER, "image": "none"}
    spec = {"restartPolicy": "Never", "containers": [container], "automountServiceAccountToken": False}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


@asynccontextmanager
async def _player(cluster: SimulatedCluster, **options: Any) -> Any:
    """A client by the player's account, and the runners that it plays."""
    import yaml

    token = yaml.safe_load(cluster.account(cells.SYSTEM, PLAYER).read_text())["users"][0]["user"]["token"]
    context = ssl.create_default_context(cafile=str(cluster.plane.certificate_authority))
    async with ApiCluster(Connection(cluster.plane.url, context, lambda: token)) as client:
        runners = SimulatedRunners(client, NAMESPACE, **options)
        task = asyncio.create_task(runners.run())
        await asyncio.sleep(0.2)
        try:
            yield client, runners
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    await asyncio.sleep(0.3)


async def _create(client: ApiCluster, resource: Any, bodies: list[Json]) -> None:
    left = iter(bodies)

    async def creator() -> None:
        for body in left:
            await client.create(resource, NAMESPACE, body)

    await asyncio.gather(*(creator() for _ in range(CREATORS)))


async def _unsettled(client: ApiCluster) -> int:
    """How many runs the operator is not done with."""
    pages = client.list_pages(FLOW_RUNS, NAMESPACE, field_selector="status.settled!=true")
    return sum([len(page.items) async for page in pages])


async def _through(cluster: SimulatedCluster, bodies: list[Json]) -> float:
    """Seconds from the first creation until the end of all is written and they are settled."""
    async with _player(cluster) as (client, runners):
        start = time.monotonic()
        if bodies[0]["kind"] == "Pod":
            await _create(client, PODS, bodies)
        else:
            await _create(client, FLOW_RUNS, bodies)
        while len(runners.ended) < len(bodies):
            await asyncio.sleep(0.02)
            assert time.monotonic() - start < PATIENCE, f"{len(runners.ended)} of {len(bodies)} have ended"
        took = time.monotonic() - start
        if bodies[0]["kind"] == "FlowRun":
            while await _unsettled(client):
                await asyncio.sleep(0.1)
                assert time.monotonic() - start < PATIENCE
        return took


def bench_writes_of_a_run(cluster: SimulatedCluster, tmp_path: Path) -> None:
    """One real runner in this control plane makes the same writes as one that is played."""
    with ExitStack() as clients:
        cell = cells.open_cell(cluster.admin, "real", clients)
        offset = cluster.plane.audit_log.stat().st_size
        done = cells.runner(cell, CODE, tmp_path)
        output = done.communicate(timeout=120)
        assert done.returncode == 0, output
        assert cluster.admin.get("FlowRun", "real", "run")["status"]["state"]["type"] == "Completed", output
        real = cluster.writes_since(offset, "real")[RUNNER]
    offset = cluster.plane.audit_log.stat().st_size
    asyncio.run(_through(cluster, [flow_run("counted")]))
    played = cluster.writes_since(offset, NAMESPACE)[PLAYER]
    played -= Counter({"create flowruns": 1, "patch pods/status": 1})
    print(f"\na real runner writes {dict(real)}, a played one {dict(played)}")
    assert played == real


def bench_throughput(cluster: SimulatedCluster) -> None:
    """Runs a second from created to terminal, and what each costs, in turn with as many bare pods."""
    rates: dict[str, list[float]] = {"runs": [], "bare pods": []}
    shares: list[dict[str, float]] = []
    reads: list[float] = []
    offset = cluster.plane.audit_log.stat().st_size
    for number in range(ROUNDS):
        took = asyncio.run(_through(cluster, [bare_pod(f"bare-{number}-{n}") for n in range(RUNS)]))
        rates["bare pods"].append(RUNS / took)
        before, read = cluster.cpu(), cluster.reads(*REFERENCES)
        took = asyncio.run(_through(cluster, [flow_run(f"run-{number}-{n}") for n in range(RUNS)]))
        rates["runs"].append(RUNS / took)
        reads.append((cluster.reads(*REFERENCES) - read) / RUNS)
        shares.append({name: (used - before[name]) * 1000 / RUNS for name, used in cluster.cpu().items()})
    writes = cluster.writes_since(offset, NAMESPACE)[OPERATOR]
    ratio = statistics.median(rates["bare pods"]) / statistics.median(rates["runs"])
    load = os.getloadavg()[0]
    print(f"\n{RUNS} at once, {ROUNDS} times; {os.cpu_count()} CPUs, load {load:.1f}")
    for what, found in rates.items():
        print(f"  {what:10} {', '.join(f'{rate:.1f}' for rate in found)} a second")
    print(f"  a bare pod is {ratio:.2f} times as fast; Argo's single controller: 13.5 workflows a second")
    for name in sorted(shares[0], key=lambda name: -shares[0][name]):
        print(f"  CPU a run: {statistics.median(share[name] for share in shares):6.1f} ms {name}")
    print(f"  flow and pool: {', '.join(f'{each:.3f}' for each in reads)} reads a run; without sharing, 2")
    total = writes.total() / (RUNS * ROUNDS)
    each = ", ".join(f"{count / (RUNS * ROUNDS):.2f} {what}" for what, count in writes.most_common())
    print(f"  operator: {total:.2f} writes a run (target 4): {each}")


def bench_latency(cluster: SimulatedCluster) -> None:
    """From a run's creation to its pod's, at ten runs a second; as the client sees both."""
    created: dict[str, float] = {}

    async def paced() -> dict[str, float]:
        async with _player(cluster) as (client, runners):
            start = time.monotonic()
            pending = []
            for number in range(RATE * SECONDS):
                await asyncio.sleep(max(0.0, start + number / RATE - time.monotonic()))
                name = f"paced-{number}"
                created[f"{name}-1"] = time.monotonic()
                pending.append(asyncio.create_task(client.create(FLOW_RUNS, NAMESPACE, flow_run(name))))
            await asyncio.gather(*pending)
            while not created.keys() <= runners.ended.keys():
                await asyncio.sleep(0.05)
            return {name: runners.seen[name] - at for name, at in created.items()}

    found = sorted(asyncio.run(paced()).values())
    p50, p99 = (found[int(len(found) * part)] * 1000 for part in (0.5, 0.99))
    print(f"\n{RATE} runs a second for {SECONDS} s: pod created after p50 {p50:.0f} ms (target 150), ", end="")
    print(f"p99 {p99:.0f} ms (target 1000); load {os.getloadavg()[0]:.1f}")


def bench_memory(cluster: SimulatedCluster) -> None:
    """Resident memory with many finished and many live runs, a tenth of which has pods; and the start with them."""
    empty = memory_mib(cluster.pids["operator"])
    finished = [flow_run(f"finished-{n}") for n in range(LIVE)]
    end = {
        "type": "Completed",
        "name": "Completed",
        "reason": "Completed",
        "message": "",
        "time": "2026-01-01T06:00:00Z",
        "seq": 4,
    }
    status = {"attempt": 1, "state": end, "settled": True, "observedSeq": 4, "endTime": "2026-01-01T06:00:00Z"}

    async def fill() -> None:
        async with _player(cluster, hold=True) as (client, runners):
            cluster.stop_operator()  # or it would take those for new that are yet to be marked as finished
            await _create(client, FLOW_RUNS, finished)
            left = iter(finished)

            async def mark() -> None:
                for body in left:
                    ops = [{"op": "add", "path": "/status", "value": status}]
                    await client.patch(FLOW_RUNS, NAMESPACE, body["metadata"]["name"], ops, subresource="status")

            await asyncio.gather(*(mark() for _ in range(CREATORS)))
            cluster.start_operator()
            await _create(client, FLOW_RUNS, [flow_run(f"held-{n}") for n in range(LIVE // 10)])
            later = "2099-01-01T00:00:00Z"
            await _create(
                client, FLOW_RUNS, [flow_run(f"later-{n}", scheduledTime=later) for n in range(LIVE - LIVE // 10)]
            )
            while len(runners._playing) < LIVE // 10:
                await asyncio.sleep(0.5)

    def scheduled() -> bool:
        path = f"/apis/{labels.API_VERSION}/namespaces/{NAMESPACE}/flowruns"
        last = cluster.admin.request("GET", f"{path}/later-{LIVE - LIVE // 10 - 1}")
        return bool(last.get("status"))

    asyncio.run(fill())
    wait(scheduled, "the last run's acceptance", 900)
    time.sleep(5)
    full = memory_mib(cluster.pids["operator"])
    allowed = 150 + 5 * LIVE / 1024
    print(f"\n{LIVE} live runs ({LIVE // 10} with pods) and {LIVE} finished: {full:.0f} MiB ", end="")
    print(f"(empty {empty:.0f}; target {allowed:.0f}), {(full - empty) * 1024 / LIVE:.1f} KiB a live run")
    cluster.stop_operator()
    known, start = len((cluster.folder / "operator.log").read_text()), time.monotonic()
    cluster.start_operator()
    wait(lambda: "synced:" in (cluster.folder / "operator.log").read_text()[known:], "the sync")
    fresh = time.monotonic() - start
    time.sleep(5)
    print(f"a start with them: synced after {fresh:.1f} s (target 15), {memory_mib(cluster.pids['operator']):.0f} MiB")
