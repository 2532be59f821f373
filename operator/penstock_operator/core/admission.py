"""Admission: which of the runs that wait get the slots that are free, by ARCHITECTURE section 4.5.

`controller.slots` keeps the `Books`, has `admit` decide upon them and applies the verdict. Nothing here knows what a
pool or a deployment is, or what is told to people: a limit has a name and a bound, a run waits for several of them.

Runs that wait for the same limits stand in one line, and each line stands at one limit that is full, at its place among
those that stand there. So a freed slot concerns the head of the first line at that limit, however many runs wait.
"""

from __future__ import annotations

import heapq
import itertools
import math
from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple, TypeVar

PATIENCE = 60.0
"""Seconds for which a run may be passed over by runs after it before slots are kept free for it."""


class Limit(NamedTuple):
    """A limit by name. A run names its limits narrow ones first: that is the order in which slots are kept for it."""

    kind: str
    namespace: str
    name: str


class Order(NamedTuple):
    """The place of a run among those that wait: the lowest is first."""

    queue_priority: int
    priority: int
    due: float
    created: float
    """To the second, as the API server tells it."""
    first: float
    """When it was first looked at: within a second, first come is first served."""
    uid: str


Line = tuple[Limit, ...]
Entry = TypeVar("Entry", Order, tuple[Order, Line])


@dataclass(frozen=True, slots=True)
class Waiting:
    """A run that could start but for slots; it takes one of each limit."""

    order: Order
    limits: Line

    @property
    def uid(self) -> str:
        return self.order.uid


@dataclass(slots=True)
class Patience:
    """Since when a run was first in its line and had to wait, and which limits have turned it away."""

    since: float
    turned_away: frozenset[Limit] = frozenset()


