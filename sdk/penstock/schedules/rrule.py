"""iCalendar recurrences (RFC 5545), expanded by python-dateutil, which is imported at first use.

Times are local times of the schedule's zone without zone in them, which `zones` makes instants of. dateutil counts
from DTSTART at each question, and would count for ever: what has no COUNT starts close to what is asked for, and the
steps from one time to the next are counted.
"""

from __future__ import annotations

import copy
import heapq
import re
import warnings
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self, cast
from zoneinfo import ZoneInfo

from ..errors import InvalidSchedule
from . import zones

if TYPE_CHECKING:
    from dateutil.rrule import rrule as Rule  # noqa: N812 - dateutil's class has a lower-case name

BEGIN = datetime(2020, 1, 1)
FIRST_YEAR = 1970
MOST_RULES = 16
MOST_COUNT = 10_000
MOST_BARREN = 10_000  # times in a row that are left out
YEARS = 50  # as cron
MOST_STEPS = 50_000  # from one time to the next; a year has 366 days, fifty years 18,300, and a thousand cost 0.3 ms
STEPS_OF_YEAR, STEPS_OF_POSITIONS = 100, 20  # what these cost of the same time
STEPS_OF_COUNTED = 100  # that a time before what is asked for may cost where a rule has a COUNT
REMEDY = "say them with another FREQ, one that is about as often as it is due (FREQ=DAILY;BYHOUR=3;BYMINUTE=0,30)"
FILTERS = ("month", "monthday", "nmonthday", "yearday", "weekday", "easter", "hour", "minute", "second")
PART = re.compile(r"([A-Za-z-]+)=([^;]*)")
STAMP = re.compile(r"(\d{4})(\d{2})(\d{2})(?:T(\d{2})(\d{2})(\d{2})(Z?))?", re.IGNORECASE)
UNITS = {
    "SECONDLY": timedelta(seconds=1),
    "MINUTELY": timedelta(minutes=1),
    "HOURLY": timedelta(hours=1),
    "DAILY": timedelta(days=1),
    "WEEKLY": timedelta(days=7),
}
FREQUENCIES = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY")  # dateutil's numbers


def invalid(why: str) -> InvalidSchedule:
    return InvalidSchedule(f"rrule.rule: {why}")


class RRule:
    """RRULE, with DTSTART, RDATE, EXDATE and EXRULE where they are given. Raises InvalidSchedule."""

    def __init__(self, text: str, timezone: str | None) -> None:
        lines = [line.strip() for line in text.replace("\\n", "\n").splitlines() if line.strip()]
        starts = [line for line in lines if _name(line) == "DTSTART"]
        if len(starts) > 1:
            raise invalid("has several DTSTART; a schedule has one, so make several schedules")
        self.where, self._start = _start(starts[0] if starts else "", timezone)
        self._dated = bool(starts)
        self._rules: list[_Recurrence] = []
        self._not: list[_Recurrence] = []
        self._dates: list[datetime] = []
        self.steps = 0  # that all which was asked of it has taken
        without: list[datetime] = []
        for line in lines:
            match _name(line):
                case "DTSTART":
                    continue
                case "RRULE":
                    self._rules.append(self._recurrence(line))
                case "EXRULE":
                    self._not.append(self._recurrence(line))
                case "RDATE":
                    self._dates += _stamps(line, self.where)
                case "EXDATE":
                    without += _stamps(line, self.where)
                case other:
                    raise invalid(f"{other} is not known; it has DTSTART, RRULE, RDATE, EXDATE and EXRULE, a line each")
        self._without = frozenset(without)
        self._dates.sort()
        if not self._rules and not self._dates:
            raise invalid("has no RRULE and no RDATE, so that it never fires")
        if len(self._rules) + len(self._not) > MOST_RULES:
            raise invalid(f"has more than {MOST_RULES} rules; make several schedules")

    def _recurrence(self, line: str) -> _Recurrence:
        parts = {key.upper(): value.strip() for key, value in PART.findall(line.partition(":")[2] or line)}
        if not self._dated and "COUNT" in parts:
            raise invalid(f"COUNT counts from DTSTART, and without one from {BEGIN:%Y-%m-%d}: add a DTSTART")
        return _Recurrence(parts, self._start, self.where)

    @property
    def keeps_pace(self) -> bool:
        """Whether it means every so often rather than certain times of days."""
        return any(rule.frequency in ("HOURLY", "MINUTELY", "SECONDLY") for rule in self._rules)

    def matches(self, start: datetime) -> Iterator[datetime]:
        """Local times, ascending, from `start` on. Raises InvalidSchedule where the next takes too many steps."""
        search = _Search(self)
        dates = (time for time in self._dates if time >= start)
        excluded = _Ahead(rule.matches(start, search) for rule in self._not)
        last, barren = None, 0
        for time in heapq.merge(dates, *(rule.matches(start, search) for rule in self._rules)):
            if time == last:
                continue
            last = time
            if time in self._without or excluded.has(time):
                barren += 1
                if barren > MOST_BARREN:
                    raise invalid(f"leaves out more than {MOST_BARREN} of its times in a row; correct EXRULE or EXDATE")
                continue
            barren = 0
            search.found()
            yield time


