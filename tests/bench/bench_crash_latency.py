"""From the moment the API shows that a pod has failed until its run says so; the peer is Kubernetes' Job controller.

Both are told by the same watch of the same pod. The budget is ten seconds.
"""

from __future__ import annotations

import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from installation import ROOT, Penstock

API = "penstock.dev/v1alpha1"
COUNT = 8
CODE = "import os\nfrom penstock import flow\n\n@flow\ndef main():\n    os._exit(3)\n"
FAILED = {
    "pods": ('{.metadata.labels.penstock\\.dev/run} {.status.phase}{"\\n"}', "Failed"),
    "flowruns": ('{.metadata.name} {.status.state.type}{"\\n"}', "Crashed"),
    "jobs": ('{.metadata.labels.penstock\\.dev/run} {.status.conditions[*].type}{"\\n"}', "Failed"),
}


@contextmanager
def seen(penstock: Penstock, kind: str, at: dict[str, float]) -> Iterator[None]:
    """Note when each run's object of that kind is first seen to have failed."""
    path, word = FAILED[kind]
    program = str(ROOT / ".cluster/bin/kubectl")
    words = [program, "--namespace", penstock.namespace, "get", kind, "--watch", "--output", f"jsonpath={path}"]
    with subprocess.Popen(words, env=penstock.environment, stdout=subprocess.PIPE, text=True) as watch:
        stream = watch.stdout
        assert stream is not None

        def read() -> None:
            for line in stream:
                run, _, said = line.strip().partition(" ")
                if word in said.split():
                    at.setdefault(run, time.monotonic())

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield
        finally:
            watch.terminate()
            reader.join()


def bench_crash_latency(penstock: Penstock) -> None:
    """Runs in Jobs whose process leaves without an end."""
    meta = {"name": "leaves"}
    flow = {"code": {"source": {"text": CODE}}, "entrypoint": "flow:main"}
    penstock.apply(
        {"apiVersion": API, "kind": "Flow", "metadata": meta, "spec": flow},
        {"apiVersion": API, "kind": "WorkPool", "metadata": {"name": "jobs"}, "spec": {"type": "Job"}},
    )
    names = [f"leaves-{number}" for number in range(COUNT)]
    times: dict[str, dict[str, float]] = {kind: {} for kind in FAILED}
    with ExitStack() as watches:
        for kind, at in times.items():
            watches.enter_context(seen(penstock, kind, at))
        for name in names:
            spec = {"flowRef": meta, "workPool": "jobs"}
            penstock.apply({"apiVersion": API, "kind": "FlowRun", "metadata": {"name": name}, "spec": spec})
        for name in names:
            penstock.settled(name, 120)
    run, job = (
        [times[kind][name] - times["pods"][name] for name in names if name in times[kind] and name in times["pods"]]
        for kind in ("flowruns", "jobs")
    )
    print(
        f"\n{len(run)} failed pods: until the run is Crashed, median {statistics.median(run) * 1000:.0f} ms, ", end=""
    )
    print(
        f"at most {max(run) * 1000:.0f} ms; until the Job is Failed, median {statistics.median(job) * 1000:.0f} ms, ",
        end="",
    )
    print(f"ratio {statistics.median(run) / statistics.median(job):.2f}")
