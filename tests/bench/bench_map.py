"""100,000 mapped tasks with `max_in_flight`, their records kept as in a pod: time, memory, and whether both are linear.

Each size in an interpreter of its own, whose largest resident size is what the operating system counted.
"""

from __future__ import annotations

import json
import subprocess
import sys

SIZES = (1_000, 10_000, 100_000)
ROUNDS = 3  # the quickest counts
IN_FLIGHT = 1000

CODE = """
import json, resource, sys, time

from penstock import flow, task
from penstock.engine.flow_runs import run_flow
from penstock.engine.records import FlowRunInfo
from penstock.runner.connection import Answer
from penstock.runner.pages import Pages
from penstock.task_runners import ThreadPoolTaskRunner

COUNT, IN_FLIGHT = int(sys.argv[1]), int(sys.argv[2])


class Nowhere:
    written = 0

    def request(self, method, path, body=None, content_type=""):
        Nowhere.written += len(json.dumps(body))
        return Answer(201, {})


class Run:
    name, uid, attempt, pages = "run", "uid", 1, "/pages"


class Records:
    def __init__(self):
        self.pages = Pages(Nowhere(), Run())
        self.heard = 0

    def task_changed(self, record):
        self.pages.note(record)
        self.heard += 1
        if self.heard % 10_000 == 0 and self.pages.due():
            self.pages.write()

    def flow_changed(self, state):
        pass


@task
def work(n):
    return n


@flow(task_runner=ThreadPoolTaskRunner(max_in_flight=IN_FLIGHT))
def mapped():
    return sum(work.map(number for number in range(COUNT)).result())


records = Records()
start = time.perf_counter()
state = run_flow(mapped, {}, reporter=records, info=FlowRunInfo(id="uid", name="run"))
records.pages.write()
assert state.data == COUNT * (COUNT - 1) // 2, state
assert records.pages.status()["completed"] == COUNT
print(json.dumps({
    "seconds": time.perf_counter() - start,
    "MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "written": Nowhere.written,
}))
"""


def bench_map() -> None:
    """Figures by size; the last line compares the largest with the smallest."""
    found = {}
    for size in SIZES:
        words = [sys.executable, "-c", CODE, str(size), str(IN_FLIGHT)]
        rounds = [subprocess.run(words, capture_output=True, text=True, check=True).stdout for _ in range(ROUNDS)]
        found[size] = min(map(json.loads, rounds), key=lambda figures: figures["seconds"])
        seconds, memory, written = (found[size][name] for name in ("seconds", "MiB", "written"))
        print(
            f"\n{size:7} mapped tasks: {seconds:6.2f} s, {seconds / size * 1e6:5.1f} us each, {memory:6.1f} MiB "
            f"(target under 1024), {written / size:5.1f} bytes of records written each",
            end="",
        )
    small, large = SIZES[0], SIZES[-1]
    ratio = (found[large]["seconds"] / large) / (found[small]["seconds"] / small)
    print(f"\ncost of one at {large} against one at {small}: {ratio:.2f} (target: at most 1.3)")
