"""When a deployment runs by itself: `Cron`, `Interval` and `RRule`, with the names and arguments of Prefect.

    from penstock.schedules import Cron

    flow.deploy("nightly", schedules=[Cron("0 6 * * *", timezone="Europe/Berlin", slug="morning")])

A `Schedule` becomes an entry of a FlowDeployment's `spec.schedules`. Nothing here takes long to import.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ..errors import InvalidSchedule

__all__ = ["Cron", "Interval", "RRule", "Schedule"]


@dataclass(frozen=True)
class Schedule:
    """One schedule of a deployment; made by `Cron`, `Interval` and `RRule`."""

    cron: str | None = None
    interval: timedelta | None = None
    rrule: str | None = None
    timezone: str | None = None
    anchor_date: datetime | None = None
    day_or: bool = True
    active: bool | None = None
    """False: it makes no runs until it is resumed. None: that is left as it is in the cluster."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    slug: str | None = None
    """Stable name within the deployment; its form (`cron`, `interval`, `rrule`) when unset."""
    max_runs: int | None = None
    end: datetime | None = None

    def manifest(self) -> dict[str, Any]:
        """The entry of `spec.schedules`. Raises InvalidSchedule for one that cannot be read or never fires."""
        from .slots import problems

        form, body = self._form()
        made: dict[str, Any] = {"slug": self.slug or form, form: body}
        if self.timezone is not None:
            made["timezone"] = self.timezone
        if self.parameters:
            made["parameters"] = dict(self.parameters)
        if self.active is not None:
            made["suspend"] = not self.active
        if self.max_runs is not None:
            made["maxRuns"] = self.max_runs
        if self.end is not None:
            made["end"] = self._stamp(self.end)
        wrong = problems([made])
        if wrong:
            raise InvalidSchedule("; ".join(wrong))
        return made

    def _form(self) -> tuple[str, dict[str, Any]]:
        if self.cron is not None:
            return "cron", {"expression": self.cron, **({} if self.day_or else {"dayOr": False})}
        if self.interval is not None:
            seconds = self.interval.total_seconds()
            if seconds < 1 or seconds % 1:
                raise InvalidSchedule(f"interval: {self.interval} is no whole number of seconds, of which one is least")
            anchor = {} if self.anchor_date is None else {"anchor": self._stamp(self.anchor_date)}
            return "interval", {"seconds": int(seconds), **anchor}
        if self.rrule is not None:
            return "rrule", {"rule": self.rrule}
        raise InvalidSchedule("a schedule is made by Cron, Interval or RRule")

    def _stamp(self, time: datetime) -> str:
        """In UTC; a time without zone is one of the schedule's own."""
        if time.tzinfo is None:
            from .zones import instant, zone

            time = instant(zone(self.timezone or "UTC"), time)
        return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def Cron(  # noqa: N802 - Prefect's name
    cron: str,
    /,
    timezone: str | None = None,
    day_or: bool = True,
    active: bool | None = None,
    parameters: Mapping[str, Any] | None = None,
    slug: str | None = None,
    *,
    max_runs: int | None = None,
    end: datetime | None = None,
) -> Schedule:
    """By a cron expression of five or six fields, read in a time zone (UTC when unset)."""
    return Schedule(
        cron=cron,
        timezone=timezone,
        day_or=day_or,
        active=active,
        parameters=parameters or {},
        slug=slug,
        max_runs=max_runs,
        end=end,
    )


def Interval(  # noqa: N802
    interval: timedelta | float,
    /,
    anchor_date: datetime | None = None,
    timezone: str | None = None,
    active: bool | None = None,
    parameters: Mapping[str, Any] | None = None,
    slug: str | None = None,
    *,
    max_runs: int | None = None,
    end: datetime | None = None,
) -> Schedule:
    """Every so long (seconds where it is a number), counted from an anchor: when it is deployed first, when unset."""
    return Schedule(
        interval=interval if isinstance(interval, timedelta) else timedelta(seconds=interval),
        anchor_date=anchor_date,
        timezone=timezone,
        active=active,
        parameters=parameters or {},
        slug=slug,
        max_runs=max_runs,
        end=end,
    )


def RRule(  # noqa: N802
    rrule: str,
    /,
    timezone: str | None = None,
    active: bool | None = None,
    parameters: Mapping[str, Any] | None = None,
    slug: str | None = None,
    *,
    max_runs: int | None = None,
    end: datetime | None = None,
) -> Schedule:
    """By an iCalendar recurrence rule (RFC 5545), with DTSTART where it matters."""
    return Schedule(
        rrule=rrule,
        timezone=timezone,
        active=active,
        parameters=parameters or {},
        slug=slug,
        max_runs=max_runs,
        end=end,
    )
