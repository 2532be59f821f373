"""What a backfill does next: pure decisions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import builders
from penstock.api import labels, names, reasons
from penstock.schedules.slots import present
from penstock_operator.core import backfills
from penstock_operator.core.backfills import Progress
from penstock_operator.core.views import RunView

Json = dict[str, Any]
SCHEDULE: Json = {"slug": "hourly", "cron": {"expression": "0 * * * *"}, "parameters": {"n": 1, "m": 1}}
DEPLOYED = datetime(2026, 1, 1, tzinfo=UTC)
DEPLOYMENT: Json = {"metadata": {"name": "etl", "namespace": "team", "uid": "d1"}, "spec": {"schedules": [SCHEDULE]}}


def at(hour: int) -> datetime:
    return datetime(2026, 1, 1, hour, tzinfo=UTC)


def backfill(**spec: Any) -> Json:
    return {
        "metadata": {"name": "january", "namespace": "team", "uid": "b1", "creationTimestamp": "2026-02-01T00:00:00Z"},
        "spec": {
            "deploymentRef": {"name": "etl"},
            "schedule": "hourly",
            "from": "2026-01-01T06:00:00Z",
            "to": "2026-01-01T10:00:00Z",
            **spec,
        },
    }


def hours(slots: list[datetime]) -> list[int]:
    return [slot.hour for slot in slots]


def test_the_range_has_its_beginning_and_not_its_end() -> None:
    found = backfills.range_of(backfill(), SCHEDULE, DEPLOYED)
    assert hours(list(found.all())) == [6, 7, 8, 9]
    assert hours(found.following(None, 9)) == [6, 7, 8, 9]
    assert hours(found.following(at(7), 1)) == [8]
    assert found.following(at(9), 1) == []
    assert found.following(None, 0) == []


def test_descending_goes_from_the_end() -> None:
    found = backfills.range_of(backfill(order="Descending"), SCHEDULE, DEPLOYED)
    assert hours(found.following(None, 2)) == [9, 8]
    assert hours(found.following(at(8), 9)) == [7, 6]
    assert found.following(at(6), 1) == []


def test_the_range_ends_when_the_backfill_was_made() -> None:
    found = backfills.range_of(backfill(to="2027-01-01T00:00:00Z"), SCHEDULE, DEPLOYED)
    assert max(found.all()) == datetime(2026, 1, 31, 23, tzinfo=UTC)


def test_a_range_is_counted_no_further_than_one_past_what_it_may_have() -> None:
    often = {"slug": "often", "interval": {"seconds": 1}}
    found = backfills.range_of(backfill(), often, DEPLOYED)
    assert sum(1 for _ in found.all()) == backfills.MOST + 1
    assert found.count() == backfills.MOST + 1
    assert backfills.range_of(backfill(), SCHEDULE, DEPLOYED).count() == 4


def test_a_range_whose_rule_takes_too_many_steps_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    dear = {"slug": "dear", "rrule": {"rule": "FREQ=SECONDLY;BYHOUR=3,15;BYMINUTE=0;BYSECOND=0"}}
    whole = {"from": "2026-01-02T00:00:00Z", "to": "2026-01-12T00:00:00Z"}
    assert backfills.range_of(backfill(**whole), dear, DEPLOYED).count() == 20
    monkeypatch.setattr(backfills, "MOST_STEPS", 200_000)
    found = backfills.range_of(backfill(**whole), dear, DEPLOYED)
    assert found.count() is None
    assert found.slots.steps < 300_000
    assert backfills.range_of(backfill(**{**whole, "to": "2026-01-03T00:00:00Z"}), dear, DEPLOYED).count() == 2
    said = backfills.too_many_steps(dear)
    assert said.startswith("schedules[dear].rrule.rule: to count the slots of the range takes more than 200000 steps")
    assert "make several backfills of parts of it (spec.to)" in said


@given(st.booleans(), st.integers(1, 5))
def test_every_slot_is_followed_once(descending: bool, most: int) -> None:
    found = backfills.range_of(backfill(order="Descending" if descending else "Ascending"), SCHEDULE, DEPLOYED)
    seen: list[datetime] = []
    cursor = None
    while slots := found.following(cursor, most):
        seen += slots
        cursor = slots[-1]
    assert seen == sorted(found.all(), reverse=descending)


def test_progress_counts_each_run_once() -> None:
    known = Progress(4)
    for hour, made in ((6, True), (7, True), (8, False), (9, True)):
        known = known.handled(at(hour), made=made)
    assert (known.created, known.skipped, known.active, known.cursor) == (3, 1, (at(6), at(7), at(9)), at(9))
    runs: dict[datetime, RunView | None] = {
        at(6): RunView(builders.flow_run("Completed")),
        at(7): RunView(builders.flow_run("Running")),
        at(9): None,
    }
    known = known.counted(runs)
    assert (known.done, known.failed, known.active) == (1, 1, (at(7),))
    for state in ("Failed", "Crashed", "Cancelled"):
        assert known.counted({at(7): RunView(builders.flow_run(state))}).failed == 2
    assert Progress.read({k: v for k, v in known.written().items() if v is not None}) == known


ROOM: dict[str, tuple[Json, Json, int, int]] = {
    "one at a time by default": ({}, {}, 0, 1),
    "and no second": ({}, {}, 1, 0),
    "as many as it says": ({"parallelism": 3}, {}, 1, 2),
    "fewer than there are": ({"parallelism": 1}, {}, 3, 0),
    "none while suspended": ({"parallelism": 3, "suspend": True}, {}, 0, 0),
    "none when cancelled": ({"parallelism": 3, "cancel": True}, {}, 0, 0),
    "more than the limit, which has them wait": ({"parallelism": 3}, {"limit": 1}, 0, 3),
    "and says so": ({"parallelism": 3}, {"limit": 1, "policy": "Queue"}, 0, 3),
    "no more than are not forbidden": ({"parallelism": 3}, {"limit": 2, "policy": "Forbid"}, 1, 1),
    "no more than replace no other": ({"parallelism": 3}, {"limit": 1, "policy": "Replace"}, 0, 1),
    "fewer than the limit": ({"parallelism": 1}, {"limit": 2, "policy": "Forbid"}, 0, 1),
    "a limit of none is told by the runs": ({"parallelism": 3}, {"limit": 0, "policy": "Forbid"}, 0, 1),
    "no limit": ({"parallelism": 3}, {"policy": "Forbid"}, 0, 3),
}


@pytest.mark.parametrize(("spec", "concurrency", "active", "expected"), ROOM.values(), ids=ROOM)
def test_room(spec: Json, concurrency: Json, active: int, expected: int) -> None:
    known = Progress(9, active=tuple(at(n) for n in range(active)))
    deployment: Json = {"spec": {"concurrency": concurrency} if concurrency else {}}
    assert backfills.room(backfill(**spec), deployment, known) == expected


VERDICTS: dict[str, tuple[Json, Progress, bool, tuple[bool, str]]] = {
    "it goes on": ({}, Progress(4, 1, active=(at(6),)), False, (False, reasons.PROGRESSING)),
    "its last run is under way": ({}, Progress(4, 4, done=3, active=(at(6),)), True, (False, reasons.PROGRESSING)),
    "all have completed": ({}, Progress(4, 4, done=4), True, (True, reasons.SUCCEEDED)),
    "some have not": ({}, Progress(4, 4, done=3, failed=1), True, (True, reasons.SOME_FAILED)),
    "suspended": ({"suspend": True}, Progress(4, 1), False, (False, reasons.BACKFILL_SUSPENDED)),
    "suspended when nothing is left": ({"suspend": True}, Progress(4, 4, done=4), True, (True, reasons.SUCCEEDED)),
    "its runs are asked to end": (
        {"cancel": True},
        Progress(4, 2, active=(at(6),)),
        False,
        (False, reasons.CANCEL_REQUESTED),
    ),
    "and have": ({"cancel": True}, Progress(4, 2, failed=2), False, (True, reasons.CANCELLED)),
}


@pytest.mark.parametrize(("spec", "known", "exhausted", "expected"), VERDICTS.values(), ids=VERDICTS)
def test_verdicts(spec: Json, known: Progress, exhausted: bool, expected: tuple[bool, str]) -> None:
    found = backfills.verdict(backfill(**spec), known, exhausted=exhausted)
    assert (found.complete, found.reason) == expected


def test_the_message_says_how_many_of_what() -> None:
    known = Progress(9, 5, skipped=2, done=3, failed=1, active=(at(6),))
    text = "3 of 9 completed, 1 did not, 2 were left out; 1 under way"
    assert backfills.verdict(backfill(), known, exhausted=False).message == text


def test_a_missing_run_has_the_name_of_its_schedules_and_a_new_one_its_own() -> None:
    missing = backfills.run(backfill(), DEPLOYMENT, SCHEDULE, at(6))
    assert missing["metadata"]["name"] == names.scheduled_run("etl", "d1", "hourly", at(6))
    assert missing["metadata"]["annotations"][labels.CAUSE] == "schedule d1 hourly 2026-01-01T06:00:00.000000Z"
    anew = backfills.run(backfill(mode="All"), DEPLOYMENT, SCHEDULE, at(6))
    assert anew["metadata"]["name"] == names.backfill_run("etl", "b1", "hourly", at(6))
    assert anew["metadata"]["name"] != missing["metadata"]["name"]
    for run in (missing, anew):
        assert run["metadata"]["labels"][labels.BACKFILL] == "january"
        assert backfills.made_by(backfill(), run)
        assert run["spec"]["scheduledTime"] == "2026-01-01T06:00:00.000000Z"


def test_parameters_of_the_backfill_are_over_those_of_the_schedule() -> None:
    run = backfills.run(backfill(parameters={"m": 2}), DEPLOYMENT, SCHEDULE, at(6))
    assert run["spec"]["parameters"] == {"n": 1, "m": 2}


def test_a_run_of_a_schedule_is_not_made_by_a_backfill() -> None:
    assert not backfills.made_by(backfill(), {"metadata": {"annotations": {labels.CAUSE: "schedule"}}})
    namesake = backfill()
    namesake["metadata"]["uid"] = "b2"
    assert not backfills.made_by(namesake, backfills.run(backfill(), DEPLOYMENT, SCHEDULE, at(6)))


def test_a_schedule_is_found_by_its_slug() -> None:
    assert backfills.of_slug(DEPLOYMENT, "hourly") == SCHEDULE
    assert backfills.of_slug(DEPLOYMENT, "other") is None


def test_what_is_left_of_a_schedule_that_is_gone_has_no_slots_to_fill() -> None:
    deployment: Json = {"spec": {"schedules": [{"slug": "old", "suspend": True}, SCHEDULE]}}
    assert present(deployment["spec"]) == [SCHEDULE]
    assert backfills.of_slug(deployment, "old") is None
    assert backfills.of_slug(deployment, "hourly") == SCHEDULE
