"""What a task call costs, against Prefect 3.9.1 with its ephemeral server, and against concurrent.futures.

1,000 tasks that do nothing, called in sequence, submitted, mapped and awaited together; and a flow that does nothing.
One workload for both, each in an interpreter of its own, one after the other on the same machine. Prefect is installed
into a folder of its own below the cache; the certifi it wants at least is not asked for, for it adds nothing here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PREFECT = "3.9.1"
COUNT = 1000
CACHE = Path(os.environ.get("PENSTOCK_CACHE") or Path.home() / ".cache/penstock")
HERE = Path(__file__).resolve().parents[2]

WORKLOAD = """
import asyncio, json, statistics, sys, time

from LIBRARY import flow, task

COUNT = int(sys.argv[1])
found = {}


def timed(name, call):
    start = time.perf_counter()
    call()
    found[name] = time.perf_counter() - start


@task
def noop(n):
    return n


@task
async def anoop(n):
    return n


@flow
def empty():
    pass


@flow
def sequence():
    timed("sequence", lambda: [noop(n) for n in range(COUNT)])


@flow
def submitted():
    timed("submit", lambda: [future.result() for future in [noop.submit(n) for n in range(COUNT)]])


@flow
def mapped():
    timed("map", lambda: noop.map(range(COUNT)).result())


@flow
async def gathered():
    start = time.perf_counter()
    await asyncio.gather(*(anoop(n) for n in range(COUNT)))
    found["awaited"] = time.perf_counter() - start


rounds = []
empty()
for _ in range(ROUNDS):
    timed("empty flow", lambda: [empty() for _ in range(CALLS)])
    found["empty flow"] /= CALLS
    sequence()
    submitted()
    mapped()
    asyncio.run(gathered())
    rounds.append(dict(found))
print("FOUND" + json.dumps({name: statistics.median(each[name] for each in rounds) for name in found}))
"""

PEER = """
import json, statistics, sys, time
from concurrent.futures import ThreadPoolExecutor

COUNT = int(sys.argv[1])
found = {}


def noop(n):
    return n


for name, work in (
    ("submit", lambda pool: [future.result() for future in [pool.submit(noop, n) for n in range(COUNT)]]),
    ("map", lambda pool: list(pool.map(noop, range(COUNT)))),
):
    times = []
    for _ in range(ROUNDS):
        with ThreadPoolExecutor() as pool:
            start = time.perf_counter()
            work(pool)
            times.append(time.perf_counter() - start)
    found[name] = statistics.median(times)
print("FOUND" + json.dumps(found))
"""


def prefect() -> Path:
    """The interpreter of a folder with Prefect in it, made when it is first asked for."""
    folder = CACHE / "bench" / f"prefect-{PREFECT}"
    python = folder / "bin/python"
    if not (folder / ".ready").exists():
        uv = str(CACHE / "uv/bin/uv")
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)
        override = folder / "override.txt"
        override.write_text("certifi\n")
        words = [uv, "pip", "install", "--quiet", "-p", str(python), f"prefect=={PREFECT}", "--override", str(override)]
        subprocess.run(words, check=True)
        (folder / ".ready").touch()
    return python


def measured(python: str, code: str, environment: dict[str, str] | None = None) -> dict[str, float]:
    """Seconds by name, as the code prints them."""
    with tempfile.TemporaryDirectory() as home:
        script = Path(home) / "workload.py"
        script.write_text(code)
        plain = {"PATH": os.environ["PATH"], "HOME": home}
        done = subprocess.run(
            [python, str(script), str(COUNT)],
            env=plain | (environment or {}),
            cwd=home,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND")]
    assert lines, done.stderr[-3000:]
    found: dict[str, float] = json.loads(lines[0].removeprefix("FOUND"))
    return found


def filled(code: str, **values: str) -> str:
    """The code with its words in capitals replaced."""
    for name, value in values.items():
        code = code.replace(name, value)
    return code


def _improve(best: dict[str, float], found: dict[str, float]) -> None:
    for name, seconds in found.items():
        best[name] = min(seconds, best.get(name, seconds))


def bench_tasks() -> None:
    """Medians and ratios, beside their targets."""
    quiet = {"PREFECT_HOME": ".prefect", "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    quiet["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "120"  # its server starts slowly where others work
    ours: dict[str, float] = {}
    futures: dict[str, float] = {}
    for _ in range(3):  # in turn, the best median of each: other work on the machine is nobody's cost
        _improve(ours, measured(sys.executable, filled(WORKLOAD, LIBRARY="penstock", CALLS="200", ROUNDS="15")))
        _improve(futures, measured(sys.executable, filled(PEER, ROUNDS="15")))
    theirs = measured(str(prefect()), filled(WORKLOAD, LIBRARY="prefect", CALLS="5", ROUNDS="1"), quiet)
    print(f"\n{COUNT} tasks: penstock; prefect {PREFECT}, ratio (target 0.01); concurrent.futures, ratio (target 3)")
    for name in ("sequence", "submit", "map", "awaited"):
        text = f"  {name:9} {ours[name] * 1000:8.1f} ms {theirs[name] * 1000:9.0f} ms {ours[name] / theirs[name]:8.4f}"
        if name in futures:
            text += f" {futures[name] * 1000:8.1f} ms {ours[name] / futures[name]:6.2f}"
        print(text)
    print(
        f"  an empty flow: {ours['empty flow'] * 1000:.3f} ms (target under 1 ms), "
        f"prefect {theirs['empty flow'] * 1000:.1f} ms, ratio {ours['empty flow'] / theirs['empty flow']:.4f}"
    )
