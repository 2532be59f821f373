"""Schedules on a real node: slots become pods over a kill of the operator, and slots of the past by a backfill."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import yaml

from installation import Penstock

Json = dict[str, Any]
API = "penstock.dev/v1alpha1"
EVERY = timedelta(seconds=10)
PAST = datetime(2026, 1, 1, tzinfo=UTC)
FLOW = """
import time
from penstock import flow
from penstock.runtime import flow_run


@flow
def tick(seconds: float = 0, word: str = "") -> str:
    time.sleep(seconds)
    return f"{word} {flow_run.scheduled_start_time:%H:%M:%S}"
"""


@pytest.fixture(scope="module")
def ticking(penstock: Penstock) -> Iterator[Penstock]:
    """A deployment that is due every ten seconds."""
    often = {"slug": "often", "interval": {"seconds": 10, "anchor": f"{PAST:%FT%TZ}"}, "parameters": {"word": "tick"}}
    spec = {"flowRef": {"name": "tick"}, "schedules": [often], "catchUp": "All", "startingDeadlineSeconds": 600}
    objects = [
        {
            "apiVersion": API,
            "kind": "Flow",
            "metadata": {"name": "tick"},
            "spec": {"code": {"source": {"text": FLOW}}, "entrypoint": "f:tick"},
        },
        {"apiVersion": API, "kind": "FlowDeployment", "metadata": {"name": "tick"}, "spec": spec},
    ]
    penstock.apply(*objects)
    yield penstock
    penstock.delete(*objects)


def runs(penstock: Penstock, label: str) -> list[tuple[datetime, Json]]:
    """Slot and run of those with the label, in order."""
    found = json.loads(penstock.kubectl("get", "flowruns", "-l", label, "--output", "json"))["items"]
    each = ((datetime.fromisoformat(run["spec"]["scheduledTime"]), run) for run in found)
    return sorted(each, key=lambda pair: pair[0])


def ended(penstock: Penstock, label: str) -> list[str]:
    """What became of the runs, once all are settled."""
    return [
        penstock.settled(run["metadata"]["name"], 180)["status"]["state"]["type"] for _, run in runs(penstock, label)
    ]


def slots_until(penstock: Penstock, when: datetime) -> None:
    """Wait for the run of a slot after `when`."""
    deadline = time.monotonic() + 120
    while not (found := runs(penstock, SCHEDULED)) or found[-1][0] <= when:
        assert time.monotonic() < deadline, found
        time.sleep(1)


SCHEDULED = "penstock.dev/schedule=often,!penstock.dev/backfill"


def test_a_killed_operator_costs_and_doubles_no_slot(ticking: Penstock) -> None:
    fresh = ticking.wait("flowdeployment", "tick", lambda body: bool(body.get("status", {}).get("nextRuns")))
    created = datetime.fromisoformat(fresh["metadata"]["creationTimestamp"])
    slots_until(ticking, created + EVERY)
    ticking.command(
        *(".cluster/bin/kubectl", "--namespace", "penstock-system", "delete", "pod", "--wait=false", "--force"),
        *("--selector", "app.kubernetes.io/component=operator", "--grace-period=0"),
    )
    slots_until(ticking, datetime.now(UTC) + EVERY)
    said = ticking.cli("schedules", "suspend", "tick", "often").stdout
    assert said == "schedule often of flowdeployment.penstock.dev/tick is suspended\n"
    ticking.wait("flowdeployment", "tick", lambda body: not body["status"].get("nextRuns"))
    suspended = datetime.now(UTC)

    found = runs(ticking, SCHEDULED)
    slots = [slot for slot, _ in found]
    assert created < slots[0] <= created + EVERY
    assert {later - slot for slot, later in pairwise(slots)} == {EVERY}, slots
    assert ended(ticking, SCHEDULED) == ["Completed"] * len(slots)
    told = [ticking.get("flowrun", run["metadata"]["name"])["status"]["result"]["inline"] for _, run in found]
    assert told == [f"tick {slot:%H:%M:%S}" for slot in slots]

    whole = yaml.safe_load(ticking.cli("schedules", "ls", "tick", "--output", "yaml").stdout)
    (listed,) = whole["items"]
    assert (whole["kind"], listed["deployment"], listed["slug"]) == ("List", "tick", "often")
    assert (listed["suspend"], listed["next"]) == (True, [])
    assert listed["runs"] == len(slots)
    assert datetime.fromisoformat(listed["last"]) == slots[-1] < suspended
    preview = ticking.cli("schedules", "preview", "tick", "--after", "2026-01-01", "--count", "2", "-o", "yaml").stdout
    assert yaml.safe_load(preview) == [
        {"schedule": "often", "time": "2026-01-01T00:00:10Z", "suspended": True},
        {"schedule": "often", "time": "2026-01-01T00:00:20Z", "suspended": True},
    ]
    assert slots_of(ticking) == slots, "nothing was made since"


def slots_of(penstock: Penstock) -> list[datetime]:
    return [slot for slot, _ in runs(penstock, SCHEDULED)]


def test_a_range_of_the_past_is_run_and_another_cancelled(ticking: Penstock) -> None:
    """Two at once; the one that is cancelled ends its runs and makes no more."""
    span = ("tick", "--schedule", "often", "--parallelism", "2", "--from", "2026-01-01")
    ticking.cli("backfills", "create", *span, "--to", "2026-01-01T00:00:40", "--name", "past", "-p", "word=tock")
    long = ("--to", "2026-01-01T01:00", "--mode", "All", "--order", "Descending", "-p", "seconds=600")
    ticking.cli("backfills", "create", *span, *long, "--name", "endless")

    def both_go_on(_: Json) -> bool:
        found = runs(ticking, "penstock.dev/backfill=endless")
        return [run.get("status", {}).get("state", {}).get("type") for _, run in found] == ["Running"] * 2

    begun = ticking.wait("backfill", "endless", both_go_on, 120)["status"]
    assert (begun["total"], begun["created"]) == (360, 2)
    ticking.cli("backfills", "cancel", "endless")

    def complete(reason: str, seen: Json) -> bool:
        conditions = seen.get("status", {}).get("conditions") or []
        return any((c["type"], c["status"], c["reason"]) == ("Complete", "True", reason) for c in conditions)

    progress: list[tuple[int, int]] = []

    def past_is_done(seen: Json) -> bool:
        status = seen.get("status", {})
        progress.append((status.get("created") or 0, status.get("done") or 0))
        return complete("Succeeded", seen)

    status = ticking.wait("backfill", "past", past_is_done, 180)["status"]
    assert (status["total"], status["created"], status["done"]) == (4, 4, 4)
    assert all(0 <= created - done <= 2 for created, done in progress), progress
    found = runs(ticking, "penstock.dev/backfill=past")
    assert [slot for slot, _ in found] == [PAST + n * EVERY for n in range(4)]
    assert [run["status"]["result"]["inline"] for _, run in found] == [f"tock 00:00:{n}0" for n in range(4)]

    ticking.wait("backfill", "endless", lambda seen: complete("Cancelled", seen), 120)
    found = runs(ticking, "penstock.dev/backfill=endless")
    assert [slot for slot, _ in found] == [PAST + n * EVERY for n in (358, 359)]
    assert ended(ticking, "penstock.dev/backfill=endless") == ["Cancelled"] * 2
