"""Prefect's server and a process worker of it on this machine, for comparison: how late its runs begin, and its rate.

As its documentation has it, with nothing changed but what would leave the machine: a pool of type `process`, a worker
with a limit, a flow that is deployed from a folder. The database is SQLite, which is its default.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path

from bench.bench_tasks import prefect
from operator_process import free_port

PATIENCE = 600.0
FLOW = """
import time

BEGUN = time.time()
from prefect import flow
from prefect.runtime import flow_run


@flow
def main():
    with open("BEGUN_FILE", "a") as file:
        file.write(f"{flow_run.id} {BEGUN}\\n")
"""
DRIVER = """
import asyncio, json, sys, time
from pathlib import Path

from prefect import flow
from prefect.client.orchestration import get_client

folder, in_turn, at_once = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
flow.from_source(source=str(folder), entrypoint="flow.py:main").deploy(name="noop", work_pool_name="bench")


async def main():
    async with get_client() as client:
        deployment = await client.read_deployment_by_name("main/noop")

        async def start():
            run = await client.create_flow_run_from_deployment(deployment.id)
            return run.id, time.time()

        async def ended(ids):
            while True:
                runs = [await client.read_flow_run(id) for id in ids]
                if all(run.state.is_final() for run in runs):
                    assert all(run.state.is_completed() for run in runs), runs
                    return runs
                await asyncio.sleep(0.5)

        await ended([(await start())[0]])
        late = []
        for _ in range(in_turn):
            id, created = await start()
            await ended([id])
            begun = dict(line.split() for line in (folder / "begun").read_text().splitlines())
            late.append(float(begun[str(id)]) - created)
        first = time.time()
        runs = await ended([(await start())[0] for _ in range(at_once)])
        rate = at_once / (max(run.end_time.timestamp() for run in runs) - first)
        print("FOUND" + json.dumps([late, rate]))


asyncio.run(main())
"""


def measured(folder: Path, slots: int, in_turn: int, at_once: int) -> tuple[list[float], float]:
    """Seconds from create to user code of runs one after another, and the runs a second of some at once."""
    python, port = prefect(), free_port()
    folder.mkdir()
    url = f"http://127.0.0.1:{port}/api"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "PREFECT_HOME": str(folder / "home"),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    (folder / "flow.py").write_text(FLOW.replace("BEGUN_FILE", str(folder / "begun")))
    (folder / "driver.py").write_text(DRIVER)
    program = str(python.parent / "prefect")
    with ExitStack() as stack, (folder / "log").open("ab") as log:

        def start(*words: str) -> None:
            process = subprocess.Popen([program, *words], env=environment, cwd=folder, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)

        start("server", "start", "--host", "127.0.0.1", "--port", str(port))
        _until_it_answers(f"{url}/health")
        words = [program, "work-pool", "create", "bench", "--type", "process"]
        subprocess.run(words, env=environment, cwd=folder, stdout=log, stderr=log, check=True)
        start("worker", "start", "--pool", "bench", "--limit", str(slots))
        words = [str(python), "driver.py", str(folder), str(in_turn), str(at_once)]
        done = subprocess.run(
            words, env=environment, cwd=folder, capture_output=True, text=True, timeout=PATIENCE * 2, check=False
        )
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND")]
    assert lines, done.stderr[-3000:]
    late, rate = json.loads(lines[0].removeprefix("FOUND"))
    return late, rate


def _until_it_answers(url: str) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with suppress(OSError), opener.open(url, timeout=10):
            return
        time.sleep(0.5)
    raise AssertionError("Prefect's server does not answer")
