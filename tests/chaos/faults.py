"""What goes wrong, and when: one seed decides, and `Injector` does it to the parts of this checkout's own node.

Targets that are there only at that moment (a run's pod, an operator) are picked by a number of the plan, so that the
same seed hits the same kind of thing at the same time.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from api_client import ApiClient, Refused
from node_processes import environment, executors, running
from penstock.api import labels
from penstock_cluster import supervisor
from penstock_cluster.layout import Layout

Json = dict[str, Any]

SYSTEM, LEASE = "penstock-system", "penstock-operator"
LEASE_SECONDS = 15.0
WORKERS = f"{labels.COMPONENT}={labels.WORKER}"
KINDS = {  # with their weights
    "delete a run's pod": 5,
    "kill a run's process": 5,
    "delete a worker's pod": 2,
    "kill a worker's agent": 2,
    "kill a worker's executor": 2,
    "kill a run's process in a worker": 2,
    "delete an operator's pod": 2,
    "kill an operator's process": 1,
    "stop the leader past its lease": 1,
    "kill kube-apiserver": 2,
    "kill etcd": 2,
    "cut off kube-apiserver": 2,
    "cut off etcd": 1,
    "kill kube-controller-manager": 1,
    "kill kube-scheduler": 1,
    "kill kubelet": 1,
    "kill containerd": 1,
}


@dataclass(frozen=True)
class Fault:
    """What happens so many seconds after the start; `pick` chooses among what is there, `lasts` is for cuts."""

    at: float
    kind: str
    pick: float
    lasts: float

    def __str__(self) -> str:
        return f"{self.at:7.1f} s  {self.kind}"


def plan(seed: int, seconds: float, gap: float) -> list[Fault]:
    """The faults of a seed, one each `gap` seconds on average."""
    chance, found, at = random.Random(f"faults {seed}"), list[Fault](), 0.0
    while (at := at + chance.uniform(gap / 2, gap * 3 / 2)) < seconds:
        kind = chance.choices(list(KINDS), list(KINDS.values()))[0]
        lasts = LEASE_SECONDS * 1.7 if "lease" in kind else chance.uniform(2, 12)
        found.append(Fault(at, kind, chance.random(), lasts))
    return found


@dataclass
class Injector:
    """Does what a plan says. `log` is what was done, for whoever has to play a failure again."""

    layout: Layout
    admin: ApiClient
    namespace: str
    log: list[str] = field(default_factory=list)
    stopped: dict[int, threading.Timer] = field(default_factory=dict)  # by pid, what lets it go on
    leaders: list[tuple[str, float]] = field(default_factory=list)  # identity of those that were stopped, when woken

    def do(self, fault: Fault) -> None:
        """One fault; where there is nothing to hit, nothing happens."""
        words = fault.kind.split()
        if fault.kind == "delete a run's pod":
            done = self._delete(self.namespace, self._pods(self.namespace, labels.RUN), fault.pick)
        elif fault.kind == "kill a run's process":
            done = self._kill(running(self.layout, "penstock.runner"), fault.pick)
        elif fault.kind == "delete a worker's pod":
            done = self._delete(self.namespace, self._pods(self.namespace, WORKERS), fault.pick)
        elif fault.kind == "kill a worker's agent":
            done = self._kill(running(self.layout, "penstock.worker.agent"), fault.pick)
        elif fault.kind == "kill a worker's executor":
            done = self._kill(executors(self.layout, forked=False), fault.pick)
        elif fault.kind == "kill a run's process in a worker":
            done = self._kill(executors(self.layout, forked=True), fault.pick)
        elif fault.kind == "delete an operator's pod":
            done = self._delete(SYSTEM, self._pods(SYSTEM, "app.kubernetes.io/name=penstock"), fault.pick)
        elif fault.kind == "kill an operator's process":
            done = self._kill(running(self.layout, "penstock_operator.main"), fault.pick)
        elif fault.kind == "stop the leader past its lease":
            done = self._stop_leader(fault.lasts)
        elif words[0] == "kill":
            done = self._kill([pid for pid in (self._part(words[-1]),) if pid], 0.0)
        else:
            done = self._stop(self._part(words[-1]), fault.lasts)
        self.log.append(f"{fault}: {done}")
        print(self.log[-1], flush=True)

    def heal(self) -> None:
        """Let everything go on."""
        for pid, timer in list(self.stopped.items()):
            timer.cancel()
            self._go_on(pid)

    def _go_on(self, pid: int) -> None:
        self.stopped.pop(pid, None)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    # Processes of the node.

    def _part(self, name: str) -> int | None:
        return next((pid for part, pid, _ in supervisor.table(self.layout.state) if part == name), None)

    def _kill(self, pids: list[int], pick: float) -> str:
        if not pids:
            return "nothing to kill"
        pid = pids[int(pick * len(pids))]
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return f"pid {pid}"

    def _stop(self, pid: int | None, seconds: float) -> str:
        if pid is None or pid in self.stopped:
            return "nothing to stop"
        os.kill(pid, signal.SIGSTOP)
        self.stopped[pid] = threading.Timer(seconds, self._go_on, [pid])  # whoever asks a stopped server hangs, too
        self.stopped[pid].start()
        return f"pid {pid} for {seconds:.1f} s"

    def _stop_leader(self, seconds: float) -> str:
        """Only where another can take over, or it would be nothing but a pause."""
        lease = self._ask(lambda: self.admin.get("Lease", SYSTEM, LEASE))
        holder = ((lease or {}).get("spec") or {}).get("holderIdentity")
        operators = running(self.layout, "penstock_operator.main")
        mine = [pid for pid in operators if environment(pid).get("POD_NAME") == holder]
        if not holder or len(operators) < 2 or not mine:
            return "there is no leader with another beside it"
        if mine[0] in self.stopped:
            return f"{holder} is stopped already"
        self.leaders.append((holder, time.time() + seconds))
        return f"{holder}, {self._stop(mine[0], seconds)}"

    # Objects.

    def _pods(self, namespace: str, selector: str) -> list[str]:
        found = self._ask(lambda: self.admin.list("Pod", namespace, labelSelector=selector)) or {"items": []}
        living = [pod for pod in found["items"] if pod["status"].get("phase") in ("Pending", "Running")]
        return sorted(pod["metadata"]["name"] for pod in living if "deletionTimestamp" not in pod["metadata"])

    def _delete(self, namespace: str, pods: list[str], pick: float) -> str:
        if not pods:
            return "no pod to delete"
        name = pods[int(pick * len(pods))]
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"
        self._ask(lambda: self.admin.request("DELETE", path))
        return name

    def _ask(self, request: Callable[[], Json]) -> Json | None:
        """The answer, None where the API server is away: the fault then misses."""
        with contextlib.suppress(httpx.HTTPError, Refused, ValueError):
            return request()
        return None
