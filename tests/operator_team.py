"""A namespace in which operators that are processes act, and a node that runs their pods to their end; no kubelet.

Used by the tests of several operators, on a real API server.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from api_client import ApiClient, Refused
from operator_process import LEASE, PATIENCE, OperatorProcess
from penstock.api import labels
from penstock_cluster.control_plane import ControlPlane
from penstock_operator.controller.controller import utc_now
from penstock_operator.core.views import format_time

Json = dict[str, Any]

SOURCE = "from penstock import flow\n\n@flow\ndef etl(): ...\n"


def eventually(read: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """What `read` gives once it gives something."""
    deadline = time.monotonic() + patience
    while not (found := read()):
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.05)
    return found


class Team:
    """A namespace with a flow and its runs, and what the audit log says of its operators."""

    def __init__(self, admin: ApiClient, plane: ControlPlane, namespace: str) -> None:
        self.admin, self.plane, self.namespace = admin, plane, namespace
        flow = {"code": {"source": {"text": SOURCE}}, "entrypoint": "flow:etl"}
        self.apply("Flow", "etl", flow)
        self.apply("WorkPool", "default", {"type": "Pod"})
        self.apply("FlowDeployment", "etl", {"flowRef": {"name": "etl"}})

    def apply(self, kind: str, name: str, spec: Json) -> None:
        meta = {"name": name, "namespace": self.namespace}
        self.admin.create({"apiVersion": labels.API_VERSION, "kind": kind, "metadata": meta, "spec": spec})

    def submit(self, *runs: str, **spec: Any) -> None:
        for run in runs:
            self.apply("FlowRun", run, {"deploymentRef": {"name": "etl"}, **spec})

    def runs(self) -> dict[str, Json]:
        items = self.admin.list("FlowRun", self.namespace)["items"]
        return {item["metadata"]["name"]: item.get("status") or {} for item in items}

    def settled(self, count: int) -> bool:
        return sum(bool(status.get("settled")) for status in self.runs().values()) >= count

    def lease(self) -> Json:
        found: Json = self.admin.get("Lease", self.namespace, LEASE)["spec"]
        return found

    def writes(self, resource: str = "") -> list[tuple[str, str, str, str]]:
        """Time, operator, verb and object of each write of an operator that was done, in order."""
        found = []
        for entry in self.plane.audited():
            target, agent = entry.get("objectRef") or {}, entry.get("userAgent", "")
            if target.get("namespace") != self.namespace or not agent.startswith("penstock-operator/"):
                continue
            done = entry["responseStatus"]["code"] < 300 and "dryRun=" not in entry["requestURI"]
            if done and target["resource"] != "leases":
                what = f"{target['resource']}/{target.get('name') or ''}"
                if what.startswith(resource):
                    who = agent.removeprefix("penstock-operator/")
                    found.append((entry["stageTimestamp"], who, entry["verb"], what))
        return sorted(found)

    def launches(self, since: str, by: str) -> list[tuple[str, str, str, str]]:
        """An operator's pods from an instant on; one that was killed then may still get through what was on its way."""
        return [write for write in self.writes("pods/") if write[0] > since and write[1] == by]

    def check(self, runs: list[str]) -> None:
        """Every run completed in its one attempt, and each write that makes something was done once.

        What was made is counted where it is: the log need not have the answer of a request whose client was killed.
        """
        for run, status in self.runs().items():
            states = [entry["type"] for entry in status["history"]]
            assert states == ["Scheduled", "Pending", "Running", "Completed"], run
            assert [entry["seq"] for entry in status["history"]] == [1, 2, 3, 4], run
            assert (status["attempt"], status["pod"]["name"]) == (1, f"{run}-1"), run
        assert sorted(self.runs()) == sorted(runs)
        for resource in ("pods/", "events/"):
            made = [what for _, _, verb, what in self.writes(resource) if verb == "create"]
            assert len(made) == len(set(made)), resource
        assert len(self.admin.list("Pod", self.namespace)["items"]) == len(runs)
        told = self.admin.list("Event", self.namespace)["items"]
        ended = [event["regarding"]["name"] for event in told if event["reason"] == "FlowRunCompleted"]
        assert sorted(ended) == sorted(runs)


