"""Admission on a real API server, by operators that are processes: limits hold whoever leads, and order is kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api_client import ApiClient
from operator_process import OperatorProcess
from operator_team import Node, Team, eventually, two_operators
from penstock.api import labels
from penstock_cluster.control_plane import ControlPlane

Json = dict[str, Any]


@pytest.fixture
def team(admin: ApiClient, control_plane: ControlPlane, namespace: str) -> Team:
    return Team(admin, control_plane, namespace)


@pytest.fixture
def operators(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[list[OperatorProcess]]:
    with two_operators(control_plane, namespace, tmp_path) as found:
        yield found


def edit(team: Team, kind: str, name: str, **spec: Any) -> None:
    team.admin.merge(kind, team.namespace, name, {"spec": spec})


def observed(team: Team, kind: str, name: str) -> bool:
    """Whether the operator has seen an object as it is."""
    body = team.admin.get(kind, team.namespace, name)
    return (body.get("status") or {}).get("observedGeneration") == body["metadata"]["generation"]


def state(team: Team, run: str) -> tuple[str, str] | None:
    """Name and reason of a run's state."""
    found = team.runs().get(run, {}).get("state")
    return (found["name"], found["reason"]) if found else None


def active(team: Team) -> set[str]:
    types = {name: (status.get("state") or {}).get("type") for name, status in team.runs().items()}
    return {name for name, type_ in types.items() if type_ in ("Pending", "Running")}


def launched(team: Team) -> list[str]:
    """Runs in the order in which they were launched."""
    found = [
        (entry["time"], name)
        for name, status in team.runs().items()
        for entry in status.get("history") or []
        if entry["type"] == "Pending"
    ]
    return [name for _, name in sorted(found)]


def test_no_limit_is_passed_whichever_operator_leads(team: Team, operators: list[OperatorProcess]) -> None:
    """Pool, queue and tag have limits of their own, and the leader is killed in the midst of it, in both directions."""
    edit(team, "WorkPool", "default", concurrencyLimit=6)
    of_default = {"workPoolRef": {"name": "default"}}
    fast = {"priority": 1, "concurrencyLimit": 3, "selector": {"matchTags": ["fast"]}}
    team.apply("ConcurrencyLimit", "database", {"limit": 2, "tag": "db"})
    team.apply("WorkQueue", "fast", {**of_default, **fast})
    time.sleep(2)  # nothing tells when the limit of a tag is heard of
    for kind, name in (("WorkPool", "default"), ("WorkQueue", "fast")):  # a limit holds from when it was heard of
        eventually(lambda kind=kind, name=name: observed(team, kind, name), f"a look at {kind} {name}")
    kinds = {"f": {"tags": ["fast"]}, "d": {"tags": ["db"]}, "b": {"tags": ["fast", "db"]}, "n": {}}
    runs = [f"{kind}-{number}" for number in range(15) for kind in kinds]
    leader, standby = operators
    with Node(team, seconds=0.5) as node:
        node.of = lambda pod: pod["metadata"]["labels"][labels.RUN][0]
        for run in runs:
            team.submit(run, **kinds[run[0]])
        for _ in range(2):
            done = sum(bool(status.get("settled")) for status in team.runs().values())
            eventually(lambda done=done: team.settled(done + 5), "some ends")
            leader.kill()
            standby.until_it_leads()
            leader.start()
            leader.until_healthy()
            leader, standby = standby, leader
        eventually(lambda: team.settled(len(runs)), "the end of all runs", 180)
    assert (node.most(), node.most("f", "b"), node.most("d", "b")) == (6, 3, 2), "pool, queue and tag"
    for run, status in team.runs().items():
        went = [entry["type"] for entry in status["history"] if entry["type"] != "Scheduled"]
        assert (went, status["attempt"]) == (["Pending", "Running", "Completed"], 1), run
    assert len(team.runs()) == len(runs)


def test_a_freed_slot_starts_the_next_by_priority_and_the_counts_are_told(
    team: Team, operators: list[OperatorProcess]
) -> None:
    edit(team, "WorkPool", "default", concurrencyLimit=1)
    of_default = {"workPoolRef": {"name": "default"}}
    team.apply("WorkQueue", "late", {**of_default, "priority": 2})
    team.apply("WorkQueue", "early", {**of_default, "priority": 1})
    team.submit("first")
    eventually(lambda: active(team) == {"first"}, "a launch")
    team.submit("none")
    team.submit("late", queue="late")
    team.submit("early", queue="early")
    team.submit("earliest", queue="early", priority=1)
    team.submit("absent", queue="nowhere")
    waits = ("AwaitingConcurrencySlot", "WorkPoolFull")
    for run in ("none", "late", "early", "earliest"):
        eventually(lambda run=run: state(team, run) == waits, f"{run} waits")
    eventually(lambda: state(team, "absent") == ("Scheduled", "WorkQueueNotFound"), "absent waits")

    def counts(kind: str, name: str) -> tuple[int, int] | None:
        status = team.admin.get(kind, team.namespace, name).get("status") or {}
        return (status.get("queued"), status.get("active"))

    eventually(lambda: counts("WorkPool", "default") == (5, 1), "the pool's counts")
    eventually(lambda: counts("WorkQueue", "early") == (2, 0), "the queue's counts")
    with Node(team):
        eventually(lambda: team.settled(5), "the end of five")
        team.apply("WorkQueue", "nowhere", of_default)
        eventually(lambda: team.settled(6), "the end of the last")
    assert launched(team) == ["first", "earliest", "early", "late", "none", "absent"]
    assert team.runs()["early"]["admitted"] == {"queue": "early"}
    eventually(lambda: counts("WorkPool", "default") == (0, 0), "the pool's counts")
    ready = team.admin.get("WorkQueue", team.namespace, "early")["status"]["conditions"][0]
    assert (ready["status"], ready["reason"]) == ("True", "Ready")


