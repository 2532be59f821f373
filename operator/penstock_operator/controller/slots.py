"""The slots of pools, queues, deployments and tags: who holds some, and who waits for admission.

Implements `reconcile.sources.Slots`. Informers tell of the objects (`rules`), reconciles of the runs, of their own
writes before the echo. `named` is called with runs that are admitted or to be cancelled, and with those that are to be
told anew why they wait (`telling`). Until `open` nobody is admitted, for not everybody who holds a slot is known yet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from penstock.api import reasons
from penstock.api.states import StateName, StateType

from ..core import admission, collisions, pauses, places
from ..core.admission import Books, Limit, Line
from ..core.collisions import Sibling
from ..core.places import Asks, Deployment, Place, Pool, Queue, Rule, exempt
from ..core.resolve import DEFAULT_POOL, Displaced, Waiting
from ..core.views import RunView, parse_time
from ..reconcile.sources import Grant, Key
from .rules import KINDS, Rules, placing
from .telling import Telling

Body = dict[str, Any]
Ref = tuple[str, str]
HOLDING = frozenset({StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING})
SAID = frozenset(
    {reasons.POOL_SUSPENDED, reasons.DEPLOYMENT_SUSPENDED, reasons.QUEUE_SUSPENDED, reasons.QUEUE_NOT_FOUND}
)


@dataclass(slots=True)
class Known:
    """A run that waits or holds."""

    key: Key
    created: float
    first: float
    deployment: Ref | None
    asks: Asks | None = None
    place: Place | None = None
    ending: bool = False


class Slots:
    """All slots of all namespaces. One event loop."""

    def __init__(
        self,
        clock: Callable[[], datetime],
        named: Callable[[Key], None],
        short: Callable[[Key], None] = lambda _: None,
    ) -> None:
        """`short` is called with pools whose workers more runs may be waiting for than before."""
        self._clock, self._named, self._short = clock, named, short
        self._rooms: dict[Limit, int] = {}  # of workers
        self.rules = Rules(self._changed)
        self._clear()

    def _clear(self) -> None:
        self._open = False
        self.books = Books()
        self._telling = Telling(self.books, self.rules)
        self._known: dict[str, Known] = {}
        self._at: dict[Key, str] = {}
        self._ghosts: dict[Key, set[str]] = {}  # deleted runs of which something is still there
        self._of_deployment: dict[Ref, set[str]] = defaultdict(set)
        self._displaced: dict[str, Displaced] = {}
        self._counted: dict[Limit, None] = {}

    # Terms.

    def close(self) -> None:
        """Forget all runs; nobody is admitted any more."""
        self._clear()
        for kind in KINDS:
            for ref in self.rules.refs(kind):
                self._bound(kind, ref, self.rules.get(kind, ref))

    def open(self) -> None:
        """All runs that hold or wait are known: admit."""
        self._open = True
        for deployment in list(self._of_deployment):
            self._collide(deployment)
        self._counted |= dict.fromkeys((*self.books.bounds, *self.books.holders, *self.books.queued))
        self._counted |= {
            Limit(kind, *ref): None for kind in (places.POOL, places.QUEUE) for ref in self.rules.refs(kind)
        }
        self._admit()

    # What is said of slots.

    def _changed(self, kind: str, ref: Ref, before: Rule | None, now: Rule | None) -> None:
        self._bound(kind, ref, now, before)
        if isinstance(before, Queue) or isinstance(now, Queue):
            self._requeue(ref, [rule for rule in (before, now) if isinstance(rule, Queue)], now)
        elif isinstance(before, Deployment) or isinstance(now, Deployment):
            for uid in list(self._of_deployment.get(ref, ())):
                self._place(uid)
            self._collide(ref)
        elif isinstance(before, Pool) or isinstance(now, Pool):
            warm = [rule.warm if isinstance(rule, Pool) else False for rule in (before, now)]
            if warm[0] != warm[1]:
                self._replace(ref)
        self._admit()

    def _bound(self, kind: str, ref: Ref, rule: Rule | None, before: Rule | None = None) -> None:
        """What the rule says of its limit's bound."""
        if isinstance(rule, Pool) and rule.warm:
            workers = Limit(places.WORKERS, *ref)
            self._size(workers, self._rooms.get(workers, 0))
        for limit, size in self.rules.sizes(kind, ref, rule, before).items():
            self._size(limit, size)

    def _size(self, limit: Limit, size: int | None) -> None:
        self.books.bound(limit, size)
        self._counted[limit] = None
        for _, line in self.books.standing.get(limit, ()):
            self._telling.stands_elsewhere(line)

    def _requeue(self, ref: Ref, versions: Sequence[Queue], now: Rule | None) -> None:
        """A queue was changed otherwise than in its bound: who waits there may wait elsewhere."""
        if len(versions) == 2 and placing(versions[0]) == placing(versions[1]):
            return
        pools = {(ref[0], queue.pool): queue if queue is now else None for queue in versions}
        for uid, known in list(self._known.items()):
            asks, place = known.asks, known.place
            if asks is None or place is None or (asks.namespace, asks.pool) not in pools:
                continue
            if place.concerns(ref[1], pools[(asks.namespace, asks.pool)]):
                self._place(uid)

    def _replace(self, pool: Ref) -> None:
        """Runs of the pool need other slots than before."""
        for uid, known in list(self._known.items()):
            if known.asks is not None and (known.asks.namespace, known.asks.pool) == pool:
                self._place(uid)

    # What is known of warm workers.

    def room(self, pool: Key, runs: int) -> None:
        """The workers of a pool can have so many runs at once."""
        limit = Limit(places.WORKERS, *pool)
        if self._rooms.get(limit) == runs:
            return
        self._rooms[limit] = runs
        if not runs:
            del self._rooms[limit]
        if limit in self.books.bounds:
            self._size(limit, runs)
            self._admit()

    def awaiting_workers(self, pool: Key) -> int:
        """How many runs wait for nothing but a worker of the pool."""
        standing = self.books.standing.get(Limit(places.WORKERS, *pool), ())
        return sum(len(self.books.lines[line]) for _, line in standing)

    # `reconcile.sources.Slots`

    def ask(self, run: RunView, pool: str, said: Iterable[tuple[str, Body]] = ()) -> Grant | Waiting | Displaced:
        for kind, body in said:
            self.rules.put(kind, body)
        if exempt(run):
            return Grant({})
        known = self._know(run)
        if known.place is None:  # what it held was an attempt's that is over, or it is new
            self._count(run.uid)
            self.books.leave(run.uid)
            known.ending = False
        if run.uid not in self.books.holding:
            known.asks = places.asks(run, pool, known.first)
            self._place(run.uid)
            self._collide(known.deployment)
            self._admit(but=run.uid)
        if run.uid in self._displaced:
            return self._displaced[run.uid]
        if run.uid in self.books.holding:
            assert known.place is not None
            return Grant(known.place.admitted)
        return self._telling.tell(run.uid)

    def waits(self, run: RunView) -> tuple[Waiting | Displaced, Body] | None:
        known = self._known.get(run.uid)
        if known is None or run.uid not in self.books.waiting:
            return None
        rule = self.rules.deployment(known.deployment)
        deadline = rule.starting_deadline if rule else None
        deployment: Body = {} if deadline is None else {"startingDeadlineSeconds": deadline}
        return self._displaced.get(run.uid) or self._telling.tell(run.uid), deployment

    def crowded(self, run: RunView) -> bool:
        limit = Limit("WorkPool", run.namespace, self._pool(run))
        return run.uid not in self.books.holding and bool(self.books.queued.get(limit))

    def displaced(self, run: RunView) -> Displaced | None:
        return self._displaced.get(run.uid)

    def observe(self, run: RunView, *, gone: bool) -> None:
        terminal = run.type is not None and run.type.terminal
        holds = run.type in HOLDING and not (pauses.suspended(run) and gone)
        if exempt(run) or run.settled or "pool" not in run.resolved or not (holds or (terminal and not gone)):
            self._forget(run.uid)
        else:
            known = self._know(run)
            known.asks = known.place = None
            self._telling.forget(run.uid)
            ending = terminal or run.type is StateType.CANCELLING
            stirs = known.ending != ending or run.uid not in self.books.holding
            known.ending = ending
            self._count(run.uid)
            self.books.hold(run.uid, places.held(run))
            self._count(run.uid)
            if stirs:
                self._collide(known.deployment)
        self._admit()

    def deleted(self, key: Key) -> None:
        uid = self._at.pop(key, None)
        if uid is not None:
            self._haunt(key, uid)
        self._admit()

    def haunted(self, key: Key) -> bool:
        return key in self._ghosts

    def release(self, key: Key) -> None:
        for uid in self._ghosts.pop(key, ()):
            self._forget(uid)
        self._admit()

    def recall(self, run: RunView) -> None:
        """A run that waited for a slot when an earlier term ended waits again, before anybody is admitted."""
        told = (run.state.get("name"), run.state.get("reason"))
        waited = run.type is StateType.SCHEDULED and (told[0] == StateName.AWAITING_CONCURRENCY_SLOT or told[1] in SAID)
        if waited and not (exempt(run) or run.deleting or run.cancelled or run.suspend):
            known = self._know(run)
            known.asks = places.asks(run, self._pool(run), known.first)
            self._place(run.uid)

    def haunt(self, key: Key, uid: str, limits: Line, deployment: str | None) -> None:
        if limits and uid not in self._known:
            ref = (key.namespace, deployment) if deployment else None
            self._known[uid] = Known(key, 0.0, 0.0, ref, ending=True)
            self._ghosts.setdefault(key, set()).add(uid)
            if ref:
                self._of_deployment[ref].add(uid)
            self.books.hold(uid, limits)
            self._count(uid)

    def _pool(self, run: RunView) -> str:
        deployment = places.deployment_name(run)
        rule = self.rules.deployment((run.namespace, deployment) if deployment else None)
        resolved = (run.resolved.get("pool") or {}).get("name")
        return str(resolved or run.spec.get("workPool") or (rule and rule.pool) or DEFAULT_POOL)

    # Runs.

    def knows(self, key: Key) -> bool:
        """Whether a run of that name waits or holds."""
        return key in self._at or key in self._ghosts

    def _know(self, run: RunView) -> Known:
        known = self._known.get(run.uid)
        if known is None:
            key, name = Key(run.namespace, run.name), places.deployment_name(run)
            deployment = (run.namespace, name) if name else None
            created = parse_time(run.metadata.get("creationTimestamp"))
            known = self._known[run.uid] = Known(
                key, created.timestamp() if created else 0.0, places.first_seen(run, self._clock()), deployment
            )
            before = self._at.pop(key, None)
            if before is not None:
                self._haunt(key, before)
            self._at[key] = run.uid
            if deployment:
                self._of_deployment[deployment].add(run.uid)
        return known

    def _forget(self, uid: str) -> None:
        self._displaced.pop(uid, None)
        known = self._known.pop(uid, None)
        if known is None:
            return
        self._telling.forget(uid)
        self._count(uid)
        self.books.leave(uid)
        if self._at.get(known.key) == uid:
            del self._at[known.key]
        if known.deployment:
            siblings = self._of_deployment[known.deployment]
            siblings.discard(uid)
            if siblings:
                self._collide(known.deployment)
            else:
                del self._of_deployment[known.deployment]

    def _haunt(self, key: Key, uid: str) -> None:
        """A run is no more, but what it has launched may be."""
        if uid in self.books.holding:
            self._known[uid].ending = True
            self._ghosts.setdefault(key, set()).add(uid)
        else:
            self._forget(uid)

    def _place(self, uid: str) -> None:
        """Have a run wait where it is to wait by what is said now."""
        known = self._known[uid]
        if known.asks is None or uid in self.books.holding:
            return
        asks = known.asks
        pool = (asks.namespace, asks.pool)
        deployed, queues = self.rules.deployment(known.deployment), self.rules.queues(pool)
        place = places.place(asks, deployed, queues, warm=self.rules.warm(pool))
        if place == known.place:
            return
        self._count(uid)
        known.place = place
        first = place.waiting.limits[0]
        if first.kind == places.NO_QUEUE:
            self.books.bound(first, 0)
        self.books.wait(place.waiting)
        self._count(uid)
        last = place.waiting.limits[-1]
        if last.kind == places.WORKERS:
            self._short(Key(last.namespace, last.name))
        self._telling.moved(uid)

    def _count(self, uid: str) -> None:
        waiting = self.books.waiting.get(uid)
        for limit in waiting.limits if waiting else self.books.holding.get(uid, ()):
            self._counted[limit] = None

    def _collide(self, deployment: Ref | None) -> None:
        """Find out who is to be cancelled for others of its deployment, and have it looked at."""
        rule = self.rules.deployment(deployment)
        if deployment is None or rule is None or rule.limit is None or not self._open:
            return
        uids = self._of_deployment.get(deployment, set())
        if rule.policy == "Queue":
            for uid in uids & self._displaced.keys():
                del self._displaced[uid]
            return
        siblings = []
        for uid in uids:
            known, waits = self._known[uid], uid in self.books.waiting
            siblings.append(
                Sibling(known.created, known.first, uid, waits, bool(known.asks and known.asks.new), known.ending)
            )
        cancelled = collisions.cancelled(rule.policy, rule.limit, siblings)
        where = f"FlowDeployment {deployment[1]} (spec.concurrency.policy: {rule.policy}, limit: {rule.limit})"
        reason = reasons.CONCURRENCY_FORBIDDEN if rule.policy == "Forbid" else reasons.REPLACED
        for uid in uids:
            if uid not in cancelled:
                self._displaced.pop(uid, None)
            elif uid not in self._displaced:
                what = "has as many runs as it may" if rule.policy == "Forbid" else "has a newer run"
                self._displaced[uid] = Displaced(reason, f"{where} {what}")
                self._named(self._known[uid].key)

    # Admission.

    def _admit(self, but: str | None = None) -> None:
        """Admit whoever can be, until nothing stirs any more; `but` is looked at by whoever asks."""
        now = self._clock().timestamp()
        while self._open and self.books.stirred:
            self.books.ripen(now)
            verdict = admission.admit(self.books, now)
            before = {line: self.books.stands.get(line) for line in verdict.stops}
            self.books.apply(verdict, now)
            for run in verdict.admitted:
                self._counted |= dict.fromkeys(run.limits)
                self._telling.admitted(run.uid, run.limits)
                if run.uid != but:
                    self._named(self._known[run.uid].key)
            for line, stop in verdict.stops.items():
                stood = before[line]
                if stop.limit.kind == places.WORKERS:
                    self._short(Key(stop.limit.namespace, stop.limit.name))
                if stood is not None and stood.limit != stop.limit:
                    self._telling.stands_elsewhere(line)

    def tell(self, most: int) -> None:
        """Have some of those looked at that wait for something else than they were told."""
        for uid in self._telling.outdated(most):
            self._named(self._known[uid].key)

    def counts(self) -> dict[Limit, tuple[int, int]]:
        """Runs that wait for and that hold each limit whose counts may have changed since this was asked last."""
        changed, self._counted = self._counted, {}
        return {limit: (self.books.queued[limit], len(self.books.holders.get(limit, ()))) for limit in changed}

    def recount(self, limit: Limit) -> None:
        """Have a limit among the next counts."""
        self._counted[limit] = None

    def selected(self, queue: Key) -> bool | None:
        """Whether a WorkQueue's selector matches a deployment of its pool, or a run of now; None without selector."""
        rule = self.rules.selecting(queue)
        if rule is None:
            return None
        if self.books.queued[Limit(places.QUEUE, *queue)] or self.books.holders.get(Limit(places.QUEUE, *queue)):
            return True
        return self.rules.selects_a_deployment(queue.namespace, rule)
