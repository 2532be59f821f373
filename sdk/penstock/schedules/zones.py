"""From local times to instants: what becomes of times that a change of the clocks leaves out or repeats.

Called by `slots`. A local time that does not exist moves forward by what was left out; one that comes twice means its
first, or both where the caller keeps a pace (RFC 5545 section 3.3.5; cron implementations with care for such changes).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ..errors import InvalidSchedule

MOST_SHIFT = timedelta(hours=25)  # Samoa left out a whole day in 2011
DAY = timedelta(days=1)
NO_ZONES = ("localtime", "posixrules")  # files beside those of the zones, which say what this machine is set to
LAST_YEAR = 9990  # close to where datetime ends

Matches = Callable[[datetime], Iterator[datetime]]
"""Local times without zone, ascending, from the given one on."""


@lru_cache(maxsize=512)
def zone(name: str) -> ZoneInfo:
    """The time zone of that name. Raises InvalidSchedule."""
    try:
        if name in NO_ZONES or name.startswith(("posix/", "right/")):
            raise ZoneInfoNotFoundError
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidSchedule(
            f"timezone: {name!r} is no time zone of the IANA database; write it like Europe/Berlin or UTC"
        ) from None


def offset(where: ZoneInfo, utc: datetime) -> timedelta:
    """What local clocks are ahead of UTC at an instant (UTC, without zone)."""
    found = utc.replace(tzinfo=UTC).astimezone(where).utcoffset()
    return found if found is not None else timedelta(0)


def local(where: ZoneInfo, instant: datetime) -> datetime:
    """What local clocks show at an instant, without zone."""
    return instant.astimezone(where).replace(tzinfo=None, fold=0)


def instant(where: ZoneInfo, clock: datetime) -> datetime:
    """The instant at which local clocks show this, the first of two; one that is left out moves forward."""
    return clock.replace(tzinfo=where, fold=0).astimezone(UTC)


@lru_cache(maxsize=4096)
def changes(where: ZoneInfo, year: int) -> tuple[tuple[datetime, timedelta, timedelta], ...]:
    """When the clocks of a zone change in a year of UTC: (instant without zone, offset before, offset after)."""
    found = []
    time, end = datetime(year, 1, 1), datetime(year + 1, 1, 1)
    before = offset(where, time)
    while time < end:
        later = min(time + DAY, end)
        after = offset(where, later)
        if after != before:
            low, high = time, later
            while high - low > timedelta(seconds=1):
                middle = low + timedelta(seconds=(high - low) // timedelta(seconds=1) // 2)
                low, high = (middle, high) if offset(where, middle) == before else (low, middle)
            found.append((high, before, after))
        time, before = later, after
    return tuple(found)


def instants(matches: Matches, where: ZoneInfo, after: datetime, *, both: bool) -> Iterator[datetime]:
    """The instants (UTC) of local times, each later than `after` and than the one before.

    `both`: a local time that comes twice counts twice.
    """
    start = after.astimezone(UTC).replace(tzinfo=None)
    last, awaited = start, None
    for begin, end, was, now in _pieces(where, start - MOST_SHIFT):
        if end <= start or (awaited is not None and end + now < awaited - MOST_SHIFT):
            continue
        first = max(begin, start) + now
        if was > now and not both:
            first = max(first, begin + was)
        moved = _between(matches, max(begin + was, start + was), begin + now) if now > was else iter(())
        seen = _Until(matches(first), end + now)
        for utc in heapq.merge((time - was for time in moved), (time - now for time in seen)):
            if utc > last:
                last = utc
                yield utc.replace(tzinfo=UTC)
        if seen.over is None:
            return
        awaited = seen.over


class _Until:
    """The matches before `end`; `over` is then the first one that is not, None when there is none any more."""

    def __init__(self, found: Iterator[datetime], end: datetime) -> None:
        self._found, self._end = found, end
        self.over: datetime | None = None

    def __iter__(self) -> Iterator[datetime]:
        for time in self._found:
            if time >= self._end:
                self.over = time
                return
            yield time


def _between(matches: Matches, begin: datetime, end: datetime) -> Iterator[datetime]:
    if begin < end:
        yield from _Until(matches(begin), end)


def _pieces(where: ZoneInfo, start: datetime) -> Iterator[tuple[datetime, datetime, timedelta, timedelta]]:
    """Times of one offset, at most a year long, all in UTC: (begin, end, offset before begin, offset)."""
    begin, was = start, offset(where, start)
    for year in range(start.year, LAST_YEAR):
        now = offset(where, begin)
        for time, _, after in changes(where, year):
            if time > begin:
                yield begin, time, was, now
                begin, was, now = time, now, after
        stop = datetime(year + 1, 1, 1)
        if begin < stop:
            yield begin, stop, was, now
            begin, was = stop, now
