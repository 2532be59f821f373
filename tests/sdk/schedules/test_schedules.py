"""`penstock.schedules`: Prefect's names, and the manifest's form."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from penstock.errors import InvalidSchedule
from penstock.schedules import Cron, Interval, RRule, Schedule

TABLE: dict[str, tuple[Schedule, dict[str, Any]]] = {
    "cron": (Cron("0 6 * * *"), {"slug": "cron", "cron": {"expression": "0 6 * * *"}}),
    "cron with everything": (
        Cron(
            "0 6 1 * 1",
            "Europe/Berlin",
            day_or=False,
            active=False,
            parameters={"n": 1},
            slug="s",
            max_runs=3,
            end=datetime(2027, 1, 1),
        ),
        {
            "slug": "s",
            "cron": {"expression": "0 6 1 * 1", "dayOr": False},
            "timezone": "Europe/Berlin",
            "parameters": {"n": 1},
            "suspend": True,
            "maxRuns": 3,
            "end": "2026-12-31T23:00:00Z",
        },
    ),
    "interval": (Interval(timedelta(hours=1)), {"slug": "interval", "interval": {"seconds": 3600}}),
    "interval in seconds with an anchor of its zone": (
        Interval(90, anchor_date=datetime(2026, 7, 1), timezone="Europe/Berlin"),
        {
            "slug": "interval",
            "interval": {"seconds": 90, "anchor": "2026-06-30T22:00:00Z"},
            "timezone": "Europe/Berlin",
        },
    ),
    "an anchor with a zone": (
        Interval(90, anchor_date=datetime(2026, 7, 1, tzinfo=UTC)),
        {"slug": "interval", "interval": {"seconds": 90, "anchor": "2026-07-01T00:00:00Z"}},
    ),
    "rrule": (RRule("FREQ=DAILY", active=True), {"slug": "rrule", "rrule": {"rule": "FREQ=DAILY"}, "suspend": False}),
}


@pytest.mark.parametrize(("schedule", "expected"), TABLE.values(), ids=TABLE)
def test_manifests(schedule: Schedule, expected: dict[str, Any]) -> None:
    assert schedule.manifest() == expected


@pytest.mark.parametrize(
    ("schedule", "why"),
    [
        (Cron("0 0 30 2 *"), r"schedules\[cron\]\.cron\.expression: it never fires"),
        (Interval(0.5), "whole number of seconds"),
        (RRule("FREQ=DAILY", timezone="Mars"), r"timezone: 'Mars'"),
        (Schedule(), "made by Cron, Interval or RRule"),
    ],
)
def test_what_cannot_be_is_told_where_it_is_deployed(schedule: Schedule, why: str) -> None:
    with pytest.raises(InvalidSchedule, match=why):
        schedule.manifest()


def test_the_import_takes_none_of_what_reads_schedules() -> None:
    code = "import sys, penstock.schedules; sys.exit(bool({'croniter', 'dateutil'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
