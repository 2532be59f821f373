"""Grants slots of ConcurrencyLimits to the processes of runs, a namespace at a time: read, decide, write what changed.

Called by the controller with a key that has no name, in one term of leadership; `clear` begins another. What is held
stands in the runs. Here are the order of those who wait, how far rates are used, and writes whose fate is unknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

from .. import metrics
from ..cluster import CONCURRENCY_LIMITS, FLOW_RUNS, Cluster, Invalid, NotFound
from ..core import claimants, claims
from ..core.claimants import Claimant
from ..core.claims import Granted, Id, Limit, Place
from ..core.views import format_time
from .sources import Body, Clock, Key, Requeue

SHOW_EVERY = timedelta(seconds=1)
AHEAD = 1.0  # seconds of a rate that are written as used before they are
NOTHING = Granted(0)
Grants = dict[int, Granted]  # by id of the claim


class KnownClaims(Protocol):
    """What the controller's cache knows of limits and of those who claim."""

    def claimants(self, namespace: str) -> Sequence[Claimant]:
        """Attempts whose processes hold slots or wait for some."""

    def limits(self, namespace: str) -> Iterable[Body]:
        """ConcurrencyLimits."""

    def remember(self, body: Body) -> None:
        """Take over what a write answered."""


@dataclass(slots=True)
class _Memory:
    """What is known of one namespace, besides what stands in its objects."""

    places: Mapping[Id, Place] = field(default_factory=dict)
    used: dict[str, tuple[float, datetime]] = field(default_factory=dict)  # of rates, by uid
    shown: dict[str, datetime] = field(default_factory=dict)  # when the status of a limit was written, by uid
    pledged: dict[str, tuple[Claimant, Grants, int]] = field(default_factory=dict)  # by uid of the run


