"""Schedules on a real API server: two operators as processes, clocks that step, and every slot makes one run."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from api_client import ApiClient, Refused
from command_line import CommandLine
from operator_process import LEASE, PATIENCE, OperatorProcess
from penstock.api import labels
from penstock_cluster.control_plane import ControlPlane
from penstock_operator.core.schedules import _digest
from penstock_operator.core.views import format_time, parse_time

Json = dict[str, Any]
SECOND = timedelta(seconds=1)


def eventually(read: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """What `read` gives once it gives something."""
    deadline = time.monotonic() + patience
    while not (found := read()):
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.05)
    return found


class Team:
    """A namespace with a flow and deployments."""

    def __init__(self, admin: ApiClient, namespace: str) -> None:
        self.admin, self.namespace = admin, namespace
        self.apply("WorkPool", "default", {"type": "Pod", "suspend": True})  # what is made waits
        self.apply("Flow", "etl", {"code": {"image": {}}, "entrypoint": "flows:etl"})

    def apply(self, kind: str, name: str, spec: Json) -> Json:
        meta = {"name": name, "namespace": self.namespace}
        return self.admin.create({"apiVersion": labels.API_VERSION, "kind": kind, "metadata": meta, "spec": spec})

    def deploy(self, *schedules: Json, name: str = "etl", **spec: Any) -> Json:
        return self.apply("FlowDeployment", name, {"flowRef": {"name": "etl"}, "schedules": list(schedules), **spec})

    def status(self, name: str = "etl") -> Json:
        found: Json = self.admin.get("FlowDeployment", self.namespace, name).get("status") or {}
        return found

    def slots(self) -> list[datetime]:
        """When the runs that are there were due, in order."""
        try:
            runs = self.admin.list("FlowRun", self.namespace)["items"]
        except Refused as refused:
            if refused.code != 429:  # which it says for a moment after CRDs were applied
                raise
            return []
        found = [parse_time(run["spec"]["scheduledTime"]) for run in runs]
        return sorted(slot for slot in found if slot is not None)


@pytest.fixture
def team(admin: ApiClient, namespace: str, crds: None) -> Team:
    return Team(admin, namespace)


def operator(plane: ControlPlane, folder: Path, team: Team, name: str, **environment: str) -> OperatorProcess:
    return OperatorProcess(plane, folder, name, team.namespace, f"{team.namespace}/{LEASE}", **environment)


def test_every_slot_makes_one_run_though_its_maker_is_killed_again_and_again(
    control_plane: ControlPlane, team: Team, tmp_path: Path
) -> None:
    """Every second a slot, two operators, and each is killed in its turn: no slot is lost or doubled."""
    body = team.deploy({"slug": "often", "interval": {"seconds": 1}})
    created = parse_time(body["metadata"]["creationTimestamp"])
    assert created is not None
    with operator(control_plane, tmp_path, team, "a") as first, operator(control_plane, tmp_path, team, "b") as second:
        for _ in range(3):
            leader = eventually(lambda: next((one for one in (first, second) if one.leads), None), "a leader")
            before = len(team.slots())
            eventually(lambda known=before: len(team.slots()) >= known + 3, "three more runs")
            leader.kill()
            leader.start()
        end = datetime.now(UTC)
        eventually(lambda: team.slots()[-1] > end, "runs up to now")
    slots = team.slots()
    assert Counter(b - a for a, b in pairwise(slots)) == {SECOND: len(slots) - 1}
    assert slots[0] == created + SECOND


def test_a_deployment_says_when_it_is_due_next_and_a_suspended_one_makes_nothing(
    control_plane: ControlPlane, team: Team, tmp_path: Path
) -> None:
    with operator(control_plane, tmp_path, team, "a"):
        team.deploy({"slug": "nights", "cron": {"expression": "0 2 * * *"}, "timezone": "Europe/Berlin"})
        found = eventually(lambda: team.status().get("nextRuns"), "the next slots")
        assert [entry["slug"] for entry in found] == ["nights"] * 3
        team.deploy({"slug": "often", "interval": {"seconds": 1}}, name="busy")
        eventually(team.slots, "a run")
        patch = [{"op": "add", "path": "/spec/suspend", "value": True}]
        team.admin.patch("FlowDeployment", team.namespace, "busy", patch)
        eventually(lambda: not team.status("busy").get("nextRuns"), "no next slots")
        made = team.slots()
        time.sleep(2.5)
        assert team.slots() == made
        resumed = datetime.now(UTC)
        team.admin.patch("FlowDeployment", team.namespace, "busy", [{**patch[0], "value": False}])
        later = eventually(lambda: team.slots()[len(made) :], "another run")
        assert later[0] > resumed - SECOND


def test_what_was_missed_while_no_operator_was_there_is_caught_up(
    control_plane: ControlPlane, team: Team, tmp_path: Path
) -> None:
    since = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=5)
    every = {"slug": "hourly", "interval": {"seconds": 3600, "anchor": format_time(since - timedelta(minutes=30))}}
    team.deploy(every, name="all", catchUp="All", startingDeadlineSeconds=7200)
    team.deploy(every, name="none")
    for name in ("all", "none"):  # as an operator has left it five hours ago
        entry = {"slug": "hourly", "time": format_time(since), "runs": 3, "of": _digest(every)}
        patch = [{"op": "add", "path": "/status", "value": {"lastScheduled": [entry]}}]
        team.admin.patch("FlowDeployment", team.namespace, name, patch, subresource="status")
    with operator(control_plane, tmp_path, team, "a"):
        eventually(lambda: team.status("all").get("nextRuns") and team.status("none").get("nextRuns"), "both are seen")
    assert team.slots() == [since + timedelta(hours=3, minutes=30), since + timedelta(hours=4, minutes=30)]
    assert [team.status(name)["lastScheduled"][0]["runs"] for name in ("all", "none")] == [5, 3]


def test_a_cursor_does_not_go_back(team: Team) -> None:
    team.deploy({"slug": "nights", "cron": {"expression": "0 2 * * *"}})
    for time_, refused in (("2026-01-02T00:00:00Z", False), ("2026-01-01T00:00:00Z", True)):
        entry = {"slug": "nights", "time": time_}
        patch = [{"op": "add", "path": "/status", "value": {"lastScheduled": [entry]}}]
        if not refused:
            team.admin.patch("FlowDeployment", team.namespace, "etl", patch, subresource="status")
            continue
        with pytest.raises(Refused, match="only moves forward"):
            team.admin.patch("FlowDeployment", team.namespace, "etl", patch, subresource="status")


def test_two_schedules_of_one_slug_are_refused(team: Team) -> None:
    with pytest.raises(Refused, match=r"schedules\[1\]: Duplicate value"):
        team.deploy({"slug": "a", "interval": {"seconds": 1}}, {"slug": "a", "interval": {"seconds": 2}})


def test_a_bad_schedule_is_told_on_the_deployment(control_plane: ControlPlane, team: Team, tmp_path: Path) -> None:
    with operator(control_plane, tmp_path, team, "a"):
        team.deploy({"slug": "leap", "cron": {"expression": "0 0 30 2 *"}})
        (found,) = eventually(lambda: team.status().get("conditions"), "a condition")
        assert (found["type"], found["status"], found["reason"]) == ("Ready", "False", "InvalidSchedule")
        assert found["message"].startswith("schedules[leap].cron.expression: it never fires")


def test_what_the_command_line_suspends_stays_so_and_what_it_backfills_is_made(
    control_plane: ControlPlane,
    team: Team,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))
    penstock, where = CommandLine(monkeypatch, capsys), ("-n", team.namespace)
    hourly = {"slug": "hourly", "cron": {"expression": "0 * * * *"}}
    spec = {"flowRef": {"name": "etl"}, "schedules": [hourly, {"slug": "daily", "cron": {"expression": "@daily"}}]}
    meta = {"name": "etl", "namespace": team.namespace}
    deployed = {"apiVersion": labels.API_VERSION, "kind": "FlowDeployment", "metadata": meta, "spec": spec}
    team.admin.apply(deployed)
    for slug in ("hourly", "daily"):
        penstock.ok("schedules", "suspend", "etl", slug, *where)
    team.admin.apply(deployed)
    found = team.admin.get("FlowDeployment", team.namespace, "etl")["spec"]["schedules"]
    assert [schedule["suspend"] for schedule in found] == [True, True]
    penstock.ok("schedules", "resume", "etl", "hourly", *where)
    rows = penstock.ok("schedules", "ls", *where).splitlines()
    assert [row.split()[1] for row in rows[1:] if "suspended" in row] == ["daily"]
    shown = penstock.ok("schedules", "preview", "etl", "--slug", "daily", "--count", "1", *where).splitlines()
    assert (shown[0].split(), shown[1].split()[-1]) == (["LOCAL", "UTC", "STATE"], "suspended")
    once = {**hourly, "maxRuns": 1, "timezone": "Europe/Berlin"}
    team.admin.apply({**deployed, "spec": {**spec, "schedules": [once]}})
    (item,) = json.loads(penstock.ok("schedules", "preview", "etl", "-o", "json", *where))
    assert (item["schedule"], "suspended" in item) == ("hourly", False)
    assert penstock.ok("schedules", "ls", "etl", *where).split()[-3] == "Europe/Berlin"
    team.admin.apply({**deployed, "spec": {**spec, "schedules": [hourly]}})  # daily goes, but for its suspension
    assert penstock.ok("schedules", "ls", "etl", "-o", "name", *where) == "etl/hourly\n"
    words = ("--from", "2026-01-01", "--to", "2026-01-01T03:00", "--parallelism", "2", "--name", "night")
    penstock.ok("backfills", "create", "etl", *words, *where)  # the only schedule that is left

    def counts() -> tuple[int, int]:
        status = team.admin.get("Backfill", team.namespace, "night").get("status") or {}
        return status.get("created") or 0, status.get("failed") or 0

    with operator(control_plane, tmp_path, team, "a"):
        eventually(lambda: counts() == (2, 0), "two runs of the backfill")
        penstock.ok("backfills", "cancel", "night", *where)
        eventually(lambda: counts() == (2, 2), "both are counted")
    status = team.admin.get("Backfill", team.namespace, "night")["status"]
    complete = next(c for c in status["conditions"] if c["type"] == "Complete")
    assert (complete["status"], complete["reason"], status["total"]) == ("True", "Cancelled", 3)
