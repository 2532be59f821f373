"""What one process holds of the cluster's limits, shared among its threads and coroutines: no clock, no network.

`runner.slots` calls it under a lock, writes what `to_tell` says and hands in what was granted. A *bundle* is `occupy`
slots of each of several limits; `docs/designs/012-limits-inside-runs.md` has the protocol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..api.bounds import MAX_CLAIMS, MAX_WANT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .claims import Claim

LINGER = 0.5  # seconds that a bundle is kept for whoever asks next, while nobody else waits for it
TURN = 1.0  # seconds for which a process may use what it holds while others wait
TOKEN_LIFE = 1.0  # seconds after which a token of a rate that was not used is void
MAX_BATCH = 256  # tokens of a rate that are asked for at once without a use for them yet

Key = tuple[tuple[str, ...], int, bool, bool]


class Entry:
    """Bundles of one kind: those held, those in use, and who waits for one."""

    def __init__(self, id: int, key: Key, since: str) -> None:
        self.id, self.since, self.key = id, since, key
        self.names, self.occupy, self.rate, self.once = key
        self.granted = self.returned = self.used = 0
        self.keep: int | None = None
        self.closed = False  # nothing more is ever granted of it
        self.waiting: dict[int, Claim] = {}
        self.told_want = self.told_returned = 0
        self.told = False
        self.batch, self.goal = 1, 0  # tokens of a rate: how many were asked for last, and up to which count
        self.got = -TOKEN_LIFE
        self.calls = False  # tokens were used a moment ago, and more may be wanted soon
        self.moved = self.turn_since = 0.0

    @property
    def held(self) -> int:
        return self.granted - self.returned

    @property
    def idle(self) -> int:
        return self.held - self.used

    @property
    def missing(self) -> int:
        """Bundles that it would use, or a rate's that it expects to use, and does not hold."""
        return 0 if self.closed else max(len(self.waiting) - self.idle, self.goal - self.granted, 0)

    @property
    def want(self) -> int:
        return min(self.held + self.missing if self.missing else self.used, MAX_WANT)

    @property
    def over(self) -> bool:
        """Whether nothing is held, used or wanted."""
        return not (self.waiting or self.used or self.idle or self.missing or self.calls)

    def settle(self, now: float) -> list[Claim]:
        """Give back what others wait for, then serve those who wait here; the claims that were served."""
        if self.keep is not None and self.held > self.keep and not self.rate:
            if not self.waiting:
                self.returned += self.idle
            elif now >= self.turn_since + TURN:
                self.returned += min(self.idle, self.held - self.keep)
        served: list[Claim] = []
        while self.idle > 0 and self.waiting:
            served.append(self.waiting.pop(next(iter(self.waiting))))
            if self.once:
                self.returned, self.calls = self.returned + 1, True
            else:
                self.used += 1
        return served

    def expire(self, now: float) -> None:
        """Give back what nobody has used for a while."""
        if (due := self.due()) is not None and now >= due:
            self.returned += self.idle
            self.goal, self.calls = self.granted, False

    def due(self) -> float | None:
        """When `expire` may give something back."""
        if self.waiting or not (self.idle or self.missing or self.calls):
            return None
        return self.moved + (TOKEN_LIFE if self.rate else LINGER)

    def news(self) -> bool:
        """Whether the operator must be told: of a beginning or an end of waiting, of what comes back, or of a wait that
        has doubled or halved."""
        if not self.told:
            return bool(self.waiting)
        if self.returned != self.told_returned and not self.once:
            return True
        told = max(self.told_want - (self.granted - self.told_returned), 0)
        return (told == 0) != (self.missing == 0) or self.missing >= 2 * told > 0 or 0 < self.missing <= told // 2


