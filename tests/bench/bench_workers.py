"""A warm worker outside of the cluster: from create to the first line of user code, and how many runs a second.

The control plane, the operator and the worker are processes, as a user has them; there is no node. The clock is one
machine's: a run returns when its first line was executed. What a run costs each part in CPU is told as well, since a
busy machine has the times of its neighbours. Prefect's process worker comes after it, on the same machine.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import cells
from api_client import ApiClient
from bench import prefect_worker
from bench.simulated_cluster import OPERATOR, account_kubeconfig
from operator_process import OperatorProcess
from penstock.api import labels
from penstock_cluster import control_plane as planes
from penstock_cluster import supervisor
from worker_stage import WorkerProcess, until

Json = dict[str, Any]
NAMESPACE = "bench"
IN_TURN, AT_ONCE, SLOTS = 50, 200, 2
THEIRS_IN_TURN, THEIRS_AT_ONCE = 5, 10  # for each takes many seconds
RUNS = f"/apis/{labels.API_VERSION}/namespaces/{NAMESPACE}/flowruns"
SOURCE = "import time\nBEGUN = time.time()\nfrom penstock import flow\n\n@flow\ndef main():\n    return BEGUN\n"


class Field:
    """A namespace with a pool of type Process, the operator, and a worker of it."""

    def __init__(self, plane: planes.ControlPlane, admin: ApiClient, folder: Path, stack: ExitStack) -> None:
        self.admin, self.folder = admin, folder
        admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        for body in cells.rendered("runs.yaml", f"runs.namespaces={{{NAMESPACE}}}"):
            admin.apply(body)
        self.make("Flow", "noop", {"code": {"source": {"text": SOURCE}}, "entrypoint": "flow:main"})
        self.make("WorkPool", "warm", {"type": "Process"})
        self.make("FlowDeployment", "noop", {"flowRef": {"name": "noop"}, "workPool": "warm"})
        self.plane = plane
        account = account_kubeconfig(plane, admin, folder, cells.SYSTEM, OPERATOR)
        lease = f"{cells.SYSTEM}/penstock-operator"
        self.operator = operator = OperatorProcess(
            plane, folder, "operator", NAMESPACE, lease, KUBECONFIG=str(account), POD_NAMESPACE=cells.SYSTEM
        )
        stack.enter_context(operator)
        words = ("--name", "bench", "--slots", str(SLOTS))
        account = account_kubeconfig(plane, admin, folder, NAMESPACE, "penstock-worker")
        self.worker = stack.enter_context(WorkerProcess(account, NAMESPACE, "warm", folder, *words))
        operator.until_it_leads()
        self.start("warm-up")
        self.until_ended(["warm-up"])

    def parts(self) -> dict[str, int]:
        """Pids of what takes part in a run; the executor's processes count as its own."""
        agent = self.worker.process.pid
        children = Path(f"/proc/{agent}/task/{agent}/children").read_text().split()
        plane = {name: pid for name, pid, _ in supervisor.table(self.plane.folder) if pid}
        ours = {"agent": agent, "executor and runs": int(children[0]), "operator": self.operator.process.pid}
        return {**ours, **plane, "this client": os.getpid()}

    def make(self, kind: str, name: str, spec: Json) -> None:
        meta = {"name": name, "namespace": NAMESPACE}
        self.admin.create({"apiVersion": labels.API_VERSION, "kind": kind, "metadata": meta, "spec": spec})

    def start(self, name: str) -> float:
        """Create a run; when `create` returned."""
        self.make("FlowRun", name, {"deploymentRef": {"name": "noop"}})
        return time.time()

    def until_ended(self, names: list[str]) -> dict[str, Json]:
        """The statuses of these runs once all of them have ended."""

        def ended() -> dict[str, Json] | None:
            if len(names) == 1:
                bodies = [self.admin.get("FlowRun", NAMESPACE, names[0])]
            else:
                time.sleep(0.2)
                if self.admin.request("GET", f"{RUNS}?limit=1&fieldSelector=status.settled!=true")["items"]:
                    return None  # a list of all of them is no small thing
                bodies = self.admin.list("FlowRun", NAMESPACE)["items"]
            found = {body["metadata"]["name"]: body.get("status") or {} for body in bodies}
            there = [(found[name].get("state") or {}).get("type") for name in names]
            assert not {"Failed", "Crashed"} & set(there), self.worker.said
            return found if all(state == "Completed" for state in there) else None

        statuses: dict[str, Json] = until(ended, lambda: self.worker.said, 300)
        return statuses


@contextmanager
def field(folder: Path) -> Iterator[Field]:
    with planes.running(folder / "plane") as plane, ApiClient(plane.kubeconfig) as admin, ExitStack() as stack:
        cells.install_crds(admin)
        cells.install_policies(admin)
        yield Field(plane, admin, folder, stack)


def seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def in_turn(field: Field) -> list[float]:
    """Seconds from create to user code, of runs one after another."""
    taken = []
    for number in range(IN_TURN):
        name = f"turn-{number}"
        created = field.start(name)
        taken.append(field.until_ended([name])[name]["result"]["inline"] - created)
    return taken


def at_once(field: Field) -> float:
    """Runs a second, from the first create to the last end, of runs that are created at once."""
    names = [f"once-{number}" for number in range(AT_ONCE)]
    begun = time.time()
    for name in names:
        field.start(name)
    statuses = field.until_ended(names)
    ended = max(seconds(statuses[name]["endTime"]) for name in names)
    return AT_ONCE / (ended - begun)


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has taken, with its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def bench_warm_worker(tmp_path: Path) -> None:
    with field(tmp_path) as here:
        taken = in_turn(here)
        parts = here.parts()
        before = {part: cpu(pid) for part, pid in parts.items()}
        rate = at_once(here)
        spent = {part: (cpu(pid) - before[part]) / AT_ONCE for part, pid in parts.items()}
    p50, p99 = statistics.median(taken), sorted(taken)[int(0.99 * len(taken))]
    print(f"\n{IN_TURN} runs in turn: create to user code p50 {p50 * 1000:.0f} ms (target 150), ", end="")
    print(f"p99 {p99 * 1000:.0f} ms (target 500), worst {max(taken) * 1000:.0f} ms; load {os.getloadavg()[0]:.1f}")
    print(f"{AT_ONCE} runs at once, {SLOTS} slots: {rate:.1f} runs/s (target 20)")
    told = ", ".join(f"{part} {seconds * 1000:.0f} ms" for part, seconds in spent.items())
    print(f"CPU a run: {told}; {2 / sum(spent.values()):.0f} runs/s is what two cores would have for that")
    late, their_rate = prefect_worker.measured(tmp_path / "prefect", SLOTS, THEIRS_IN_TURN, THEIRS_AT_ONCE)
    print(f"Prefect's process worker: p50 {statistics.median(late):.1f} s of {THEIRS_IN_TURN} in turn, ", end="")
    print(f"{their_rate:.2f} runs/s of {THEIRS_AT_ONCE}; load {os.getloadavg()[0]:.1f}", end="; ")
    print(f"ratios {p50 / statistics.median(late):.4f} and {rate / their_rate:.0f}")
