from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

import builders
from command_line import CommandLine
from https_server import Cluster, Reply
from penstock.api import labels
from penstock.api.workers import WorkerFacts, WorkerPod
from penstock.cli.worker import holds_slot, row, show
from penstock.worker import lease
from penstock.worker.lease import Worker

NOW = datetime.fromisoformat("2026-01-01T06:00:20+00:00")
FACTS = WorkerFacts(uid="u", slots=2, version="0.1.0")
MINE = {"name": "mill", "uid": "u", "attempt": 1}


def of(facts: WorkerFacts = FACTS, renewed: str = "2026-01-01T06:00:15Z") -> Any:
    return lease.created(Worker("mill", "team", "warm", facts), renewed)


def test_a_worker_is_shown_with_its_slots() -> None:
    assert row(of(), {"mill": 1}, NOW) == {
        "NAME": "mill",
        "POOL": "warm",
        "STATE": "Ready",
        "RUNS": "1/2",
        "WHERE": "outside",
        "RENEWED": "5s",
    }
    assert row(of(), {}, NOW, wide=True)["VERSION"] == "0.1.0"


def test_what_is_wrong_with_a_worker_is_shown() -> None:
    assert row(of(renewed="2026-01-01T05:59:00Z"), {}, NOW)["STATE"] == "Silent"
    drains = of()
    drains["metadata"]["annotations"][labels.DRAIN] = "true"
    assert row(drains, {}, NOW)["STATE"] == "Draining"
    unknown = of()
    unknown["metadata"]["annotations"] = {}
    assert row(unknown, {}, NOW)["RUNS"] == "0/?"
    assert row(of(WorkerFacts(uid="u", slots=1, pod=WorkerPod(name="p", uid="u"))), {}, NOW)["WHERE"] == "pod p"


@pytest.mark.parametrize(
    ("run", "holds"),
    [
        (builders.flow_run("Running", worker=MINE), True),
        (builders.flow_run("Pending", worker=MINE), True),
        (builders.flow_run("Completed", worker=MINE), False),
        (builders.flow_run("Paused", worker={**MINE, "exited": {"attempt": 1}}), False),
        (builders.flow_run("Running"), False),
        (builders.flow_run(), False),
    ],
)
def test_which_runs_are_in_a_worker(run: builders.Json, holds: bool) -> None:
    assert holds_slot(run) is holds


LEASES = "/apis/coordination.k8s.io/v1/namespaces/team/leases"


def test_names_are_those_that_kubectl_takes(penstock: CommandLine, cluster: Cluster) -> None:
    cluster.replies[LEASES] = Reply({"metadata": {}, "items": [of()]})
    assert penstock.ok("worker", "ls", "-o", "name") == "lease.coordination.k8s.io/penstock-worker-mill\n"


@pytest.mark.parametrize(
    "name", ["mill", "lease/penstock-worker-mill", "lease.coordination.k8s.io/penstock-worker-mill"]
)
def test_a_worker_is_drained_by_each_of_its_names(name: str, penstock: CommandLine, cluster: Cluster) -> None:
    cluster.replies[f"{LEASES}/penstock-worker-mill"] = Reply(of())
    assert penstock.ok("worker", "drain", name) == "worker mill drains\n"
    assert cluster.last.body == {"metadata": {"annotations": {labels.DRAIN: "true"}}}


def test_a_worker_that_is_not_there_is_not_drained(penstock: CommandLine, cluster: Cluster) -> None:
    assert "there is no worker mil in namespace team" in penstock.fails("worker", "drain", "mil")
    cluster.replies[LEASES] = Reply({"metadata": {}, "items": [of()]})
    cluster.replies[f"{LEASES}/penstock-worker-mill"] = Reply(of())
    said = penstock("worker", "drain", "mil", "mill")
    assert said.out == "worker mill drains\n", "the one that is there, all the same"
    assert "there is no worker mil in namespace team; did you mean mill?" in said.err


def test_lines_are_shown_with_their_run(capsys: pytest.CaptureFixture[str]) -> None:
    record = {"ts": "2026-01-01T06:00:00.000Z", "level": "INFO", "message": "hello", "run": "monday"}
    show(json.dumps(record).encode())
    show(json.dumps({**record, "processEnd": 0}).encode())
    show(b"Traceback (most recent call last):")
    assert capsys.readouterr().out.splitlines() == [
        "monday 06:00:00.000 INFO    hello",
        "Traceback (most recent call last):",
    ]


def test_a_name_that_cannot_be_is_refused(penstock: CommandLine) -> None:
    assert "lower-case letters" in penstock.fails("worker", "start", "--pool", "warm", "--name", "My_Box", code=2)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--image", "flows:7"), "--image: only with --type docker"),
        (("--type", "docker", "--preload", "pandas"), "--preload: a container starts its own interpreter"),
        (("--type", "docker", "--volume", "data"), "--volume data: HOST:CONTAINER[:ro]"),
        (("--type", "docker", "--memory", "much"), "--memory much: a number of bytes, such as 512Mi or 2G"),
    ],
)
def test_options_of_containers_are_checked_before_anything_is_asked(
    words: tuple[str, ...], says: str, penstock: CommandLine
) -> None:
    said = penstock("worker", "start", "--pool", "warm", *words)
    assert said.code == 2
    assert says in " ".join(said.err.split())
