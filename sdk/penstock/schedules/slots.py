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
from zoneinfo import ZoneInfo

from ..errors import InvalidSchedule
from . import zones
from .cron import Cron
from .interval import Interval
from .rrule import REMEDY, RRule

EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
BEGINNING = EARLIEST.replace(tzinfo=None)
FORMS = ("cron", "interval", "rrule")
FIELDS = {"cron": "cron.expression", "interval": "interval", "rrule": "rrule.rule"}
FIRST_WINDOW = timedelta(minutes=1)
WIDER, MUCH_WIDER = 2, 16  # the next window, after one with slots and after an empty one
MOST_STEPS_BACK = 1_000_000  # of an rrule, after which no older slots are looked for; they take 0.3 s
MOST_STEPS_TOGETHER = 500_000  # that the schedules of a deployment may take to their next slots


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

    @property
    def where(self) -> ZoneInfo:
        """The zone of its local times."""
        return self._where

    @property
    def steps(self) -> int:
        """How many steps all that was asked of an rrule has taken; of the others they do not count."""
        return self._form.steps if isinstance(self._form, RRule) else 0

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

        Looks back from `until` only as far as it must, however long ago `after` is. Where an rrule has taken
        `MOST_STEPS_BACK` steps, those that were found by then are all, at least one where there is any.
        """
        window, most_steps = FIRST_WINDOW, self.steps + MOST_STEPS_BACK
        while True:
            begin = max(after, until - window)
            found = deque(self.between(begin, until), maxlen=most + 1)
            if len(found) > most:
                return list(found)[1:], True
            if begin == after:
                return list(found), False
            if found and self.steps > most_steps:
                return list(found), True
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
    steps: dict[str, int] = {}
    for schedule in schedules:
        slug = str(schedule.get("slug"))
        where = f"schedules[{slug}]"
        if schedule.get("suspend") is not None and not has_form(schedule):
            continue
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
            steps[slug] = slots.steps
        except InvalidSchedule as error:
            found.append(f"{where}.{error}")
    if sum(steps.values()) > MOST_STEPS_TOGETHER:
        worst = max(steps, key=lambda slug: steps[slug])
        found.append(
            f"schedules[{worst}].rrule.rule: it takes {steps[worst]} steps to the next of its times, and all schedules "
            f"together more than {MOST_STEPS_TOGETHER}; they go on, but {REMEDY}"
        )
    return found


def present(spec: Mapping[str, Any]) -> list[Any]:
    """The schedules of a deployment's spec, without what is left of those that are gone."""
    return [schedule for schedule in spec.get("schedules") or () if has_form(schedule)]


def has_form(schedule: Mapping[str, Any]) -> bool:
    """Whether it says when it is due; what does not is left of one that is gone: its suspension."""
    return any(schedule.get(form) for form in FORMS)


def takes_long(schedules: Iterable[Mapping[str, Any]]) -> bool:
    """Whether finding their slots may take so long that others should have their turn meanwhile: up to seconds."""
    return any(schedule.get("rrule") for schedule in schedules)


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