class Claims:
    """The reconciler of what runs claim."""

    def __init__(self, cluster: Cluster, known: KnownClaims, clock: Clock) -> None:
        self._cluster, self._known, self._clock = cluster, known, clock
        self._memories: dict[str, _Memory] = {}

    def clear(self) -> None:
        """Forget what another term knew."""
        self._memories.clear()

    async def reconcile(self, key: Key) -> Requeue | None:
        """Grant what can be granted in a namespace. Raises ApiError: again later, with nothing lost."""
        now, memory = self._clock(), self._memories.setdefault(key.namespace, _Memory())
        bodies = {body["metadata"]["name"]: body for body in self._known.limits(key.namespace)}
        runs = [_with_pledge(run, memory) for run in self._known.claimants(key.namespace)]
        if not bodies and not runs:
            del self._memories[key.namespace]
            return None
        _forget(memory, {body["metadata"]["uid"] for body in bodies.values()}, {run.uid for run in runs})
        limits = {name: await self._limit(body, memory, now) for name, body in bodies.items()}
        every = [claim for run in runs for claim in run.claims]
        decision = claims.decide(limits, every, memory.places, now)
        await self._use(bodies, limits, decision.used, memory, now)
        memory.places = decision.places
        grants = {run.uid: {claim.id: decision.grants[claim.key] for claim in run.claims} for run in runs}
        after = [run.with_grants(grants[run.uid], 0) for run in runs]
        dues: list[datetime] = [] if decision.again is None else [now + timedelta(seconds=decision.again)]
        ends = await asyncio.gather(
            *(self._grant(run, grants[run.uid], memory) for run in runs if _news(run, grants[run.uid], memory)),
            *(self._show(body, after, memory, now) for body in bodies.values()),
            return_exceptions=True,
        )
        for end in ends:
            if isinstance(end, BaseException):
                raise end
            if end is not None:
                dues.append(end)
        return Requeue(min(dues)) if dues else None

    async def _grant(self, run: Claimant, grants: Grants, memory: _Memory) -> None:
        """Write the grants of a run. What is not known to have failed counts as done."""
        number = run.number + 1
        memory.pledged[run.uid] = (run, grants, number)
        ops = claimants.patch(run, grants, number)
        try:
            body = await self._cluster.patch(FLOW_RUNS, run.namespace, run.name, ops, subresource="status")
        except (Invalid, NotFound):
            # The attempt is over, or a later write is there: then no earlier one can arrive any more either.
            del memory.pledged[run.uid]
            raise
        del memory.pledged[run.uid]
        self._known.remember(body)
        before = {claim.id: claim.granted for claim in run.claims}
        metrics.SLOTS_GRANTED.inc(sum(given.granted - before.get(id_, 0) for id_, given in grants.items()))

    async def _limit(self, body: Body, memory: _Memory, now: datetime) -> Limit:
        """A limit; of a rate, as it is used by what this process gave, or by what is written."""
        limit, uid = claimants.limit(body), body["metadata"]["uid"]
        if not limit.decay:
            return limit
        reset = claimants.reset(body)
        if reset is not None and (limit.at is None or reset > limit.at):
            rate = {"taken": 0, "time": format_time(max(now, reset))}
            await self._write(body, {**(body.get("status") or {}), "rate": rate})
            memory.used[uid] = (0.0, now)
        taken, at = memory.used.setdefault(uid, (limit.used(now), now))
        return replace(limit, taken=taken, at=at)

    async def _use(
        self,
        bodies: Mapping[str, Body],
        limits: Mapping[str, Limit],
        used: Mapping[str, float],
        memory: _Memory,
        now: datetime,
    ) -> None:
        """Note how far rates are used, written before anything of it is granted."""
        for name, taken in used.items():
            body, limit = bodies[name], limits[name]
            written = claimants.limit(body)
            if taken > limit.used(now) + claims.CLOSE_ENOUGH and (written.at is None or taken > written.used(now)):
                rate = {"taken": round(taken + limit.decay * AHEAD, 6), "time": format_time(now)}
                await self._write(body, {**(body.get("status") or {}), "rate": rate})
            memory.used[body["metadata"]["uid"]] = (taken, now)

    async def _show(self, body: Body, runs: Sequence[Claimant], memory: _Memory, now: datetime) -> datetime | None:
        """Write who holds and who waits, where that changed; when to do so, if it was done a moment ago."""
        meta, status = body["metadata"], body.get("status") or {}
        wanted = claimants.shown(body, runs)
        if all(status.get(name) == value for name, value in wanted.items()):
            return None
        last = memory.shown.get(meta["uid"])
        if last is not None and now < last + SHOW_EVERY:
            return last + SHOW_EVERY
        memory.shown[meta["uid"]] = now
        await self._write(body, {**status, **wanted})
        return None

    async def _write(self, body: Body, status: Body) -> None:
        meta = body["metadata"]
        ops = [
            {"op": "test", "path": "/metadata/uid", "value": meta["uid"]},
            {"op": "add", "path": "/status", "value": status},
        ]
        try:
            after = await self._cluster.patch(
                CONCURRENCY_LIMITS, meta["namespace"], meta["name"], ops, subresource="status"
            )
        except NotFound:
            return
        self._known.remember({**after, "kind": CONCURRENCY_LIMITS.kind})
        body["status"] = after.get("status") or {}


def _with_pledge(run: Claimant, memory: _Memory) -> Claimant:
    """The run with what it may have been granted by a write that was not answered."""
    pledge = memory.pledged.get(run.uid)
    if pledge is None:
        return run
    before, grants, number = pledge
    if (before.attempt, before.pod_uid) != (run.attempt, run.pod_uid):
        del memory.pledged[run.uid]
        return run
    return run.with_grants(grants, number)


def _forget(memory: _Memory, limits: set[str], runs: set[str]) -> None:
    """Nothing is kept of what is gone."""
    for uid in memory.used.keys() - limits:
        del memory.used[uid]
    for uid in memory.shown.keys() - limits:
        del memory.shown[uid]
    for uid in memory.pledged.keys() - runs:
        del memory.pledged[uid]


def _news(run: Claimant, grants: Grants, memory: _Memory) -> bool:
    """Whether the run must be told something: it holds nothing that it could keep or not keep, that is none."""
    if any(claim.ends for claim in run.claims):
        return False
    if run.uid in memory.pledged:
        return True
    for claim in run.claims:
        said, given = run.said.get(claim.id, NOTHING), grants[claim.id]
        if (said.granted, said.refused) != (given.granted, given.refused) or (claim.held and said.keep != given.keep):
            return True
    return False
