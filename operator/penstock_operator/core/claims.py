"""Who is granted slots of which limits: a pure function of the limits, the claims, the order of those who wait and now.

`reconcile.claims` calls `decide` with all claims of one namespace. The rules are those of
`docs/designs/012-limits-inside-runs.md`; a claim is of a process, for bundles of `occupy` slots of each of its limits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

RESERVES_AFTER = 60.0  # seconds after which a claim that is passed over keeps all of its limits from those behind it
BATCH = 0.25  # seconds of a rate that are granted in one go
CLOSE_ENOUGH = 1e-6  # of a slot: what adding up decay costs in floating point

Id = tuple[str, int]  # uid of the run, id of the claim


@dataclass(frozen=True, slots=True)
class Limit:
    """A ConcurrencyLimit. With `decay` it is a rate, of which `taken` had not come back at `at`."""

    name: str
    slots: int
    decay: float = 0.0
    taken: float = 0.0
    at: datetime | None = None

    def used(self, now: datetime) -> float:
        """Of a rate: slots that have not come back."""
        elapsed = max((now - self.at).total_seconds(), 0.0) if self.at else 0.0
        return max(self.taken - self.decay * elapsed, 0.0)


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim and what was granted of it; `ends`: its attempt is over or forbidden to ask for more, and only holds."""

    run: str
    id: int
    names: tuple[str, ...]
    occupy: int
    want: int
    returned: int = 0
    granted: int = 0
    since: str = ""
    refused: str | None = None
    ends: bool = False

    @property
    def key(self) -> Id:
        return (self.run, self.id)

    @property
    def held(self) -> int:
        """Bundles that its process may use."""
        return max(self.granted - self.returned, 0)

    @property
    def waiting(self) -> int:
        """Bundles that it waits for."""
        return 0 if self.refused or self.ends else max(self.want - self.held, 0)


@dataclass(frozen=True, slots=True)
class Place:
    """Place in the order of asking: a number that grows, whether it waits, since when, what it had returned then."""

    number: int
    waits: bool
    since: datetime
    returned: int


@dataclass(frozen=True, slots=True)
class Granted:
    """What is granted of a claim in all, what its process may keep (None: everything), why it gets no more."""

    granted: int
    keep: int | None = None
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """All grants as they should stand, use of rates after them, the order, and the seconds until time changes it."""

    grants: Mapping[Id, Granted]
    used: Mapping[str, float]
    places: Mapping[Id, Place]
    again: float | None = None


