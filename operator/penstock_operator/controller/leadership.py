"""Holds the Lease by which one of several operators acts: the loop around `core.leadership`, and what others ask of it.

The controller asks it when to begin and to stop, the client whether a write may still go out. It has a client of its
own, so that a renewal never waits behind other calls.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import datetime

from .. import metrics
from ..cluster import LEASES, AlreadyExists, ApiError, Body, Cluster, Conflict, Invalid, NotFound, NotLeading
from ..core import leadership as rules
from ..core.leadership import Seen, Step
from ..core.views import format_time

logger = logging.getLogger(__name__)

LOOK = 1.0  # seconds between looks at the Lease of another, and between tries after an error
WRITES = frozenset({"POST", "PATCH", "DELETE"})


def monotonic() -> float:
    """Seconds of a clock that never steps and goes on while the machine sleeps, where there is such a clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Leadership:
    """This process' part in the election. `run` must run; one event loop."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        name: str,
        identity: str,
        *,
        now: Callable[[], datetime],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._cluster, self._namespace, self._name, self.identity = cluster, namespace, name, identity
        self._now, self._clock = now, clock
        self._seen = Seen()
        self._renewed: float | None = None
        self._leads, self._follows = asyncio.Event(), asyncio.Event()
        self._follows.set()
        self.led_until: datetime | None = None
        """Until when, as far as is known, there was a leader before this process began to lead, be it itself."""
        self.looked = asyncio.Event()
        """Set once the first look at the Lease is over, whatever came of it."""

    # What others ask.

    @property
    def leads(self) -> bool:
        """Whether this process may act; false from the moment its lease could run out, whatever else it is doing."""
        return self._renewed is not None and self._clock() - self._renewed < rules.GIVE_UP

    async def gained(self) -> None:
        """Return when this process leads."""
        await self._leads.wait()

    async def lost(self) -> None:
        """Return when this process leads no more."""
        await self._follows.wait()

    def permit(self, verb: str, plural: str) -> None:
        """Asked before each request is sent. Raises NotLeading for a write without the lease."""
        if verb in WRITES and not self.leads:
            metrics.WRITES_REFUSED.labels(verb, plural).inc()
            raise NotLeading(f"{verb} {plural}: {self.identity} does not hold the lease")

    def observe(self, verb: str, plural: str, status: int) -> None:
        """Told of each answer, for the metrics: a write that was done though the lease had run out meanwhile counts."""
        metrics.observe_call(verb, plural, status)
        if verb in WRITES and 200 <= status < 300 and not self.leads:
            metrics.WRITES_LATE.labels(verb, plural).inc()
            logger.warning("%s %s was done by the API server after the lease was lost", verb, plural)

    # The loop.

    async def run(self) -> None:
        """Take part until cancelled."""
        while True:
            await self._once()
            self.looked.set()
            await asyncio.sleep(LOOK if self._renewed is None else min(LOOK, max(self._left(), 0.0)))

    async def _once(self) -> None:
        if self._step() is not Step.LOST:
            try:
                async with asyncio.timeout(None if self._renewed is None else self._left()):
                    await self._go_on()
            except (ApiError, TimeoutError) as error:
                logger.warning("lease %s/%s: %s", self._namespace, self._name, str(error) or "no answer in time")
        if self._step() is Step.LOST:
            self._set(None)

    async def release(self) -> None:
        """Give the Lease back, so that another takes it at once; to be called after `run` has ended."""
        if self._renewed is None:
            return
        self._set(None)  # before anything is sent: nobody acts on what is given back
        mine = {"op": "test", "path": "/spec/holderIdentity", "value": self.identity}
        cleared = {"op": "replace", "path": "/spec/holderIdentity", "value": ""}
        try:
            await self._cluster.patch(LEASES, self._namespace, self._name, [mine, cleared])
        except ApiError as error:
            logger.warning("lease %s/%s cannot be released: %s", self._namespace, self._name, error)

    def _step(self) -> Step:
        return rules.decide(self.identity, self._seen, self._renewed, self._clock())

    def _left(self) -> float:
        """Seconds until a leader has to give up."""
        return (self._renewed or 0.0) + rules.GIVE_UP - self._clock()

    async def _go_on(self) -> None:
        step = self._step()
        if step is Step.RENEW:
            await self._renew()
        elif step is Step.TAKE or self._renewed is None:
            found = await self._look()
            if self._step() is Step.TAKE:
                await self._take(found)

    async def _look(self) -> Body | None:
        body = await self._cluster.get(LEASES, self._namespace, self._name)
        self._seen = self._seen.then(rules.read(body), self._clock())
        return body

    async def _renew(self) -> None:
        sent = self._clock()
        ops = [
            {"op": "test", "path": "/spec/holderIdentity", "value": self.identity},
            {"op": "replace", "path": "/spec/renewTime", "value": format_time(self._now())},
        ]
        try:
            body = await self._cluster.patch(LEASES, self._namespace, self._name, ops)
        except (Conflict, Invalid, NotFound):
            await self._look()
        else:
            self._hold(body, sent)

    async def _take(self, found: Body | None) -> None:
        """Write the Lease as its holder, unless somebody else writes it first."""
        before, sent = self._seen.lease, self._clock()
        spec = rules.held(self.identity, before, format_time(self._now()))
        try:
            if found is None:
                meta = {"name": self._name, "namespace": self._namespace}
                made: Body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
                body = await self._cluster.create(LEASES, self._namespace, made)
            else:
                version = found["metadata"]["resourceVersion"]
                ops = [
                    {"op": "test", "path": "/metadata/resourceVersion", "value": version},
                    {"op": "add", "path": "/spec", "value": spec},
                ]
                body = await self._cluster.patch(LEASES, self._namespace, self._name, ops)
        except (AlreadyExists, Conflict, Invalid, NotFound):
            await self._look()
        else:
            self.led_until = before.renewed_at() if before else None
            self._hold(body, sent)

    def _hold(self, body: Body, sent: float) -> None:
        self._seen = self._seen.then(rules.read(body), self._clock())
        self._set(sent)

    def _set(self, renewed: float | None) -> None:
        before, self._renewed = self._renewed, renewed
        metrics.LEADER.set(renewed is not None)
        if (before is None) == (renewed is None):
            return
        logger.info("%s %s", self.identity, "leads" if renewed is not None else "leads no more")
        (gone, come) = (self._leads, self._follows) if renewed is None else (self._follows, self._leads)
        gone.clear()
        come.set()
