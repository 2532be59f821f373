"""Cron expressions of five or six fields, the sixth of seconds, read by croniter, which is imported at first use."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from ..errors import InvalidSchedule

if TYPE_CHECKING:
    from croniter import croniter

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
PLACES = (
    ("the first field, the minute,", "0 to 59"),
    ("the second field, the hour,", "0 to 23"),
    ("the third field, the day of the month,", "1 to 31"),
    ("the fourth field, the month,", "1 to 12"),
    ("the fifth field, the day of the week,", "0 (Sunday) to 7"),
    ("the sixth field, the second,", "0 to 59"),
)
SECOND = timedelta(seconds=1)
YEARS = 50  # after which a match is no longer looked for; 29 February on a Monday comes once in 40 years at the latest


class Cron:
    """A cron expression. Raises InvalidSchedule, whose message begins with the field."""

    def __init__(self, expression: str, day_or: bool = True) -> None:
        self._text, self._day_or = _fields(expression), day_or
        _expanded(self._text, day_or)

    @property
    def keeps_pace(self) -> bool:
        """Whether it means every so often rather than certain times: minutes or hours have a wildcard or a step."""
        return any(mark in field for field in self._text.split()[:2] for mark in "*/")

    def matches(self, start: datetime) -> Iterator[datetime]:
        """Local times that match, from `start` on; none when there are none for fifty years."""
        time: datetime | None = start.replace(microsecond=0) - (SECOND if start.microsecond == 0 else timedelta(0))
        while time is not None:
            time = _next(self._text, self._day_or, time)
            if time is not None:
                yield time


def _fields(expression: str) -> str:
    """The expression in plain fields, one space between two."""
    text = " ".join(expression.split())
    text = ALIASES.get(text.lower(), text)
    if len(text.split()) not in (5, 6):
        raise InvalidSchedule(
            f"cron.expression: {expression!r} has not five or six fields; write it like '0 6 * * 1-5', or as "
            + ", ".join(ALIASES)
        )
    if any(part.strip().lower().startswith(("r", "h")) for field in text.split() for part in field.split(",")):
        raise InvalidSchedule(
            f"cron.expression: {expression!r} has fields of chance (R, H), whose times are not the same each time; "
            "write numbers"
        )
    return text


@lru_cache(maxsize=1024)
def _expanded(text: str, day_or: bool) -> croniter:
    """One for all who have the same expression: to read it takes longer than to find a match."""
    from croniter import CroniterError, croniter

    try:
        return croniter(text, datetime(2000, 1, 1), day_or=day_or)
    except (CroniterError, ValueError, KeyError, AttributeError) as error:
        why = _wrong_field(text.split()) or str(error)
        raise InvalidSchedule(f"cron.expression: {text!r} cannot be read: {why}") from None


def _wrong_field(fields: list[str]) -> str | None:
    """The first field that cannot be read by itself, with what it may be."""
    from croniter import croniter

    for number, (field, (what, values)) in enumerate(zip(fields, PLACES, strict=False)):
        alone = ["*"] * len(fields)
        alone[number] = field
        if not croniter.is_valid(" ".join(alone)):
            return f"{what} is {field!r}; it may be {values}, lists (1,2), ranges (1-2), and steps (*/2) of them"
    return None


@lru_cache(maxsize=8192)
def _next(text: str, day_or: bool, after: datetime) -> datetime | None:
    """The first match after a local time. Kept, for many schedules share an expression, and all ask for the same."""
    from croniter import CroniterBadDateError

    if after.year >= 9999 - YEARS:
        return None
    try:
        found: datetime = _expanded(text, day_or).get_next(datetime, start_time=after)
    except CroniterBadDateError:
        return None
    return found
