"""How late runs are that schedules make, of 5,000 deployments, and what the operator takes while none is due.

On a real etcd and kube-apiserver, with the operator in a process of its own. First nothing is due for a minute; then
runs are due for a minute, a tenth of a second apart; then several hundred at the same instant; then some while no
operator is there, until it is started again. The peer, in the same run, is a client that creates as many runs as fast
as it can. PENSTOCK_BENCH_DEPLOYMENTS sets another number.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cells
from api_client import ApiClient
from operator_process import LEASE, OperatorProcess
from penstock.api import labels
from penstock_cluster import control_plane as planes
from penstock_operator.cluster import FLOW_DEPLOYMENTS, FLOW_RUNS, ApiCluster, Connection, Unavailable
from penstock_operator.core.views import format_time, parse_time

Json = dict[str, Any]
DEPLOYMENTS = int(os.environ.get("PENSTOCK_BENCH_DEPLOYMENTS", "5000"))
BURST, MISSED, FLOWS = 500, 100, 50
APART = timedelta(seconds=0.1)
IDLE, BUSY = 60.0, 60.0
NAMESPACE = "bench"
PATIENCE = 600.0


def made(kind: str, name: str, spec: Json) -> Json:
    return {
        "apiVersion": labels.API_VERSION,
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": spec,
    }


def deployment(number: int, first: datetime, burst: datetime, missed: datetime) -> Json:
    """Once a day: each at a time of its own, the last ones at the same."""
    slot = first + number * APART
    if number >= DEPLOYMENTS - BURST:
        slot = burst
    elif number >= DEPLOYMENTS - BURST - MISSED:
        slot = missed
    interval = {"seconds": 86_400, "anchor": format_time(slot)}
    spec = {"flowRef": {"name": f"flow-{number % FLOWS}"}, "schedules": [{"slug": "daily", "interval": interval}]}
    return made("FlowDeployment", f"etl-{number:05d}", spec)


async def create_all(cluster: ApiCluster, bodies: list[Json], resource: Any) -> None:
    async def some(mine: list[Json]) -> None:
        for body in mine:
            while True:
                try:
                    await cluster.create(resource, NAMESPACE, body)
                    break
                except Unavailable:
                    await asyncio.sleep(0.5)

    await asyncio.gather(*(some(bodies[n::24]) for n in range(24)))


def cpu(operator: OperatorProcess) -> float:
    """Seconds of CPU that the process has taken."""
    fields = Path(f"/proc/{operator.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(operator: OperatorProcess) -> float:
    """MiB that the process holds."""
    status = Path(f"/proc/{operator.process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024


def over(operator: OperatorProcess, until: datetime) -> float:
    """Share of a core that the process takes until then."""
    begun, before = time.monotonic(), cpu(operator)
    time.sleep(max(0.0, (until - datetime.now(UTC)).total_seconds()))
    return (cpu(operator) - before) / (time.monotonic() - begun)


@contextmanager
def watched(connection: Connection) -> Iterator[dict[str, datetime]]:
    """When each run was seen first, by name: the API server tells of a creation to the second only."""
    seen: dict[str, datetime] = {}
    ended = threading.Event()

    async def follow(cluster: ApiCluster) -> None:
        while True:
            try:
                async for event in cluster.watch(FLOW_RUNS, NAMESPACE, resource_version="0", timeout_seconds=3600):
                    if event.type == "ADDED":
                        seen.setdefault(event.object["metadata"]["name"], datetime.now(UTC))
            except Unavailable:
                await asyncio.sleep(0.2)

    async def until_ended() -> None:
        async with ApiCluster(connection) as cluster:
            task = asyncio.create_task(follow(cluster))
            while not ended.is_set():
                await asyncio.sleep(0.1)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    thread = threading.Thread(target=asyncio.run, args=(until_ended(),))
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def tell(admin: ApiClient, seen: dict[str, datetime], wanted: range) -> float:
    """Print the seconds from each slot until its run was there, accepted, and launched; the longest of the first."""
    there: list[float] = []
    accepted: list[float] = []
    launched: list[float] = []
    names = {f"etl-{number:05d}" for number in wanted}
    for run in admin.list("FlowRun", NAMESPACE)["items"]:
        if run["spec"]["deploymentRef"]["name"] not in names:
            continue
        slot, history = parse_time(run["spec"]["scheduledTime"]), (run.get("status") or {}).get("history") or []
        assert slot is not None
        there.append((seen[run["metadata"]["name"]] - slot).total_seconds())
        times = [parse_time(entry["time"]) for entry in history]
        accepted += [(times[0] - slot).total_seconds()] if times and times[0] else []
        pending = next((t for t, entry in zip(times, history, strict=True) if entry["type"] == "Pending"), None)
        launched += [(pending - slot).total_seconds()] if pending else []
    for what, found in (("there", there), ("accepted", accepted), ("launched", launched)):
        print(told(f"  {what}", sorted(found)))
    return max(there, default=float("nan"))


def told(what: str, found: list[float]) -> str:
    if not found:
        return f"{what}: none"
    p99 = found[min(len(found) - 1, len(found) * 99 // 100)]
    return f"{what}: {len(found)} runs, p50 {statistics.median(found):.3f} s, p99 {p99:.3f} s, last {found[-1]:.3f} s"


def looked_at(operator: OperatorProcess, times: int = 1) -> float:
    """Seconds until everything was looked at once, that often."""
    begun = time.monotonic()
    while operator.log.read_text().count("looked at once") < times:
        assert operator.alive, operator.log.read_text()
        assert time.monotonic() - begun < PATIENCE
        time.sleep(0.2)
    return time.monotonic() - begun


def bench_schedules(tmp_path: Path) -> None:
    """Lateness, CPU idle and busy, and memory."""
    with planes.running(tmp_path / "plane") as plane, ApiClient(plane.kubeconfig) as admin:
        cells.install_crds(admin)
        admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        admin.create(made("WorkPool", "default", {"type": "Pod"}))
        for number in range(FLOWS):
            code = {"code": {"image": {"image": "example/flows:1"}}, "entrypoint": "flows:etl"}
            admin.create(made("Flow", f"flow-{number}", code))
        connection = Connection(plane.url, planes.tls(plane.folder / "pki"))
        lead = timedelta(seconds=float(os.environ.get("PENSTOCK_BENCH_LEAD", "400")))
        first = datetime.now(UTC).replace(microsecond=0) + lead
        burst = first + timedelta(seconds=BUSY + 15)
        missed = burst + timedelta(seconds=55)

        async def fill() -> None:
            async with ApiCluster(connection) as cluster:
                bodies = [deployment(number, first, burst, missed) for number in range(DEPLOYMENTS)]
                await create_all(cluster, bodies, FLOW_DEPLOYMENTS)

        begun = time.monotonic()
        asyncio.run(fill())
        print(f"\n{DEPLOYMENTS} deployments made in {time.monotonic() - begun:.0f} s; load {os.getloadavg()[0]:.1f}")
        lease = f"{NAMESPACE}/{LEASE}"
        with watched(connection) as seen, OperatorProcess(plane, tmp_path, "bench", NAMESPACE, lease) as operator:
            print(f"all of them looked at {looked_at(operator):.1f} s after its start, {cpu(operator):.1f} s of CPU")
            left = (first - datetime.now(UTC)).total_seconds()
            assert left > IDLE + 5, f"set PENSTOCK_BENCH_LEAD higher: only {left:.0f} s are left"
            time.sleep(left - IDLE - 2)
            idle = over(operator, first - timedelta(seconds=2))
            print(f"idle: {idle:.1%} of a core, {memory(operator):.0f} MiB; load {os.getloadavg()[0]:.1f}")
            busy = over(operator, first + timedelta(seconds=BUSY))
            time.sleep(5)
            print(f"ten a second: {busy:.1%} of a core; load {os.getloadavg()[0]:.1f}")
            tell(admin, seen, range(int(BUSY / APART.total_seconds())))
            over(operator, missed - timedelta(seconds=5))
            print(f"{BURST} at the same instant, besides ten a second; load {os.getloadavg()[0]:.1f}")
            last = tell(admin, seen, range(DEPLOYMENTS - BURST, DEPLOYMENTS))
            print(f"at the end {memory(operator):.0f} MiB")
            operator.kill()
            time.sleep(max(0.0, (missed - datetime.now(UTC)).total_seconds()) + 1.0)
            started = datetime.now(UTC)
            operator.start()
            again = looked_at(operator, 2)
            print(f"started again, all looked at {again:.1f} s after its start, {cpu(operator):.1f} s of CPU")
            late = range(DEPLOYMENTS - BURST - MISSED, DEPLOYMENTS - BURST)
            since = (started - missed).total_seconds()
            print(f"{MISSED} due {since:.1f} s before it was; load {os.getloadavg()[0]:.1f}")
            tell(admin, seen, late)

        async def bare() -> float:
            runs = [made("FlowRun", f"bare-{n}", {"deploymentRef": {"name": "etl-00000"}}) for n in range(BURST)]
            async with ApiCluster(connection) as cluster:
                begun = time.monotonic()
                await create_all(cluster, runs, FLOW_RUNS)
                return time.monotonic() - begun

        seconds = asyncio.run(bare())
        print(f"bare creation of {BURST} runs: {seconds:.1f} s; last of the burst there / that: x{last / seconds:.1f}")