class Node(threading.Thread):
    """Runs each pod to its end, as a kubelet and the runner in it do, `seconds` after it was made."""

    def __init__(self, team: Team, seconds: float = 0.0) -> None:
        super().__init__(name="node")
        self._team, self._seconds = team, seconds
        self._client = ApiClient(team.admin.kubeconfig)
        self._end, self._claimed = threading.Event(), dict[str, float]()
        self.of: Callable[[Json], str] = lambda _: ""
        """What a pod is counted by."""
        self.seen: list[Counter[str]] = []
        """How many pods had not ended, again and again; as only the node ends any, the most at once are among it."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join(PATIENCE)
        self._client.http.close()

    def run(self) -> None:
        while not self._end.wait(0.05):
            pods = self._client.list("Pod", self._team.namespace)["items"]
            self.seen.append(Counter(self.of(pod) for pod in pods if pod["status"]["phase"] in ("Pending", "Running")))
            for pod in pods:
                try:
                    self._play(pod)
                except Refused as refused:  # what it knows is old: the next round knows better
                    if refused.code not in (404, 409, 422):
                        raise

    def most(self, *kinds: str) -> int:
        """The most pods of these kinds, or of all, that were there at once and had not ended."""
        return max(sum(n for kind, n in seen.items() if kind in kinds or not kinds) for seen in self.seen)

    def _play(self, pod: Json) -> None:
        name, meta = pod["metadata"]["name"], pod["metadata"]
        if pod["status"]["phase"] == "Pending":
            binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}}
            binding["target"] = {"kind": "Node", "name": "node-1"}
            path = f"/api/v1/namespaces/{self._team.namespace}/pods/{name}/binding"
            self._client.request("POST", path, json=binding)
            self._status(name, "Running", running={"startedAt": _now()})
            claimed = {"op": "add", "path": "/status/pod", "value": {"name": name, "uid": meta["uid"]}}
            start = {"op": "add", "path": "/status/startTime", "value": format_time(utc_now())}
            self._enter(meta["labels"][labels.RUN], "Running", claimed, start)
            self._claimed[name] = time.monotonic()
        elif pod["status"]["phase"] == "Running" and time.monotonic() - self._claimed[name] >= self._seconds:
            self._enter(meta["labels"][labels.RUN], "Completed")
            ended = {"exitCode": 0, "reason": "Completed", "finishedAt": _now()}
            self._status(name, "Succeeded", terminated=ended)

    def _status(self, name: str, phase: str, **state: Json) -> None:
        container = {"name": labels.CONTAINER, "image": "i", "imageID": "", "ready": False, "restartCount": 0}
        status = {"phase": phase, "containerStatuses": [{**container, "state": state}]}
        self._client.merge("Pod", self._team.namespace, name, {"status": status}, "status")

    def _enter(self, run: str, state: str, *more: Json) -> None:
        status = self._client.get("FlowRun", self._team.namespace, run)["status"]
        if status["state"]["type"] == state:
            return
        seq = status["state"]["seq"]
        entry = {"type": state, "name": state, "reason": state, "message": "", "time": format_time(utc_now())}
        entry["seq"] = seq + 1
        operations = [
            {"op": "test", "path": "/status/attempt", "value": status["attempt"]},
            {"op": "test", "path": "/status/state/seq", "value": seq},
            {"op": "replace", "path": "/status/state", "value": entry},
            {"op": "add", "path": "/status/history/-", "value": {**entry, "attempt": 1, "writer": "runner"}},
            *more,
        ]
        self._client.patch("FlowRun", self._team.namespace, run, operations, "status")


def _now() -> str:
    return format_time(utc_now())[:19] + "Z"


@contextmanager
def two_operators(plane: ControlPlane, namespace: str, folder: Path) -> Iterator[list[OperatorProcess]]:
    """The one that leads, and the one that stands by."""
    lease = f"{namespace}/{LEASE}"
    with ExitStack() as stack:
        one, two = (
            stack.enter_context(OperatorProcess(plane, folder, f"{namespace}-{name}", namespace, lease))
            for name in ("one", "two")
        )
        eventually(lambda: one.leads or two.leads, "the election")
        for each in (one, two):
            each.until_healthy()
        yield [one, two] if one.leads else [two, one]