@dataclass(frozen=True, slots=True)
class Stop:
    """Where the head of a line has to wait, and where slots are kept free for it meanwhile."""

    limit: Limit
    reserves: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Runs that are admitted, in order, and where the heads of the lines that were looked at wait now."""

    admitted: tuple[Waiting, ...]
    stops: Mapping[Line, Stop]
    heads: tuple[Order, ...]
    """Of the lines in `stops`, one by one."""


class Books:
    """Who holds slots, who waits, what the bounds are. One uid waits, or holds, or neither.

    `stirred` says where something changed that may let a run go on: `admit` looks there only.
    """

    def __init__(self) -> None:
        self.bounds: dict[Limit, int] = {}
        """Most holders; a limit that is not here has no bound."""
        self.holders: dict[Limit, set[str]] = defaultdict(set)
        self.queued: Counter[Limit] = Counter()
        self.waiting: dict[str, Waiting] = {}
        self.holding: dict[str, Line] = {}
        self.lines: dict[Line, list[Order]] = {}
        self.stands: dict[Line, Stop] = {}
        self.standing: dict[Limit, list[tuple[Order, Line]]] = defaultdict(list)
        """Lines by their head's order, at the limit where they wait."""
        self.reserved: dict[Limit, list[Order]] = defaultdict(list)
        self.patience: dict[str, Patience] = {}
        self._ripening: list[tuple[float, list[str]]] = []
        self.woken: set[Limit] = set()
        self.stirring: set[Line] = set()

    @property
    def stirred(self) -> bool:
        """Whether `admit` could find anything."""
        return bool(self.woken or self.stirring)

    # What becomes known.

    def bound(self, limit: Limit, size: int | None) -> None:
        """A limit has a bound, or (None) none any more."""
        before = self.bounds.get(limit)
        if before == size:
            return
        if size is None:
            self.bounds.pop(limit, None)
        else:
            self.bounds[limit] = size
        if size is None or (before is not None and size > before):
            self.woken.add(limit)
        if 0 in (size, before):  # whether anything is kept for those who wait here depends on it
            self.stirring.update(line for line, stop in self.stands.items() if stop.reserves and limit in line)

    def wait(self, run: Waiting) -> None:
        """A run waits, or waits elsewhere than before; what it held it has let go of."""
        if self.waiting.get(run.uid) == run:
            return
        self.leave(run.uid)
        self.waiting[run.uid] = run
        line = self.lines.setdefault(run.limits, [])
        head = line[0] if line else None
        insort(line, run.order)
        for limit in run.limits:
            self.queued[limit] += 1
        if line[0] is run.order:
            if head is not None:
                self._step_aside(run.limits, head)
            self.stirring.add(run.limits)

    def hold(self, uid: str, limits: Line) -> None:
        """A run holds a slot of each limit, and of no other, whatever their bounds say."""
        before = self.holding.get(uid)
        if before == limits:
            return
        if before is None:
            self.leave(uid)
        self.holding[uid] = limits
        for limit in limits:
            self.holders[limit].add(uid)
        self._release(uid, [limit for limit in before or () if limit not in limits])

    def leave(self, uid: str) -> None:
        """A run neither waits nor holds anything."""
        run, held = self.waiting.pop(uid, None), self.holding.pop(uid, None)
        self.patience.pop(uid, None)
        self._release(uid, held or ())
        if run is not None:
            self._drop(run)

    def _release(self, uid: str, limits: Iterable[Limit]) -> None:
        for limit in limits:
            self.holders[limit].discard(uid)
            if not self.holders[limit]:
                del self.holders[limit]
            self.woken.add(limit)

    def _drop(self, run: Waiting) -> None:
        line = self.lines[run.limits]
        at = bisect_left(line, run.order)
        del line[at]
        for limit in run.limits:
            self.queued[limit] -= 1
            if not self.queued[limit]:
                del self.queued[limit]
        if at == 0:
            self._step_aside(run.limits, run.order)
            if line:
                self.stirring.add(run.limits)
            else:
                del self.lines[run.limits]
                self.stirring.discard(run.limits)

    def _step_aside(self, line: Line, head: Order) -> None:
        """The line stands nowhere: another run is its first now, or none."""
        stop = self.stands.pop(line, None)
        if stop is None:
            return
        standing = self.standing[stop.limit]
        del standing[bisect_left(standing, (head, line))]
        if not standing:
            del self.standing[stop.limit]
        for limit in stop.reserves:
            kept = self.reserved[limit]
            del kept[bisect_left(kept, head)]
            if not kept:
                del self.reserved[limit]
            self.woken.add(limit)

    # What is decided.

    def ripen(self, now: float) -> None:
        """Have those looked at whose patience has ended. Nobody starts by that: it is to come before other changes."""
        while self._ripening and self._ripening[0][0] <= now:
            for uid in heapq.heappop(self._ripening)[1]:
                run = self.waiting.get(uid)
                if run is not None and self.lines[run.limits][0] == run.order:
                    self.stirring.add(run.limits)

    def apply(self, verdict: Verdict, now: float) -> None:
        """Let the admitted hold their slots, and the heads of the others wait where the verdict says."""
        self.woken.clear()
        self.stirring.clear()
        for run in verdict.admitted:
            self.hold(run.uid, run.limits)
        self.stirring.clear()  # each line that was stirred has been looked at to its new head
        alone: dict[Limit, frozenset[Limit]] = {}  # that thousands have been turned away by
        new: list[str] = []
        for (line, stop), head in zip(verdict.stops.items(), verdict.heads, strict=True):
            patience = self.patience.get(head.uid)
            if patience is None:
                limits = alone.get(stop.limit) or alone.setdefault(stop.limit, frozenset((stop.limit,)))
                self.patience[head.uid] = Patience(now, limits)
                new.append(head.uid)
            elif stop.limit not in patience.turned_away:
                patience.turned_away |= {stop.limit}
            before = self.stands.get(line)
            if before is not None:
                if before == stop:
                    continue
                woken = set(self.woken)
                self._step_aside(line, head)
                self.woken = woken | {limit for limit in before.reserves if limit not in stop.reserves}
            self.stands[line] = stop
            _put(self.standing[stop.limit], (head, line))
            for limit in stop.reserves:
                _put(self.reserved[limit], head)
        if new:
            heapq.heappush(self._ripening, (now + PATIENCE, new))


