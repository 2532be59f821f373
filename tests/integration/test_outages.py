"""The API server is away for two minutes, and tokens change, while runners of real processes go on.

What the runner promises then: user code is not delayed, everything arrives afterwards, and memory stays bounded.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from api_client import ApiClient, Refused
from cells import bound_token
from penstock_cluster import supervisor
from penstock_cluster.control_plane import ControlPlane
from pod_stage import Stage, own_plane
from runner_process import Process

OUTAGE = 120.0  # seconds, of which it hangs for one half and is gone for the other
MEMORY = 96  # MiB that a runner takes at most; it was 53 with 266,000 task runs, whose records alone would take 130
ENDS_MEANWHILE = """
    import os, time
    from penstock import flow, task

    @task
    def step(n):
        if n % 100 == 99:
            raise ValueError(f"row {n} is bad")
        return n

    @flow
    def etl(**_):
        done = 0
        while not os.path.exists("go"):
            step.map(range(done, done + 10)).wait()
            done += 10
            print("user code", done, flush=True)
            time.sleep(0.1)
        return done
"""
GOES_ON = """
    import os, time
    from penstock import flow, task

    @task
    def step(n):
        return n

    @flow
    def etl(**_):
        done, longest, last = 0, 0.0, time.monotonic()
        while not os.path.exists("go"):
            done += len(step.map(range(1000)).result())
            now = time.monotonic()
            longest, last = max(longest, now - last), now
            print("user code", done, flush=True)
            time.sleep(0.1)
        return {"done": done, "longest": longest}
