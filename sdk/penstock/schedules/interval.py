"""Intervals: under a day by elapsed time, from a day on by local time, so that neither skips nor repeats an instant."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from .zones import instants, local

DAY = timedelta(days=1)
LATEST = 9990


class Interval:
    """Every so long, counted from an anchor, in both directions."""

    def __init__(self, length: timedelta, anchor: datetime, where: ZoneInfo) -> None:
        self._length, self._anchor, self._where = length, anchor, where
        self._from = local(where, anchor)

    def after(self, instant: datetime) -> Iterator[datetime]:
        """Slots later than an instant, ascending."""
        if self._length >= DAY:
            yield from instants(self._local, self._where, instant, both=False)
            return
        slot = self._anchor + ((instant - self._anchor) // self._length + 1) * self._length
        while slot.year < LATEST:
            yield slot
            slot += self._length

    def _local(self, start: datetime) -> Iterator[datetime]:
        time = self._from - ((self._from - start) // self._length) * self._length  # rounded up
        while time.year < LATEST:
            yield time
            time += self._length