@dataclass(slots=True)
class _Room:
    """What is left of each limit while a decision is made."""

    left: dict[str, float]
    closed: set[str] = field(default_factory=set)

    def fits(self, claim: Claim, names: Sequence[str]) -> int:
        """Bundles of the claim for which there is room; of a limit without, none."""
        return min((int((self.left[name] + CLOSE_ENOUGH) // claim.occupy) for name in names), default=claim.waiting)

    def take(self, claim: Claim, names: Sequence[str], count: int) -> None:
        for name in names:
            self.left[name] -= claim.occupy * count


def refusal(limits: Mapping[str, Limit], claim: Claim) -> str | None:
    """Why a claim can never be granted as its limits are; a name without a limit is not limited."""
    for name in claim.names:
        limit = limits.get(name)
        if limit is not None and limit.slots == 0:
            return f"concurrency limit {name!r} is 0: nothing that names it may run; raise it to go on"
        if limit is not None and claim.occupy > limit.slots:
            return f"concurrency limit {name!r} has {limit.slots} slots, of which {claim.occupy} cannot be taken"
    return None


def decide(limits: Mapping[str, Limit], claims: Iterable[Claim], places: Mapping[Id, Place], now: datetime) -> Decision:
    """Grant what can be granted, and ask back what others wait for. `places` are those of the last decision."""
    every = [replace(c, refused=c.refused or (refusal(limits, c) if c.waiting else None)) for c in claims]
    places = _lined_up(every, places, now)
    room = _Room({name: limit.slots - limit.used(now) for name, limit in limits.items()})
    for claim in every:
        for name in claim.names:
            if name in limits and not limits[name].decay:
                room.left[name] -= claim.occupy * claim.held
    queue = sorted((c for c in every if c.waiting), key=lambda c: places[c.key].number)
    given = _give(limits, room, queue, places, now, _Shares(limits, every, places))
    after = [replace(c, granted=c.granted + given.get(c.key, 0)) for c in every]
    last = max((place.number for place in places.values()), default=0)
    for number, claim in enumerate((c for c in queue if given.get(c.key)), last + 1):
        still = claim.waiting > given[claim.key]
        places[claim.key] = Place(number, still, now, claim.returned)
    keeps = _keeps(limits, room, after, _Shares(limits, after, places))
    return Decision(
        {c.key: Granted(c.granted, keeps.get(c.key), c.refused) for c in after},
        {name: limit.slots - room.left[name] for name, limit in limits.items() if limit.decay},
        places,
        _again(limits, room, [c for c in after if c.waiting], places, now),
    )


def _lined_up(claims: Sequence[Claim], before: Mapping[Id, Place], now: datetime) -> dict[Id, Place]:
    """The places of all claims; who begins to wait comes last, and who gave back to others while he waits for more."""
    places: dict[Id, Place] = {}
    new: list[Claim] = []
    for claim in claims:
        place = before.get(claim.key)
        if place is None or (claim.waiting and (not place.waits or claim.returned > place.returned)):
            new.append(claim)
        else:
            places[claim.key] = place if claim.waiting else replace(place, waits=False)
    last = max((place.number for place in before.values()), default=0)
    for number, claim in enumerate(sorted(new, key=lambda c: (c.since, c.key)), last + 1):
        places[claim.key] = Place(number, claim.waiting > 0, now, claim.returned)
    return places


def _limited(limits: Mapping[str, Limit], claim: Claim) -> list[str]:
    return [name for name in claim.names if name in limits]


def _give(
    limits: Mapping[str, Limit],
    room: _Room,
    queue: Sequence[Claim],
    places: Mapping[Id, Place],
    now: datetime,
    shares: _Shares,
) -> dict[Id, int]:
    """Bundles for each claim: a share for everybody in turn, again and again, until nothing fits."""
    given: dict[Id, int] = {}
    left = list(queue)
    while left:
        progress = []
        sharers = Counter(name for claim in left for name in claim.names)
        for claim in left:
            names = _limited(limits, claim)
            share = max(sharers[name] for name in claim.names)
            sharers.subtract(claim.names)
            fits = room.fits(claim, names)
            if fits < 1 or not room.closed.isdisjoint(names):
                # Who has a share uses it again and again: others may pass him, or they would wait for ever.
                if not shares.reached(claim, claim.held + given.get(claim.key, 0)):
                    _close(room, claim, names, places[claim.key], now)
                continue
            missing = claim.waiting - given.get(claim.key, 0)
            count = min(missing, max(fits // share, 1) if names else missing)
            room.take(claim, names, count)
            given[claim.key] = given.get(claim.key, 0) + count
            if count < missing:
                progress.append(claim)
        left = progress
    return given


def _close(room: _Room, claim: Claim, names: Sequence[str], place: Place, now: datetime) -> None:
    """Nobody passes a claim in a limit that lacks room for it, and after a while in none of its limits."""
    long = (now - place.since).total_seconds() >= RESERVES_AFTER
    room.closed.update(name for name in names if long or room.left[name] + CLOSE_ENOUGH < claim.occupy)


def _keeps(limits: Mapping[str, Limit], room: _Room, claims: Sequence[Claim], shares: _Shares) -> dict[Id, int]:
    """What those may keep who hold more than their share of a limit that is short."""
    keeps: dict[Id, int] = {}
    for name, limit in limits.items():
        if limit.decay:
            continue
        mine = [c for c in claims if name in c.names]
        short = any(c.waiting and room.left[name] + CLOSE_ENOUGH < c.occupy for c in mine)
        if not (short or room.left[name] < -CLOSE_ENOUGH):
            continue
        for claim in mine:
            share = shares.of(name).get(claim.key, 0)
            if share < claim.held and not claim.ends:
                keeps[claim.key] = min(share, keeps.get(claim.key, share))
    return keeps


def _shares(slots: int, claims: Sequence[Claim], places: Mapping[Id, Place]) -> dict[Id, int]:
    """Bundles of one limit for each claim: evenly, and the rest first to those who wait longest for one more, then to
    those who were granted theirs last."""
    shares = {c.key: 0 for c in claims}
    wanted = {c.key: c.held + c.waiting if c.waiting else min(c.want, c.held) if not c.ends else c.held for c in claims}
    left, open_ = slots, [c for c in claims if wanted[c.key]]
    while open_ and (even := left // sum(c.occupy for c in open_)) > 0:
        for claim in open_:
            count = min(even, wanted[claim.key] - shares[claim.key])
            shares[claim.key] += count
            left -= count * claim.occupy
        open_ = [c for c in open_ if wanted[c.key] > shares[c.key]]
    holds = {c.key: c.held > shares[c.key] for c in open_}
    number = {c.key: places[c.key].number for c in open_}
    for claim in sorted(open_, key=lambda c: (holds[c.key], -number[c.key] if holds[c.key] else number[c.key])):
        if claim.occupy <= left:
            shares[claim.key] += 1
            left -= claim.occupy
    return shares


class _Shares:
    """The shares of all claims of each limit, found when they are asked for."""

    def __init__(self, limits: Mapping[str, Limit], claims: Sequence[Claim], places: Mapping[Id, Place]) -> None:
        self._limits, self._claims, self._places = limits, claims, places
        self._known: dict[str, dict[Id, int]] = {}

    def reached(self, claim: Claim, held: int) -> bool:
        """Whether so many bundles are the claim's share of one of its limits."""
        names = (name for name in claim.names if name in self._limits and not self._limits[name].decay)
        return held > 0 and any(held >= self.of(name)[claim.key] for name in names)

    def of(self, name: str) -> Mapping[Id, int]:
        """Bundles of a limit for each claim that holds some of it or waits for it."""
        if name not in self._known:
            mine = [c for c in self._claims if name in c.names and (c.held or c.waiting)]
            self._known[name] = _shares(self._limits[name].slots, mine, self._places)
        return self._known[name]


def _again(
    limits: Mapping[str, Limit], room: _Room, waiting: Sequence[Claim], places: Mapping[Id, Place], now: datetime
) -> float | None:
    """Seconds until time alone changes something: a rate has come back, or a claim reserves its limits."""
    times: list[float] = []
    for claim in waiting:
        names = _limited(limits, claim)
        rates = [limits[name] for name in names if limits[name].decay]
        back = [(claim.occupy - room.left[rate.name]) / rate.decay for rate in rates]
        if rates and max(back) > 0:
            times.append(max(*back, BATCH))
        reserves = RESERVES_AFTER - (now - places[claim.key].since).total_seconds()
        if len(names) > 1 and reserves > 0:
            times.append(reserves)
    return min(times, default=None)
