"""Cron expressions, and their times where the clocks change."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

import pytest

from penstock.errors import InvalidSchedule
from penstock.schedules import zones
from penstock.schedules.cron import Cron

NEW_YORK = zones.zone("America/New_York")


def times(expression: str, after: str, most: int, day_or: bool = True) -> str:
    """Times in UTC after a time in UTC, as `dd HH:MM`."""
    cron = Cron(expression, day_or)
    start = datetime.fromisoformat(after).replace(tzinfo=UTC)
    found = zones.instants(cron.matches, NEW_YORK, start, both=cron.keeps_pace)
    return ", ".join(f"{time:%d %H:%M}" for time in islice(found, most))


# In New York, 02:00 to 03:00 did not come on 8 March 2026 (07:00 UTC), and 01:00 to 02:00 came twice on 1 November
# (05:00 and 06:00 UTC).
GAPS = {
    "a fixed time that does not come is moved forward": ("30 2 * * *", "08 07:30, 09 06:30, 10 06:30"),
    "and merges with its neighbour": ("0 2,3 * * *", "08 07:00, 09 06:00, 09 07:00"),
    "a step in the minutes keeps its pace": ("*/30 * * * *", "08 06:00, 08 06:30, 08 07:00"),
    "every hour goes on": ("0 * * * *", "08 06:00, 08 07:00, 08 08:00"),
    "a step in the hours whose time does not come is moved forward": ("0 */2 * * *", "08 07:00, 08 08:00, 08 10:00"),
    "a step within the hour that does not come": ("*/30 2 * * *", "08 07:00, 08 07:30, 09 06:00"),
    "other times are where they always are": ("0 12 * * *", "08 16:00, 09 16:00, 10 16:00"),
}
FOLDS = {
    "a fixed time that comes twice fires at its first": ("30 1 * * *", "01 05:30, 02 06:30, 03 06:30"),
    "also several of them": ("0,30 1 * * *", "01 05:00, 01 05:30, 02 06:00"),
    "a step in the minutes keeps its pace through both": ("*/30 * * * *", "01 05:00, 01 05:30, 01 06:00"),
    "a wildcard in the hours, too": ("30 * * * *", "01 05:30, 01 06:30, 01 07:30"),
    "also by its name": ("@hourly", "01 05:00, 01 06:00, 01 07:00"),
    "a step within the hour that comes twice": ("*/30 1 * * *", "01 05:00, 01 05:30, 01 06:00"),
    "a time after it is not moved": ("0 2 * * *", "01 07:00, 02 07:00, 03 07:00"),
}


@pytest.mark.parametrize(("expression", "expected"), GAPS.values(), ids=GAPS)
def test_when_clocks_go_forward(expression: str, expected: str) -> None:
    assert times(expression, "2026-03-08T05:45", 3) == expected


@pytest.mark.parametrize(("expression", "expected"), FOLDS.values(), ids=FOLDS)
def test_when_clocks_go_back(expression: str, expected: str) -> None:
    assert times(expression, "2026-11-01T04:45", 3) == expected


FORMS = {
    "six fields: the sixth is of seconds": ("0 6 * * * */30", True, "01 11:00, 01 11:00"),
    "day of month or day of week": ("0 6 13 * 5", True, "02 11:00, 09 11:00"),
    "day of month and day of week": ("0 6 13 * 5", False, "13 11:00, 13 10:00"),
    "names, last days and n-th days": ("0 6 L * *", True, "31 11:00, 28 11:00"),
    "29 February": ("0 6 29 2 *", True, "29 11:00, 29 11:00"),
}


@pytest.mark.parametrize(("expression", "day_or", "expected"), FORMS.values(), ids=FORMS)
def test_forms(expression: str, day_or: bool, expected: str) -> None:
    assert times(expression, "2026-01-01T00:00", 2, day_or) == expected


@pytest.mark.parametrize(
    ("expression", "why"),
    {
        "* * *": "has not five or six fields",
        "0 0 * * * * 2027": "has not five or six fields",
        "@reboot": "has not five or six fields",
        "61 * * * *": "cannot be read: the first field, the minute, is '61'; it may be 0 to 59",
        "0 25 * * *": "cannot be read: the second field, the hour, is '25'; it may be 0 to 23",
        "0 6 * * mon-fry": "cannot be read: the fifth field, the day of the week, is 'mon-fry'; it may be 0",
        "0 6 * * * 60": "cannot be read: the sixth field, the second, is '60'; it may be 0 to 59",
        "*/0 * * * *": r"cannot be read: the first field, the minute, is '\*/0'",
        "a * * * *": "cannot be read: the first field, the minute, is 'a'",
        "R * * * *": "fields of chance",
        "H H * * *": "fields of chance",
        "0 R(1-5) * * *": "fields of chance",
    }.items(),
)
def test_what_is_no_cron_is_refused_with_field_and_remedy(expression: str, why: str) -> None:
    with pytest.raises(InvalidSchedule, match=rf"cron\.expression: .*{why}"):
        Cron(expression)


def test_what_never_comes_has_no_times() -> None:
    assert list(Cron("0 0 30 2 *").matches(datetime(2026, 1, 1))) == []


def test_a_start_that_matches_is_a_match() -> None:
    start = datetime(2026, 1, 1, 6)
    assert next(Cron("0 6 * * *").matches(start)) == start
    assert next(Cron("0 6 * * *").matches(start.replace(microsecond=1))) == datetime(2026, 1, 2, 6)
