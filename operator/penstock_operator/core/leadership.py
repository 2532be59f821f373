"""Who acts, of several operators: decided from the Lease as this process saw it, and by its own clock alone.

`controller.leadership` calls it and carries the step out. Two clocks are never compared: a holder is outlasted once its
Lease has not changed for its duration, counted from when this process saw it change last; and a leader gives up well
before anybody else may take over, counted from when it sent the renewal that succeeded last.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .views import parse_time

DURATION = 15.0
"""Seconds after its last change at which a Lease may be taken over."""

GIVE_UP = DURATION * 2 / 3
"""Seconds after its last successful renewal at which a leader stops: what is in flight then has the rest to arrive."""

RENEW = 3.0
"""Seconds between renewals."""

LONGEST = 60.0
"""Longest duration that is believed: whoever may write the Lease could else keep everybody waiting."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What counts of a Lease; two are equal when nobody renewed, took or released it in between."""

    holder: str
    renewed: str
    transitions: int
    duration: float

    def renewed_at(self) -> datetime | None:
        """When its holder renewed it last, by the holder's wall clock; None where nothing says so."""
        try:
            time = parse_time(self.renewed)
        except ValueError:  # anybody may have written there
            return None
        return time if time is None or time.tzinfo else None


@dataclass(frozen=True, slots=True)
class Seen:
    """The Lease as it was read last, None where there was none, and since when it has been seen so."""

    lease: Lease | None = None
    since: float = -math.inf

    def then(self, lease: Lease | None, now: float) -> Seen:
        """After another look, whose answer came at `now`."""
        return self if lease == self.lease else Seen(lease, now)


class Step(enum.Enum):
    """What to do now."""

    TAKE = "write the Lease as its new holder"
    RENEW = "write the time of renewal"
    WAIT = "nothing"
    LOST = "stop acting"


def decide(me: str, seen: Seen, renewed: float | None, now: float) -> Step:
    """The next step of `me`, which leads by a renewal sent at `renewed`, or does not lead where that is None."""
    lease = seen.lease
    if renewed is not None:
        if now - renewed >= GIVE_UP or (lease is not None and lease.holder not in ("", me)):
            return Step.LOST
        if lease is None or not lease.holder:
            return Step.TAKE  # somebody deleted or cleared it; others see that, too, and wait out what they saw before
        return Step.RENEW if now - renewed >= RENEW else Step.WAIT
    if lease is not None and lease.holder in ("", me):
        return Step.TAKE  # released; or of a former life of this process, which nobody else has the name of
    duration = DURATION if lease is None else min(max(lease.duration, DURATION), LONGEST)
    return Step.TAKE if now - seen.since >= duration else Step.WAIT


def read(body: Mapping[str, Any] | None) -> Lease | None:
    """What counts of a Lease's body."""
    if body is None:
        return None
    spec = body.get("spec") or {}
    return Lease(
        holder=spec.get("holderIdentity") or "",
        renewed=spec.get("renewTime") or "",
        transitions=spec.get("leaseTransitions") or 0,
        duration=float(spec.get("leaseDurationSeconds") or 0),
    )


def held(me: str, before: Lease | None, now: str) -> dict[str, Any]:
    """The spec of a Lease that `me` takes at `now` (wall clock, for people)."""
    changes_hands = before is not None and before.holder != me
    return {
        "holderIdentity": me,
        "leaseDurationSeconds": int(DURATION),
        "acquireTime": now,
        "renewTime": now,
        "leaseTransitions": (before.transitions if before else 0) + changes_hands,
    }
