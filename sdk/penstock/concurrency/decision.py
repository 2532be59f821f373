"""Who gets which slots now: a pure function of the limits, what is taken, who waits and the time.

The rule: whoever asked first for a limit gets it first. All limits of a request are taken at once or none is; a
request that waits keeps those after it from each limit it names, and from no other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .limits import Limit

CLOSE_ENOUGH = 1e-9  # of a slot: what adding up decay costs in floating point


@dataclass(frozen=True, slots=True)
class Request:
    """Slots that somebody wants: `occupy` of each limit."""

    id: int
    names: tuple[str, ...]
    occupy: int = 1


@dataclass(frozen=True, slots=True)
class Taken:
    """How many slots of each limit are taken, as of `at` (seconds of any clock that only moves forward)."""

    slots: Mapping[str, float] = field(default_factory=dict)
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Decision:
    """The requests that are granted, what is then taken, and after how many seconds to decide again, if by itself."""

    granted: tuple[int, ...]
    taken: Taken
    again: float | None


def refusal(limits: Mapping[str, Limit], names: Sequence[str], occupy: int, *, rate: bool) -> str | None:
    """Why these slots can never be had, or None where waiting may help; unknown names are not limited."""
    if occupy < 1:
        return f"occupy must be at least 1, not {occupy}"
    for name in names:
        limit = limits.get(name)
        if limit is None:
            continue
        if limit.slots == 0:
            return f"concurrency limit {name!r} is 0: nothing that names it may run; raise it to go on"
        if occupy > limit.slots:
            return f"concurrency limit {name!r} has {limit.slots} slots, of which {occupy} cannot be taken"
        if rate and not limit.decays:
            return f"concurrency limit {name!r} is no rate: write it as 10/s, or give it slot_decay_per_second"
    return None


def decide(limits: Mapping[str, Limit], taken: Taken, queue: Sequence[Request], now: float) -> Decision:
    """Grant what can be granted of `queue`, which is in order of asking."""
    slots = dict(_decayed(limits, taken, now))
    granted: list[int] = []
    closed: set[str] = set()  # by requests that wait
    waits: list[float] = []
    for request in queue:
        names = [name for name in request.names if name in limits]
        short = {name: _short(limits[name], slots.get(name, 0.0), request.occupy) for name in names}
        if closed.isdisjoint(names) and not any(short.values()):
            granted.append(request.id)
            for name in names:
                slots[name] = slots.get(name, 0.0) + request.occupy
            continue
        if closed.isdisjoint(names) and all(limits[name].decays for name, missing in short.items() if missing):
            waits.append(
                max(missing / limits[name].slot_decay_per_second for name, missing in short.items() if missing)
            )
        closed.update(names)
    return Decision(tuple(granted), Taken(slots, now), min(waits, default=None))


def give_back(limits: Mapping[str, Limit], taken: Taken, request: Request) -> Taken:
    """What is taken once `request` is over; slots of a rate come back by themselves only."""
    slots = dict(taken.slots)
    for name in request.names:
        limit = limits.get(name)
        if limit is None or not limit.decays:
            slots[name] = max(slots.get(name, 0.0) - request.occupy, 0.0)
    return Taken(slots, taken.at)


def _decayed(limits: Mapping[str, Limit], taken: Taken, now: float) -> Mapping[str, float]:
    elapsed = max(now - taken.at, 0.0)
    return {
        name: max(count - limits[name].slot_decay_per_second * elapsed, 0.0) if name in limits else count
        for name, count in taken.slots.items()
        if count
    }


def _short(limit: Limit, taken: float, occupy: int) -> float:
    """Slots that are missing for this request."""
    missing = taken + occupy - limit.slots
    return missing if missing > CLOSE_ENOUGH else 0.0