class _Search:
    """How many steps there are left to the next time."""

    def __init__(self, rule: RRule) -> None:
        self._rule, self._left = rule, MOST_STEPS

    def step(self, steps: int = 1) -> None:
        """Go on. Raises InvalidSchedule."""
        self._rule.steps += steps
        self._left -= steps
        if self._left < 0:
            raise invalid(f"{MOST_STEPS} steps do not lead from one of its times to the next: if it has any, {REMEDY}")

    def found(self) -> None:
        """There is one: all over again."""
        self._left = MOST_STEPS

    def counted(self) -> None:
        """There is one that only COUNT is for."""
        self._left = min(MOST_STEPS, self._left + STEPS_OF_COUNTED)


class _Ahead:
    """Whether ascending streams have a time, asked for in ascending order."""

    def __init__(self, streams: Iterable[Iterator[datetime]]) -> None:
        self._times = heapq.merge(*streams)
        self._next = next(self._times, None)

    def has(self, time: datetime) -> bool:
        while self._next is not None and self._next < time:
            self._next = next(self._times, None)
        return self._next == time


class _Recurrence:
    """One RRULE or EXRULE."""

    def __init__(self, parts: dict[str, str], start: datetime, where: ZoneInfo) -> None:
        self.frequency = parts.get("FREQ", "").upper()
        if self.frequency not in FREQUENCIES:
            raise invalid(f"FREQ={self.frequency or '?'}: one of {', '.join(FREQUENCIES)} is wanted")
        self._start = start
        self._interval = _number(parts, "INTERVAL") or 1
        self._count = _number(parts, "COUNT")
        if self._count is not None and self._count > MOST_COUNT:
            raise invalid(
                f"COUNT={self._count}: at most {MOST_COUNT}; use UNTIL, or `end` or `maxRuns` of the schedule"
            )
        self._until = _stamp(parts["UNTIL"], where) if "UNTIL" in parts else None
        rest = ";".join(f"{key}={value}" for key, value in parts.items() if key not in ("UNTIL", "COUNT"))
        self._rest = rest
        self._rule(start)

    def matches(self, start: datetime, search: _Search) -> Iterator[datetime]:
        """Local times from `start` on."""
        begin = self._start
        if self._count is None and start > begin:
            begin = self._close_to(start)
        try:
            for number, time in enumerate(_counting(self._rule(begin), search)):
                search.step()
                if self._until is not None and time > self._until:
                    return
                if self._count is not None and number >= self._count:
                    return
                if time >= start:
                    yield time
                elif self._count is not None:
                    search.counted()
        except _Barren:
            return

    def _close_to(self, start: datetime) -> datetime:
        """A DTSTART shortly before `start` from which the rule goes on as from its own."""
        unit = UNITS.get(self.frequency)
        if unit is not None:
            step = unit * self._interval
            periods = (start - self._start) // step - 1  # a week's days lie on both sides of DTSTART
        else:
            years = self._interval * 4  # from a leap year to a leap year; centuries are short of one
            periods = (start.year - self._start.year - 1) // years
            while periods > 0 and not _exists(self._start, periods * years):
                periods -= 1
            return self._start.replace(year=self._start.year + max(periods, 0) * years)
        return self._start + max(periods, 0) * step

    def _rule(self, start: datetime) -> Rule:
        return _parsed(self._rest, start)


def _exists(time: datetime, years: int) -> bool:
    try:
        time.replace(year=time.year + years)
    except ValueError:
        return False
    return True


class _Barren(Exception):
    """A rule went through `YEARS` years at one question without a match."""


@lru_cache(maxsize=2048)
def _parsed(text: str, start: datetime) -> Rule:
    from dateutil import rrule as rules

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read: Any = rules.rrulestr(text, dtstart=start)
            if not isinstance(read, rules.rrule):
                raise invalid(f"{text!r} is no single rule")
            own: Any = read
            made = _bounded()(
                freq=own._freq, dtstart=start, interval=own._interval, wkst=own._wkst, **own._original_rule
            )
            return cast("Rule", made)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, IndexError) as error:
        if isinstance(error, InvalidSchedule):
            raise
        raise invalid(f"{text!r} cannot be read: {error}") from None