def test_limits_and_suspension_are_followed_while_they_change(team: Team, operators: list[OperatorProcess]) -> None:
    edit(team, "WorkPool", "default", concurrencyLimit=0)
    for priority, run in enumerate(("one", "two", "three"), start=1):  # made in one second, they have no other order
        team.submit(run, priority=priority)
    eventually(lambda: state(team, "three") == ("AwaitingConcurrencySlot", "WorkPoolFull"), "waiting")
    message = team.runs()["one"]["state"]["message"]
    assert message == "WorkPool default takes no runs: spec.concurrencyLimit is 0; raise or unset it"
    edit(team, "WorkPool", "default", concurrencyLimit=2)
    eventually(lambda: active(team) == {"one", "two"}, "two launches")
    edit(team, "WorkPool", "default", suspend=True)
    eventually(lambda: state(team, "three") == ("Scheduled", "WorkPoolSuspended"), "the reason")
    with Node(team):
        eventually(lambda: team.settled(2), "two ends")
        time.sleep(0.5)
        assert active(team) == set()
        edit(team, "WorkPool", "default", suspend=False, concurrencyLimit=None)
        eventually(lambda: team.settled(3), "the end of all")


def test_forbid_and_replace(team: Team, operators: list[OperatorProcess]) -> None:
    edit(team, "FlowDeployment", "etl", concurrency={"limit": 1, "policy": "Forbid"})
    with Node(team, seconds=600):
        team.submit("one")
        eventually(lambda: state(team, "one") == ("Running", "Running"), "a start")
        team.submit("two")
        eventually(lambda: state(team, "two") == ("Cancelled", "ConcurrencyForbidden"), "its refusal")
        edit(team, "FlowDeployment", "etl", concurrency={"limit": 1, "policy": "Replace"})
        eventually(lambda: policy(team) == "Replace", "the change")
        team.submit("three")
        eventually(lambda: state(team, "one") == ("Cancelling", "Replaced"), "its end")
        assert state(team, "three") in (None, ("AwaitingConcurrencySlot", "FlowDeploymentFull"))
        leave(team, "one-1")
        eventually(lambda: state(team, "one") == ("Cancelled", "Replaced"), "its end")
        eventually(lambda: state(team, "three") == ("Running", "Running"), "the next")


def policy(team: Team) -> str:
    found: str = team.admin.get("FlowDeployment", team.namespace, "etl")["spec"]["concurrency"]["policy"]
    return found


def leave(team: Team, pod: str) -> None:
    """The kubelet has ended the pod."""
    path = f"/api/v1/namespaces/{team.namespace}/pods/{pod}"
    team.admin.request("DELETE", path, json={"gracePeriodSeconds": 0})


def test_a_job_that_kueue_keeps_suspended_is_waited_for(team: Team, operators: list[OperatorProcess]) -> None:
    """The test plays Kueue: it suspends the Job, and lets it go long after the pending deadline."""
    queue = {"kueue.x-k8s.io/queue-name": "team-a"}

    def job() -> Json:
        found: Json = team.admin.get("Job", team.namespace, "run-1")
        return found

    spec = {"type": "Job", "pendingDeadlineSeconds": 15, "template": {"metadata": {"labels": queue}}}
    team.apply("WorkPool", "batch", spec)
    team.submit("run", workPool="batch")
    eventually(lambda: team.admin.list("Job", team.namespace)["items"], "the Job")
    assert job()["metadata"]["labels"].items() >= queue.items()
    assert not queue.keys() & job()["spec"]["template"]["metadata"]["labels"].keys()
    team.admin.merge("Job", team.namespace, "run-1", {"spec": {"suspend": True}})

    def admitted() -> tuple[str, str, str] | None:
        conditions = team.runs()["run"].get("conditions") or []
        found = next((c for c in conditions if c["type"] == "Admitted"), None)
        return (found["status"], found["reason"], found["message"]) if found else None

    message = "Job run-1 is suspended until Kueue admits it (LocalQueue team-a)"
    eventually(lambda: admitted() == ("False", "AwaitingKueue", message), "the condition")
    time.sleep(16)
    assert state(team, "run") == ("Pending", "Launched")
    team.admin.merge("Job", team.namespace, "run-1", {"spec": {"suspend": False}})
    eventually(lambda: (admitted() or ("",))[0] == "True", "the word that it may start")
    eventually(lambda: "deletionTimestamp" in job()["metadata"], "the deadline, from then on")
