"""The slots of a schedule: the instants at which it is due. A schedule is given as `spec.schedules[]` has it.

Called by the operator, which makes runs of them, and by `penstock schedules preview`, which shows them. Pure; what is
looked at is bounded, whatever the schedule says.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from typing import Any

from ..errors import InvalidSchedule
from . import zones
from .cron import Cron
from .interval import Interval
from .rrule import RRule

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
BEGINNING = EARLIEST.replace(tzinfo=None)
FORMS = ("cron", "interval", "rrule")
FIELDS = {"cron": "cron.expression", "interval": "interval", "rrule": "rrule.rule"}
FIRST_WINDOW = timedelta(minutes=1)
WIDER, MUCH_WIDER = 2, 16  # the next window, after one with slots and after an empty one


class Slots:
    """The instants at which a schedule is due, never one twice. Raises InvalidSchedule, which names field and remedy.

    `created` is the anchor of an interval that names none.
    """

    def __init__(self, schedule: Mapping[str, Any], created: datetime) -> None:
        given = [form for form in FORMS if schedule.get(form) is not None]
        if len(given) != 1:
            raise InvalidSchedule(f"set exactly one of {', '.join(FORMS)}")
        zone: str | None = schedule.get("timezone")
        self._end = _time(schedule["end"], "end") if schedule.get("end") else None
        self._form: Cron | Interval | RRule
        self._field = _form(schedule)
        with _told(self._field):
            match given[0]:
                case "cron":
                    day_or = schedule["cron"].get("dayOr")
                    self._form = Cron(str(schedule["cron"]["expression"]), day_or is None or bool(day_or))
                    self._where = zones.zone(zone or "UTC")
                case "interval":
                    self._where = zones.zone(zone or "UTC")
                    anchor = schedule["interval"].get("anchor")
                    length = timedelta(seconds=int(schedule["interval"]["seconds"]))
                    self._form = Interval(length, _time(anchor or created, "interval.anchor"), self._where)
                case _:
                    self._form = RRule(str(schedule["rrule"]["rule"]), zone)
                    self._where = self._form.where

    def after(self, instant: datetime) -> Iterator[datetime]:
        """Slots later than an instant, in UTC, strictly ascending."""
        found = (
            self._form.after(instant)
            if isinstance(self._form, Interval)
            else zones.instants(self._form.matches, self._where, instant, both=self._form.keeps_pace)
        )
        end = self._end
        with _told(self._field):
            yield from found if end is None else takewhile(lambda slot: slot <= end, found)

    def between(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Slots later than `after` and no later than `until`."""
        return takewhile(lambda slot: slot <= until, self.after(after))

    def next(self, after: datetime, most: int) -> list[datetime]:
        """The first slots later than an instant."""
        return list(islice(self.after(after), most))

    def newest(self, after: datetime, until: datetime, most: int) -> tuple[list[datetime], bool]:
        """The newest slots later than `after` and no later than `until`, ascending; whether there are older ones.

        Looks back from `until` only as far as it must, however long ago `after` is.
        """
        window = FIRST_WINDOW
        while True:
            begin = max(after, until - window)
            found = deque(self.between(begin, until), maxlen=most + 1)
            if len(found) > most:
                return list(found)[1:], True
            if begin == after:
                return list(found), False
            window *= WIDER if found else MUCH_WIDER

    def ever(self) -> bool:
        """Whether it has, or had, any slot."""
        with _told(self._field):
            return isinstance(self._form, Interval) or next(self._form.matches(BEGINNING), None) is not None


def problems(schedules: Iterable[Mapping[str, Any]], since: datetime | None = None) -> list[str]:
    """What is wrong with the schedules of a deployment, each as `schedules[slug].field: why and what to do`.

    `since`: from when on they are to have slots.
    """
    found, seen = [], set()
    for schedule in schedules:
        slug = str(schedule.get("slug"))
        where = f"schedules[{slug}]"
        if schedule.get("suspend") is not None and not any(schedule.get(form) for form in FORMS):
            continue  # what is left of one that is gone
        if slug in seen:
            found.append(f"{where}.slug: two schedules have it; each needs one of its own")
        seen.add(slug)
        try:
            slots = Slots(schedule, EARLIEST)
            if not slots.ever():
                found.append(f"{where}.{_form(schedule)}: it never fires; no time matches all of its fields")
            elif since is not None and not slots.next(since, 1):
                field = "end" if schedule.get("end") else _form(schedule)
                found.append(f"{where}.{field}: it never fires; all of its times are before {since:%Y-%m-%d %H:%M} UTC")
        except InvalidSchedule as error:
            found.append(f"{where}.{error}")
    return found


@contextmanager
def _told(field: str) -> Iterator[None]:
    """What is found out while counting is the schedule's fault. Raises InvalidSchedule."""
    try:
        yield
    except InvalidSchedule:
        raise
    except (ArithmeticError, LookupError, ValueError) as error:
        raise InvalidSchedule(f"{field}: a number or a time in it is out of range: {error}") from None


def _form(schedule: Mapping[str, Any]) -> str:
    return next((field for form, field in FIELDS.items() if schedule.get(form) is not None), "")


def _time(text: str | datetime, field: str) -> datetime:
    if isinstance(text, datetime):
        return text.astimezone(UTC)
    try:
        time = datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise InvalidSchedule(f"{field}: {text!r} is no time: {error}") from None
    if not EARLIEST.year <= time.year < zones.LAST_YEAR:
        raise InvalidSchedule(f"{field}: {text!r} is not between the years {EARLIEST.year} and {zones.LAST_YEAR}")
    return time.astimezone(UTC)
