"""Recurrence rules of RFC 5545: what they mean, and that what is looked at is bounded."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

import pytest
from dateutil.rrule import rrulestr

from penstock.errors import InvalidSchedule
from penstock.schedules import zones
from penstock.schedules.rrule import MOST_COUNT, RRule


def times(text: str, after: str, most: int = 3, timezone: str | None = "America/New_York") -> str:
    rule = RRule(text, timezone)
    start = datetime.fromisoformat(after).replace(tzinfo=UTC)
    found = zones.instants(rule.matches, rule.where, start, both=rule.keeps_pace)
    return ", ".join(f"{time:%m-%d %H:%M}" for time in islice(found, most))


TABLE = {
    "without DTSTART it is midnight": ("FREQ=DAILY", "2026-01-01T00:00", "01-01 05:00, 01-02 05:00, 01-03 05:00"),
    "a time that does not come is moved forward": (
        "FREQ=DAILY;BYHOUR=2;BYMINUTE=30",
        "2026-03-08T00:00",
        "03-08 07:30, 03-09 06:30, 03-10 06:30",
    ),
    "a time that comes twice fires at its first": (
        "FREQ=DAILY;BYHOUR=1",
        "2026-11-01T00:00",
        "11-01 05:00, 11-02 06:00, 11-03 06:00",
    ),
    "every hour keeps its pace": ("FREQ=HOURLY", "2026-11-01T04:30", "11-01 05:00, 11-01 06:00, 11-01 07:00"),
    "the last Friday": ("FREQ=MONTHLY;BYDAY=-1FR", "2026-01-01T00:00", "01-30 05:00, 02-27 05:00, 03-27 04:00"),
    "DTSTART is a local time": (
        "DTSTART:20260105T093000\nRRULE:FREQ=WEEKLY;INTERVAL=2",
        "2026-01-01T00:00",
        "01-05 14:30, 01-19 14:30, 02-02 14:30",
    ),
    "DTSTART in UTC": (
        "DTSTART:20260105T093000Z\nRRULE:FREQ=DAILY",
        "2026-03-07T00:00",
        "03-07 09:30, 03-08 08:30, 03-09 08:30",
    ),
    "COUNT counts from DTSTART": (
        "DTSTART:20260101T000000\nRRULE:FREQ=DAILY;COUNT=3",
        "2026-01-02T00:00",
        "01-02 05:00, 01-03 05:00",
    ),
    "UNTIL in UTC": ("FREQ=DAILY;UNTIL=20260102T050000Z", "2026-01-01T00:00", "01-01 05:00, 01-02 05:00"),
    "UNTIL as local time": ("FREQ=DAILY;UNTIL=20260101T235959", "2026-01-01T00:00", "01-01 05:00"),
    "EXDATE leaves out, RDATE adds": (
        "DTSTART:20260101T060000\nRRULE:FREQ=DAILY\nEXDATE:20260102T060000,20260103T060000\nRDATE:20260102T120000",
        "2026-01-01T12:00",
        "01-02 17:00, 01-04 11:00, 01-05 11:00",
    ),
    "EXRULE leaves out": (
        "RRULE:FREQ=DAILY\nEXRULE:FREQ=WEEKLY;BYDAY=SA,SU",
        "2026-01-02T00:00",
        "01-02 05:00, 01-05 05:00, 01-06 05:00",
    ),
    "several rules": (
        "RRULE:FREQ=YEARLY;BYMONTH=1;BYMONTHDAY=1\nRRULE:FREQ=YEARLY;BYMONTH=7;BYMONTHDAY=4",
        "2026-01-01T12:00",
        "07-04 04:00, 01-01 05:00, 07-04 04:00",
    ),
    "DTSTART on 29 February": (
        "DTSTART:20240229T000000\nRRULE:FREQ=YEARLY",
        "2094-01-01T00:00",
        "02-29 05:00, 02-29 05:00, 02-29 05:00",
    ),
    "summer after 2037 keeps its hour": (
        "FREQ=YEARLY;BYMONTH=7;BYMONTHDAY=1",
        "2040-01-01T00:00",
        "07-01 04:00, 07-01 04:00, 07-01 04:00",
    ),
}


@pytest.mark.parametrize(("text", "after", "expected"), TABLE.values(), ids=TABLE)
def test_rules(text: str, after: str, expected: str) -> None:
    assert times(text, after) == expected


def test_the_zone_of_dtstart_is_that_of_the_rule_where_none_is_named() -> None:
    text = "DTSTART;TZID=Europe/Berlin:20260101T060000\nRRULE:FREQ=DAILY"
    assert times(text, "2026-01-01T00:00", 1, None) == "01-01 05:00"
    with pytest.raises(InvalidSchedule, match="TZID=Europe/Berlin, and timezone is America/New_York"):
        RRule(text, "America/New_York")


RULES = (
    "FREQ=SECONDLY;INTERVAL=7",
    "FREQ=MINUTELY;INTERVAL=11;BYHOUR=3,4",
    "FREQ=HOURLY;INTERVAL=5",
    "FREQ=DAILY;INTERVAL=3;BYMONTH=2,5",
    "FREQ=WEEKLY;INTERVAL=2;BYDAY=TU,SA;WKST=SU",
    "FREQ=MONTHLY;INTERVAL=5;BYMONTHDAY=-1",
    "FREQ=MONTHLY;INTERVAL=7;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
    "FREQ=YEARLY;INTERVAL=3;BYWEEKNO=20",
)


@pytest.mark.parametrize("text", RULES)
def test_what_begins_close_to_what_is_asked_for_is_what_dateutil_counts_from_the_beginning(text: str) -> None:
    begin = datetime(2026, 2, 11, 9, 20, 30)
    rule = RRule(f"DTSTART:20260211T092030\nRRULE:{text}", "UTC")
    late = 300 if text.startswith(("FREQ=SEC", "FREQ=MIN")) else 4
    expected = list(islice(iter(rrulestr(text, dtstart=begin)), late * 10, late * 10 + 5))
    assert list(islice(rule.matches(expected[0]), 5)) == expected


ENDLESS = {
    "a position that a second has not": "FREQ=SECONDLY;BYSETPOS=2",
    "a position that a minute has not": "FREQ=MINUTELY;BYSETPOS=2",
    "a time of a day that there is not": "FREQ=SECONDLY;BYHOUR=3;BYMONTH=2;BYMONTHDAY=30",
    "seconds that are left out, up to the next year": "RRULE:FREQ=YEARLY;INTERVAL=10\nEXRULE:FREQ=SECONDLY",
    "a COUNT of what comes once in a while": (
        "DTSTART:20200101\nRRULE:FREQ=MINUTELY;BYHOUR=3;BYMINUTE=0;BYMONTHDAY=2;COUNT=99"
    ),
}


@pytest.mark.parametrize("text", ENDLESS.values(), ids=ENDLESS)
def test_what_takes_too_many_steps_is_refused_with_the_remedy(text: str) -> None:
    """Some of these would be at it for hours, in an operator that does nothing else meanwhile."""
    with pytest.raises(InvalidSchedule, match=r"^rrule\.rule: 50000 steps do not lead .*another FREQ"):
        list(islice(RRule(text, None).matches(datetime(2026, 2, 1)), 3))


FAR = {
    "29 February on a Sunday": ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=SU", "2080-02-18", "02-29 00:00"),
    "each second of an hour": ("FREQ=SECONDLY;INTERVAL=2;BYHOUR=3", "2026-01-01T04:00", "01-02 03:00"),
    "each minute of an hour of a month": ("FREQ=MINUTELY;BYHOUR=9;BYMONTHDAY=1", "2026-01-01T10:00", "02-01 09:00"),
    "what is counted for long": (
        "DTSTART:20200101T090000\nRRULE:FREQ=MINUTELY;BYHOUR=9;BYDAY=MO;COUNT=10000",
        "2022-01-01",
        "01-03 09:00",
    ),
    "what is left out each hour": ("RRULE:FREQ=MONTHLY\nEXRULE:FREQ=HOURLY;BYDAY=SU", "2026-01-02", "04-01 00:00"),
}


@pytest.mark.parametrize(("text", "after", "expected"), FAR.values(), ids=FAR)
def test_what_is_far_away_is_found(text: str, after: str, expected: str) -> None:
    assert times(text, after, 1, "UTC") == expected


def test_steps_are_counted_for_each_question_by_itself() -> None:
    """Also where two are asked by turns."""
    rule = RRule("FREQ=YEARLY;BYMONTH=1;BYMONTHDAY=1", None)
    one, other = rule.matches(datetime(2026, 1, 1)), rule.matches(datetime(2027, 1, 1))
    for year in range(2026, 2126):
        assert (next(one).year, next(other).year) == (year, year + 1)


BARREN = {
    "a day that there is not, every second": "FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30",
    "every day": "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
    "every year": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
    "a position that there is not": "FREQ=MONTHLY;BYDAY=5FR;BYSETPOS=2",
}


@pytest.mark.parametrize("text", BARREN.values(), ids=BARREN)
def test_a_rule_that_never_fires_is_searched_for_so_long(text: str) -> None:
    """dateutil would go on to the year 9999, which takes longer than a test may."""
    assert next(RRule(text, None).matches(datetime(2026, 1, 1)), None) is None


@pytest.mark.parametrize(
    ("text", "why"),
    {
        "FREQ=DAILY;INTERVAL=0": "INTERVAL=0: at least 1",
        "FREQ=NEVER": "FREQ=NEVER: one of YEARLY",
        "every day": r"FREQ=\?",
        "FREQ=DAILY;BYHOUR=99": "cannot be read",
        "FREQ=HOURLY;INTERVAL=2;BYHOUR=3": "cannot be read",
        "FREQ=DAILY;COUNT=3": "add a DTSTART",
        f"DTSTART:20260101T000000\nRRULE:FREQ=DAILY;COUNT={MOST_COUNT + 1}": "use UNTIL",
        "DTSTART:20260101\nDTSTART:20260102\nRRULE:FREQ=DAILY": "several DTSTART",
        "DTSTART:monday\nRRULE:FREQ=DAILY": "write it like 20261231T060000",
        "DTSTART:20260230\nRRULE:FREQ=DAILY": "20260230",
        "DTSTART:20260101T000000": "no RRULE and no RDATE",
        "BEGIN:VEVENT": "BEGIN is not known",
        "\n".join(["RRULE:FREQ=DAILY"] * 17): "more than 16 rules",
        "FREQ=DAILY;UNTIL=tomorrow": "write it like",
    }.items(),
)
def test_what_is_no_rule_is_refused_with_field_and_remedy(text: str, why: str) -> None:
    with pytest.raises(InvalidSchedule, match=rf"(?s)rrule\.rule: .*{why}"):
        RRule(text, None)


def test_a_rule_that_leaves_out_all_it_has_is_refused() -> None:
    with pytest.raises(InvalidSchedule, match="leaves out more than 10000"):
        next(RRule("RRULE:FREQ=SECONDLY\nEXRULE:FREQ=SECONDLY", None).matches(datetime(2026, 1, 1)))
