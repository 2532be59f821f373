"""Intervals: elapsed time under a day, local time from a day on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.schedules import zones
from penstock.schedules.interval import Interval

NEW_YORK = zones.zone("America/New_York")
ANCHOR = datetime(2026, 1, 1, 6, 30, tzinfo=UTC)  # 01:30 there

TABLE = {
    "under a day an hour that comes twice takes two": (timedelta(hours=6), "2026-11-01T00:31", "06:30, 12:30, 18:30"),
    "a day keeps the local hour where clocks go back": (timedelta(days=1), "2026-10-31T00:00", "05:30, 05:30, 06:30"),
    "and where they go forward": (timedelta(days=1), "2026-03-07T00:00", "06:30, 06:30, 05:30"),
    "a week, too": (timedelta(days=7), "2026-10-20T00:00", "05:30, 05:30, 06:30"),
    "slots lie before the anchor, too": (timedelta(days=1), "2025-12-30T00:00", "06:30, 06:30, 06:30"),
}


@pytest.mark.parametrize(("length", "after", "expected"), TABLE.values(), ids=TABLE)
def test_intervals(length: timedelta, after: str, expected: str) -> None:
    start = datetime.fromisoformat(after).replace(tzinfo=UTC)
    found = islice(Interval(length, ANCHOR, NEW_YORK).after(start), 3)
    assert ", ".join(f"{time:%H:%M}" for time in found) == expected


@given(st.integers(1, 5 * 86_400), st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)))
def test_an_interval_neither_skips_nor_repeats(seconds: int, start: datetime) -> None:
    after, length = start.replace(tzinfo=UTC), timedelta(seconds=seconds)
    found = list(islice(Interval(length, ANCHOR, NEW_YORK).after(after), 30))
    assert after < found[0] <= after + length + timedelta(hours=1)
    steps = {b - a for a, b in pairwise(found)}
    if seconds < 86_400:
        assert steps == {length}
    else:
        assert steps <= {length, length - timedelta(hours=1), length + timedelta(hours=1)} | {
            b - a for a, b in pairwise(found) if zones.local(NEW_YORK, a).hour in (1, 2, 3)
        }
    assert next(Interval(length, ANCHOR, NEW_YORK).after(found[9])) == found[10]