class Shares:
    """All that a process holds and waits for. `since`: now as it is written; `now`: seconds that only grow."""

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}
        self._open: dict[Key, Entry] = {}
        self._holds: dict[int, Entry] = {}  # by id of the claim
        self._waits: dict[int, Entry] = {}
        self._backlog: dict[int, tuple[Claim, Key]] = {}  # no place for another kind of claim
        self._next = 0
        self._dropped = False  # an entry that the operator knows is over
        self.woken: list[Claim] = []
        """Claims that were served or refused, for the caller to wake."""

    def __bool__(self) -> bool:
        return bool(self._entries or self._backlog)

    def ask(self, claim: Claim, key: Key, now: float, since: str) -> None:
        """Wait for a bundle; `key`: limits, slots of each, whether one of them is a rate, whether a use is the end."""
        entry = self._open.get(key)
        if entry is None:
            if len(self._entries) >= MAX_CLAIMS:
                self._backlog[claim.id] = (claim, key)
                return
            entry = self._entries[self._next] = self._open[key] = Entry(self._next, key, since)
            self._next += 1
        if entry.once and not (entry.idle or entry.missing):
            used_up = now < entry.got + TOKEN_LIFE
            entry.batch = min(entry.batch * 2, MAX_BATCH) if used_up else 1
            entry.goal = entry.granted + entry.batch
        entry.moved = now
        entry.waiting[claim.id] = claim
        self._waits[claim.id] = entry
        self._settle(entry, now)

    def release(self, claim: Claim, now: float, since: str) -> None:
        """Take a bundle back, or the claim out of the queue; neither: nothing."""
        self._backlog.pop(claim.id, None)
        entry = self._waits.pop(claim.id, None)
        holds = self._holds.pop(claim.id, None)
        if entry is not None:
            entry.waiting.pop(claim.id, None)
        entry = entry or holds
        if entry is None:
            return
        if holds:
            entry.used -= 1
            entry.returned += 1 if entry.rate else 0
            entry.moved = now
        self._settle(entry, now)
        self._admit(now, since)

    def grant(self, grants: Mapping[int, Mapping[str, Any]], now: float) -> None:
        """What the operator says, by id; of what it does not name nothing is new."""
        for id_, said in grants.items():
            entry = self._entries.get(id_)
            if entry is None:
                continue
            granted = said.get("granted") or 0
            if granted > entry.granted:
                entry.turn_since = entry.turn_since if entry.held else now
                entry.granted, entry.got, entry.moved = granted, now, now
            entry.keep = said.get("keep")
            if said.get("refused") and not entry.closed:
                self._refuse(entry, said["refused"])
            self._settle(entry, now)

    def tick(self, now: float, since: str) -> float | None:
        """Give back what was not used for long; when to come again."""
        for entry in list(self._entries.values()):
            entry.expire(now)
            self._settle(entry, now)
        self._admit(now, since)
        return self.due()

    def due(self) -> float | None:
        """When something is to be given back that nobody uses."""
        return min((due for entry in self._entries.values() if (due := entry.due()) is not None), default=None)

    def news(self) -> bool:
        """Whether the operator has to be told something."""
        return self._dropped or any(entry.news() for entry in self._entries.values())

    def to_tell(self) -> list[dict[str, Any]] | None:
        """The claims as they are to be written; None where the operator knows enough."""
        if not self.news():
            return None
        written = []
        for entry in self._entries.values():
            if not entry.told and not entry.waiting and not entry.held:
                continue
            claim = {"id": entry.id, "names": list(entry.names), "occupy": entry.occupy, "since": entry.since}
            written.append({**claim, "want": entry.want, "returned": entry.returned})
        return written

    def told(self, claims: list[dict[str, Any]]) -> None:
        """What `to_tell` said is written."""
        self._dropped = False
        for claim in claims:
            entry = self._entries.get(claim["id"])
            if entry is not None:
                entry.told, entry.told_want, entry.told_returned = True, claim["want"], claim["returned"]
        known = {claim["id"] for claim in claims}
        self._dropped = any(id_ not in self._entries for id_ in known)

    def doubt(self) -> None:
        """Whether what `to_tell` said was written is not known."""
        self._dropped = True

    def fail(self, why: str) -> None:
        """Nobody will ever be granted anything."""
        for entry in list(self._entries.values()):
            self._refuse(entry, why)

    def _refuse(self, entry: Entry, why: str) -> None:
        from ..errors import ConcurrencySlotAcquisitionError

        entry.closed, entry.goal, entry.calls = True, entry.granted, False
        if self._open.get(entry.key) is entry:  # another limit may come: who asks then asks anew
            del self._open[entry.key]
        for claim in entry.waiting.values():
            claim.error = ConcurrencySlotAcquisitionError(why)
            self._waits.pop(claim.id, None)
            self.woken.append(claim)
        entry.waiting.clear()

    def _settle(self, entry: Entry, now: float) -> None:
        for claim in entry.settle(now):
            self._waits.pop(claim.id, None)
            if not entry.once:
                self._holds[claim.id] = entry
            self.woken.append(claim)
        if entry.over:
            self._entries.pop(entry.id, None)
            if self._open.get(entry.key) is entry:
                del self._open[entry.key]
            self._dropped = self._dropped or entry.told

    def _admit(self, now: float, since: str) -> None:
        """Let those who found no place for their kind of claim ask again."""
        while self._backlog and len(self._entries) < MAX_CLAIMS:
            claim, key = self._backlog.pop(next(iter(self._backlog)))
            self.ask(claim, key, now, since)
