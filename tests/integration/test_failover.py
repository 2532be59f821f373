"""Two operators as processes on a real API server: one acts, whatever becomes of it, and nothing is doubled or lost.

There is no kubelet: `Node` plays it, and the runners in its pods.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest

from api_client import ApiClient, Refused
from operator_process import LEASE, PATIENCE, OperatorProcess
from penstock.api import labels
from penstock_cluster.control_plane import ControlPlane
from penstock_operator.controller.controller import utc_now
from penstock_operator.core.leadership import DURATION
from penstock_operator.core.views import format_time, parse_time

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

    def submit(self, *runs: str) -> None:
        for run in runs:
            self.apply("FlowRun", run, {"deploymentRef": {"name": "etl"}})

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
        for line in self.plane.audit_log.read_text().splitlines():
            entry = json.loads(line)
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

    def check(self, runs: list[str]) -> None:
        """Every run completed in its one attempt, and each write that makes something was done once."""
        for run, status in self.runs().items():
            states = [entry["type"] for entry in status["history"]]
            assert states == ["Scheduled", "Pending", "Running", "Completed"], run
            assert [entry["seq"] for entry in status["history"]] == [1, 2, 3, 4], run
            assert (status["attempt"], status["pod"]["name"]) == (1, f"{run}-1"), run
        assert sorted(self.runs()) == sorted(runs)
        assert Counter(f"pods/{run}-1" for run in runs) == Counter(
            what for _, _, verb, what in self.writes("pods/") if verb == "create"
        )
        events = [what for _, _, verb, what in self.writes("events/") if verb == "create"]
        assert len(events) == len(set(events))
        # Counted where they are: the log need not have the answer of a request whose client was killed meanwhile.
        assert len(self.admin.list("Event", self.namespace)["items"]) == 4 * len(runs)


class Node(threading.Thread):
    """Runs each pod to its end, as a kubelet and the runner in it do, `seconds` after it was made."""

    def __init__(self, team: Team, seconds: float = 0.0) -> None:
        super().__init__(name="node")
        self._team, self._seconds = team, seconds
        self._client = ApiClient(team.admin.kubeconfig)
        self._end, self._claimed = threading.Event(), dict[str, float]()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self.join(PATIENCE)
        self._client.http.close()

    def run(self) -> None:
        while not self._end.wait(0.05):
            for pod in self._client.list("Pod", self._team.namespace)["items"]:
                try:
                    self._play(pod)
                except Refused as refused:  # what it knows is old: the next round knows better
                    if refused.code not in (404, 409, 422):
                        raise

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


@pytest.fixture
def team(admin: ApiClient, control_plane: ControlPlane, namespace: str) -> Team:
    return Team(admin, control_plane, namespace)


@pytest.fixture
def operators(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[list[OperatorProcess]]:
    """The one that leads, and the one that stands by."""
    lease = f"{namespace}/{LEASE}"
    with ExitStack() as stack:
        one, two = (
            stack.enter_context(OperatorProcess(control_plane, tmp_path, f"{namespace}-{name}", namespace, lease))
            for name in ("one", "two")
        )
        eventually(lambda: one.leads or two.leads, "the election")
        for each in (one, two):
            each.until_healthy()
        yield [one, two] if one.leads else [two, one]


def test_a_leader_that_is_killed_is_followed_and_follows_and_nothing_is_doubled(
    team: Team, operators: list[OperatorProcess]
) -> None:
    """In both directions, in the midst of work. The figures are printed; their budget is 20 s."""
    runs = [f"run-{number}" for number in range(60)]
    leader, standby = operators
    with Node(team, seconds=1.0):
        team.submit(*runs[:20])
        eventually(lambda: len(team.writes("pods/")) >= 5, "the first launches")
        for more in (runs[20:40], runs[40:]):
            leader.kill()
            killed = format_time(utc_now())
            team.submit(*more)
            first = eventually(lambda killed=killed: [w for w in team.writes("pods/") if w[0] > killed], "a launch")[0]
            assert first[1] == standby.name
            seconds = (parse_time(first[0]) - parse_time(killed)).total_seconds()  # type: ignore[operator]
            took = standby.metric("penstock_takeover_seconds")
            print(f"\nfailover: {seconds:.1f} s from kill -9 to the first launch, everything looked at {took:.1f} s on")
            leader.start()
            leader.until_healthy()
            leader, standby = standby, leader
        eventually(lambda: team.settled(len(runs)), "the end of all runs")
    team.check(runs)
    assert (leader.leads, standby.leads) == (True, False)


def test_a_leader_that_is_stopped_past_its_lease_and_woken_gets_nothing_through(
    team: Team, operators: list[OperatorProcess]
) -> None:
    """It is stopped in the midst of launching; what it then gets through is counted by the API server."""
    runs = [f"run-{number}" for number in range(80)]
    leader, standby = operators
    with Node(team):
        team.submit(*runs)
        eventually(lambda: len(team.writes("pods/")) >= 10, "the first launches")
        leader.stop()
        standby.until_it_leads()
        taken = team.lease()["acquireTime"]
        eventually(lambda: [w for w in team.writes() if w[1] == standby.name], "work of the next")
        leader.wake()
        eventually(lambda: not leader.leads and leader.alive, "its finding out")
        eventually(lambda: team.settled(len(runs)), "the end of all runs")
        late = [write for write in team.writes() if write[1] == leader.name and write[0] > taken]
        counted = leader.metric("penstock_writes_late_total")
        refused = leader.metric("penstock_writes_refused_total")
    print(f"\nwoken after its lease: {len(late)} writes done ({counted:.0f} by its own count), {refused:.0f} refused")
    assert late == []
    team.check(runs)
    assert standby.leads


def test_a_leader_that_is_asked_to_end_finishes_its_work_and_hands_over_at_once(
    team: Team, operators: list[OperatorProcess]
) -> None:
    runs = [f"run-{number}" for number in range(60)]
    leader, standby = operators
    with Node(team):
        team.submit(*runs)
        eventually(lambda: len(team.writes("pods/")) >= 10, "the first launches")
        begun = time.monotonic()
        assert leader.terminate() == 0
        ended = time.monotonic() - begun
        took = standby.until_it_leads()
        print(f"\nhanded over: the leader ended in {ended:.1f} s, and the next led {took:.1f} s later")
        assert "leads no more" in leader.log.read_text()
        eventually(lambda: team.settled(len(runs)), "the end of all runs")
        last = max(write[0] for write in team.writes() if write[1] == leader.name)
        first = min(write[0] for write in team.writes() if write[1] == standby.name)
    assert last < first
    team.check(runs)
    if took > DURATION:
        pytest.fail("the lease was waited out, so it was not released")


def test_a_standby_writes_nothing_and_is_healthy(team: Team, operators: list[OperatorProcess]) -> None:
    leader, standby = operators
    with Node(team):
        team.submit("run")
        eventually(lambda: team.settled(1), "the end of the run")
    assert {write[1] for write in team.writes()} == {leader.name}
    assert standby.healthy()
    assert standby.metric("penstock_live_runs") == 0.0
