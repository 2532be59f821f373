"""The slots of schedules, and what is wrong with schedules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import InvalidSchedule
from penstock.schedules import slots as reading
from penstock.schedules.slots import Slots, problems, takes_long

CREATED = datetime(2026, 1, 1, 6, 7, 8, tzinfo=UTC)
forms = st.one_of(
    st.sampled_from(["*/7 * * * *", "0 6 * * 1-5", "30 2 * * *", "0 0 1 * *", "*/5 * * * * */20"]).map(
        lambda expression: {"cron": {"expression": expression}}
    ),
    st.integers(1, 200_000).map(lambda seconds: {"interval": {"seconds": seconds}}),
    st.sampled_from(["FREQ=HOURLY;INTERVAL=5", "FREQ=WEEKLY;BYDAY=MO,SU", "FREQ=MONTHLY;BYDAY=-1FR"]).map(
        lambda rule: {"rrule": {"rule": rule}}
    ),
)
zones = st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"])
times = st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1)).map(lambda time: time.replace(tzinfo=UTC))


@settings(max_examples=60, deadline=None)
@given(forms, zones, times)
def test_slots_ascend_and_do_not_depend_on_where_one_begins(form: dict[str, Any], zone: str, after: datetime) -> None:
    slots = Slots({**form, "timezone": zone}, CREATED)
    found = slots.next(after, 12)
    assert all(a < b for a, b in pairwise([after, *found]))
    assert slots.next(found[4], 7) == found[5:]
    assert slots.next(found[4] - timedelta(microseconds=1), 8) == found[4:]
    assert list(slots.between(after, found[-1])) == found


@settings(max_examples=60, deadline=None)
@given(forms, zones, times, st.integers(1, 12), st.integers(1, 12))
def test_the_newest_are_the_last_of_all(
    form: dict[str, Any], zone: str, after: datetime, count: int, most: int
) -> None:
    slots = Slots({**form, "timezone": zone}, CREATED)
    found = slots.next(after, count)
    assert slots.newest(after, found[-1], most) == (found[-most:], count > most)


def test_the_newest_of_many_years_are_found_without_counting_all() -> None:
    slots = Slots({"interval": {"seconds": 1}}, CREATED)
    end = datetime(2026, 1, 1, tzinfo=UTC)
    assert slots.newest(datetime(1990, 1, 1, tzinfo=UTC), end, 2) == ([end - timedelta(seconds=1), end], True)


def test_no_slot_is_later_than_the_end() -> None:
    schedule = {"cron": {"expression": "0 6 * * *"}, "end": "2026-01-02T06:00:00z"}
    assert Slots(schedule, CREATED).next(CREATED - timedelta(days=1), 9) == [
        datetime(2026, 1, 1, 6, tzinfo=UTC),
        datetime(2026, 1, 2, 6, tzinfo=UTC),
    ]


def test_an_interval_without_anchor_counts_from_the_creation() -> None:
    assert Slots({"interval": {"seconds": 60}}, CREATED).next(CREATED, 1) == [CREATED + timedelta(seconds=60)]


def test_exactly_one_form_is_wanted() -> None:
    for schedule in ({}, {"cron": {"expression": "@daily"}, "interval": {"seconds": 1}}):
        with pytest.raises(InvalidSchedule, match="exactly one of cron, interval, rrule"):
            Slots(schedule, CREATED)


def test_problems_are_told_by_slug_and_field() -> None:
    found = problems(
        [
            {"slug": "a", "cron": {"expression": "0 0 30 2 *"}},
            {"slug": "b", "cron": {"expression": "@daily"}, "timezone": "Mars"},
            {"slug": "b", "interval": {"seconds": 1}},
            {"slug": "c", "rrule": {"rule": "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30"}},
            {"slug": "d", "interval": {"seconds": 1, "anchor": "noon"}},
            {"slug": "e", "cron": {"expression": "0 0 1 1 *"}, "end": "1999-01-01T00:00:00Z"},
        ]
    )
    assert [text.partition(":")[0] for text in found] == [
        "schedules[a].cron.expression",
        "schedules[b].timezone",
        "schedules[b].slug",
        "schedules[c].rrule.rule",
        "schedules[d].interval.anchor",
    ]


OUT_OF_RANGE = {
    "a day that Easter has not": ({"rrule": {"rule": "FREQ=DAILY;BYEASTER=400"}}, "rrule.rule: a number or a time"),
    "an end after all": ({"cron": {"expression": "@daily"}, "end": "9999-12-31T23:59:59-12:00"}, "end: "),
    "an anchor before all": (
        {"interval": {"seconds": 86400, "anchor": "0001-01-01T00:00:00Z"}, "timezone": "America/New_York"},
        "interval.anchor: ",
    ),
    "an anchor after all": (
        {"interval": {"seconds": 86400, "anchor": "9999-12-31T23:59:59Z"}, "timezone": "Asia/Tokyo"},
        "interval.anchor: ",
    ),
    "a first time after all": ({"rrule": {"rule": "DTSTART:99990101\nRRULE:FREQ=DAILY"}}, "rrule.rule: DTSTART"),
    "the zone that a machine is set to": ({"cron": {"expression": "@daily"}, "timezone": "localtime"}, "timezone: "),
    "a zone with leap seconds": ({"cron": {"expression": "@daily"}, "timezone": "right/UTC"}, "timezone: "),
}


@pytest.mark.parametrize(("schedule", "why"), OUT_OF_RANGE.values(), ids=OUT_OF_RANGE)
def test_what_is_out_of_range_is_the_fault_of_its_field(schedule: dict[str, Any], why: str) -> None:
    (problem,) = problems([{"slug": "a", **schedule}])
    assert problem.startswith(f"schedules[a].{why}")
    with pytest.raises(InvalidSchedule):
        Slots(schedule, CREATED).next(CREATED, 1)


def test_an_until_of_the_last_day_means_for_ever() -> None:
    schedule = {"rrule": {"rule": "FREQ=DAILY;UNTIL=99991231T235959Z"}, "timezone": "Asia/Tokyo"}
    assert len(Slots(schedule, CREATED).next(CREATED, 2)) == 2


def test_what_had_ended_before_it_was_made_never_fires() -> None:
    ended = {"slug": "a", "cron": {"expression": "@daily"}, "end": "2020-01-01T00:00:00Z"}
    until = {"slug": "b", "rrule": {"rule": "FREQ=DAILY;UNTIL=20210101"}}
    ahead = {"slug": "c", "cron": {"expression": "@daily"}, "end": "2027-01-01T00:00:00Z"}
    found = problems([ended, until, ahead], CREATED)
    why = "it never fires; all of its times are before 2026-01-01 06:07 UTC"
    assert found == [f"schedules[a].end: {why}", f"schedules[b].rrule.rule: {why}"]


DEAR = {"rrule": {"rule": "FREQ=SECONDLY;BYHOUR=3,15;BYMINUTE=0;BYSECOND=0"}}  # 43,200 steps a slot


def test_steps_of_all_that_was_asked_are_counted() -> None:
    dear, plain = Slots(DEAR, CREATED), Slots({"cron": {"expression": "0 3,15 * * *"}}, CREATED)
    assert dear.steps == plain.steps == 0
    assert dear.next(CREATED, 2) == plain.next(CREATED, 2)
    first = dear.steps
    assert 43_200 < first < 130_000
    dear.next(CREATED, 2)
    assert (dear.steps, plain.steps) == (2 * first, 0)


def test_older_slots_are_looked_for_only_so_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_STEPS_BACK", 150_000)
    slots, until = Slots(DEAR, CREATED), CREATED + timedelta(days=3650)
    found, older = slots.newest(CREATED, until, 100)
    assert older
    assert 1 <= len(found) < 20
    assert found == sorted(found)
    assert found[-1] == until.replace(hour=3, minute=0, second=0)
    assert slots.steps < 1_000_000
    assert Slots(DEAR, CREATED).newest(CREATED, until, 1)[0] == found[-1:]


def test_schedules_that_take_many_steps_together_are_told_with_the_dearest() -> None:
    plain = {"slug": "plain", "rrule": {"rule": "FREQ=DAILY"}}
    assert problems([plain, {"slug": "dear", **DEAR}], CREATED) == []
    (found,) = problems([plain, *({"slug": f"s{number}", **DEAR} for number in range(20))], CREATED)
    assert found.startswith("schedules[s0].rrule.rule: it takes ")
    assert "all schedules together more than 500000; they go on, but say them with another FREQ" in found


def test_only_rrules_take_long() -> None:
    assert takes_long([{"cron": {"expression": "@daily"}}, DEAR])
    assert not takes_long([{"cron": {"expression": "@daily"}}, {"interval": {"seconds": 1}}])