def _put(ordered: list[Entry], entry: Entry) -> None:
    """`insort`, for entries that mostly come in order."""
    if not ordered or ordered[-1] < entry:
        ordered.append(entry)
    else:
        insort(ordered, entry)


def admit(books: Books, now: float) -> Verdict:
    """Who gets the slots that are free: the heads of the lines in order, each if all its limits have room for it.

    A line whose head has to wait closes no limit for the lines after it. But the head that was turned away for
    `PATIENCE` seconds has a slot kept free of each limit that has ever turned it away, up to the first that is full
    now; a limit that is closed (its bound is 0) would keep them for ever, so then none is kept.
    """
    admitted: list[Waiting] = []
    stops: dict[Line, Stop] = {}
    heads: list[Order] = []
    stopped_at: dict[Limit, Stop] = {}  # the stops that keep nothing, of which thousands of lines may have the same
    free: dict[Limit, float] = {}  # slots that are left of the limits that were looked at
    kept: Counter[Limit] = Counter()  # by heads that were looked at, so by earlier ones than those that follow
    lifted: dict[Limit, list[Order]] = defaultdict(list)  # what those have had kept before
    position: dict[Line, int] = {}  # of the next of a line, where some were admitted
    ways = itertools.count()
    heap: list[tuple[Order, int, Line, Limit | None, int]] = []
    first = [(books.lines[line][0], line) for line in books.stirring]
    stirring = sorted(first, key=itemgetter(0), reverse=True)  # the first at the end
    reserved, patience = books.reserved, books.patience

    def look_at(order: Order, line: Line, limit: Limit | None = None, index: int = 0) -> None:
        heapq.heappush(heap, (order, next(ways), line, limit, index))

    def room(limit: Limit, order: Order) -> bool:
        slots = free.get(limit)
        if slots is None:
            size = books.bounds.get(limit)
            slots = free[limit] = math.inf if size is None else size - len(books.holders.get(limit, ()))
        if slots <= 0 or not (reserved or kept):
            return slots > 0
        earlier = bisect_left(reserved.get(limit, ()), order) - bisect_left(lifted.get(limit, ()), order)
        return slots > earlier + kept[limit]

    def next_at(limit: Limit, index: int) -> None:
        standing = books.standing.get(limit, ())
        if index < len(standing):
            look_at(*standing[index], limit, index)

    for limit in books.woken:
        next_at(limit, 0)
    while heap or stirring:
        if stirring and (not heap or stirring[-1][0] <= heap[0][0]):
            (order, line), at = stirring.pop(), 0  # before it comes by another way
        else:
            order, _, line, stands_at, index = heapq.heappop(heap)
            if stands_at is not None:
                if not room(stands_at, order):
                    continue  # nor is there any for those that stand behind it
                next_at(stands_at, index + 1)
            orders, at = books.lines[line], position.get(line, 0)
            if line in stops or at >= len(orders) or orders[at] != order:
                continue  # it came by two ways
        if reserved and at == 0 and (before := books.stands.get(line)):
            for limit in before.reserves:
                insort(lifted[limit], order)
        for full in line:
            if not room(full, order):
                break
        else:
            orders = books.lines[line]
            admitted.append(books.waiting[order.uid])
            for limit in line:
                free[limit] -= 1
            position[line] = at + 1
            if at + 1 < len(orders):
                look_at(orders[at + 1], line)
            continue
        heads.append(order)
        reserves = _reserves(books, line, order, full, now) if order.uid in patience else ()
        if reserves:
            kept.update(reserves)
            stops[line] = Stop(full, reserves)
        else:
            stops[line] = stopped_at.get(full) or stopped_at.setdefault(full, Stop(full))
    return Verdict(tuple(admitted), stops, tuple(heads))


def _reserves(books: Books, line: Line, order: Order, full: Limit, now: float) -> tuple[Limit, ...]:
    patience = books.patience.get(order.uid)
    if patience is None or now < patience.since + PATIENCE or any(books.bounds.get(limit) == 0 for limit in line):
        return ()
    return tuple(limit for limit in line[: line.index(full)] if limit in patience.turned_away)