"""


def done(process: Process) -> int:
    """Task runs that ended, as user code says."""
    lines = [line for line in process.stdout.splitlines() if line.startswith("user code")]
    return int(lines[-1].split()[-1]) if lines else 0


def more(process: Process, count: int) -> None:
    """Return when so many further task runs have ended."""
    before = done(process)
    process.until(lambda: done(process) >= before + count)


def told(stage: Stage, process: Process) -> None:
    """Return when the run says of what has been done by now."""
    before = done(process)
    process.until(lambda: stage.status["tasks"]["total"] > before)


def peak(process: Process) -> float:
    """The most memory that it took so far, in MiB."""
    text = Path(f"/proc/{process.process.pid}/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def expiring(plane: ControlPlane, token: str, at: float) -> str:
    """The same token with another end, signed as the API server signs."""
    head, payload, _ = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    claims |= {"exp": int(at), "iat": int(at) - 3600, "nbf": int(at) - 3600}
    signed = f"{head}.{_encoded(json.dumps(claims).encode())}"
    key = plane.folder / "pki/sa.key"
    command = ["openssl", "dgst", "-sha256", "-sign", str(key)]
    der = subprocess.run(command, input=signed.encode(), stdout=subprocess.PIPE, check=True).stdout
    return f"{signed}.{_encoded(_raw(der))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _raw(der: bytes) -> bytes:
    """The two numbers of an ECDSA signature by P-256, as a JWT has them."""
    numbers, rest = [], der[2:]
    while rest:
        size = rest[1]
        numbers.append(int.from_bytes(rest[2 : 2 + size]).to_bytes(32))
        rest = rest[2 + size :]
    return b"".join(numbers)


def is_refused(plane: ControlPlane, token: str) -> bool:
    with ApiClient(plane.kubeconfig, token) as client:
        try:
            client.list("FlowRun", "team")
        except Refused as refused:
            return refused.code == 401
    return False


@contextmanager
def absent(plane: ControlPlane) -> Iterator[None]:
    """The API server hangs at first: it takes connections and answers none. Then it is killed, and stays away."""
    watch = supervisor.pid(plane.folder)
    server = next(number for name, number, _ in supervisor.table(plane.folder) if name == "kube-apiserver")
    assert watch is not None
    assert server is not None
    os.kill(watch, signal.SIGSTOP)  # or it would start the API server again
    os.kill(server, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        yield
        time.sleep(max(0.0, begun + OUTAGE / 2 - time.monotonic()))
        os.kill(server, signal.SIGKILL)
        time.sleep(max(0.0, begun + OUTAGE - time.monotonic()))
    finally:
        os.kill(server, signal.SIGKILL)
        os.kill(watch, signal.SIGCONT)
    plane.wait_ready()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """On a control plane of its own, which is taken away."""
    with own_plane(tmp_path) as stage:
        yield stage


@pytest.mark.timeout(600)
def test_two_minutes_without_an_api_server_cost_nothing_but_delay(stage: Stage) -> None:
    """One run ends meanwhile, and its token with it; the other goes on, with more task runs than are kept whole."""
    plane, pod = stage.plane, stage.cell.pod("ends-1")
    body = stage.cell.admin.get("Pod", "team", "ends-1")
    run = stage.cell.run("ends")
    ends = stage.start(ENDS_MEANWHILE, pod, run)
    goes_on = stage.run(GOES_ON, "goes-on")
    ends.until(lambda: stage.status_of("ends").get("tasks") and done(ends) >= 200)
    goes_on.until(lambda: stage.status_of("goes-on").get("tasks"))
    token = expiring(plane, pod.token, time.time() + 5)
    stage.account(pod).write({"token": token})

    with absent(plane):
        more(ends, 200)
        (ends.folder / "go").touch()
        more(goes_on, 10_000)
    before = done(goes_on)
    assert ends.process.poll() is None, "it ended without having told of its end"
    assert is_refused(plane, token)
    stage.account(pod).write({"token": bound_token(stage.cell.admin, body)})  # the kubelet's was away as well
    assert ends.ends() == 0, ends.stderr
    goes_on.until(lambda: done(goes_on) > before)
    memory = peak(goes_on)
    (goes_on.folder / "go").touch()
    assert goes_on.ends() == 0, goes_on.stderr

    status, total = stage.status_of("ends"), done(ends)
    assert (status["state"]["type"], status["result"]) == ("Completed", {"inline": total})
    failed = total // 100
    counts = {"total": total, "completed": total - failed, "failed": failed, "summary": f"{total}/{total}"}
    assert status["tasks"] == counts
    rows = stage.records("ends")
    assert sorted(row["name"] for row in rows) == sorted(f"step-{n}" for n in range(total))
    assert sum(row["state"] == "Failed" for row in rows) == failed

    status, total = stage.status_of("goes-on"), done(goes_on)
    assert status["state"]["type"] == "Completed"
    assert status["result"]["inline"]["done"] == total
    assert status["tasks"] == {"total": total, "completed": total, "summary": f"{total}/{total}"}
    pages = stage.pages_of("goes-on")
    assert sum(count for page in pages for entry in page["summary"] for count in entry["states"].values()) == total
    ids = [row["id"] for row in stage.records("goes-on")]
    assert len(ids) == len(set(ids)) <= total
    longest = status["result"]["inline"]["longest"]
    assert longest < 10, f"user code stood still for {longest:.1f} s; an API server that hangs is waited for 15 s"
    print(f"\n{total} task runs; {memory:.0f} MiB at most; the longest turn of user code took {longest:.2f} s")
    assert memory < MEMORY


@pytest.mark.timeout(600)
def test_a_token_that_the_kubelet_renews_is_taken_up(stage: Stage) -> None:
    """The old one is refused soon after; nothing of the run is."""
    pod = stage.cell.pod("run-1")
    body = stage.cell.admin.get("Pod", "team", "run-1")
    process = stage.start(GOES_ON, pod, stage.cell.run())
    process.until(lambda: stage.status.get("tasks"))
    old = expiring(stage.plane, pod.token, time.time() + 2)
    assert not is_refused(stage.plane, old)
    stage.account(pod).write({"token": old})
    told(stage, process)
    stage.account(pod).write({"token": bound_token(stage.cell.admin, body)})
    deadline = time.monotonic() + 120
    while not is_refused(stage.plane, old):
        assert time.monotonic() < deadline
        time.sleep(1)
    told(stage, process)
    (process.folder / "go").touch()
    assert process.ends() == 0, process.stderr
    total = done(process)
    assert stage.status["tasks"] == {"total": total, "completed": total, "summary": f"{total}/{total}"}
    assert "refused" not in process.stderr