@lru_cache(maxsize=1)
def _bounded() -> type:
    """dateutil's rule, which goes on to the year 9999 where nothing matches, with an end to that.

    Nothing of its iterations can be counted from outside but what they look at: `_byweekno` once for each year that
    they enter, and the sets that they hold days and times to.
    """
    from dateutil import rrule as rules

    base: Any = rules.rrule

    class Bounded(base):  # type: ignore[misc]
        _years = 0
        _weeks: Any = None
        _search: _Search | None = None

        @property
        def _byweekno(self) -> Any:
            if self._search is not None:
                self._search.step(STEPS_OF_YEAR)
            self._years += 1
            if self._years > YEARS:
                raise _Barren
            return self._weeks

        @_byweekno.setter
        def _byweekno(self, weeks: Any) -> None:
            self._weeks = weeks

        def _iter(self) -> Iterator[datetime]:
            for time in super()._iter():
                self._years = 0
                yield time

    return Bounded


def _counting(rule: Rule, search: _Search) -> Rule:
    """The rule, where each step of its iteration is one of the search's."""
    made: Any = copy.copy(rule)
    made._search, made._years = search, 0
    for name in FILTERS:
        held = getattr(made, f"_by{name}")
        if held:
            setattr(made, f"_by{name}", _Held(held, search))
    if made._bysetpos:
        made._bysetpos = _Positions(made._bysetpos, search)
    return cast("Rule", made)


class _Held(frozenset[int]):
    """What days or times are held to; each look is a step."""

    def __new__(cls, values: Iterable[int], search: _Search) -> Self:
        made = super().__new__(cls, values)
        made.search = search
        return made

    search: _Search

    def __contains__(self, value: object) -> bool:
        self.search.step()
        return frozenset.__contains__(self, value)


class _Positions(tuple[int, ...]):
    """Which of a set are meant; asked for in every period, also where there are none."""

    def __new__(cls, values: Iterable[int], search: _Search) -> Self:
        made = super().__new__(cls, values)
        made.search = search
        return made

    search: _Search

    def __iter__(self) -> Iterator[int]:
        self.search.step(STEPS_OF_POSITIONS)
        return tuple.__iter__(self)


def _name(line: str) -> str:
    """The property that a line is; a bare rule is an RRULE."""
    head = line.partition(":")[0] if ":" in line else ""
    return head.partition(";")[0].upper() if head else "RRULE"


def _number(parts: dict[str, str], key: str) -> int | None:
    if key not in parts:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", parts[key]) or int(parts[key]) < 1:
        raise invalid(f"{key}={parts[key]}: at least 1 is wanted")
    return int(parts[key])


def _start(line: str, timezone: str | None) -> tuple[ZoneInfo, datetime]:
    """The zone, and DTSTART in it."""
    if not line:
        return zones.zone(timezone or "UTC"), BEGIN
    named = re.search(r"TZID=\"?([^\":;]+)", line.partition(":")[0], re.IGNORECASE)
    if named and timezone and named[1] != timezone:
        raise invalid(f"DTSTART has TZID={named[1]}, and timezone is {timezone}: name one of them, or the same twice")
    where = zones.zone(timezone or (named[1] if named else "UTC"))
    times = _stamps(line, where)
    if len(times) != 1:
        raise invalid("DTSTART has one time")
    if not FIRST_YEAR <= times[0].year < zones.LAST_YEAR:
        raise invalid(f"DTSTART is not between the years {FIRST_YEAR} and {zones.LAST_YEAR}")
    return where, times[0]


def _stamps(line: str, where: ZoneInfo) -> list[datetime]:
    head, _, values = line.partition(":")
    named = re.search(r"TZID=\"?([^\":;]+)", head, re.IGNORECASE)
    own = zones.zone(named[1]) if named else where
    found = [_stamp(value, own) for value in values.split(",") if value.strip()]
    if own is where:
        return found
    return [zones.local(where, zones.instant(own, time)) for time in found]


def _stamp(text: str, where: ZoneInfo) -> datetime:
    """A local time; one in UTC becomes that of the zone, a date its midnight."""
    found = STAMP.fullmatch(text.strip())
    if not found:
        raise invalid(f"{text.strip()!r} is no time; write it like 20261231T060000 or 20261231T060000Z")
    year, month, day, hour, minute, second, utc = found.groups()
    try:
        time = datetime.combine(date(int(year), int(month), int(day)), datetime.min.time())
        if hour is not None:
            time = time.replace(hour=int(hour), minute=int(minute), second=int(second))
    except ValueError as error:
        raise invalid(f"{text.strip()!r}: {error}") from None
    return zones.local(where, time.replace(tzinfo=UTC)) if utc and time.year < zones.LAST_YEAR else time
