"""Warm workers: which of them take runs, which one a run is given to, and how many of them there are to be.

`controller.workers` keeps what is known of each `Worker`, `reconcile.workers` carries out a `Scaling`. Nothing here
knows of Leases, and of pods only how they are.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from math import ceil

from .views import Body, PodView, parse_time

DEFAULT_IDLE = 300
DEFAULT_MAX = 1
BACKOFF = (5, 30, 120)  # seconds after the making of the last of so many pods that failed by themselves
KEPT_FAILURES = len(BACKOFF)  # pods of workers that failed, of which the words and logs may be of use
FORGOTTEN = timedelta(hours=1)  # age of such a pod at which it is deleted
MUTE = 120  # seconds of silence after which the pod of a worker is taken for hung
NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker as its Lease, its pod and the runs that it has show it."""

    name: str
    uid: str
    pool: str
    slots: int
    held: int = 0
    """Runs that it has."""
    drains: bool = False
    silent: bool = False
    """Its Lease has not changed for as long as it is good for."""
    managed: bool = False
    """The operator made its pod."""
    pod_ready: bool = True
    """Whether its pod, where the operator has made it, is there, runs, is not being deleted, nor on a lost node."""
    fingerprint: str | None = None
    """Of the pool's spec that its pod was made by; None of a worker that somebody else started."""
    used: datetime | None = None
    """When it last had a run, or was first seen."""

    def ready(self, fingerprint: str) -> bool:
        """Whether it takes runs of a pool with that fingerprint."""
        if self.drains or self.silent or not self.pod_ready:
            return False
        return not self.managed or self.fingerprint == fingerprint

    @property
    def free(self) -> int:
        """Runs that it could take."""
        return max(self.slots - self.held, 0)


def fingerprint(pool: Body) -> str:
    """Of all in a pool's spec that its workers are made of: where it differs, a worker is one of an earlier pool."""
    worker = pool.get("worker") or {}
    parts = {name: pool.get(name) for name in ("image", "template", "results")}
    parts |= {name: worker.get(name) for name in ("concurrency", "preload")}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def room(workers: Iterable[Worker], current: str) -> int:
    """How many runs the pool can have: the places of workers that take runs, and what the others have still."""
    return sum(max(w.slots, w.held) if w.ready(current) else w.held for w in workers)


def choose(workers: Iterable[Worker], current: str, *, beyond: bool = False) -> Worker | None:
    """The worker that a run is given to: of those with a free place the fullest, then the one that was used last.

    So what is not needed stays idle and can be drained, and one run after another finds the same warm worker.
    `beyond`: for a run that somebody who has a place waits for, a worker without one will do, the emptiest.
    """
    ready = [w for w in workers if w.ready(current)]
    able = [w for w in ready if w.free]
    if beyond and not able:
        return min(ready, key=lambda w: (w.held / w.slots, w.name), default=None)
    return min(able, key=lambda w: (w.free, -(w.used.timestamp() if w.used else 0), w.name), default=None)


@dataclass(frozen=True, slots=True)
class Member:
    """A pod that the operator has made as a worker of the pool, and the worker in it, once that has said so."""

    pod: PodView
    number: int
    fingerprint: str
    worker: Worker | None = None
    useless: bool = False
    """It renewed its Lease once, and for `MUTE` seconds no more, though its node answers; or its node is lost."""

    @property
    def alive(self) -> bool:
        return not self.pod.gone and not self.pod.deleting

    @property
    def made(self) -> datetime:
        """When its pod was created."""
        return parse_time(self.pod.metadata.get("creationTimestamp")) or NEVER

    @property
    def held(self) -> int:
        return self.worker.held if self.worker else 0

    @property
    def drains(self) -> bool:
        return self.worker is not None and self.worker.drains


@dataclass(frozen=True, slots=True)
class Scaling:
    """What to do about the workers of a pool: make pods with these numbers, drain, delete; when to look again."""

    create: tuple[int, ...] = ()
    drain: tuple[str, ...] = ()
    """Names of workers that are to get no more runs."""
    delete: tuple[PodView, ...] = ()
    due: datetime | None = None


def scale(spec: Body | None, current: str, members: Iterable[Member], queued: int, now: datetime) -> Scaling:
    """How the pods of a pool's workers are to change. `spec` is `worker` of the pool, None where it wants none or is
    gone; `current` its fingerprint; `queued` how many runs wait for nothing but a worker.
    """
    members = sorted(members, key=lambda m: m.number)
    wanted = spec or {}
    least = wanted.get("min") or 0
    most = 0 if spec is None else max(DEFAULT_MAX if wanted.get("max") is None else wanted["max"], least)
    each = wanted.get("concurrency") or 1
    patience = timedelta(seconds=wanted.get("idleSeconds") or DEFAULT_IDLE)
    alive = [m for m in members if m.alive]
    steady = [m for m in alive if not m.drains and not m.useless]
    serving = [m for m in steady if m.fingerprint == current]
    outdated = [m for m in steady if m.fingerprint != current]

    free = sum(m.worker.free if m.worker else each for m in serving)
    missing = ceil(max(queued - free, 0) / each)
    target = min(max(least, len(serving) + missing), most)

    retired, due = _retired(serving, least, most, patience, now, needed=queued > 0)
    drained = [*outdated, *retired]
    # One without a word of its own yet has no runs; it needs no draining.
    over = [m for m in alive if m.useless or ((m.drains or m in drained) and not m.held)]
    failed = sorted((m for m in members if m.pod.gone and not m.pod.deleting), key=lambda m: m.made)
    create, later = _created(members, failed, target - len(serving), now) if not retired else ((), None)
    old = [m for n, m in enumerate(failed) if n < len(failed) - KEPT_FAILURES or now >= m.made + FORGOTTEN]
    forget = min((m.made + FORGOTTEN for m in failed if m not in old), default=None)
    return Scaling(
        create=create,
        drain=tuple(m.pod.name for m in drained if m.worker is not None),
        delete=tuple(m.pod for m in (*over, *old)),
        due=min((time for time in (due, later, forget) if time), default=None),
    )


def _retired(
    serving: list[Member], least: int, most: int, patience: timedelta, now: datetime, *, needed: bool
) -> tuple[list[Member], datetime | None]:
    """Who goes: what is beyond the most, the emptiest first; and who has been idle for long, beyond the least."""
    order = sorted(serving, key=lambda m: (m.held, m.worker.used if m.worker and m.worker.used else now, -m.number))
    gone = order[: max(len(serving) - most, 0)]
    if needed:
        return gone, None
    due: datetime | None = None
    for member in order[len(gone) :]:
        worker = member.worker
        if worker is None or worker.held or worker.used is None or len(serving) - len(gone) <= least:
            continue
        if now >= worker.used + patience:
            gone.append(member)
        else:
            due = min(due or worker.used + patience, worker.used + patience)
    return gone, due


def _created(
    members: list[Member], failed: list[Member], count: int, now: datetime
) -> tuple[tuple[int, ...], datetime | None]:
    """Numbers of the pods to make; none for a while after some that have failed by themselves."""
    if count <= 0:
        return (), None
    if failed:
        again = failed[-1].made + timedelta(seconds=BACKOFF[min(len(failed), len(BACKOFF)) - 1])
        if now < again:
            return (), again
    taken = {m.number for m in members}
    return tuple(islice((number for number in itertools.count() if number not in taken), count)), None
