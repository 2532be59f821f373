"""What becomes of local times that a change of the clocks leaves out or repeats."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import InvalidSchedule
from penstock.schedules import zones

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu")
instants_of_years = st.datetimes(datetime(2005, 1, 1), datetime(2035, 1, 1))


def every(step: timedelta) -> zones.Matches:
    """Local times at multiples of a step."""

    def matches(start: datetime) -> Iterator[datetime]:
        time = start + (datetime(2000, 1, 1) - start) % step
        while True:
            yield time
            time += step

    return matches


@given(st.sampled_from(ZONES), instants_of_years, st.sampled_from([15, 20, 60, 97, 1440]), st.booleans())
def test_instants_are_strictly_later_each_time_and_a_later_start_leaves_out_the_earlier_ones(
    name: str, start: datetime, minutes: int, both: bool
) -> None:
    where, matches = zones.zone(name), every(timedelta(minutes=minutes))
    after = start.replace(tzinfo=UTC)
    found = list(islice(zones.instants(matches, where, after, both=both), 40))
    assert all(a < b for a, b in pairwise([after, *found]))
    for number in (0, 7, 39):
        later = list(islice(zones.instants(matches, where, found[number], both=both), 39 - number))
        assert later == found[number + 1 :]


@given(st.sampled_from(ZONES), instants_of_years, st.sampled_from([15, 60, 1440]))
def test_every_local_time_of_the_clocks_has_its_instant(name: str, start: datetime, minutes: int) -> None:
    """Of times that come twice the first, of those that do not come the one moved forward, and no others."""
    where, step = zones.zone(name), timedelta(minutes=minutes)
    after = start.replace(tzinfo=UTC)
    found = list(islice(zones.instants(every(step), where, after, both=False), 30))
    begin = zones.local(where, after) - timedelta(hours=26)
    clocks = islice(every(step)(begin), 30 + 52 * 60 // minutes + 2)
    expected = sorted({zones.instant(where, clock) for clock in clocks} - {after})
    assert found == [time for time in expected if time > after][:30]


@given(st.sampled_from(ZONES), instants_of_years)
def test_a_pace_of_a_quarter_is_kept_through_both_passes(name: str, start: datetime) -> None:
    after = start.replace(tzinfo=UTC)
    found = list(islice(zones.instants(every(timedelta(minutes=15)), zones.zone(name), after, both=True), 200))
    assert {b - a for a, b in pairwise(found)} == {timedelta(minutes=15)}


def test_changes_are_found_to_the_second() -> None:
    hour = timedelta(hours=1)
    assert zones.changes(zones.zone("Europe/Berlin"), 2026) == (
        (datetime(2026, 3, 29, 1), hour, 2 * hour),
        (datetime(2026, 10, 25, 1), 2 * hour, hour),
    )
    assert zones.changes(zones.zone("Asia/Kathmandu"), 2026) == ()


@pytest.mark.parametrize("name", ["Europe/Berlim", "Europe", "../etc/passwd", "", "CET-1CEST"])
def test_a_zone_that_is_none_is_refused_with_the_remedy(name: str) -> None:
    with pytest.raises(InvalidSchedule, match="no time zone of the IANA database; write it like Europe/Berlin or UTC"):
        zones.zone(name)
