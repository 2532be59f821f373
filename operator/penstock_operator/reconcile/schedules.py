"""Reconciles the schedules of a FlowDeployment: makes the runs that are due, then moves the cursors, in one write.

In this order: a run whose cursor was not written is found again by its name, and retention leaves it until then. The
cursor has a look of its own, after those of runs that are due at the same time; until then it is kept in memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from penstock.api import labels, reasons
from penstock.schedules import slots

from .. import metrics
from ..cluster import (
    FLOW_DEPLOYMENTS,
    FLOW_RUNS,
    AlreadyExists,
    Cluster,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
)
from ..core import schedules
from ..core.schedules import Plan, Turn
from . import conditions
from .sources import Body, Cache, Clock, Key, Requeue

logger = logging.getLogger(__name__)

AGAIN = timedelta(seconds=10)  # after a quota or a policy refused a run
PASSES = 4


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a run could not be made."""

    reason: str
    message: str
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Unwritten:
    """What the status of a deployment does not say yet."""

    uid: str
    plan: Plan
    at: datetime
    scheduling: tuple[bool, str, str] | None
    """Its condition: whether it holds, reason, message."""

    def upon(self, body: Body) -> Body:
        """The deployment as if it were written."""
        status, said = dict(body.get("status") or {}), self.plan.status()
        if self.scheduling:
            said["conditions"] = conditions.with_condition(body, reasons.SCHEDULING, *self.scheduling, self.at)
        for name, value in said.items():
            status.pop(name, None)
            if value:
                status[name] = value
        return {**body, "status": status}


class Schedules:
    """The reconciler of schedules."""

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        clock: Clock,
        made: Callable[[Body], None],
        later: Callable[[Key], None],
    ) -> None:
        """`made` is told of each run that was made; `later` is to have `write` called, when nothing is more urgent."""
        self._cluster, self._cache, self._clock, self._made, self._later = cluster, cache, clock, made, later
        self._unwritten: dict[Key, Unwritten] = {}

    def clear(self) -> None:
        """Forget what was not written: others have acted since, and will find the runs by their names."""
        self._unwritten.clear()

    def ahead(self, key: Key, body: Body) -> Body:
        """The deployment with what its status will say of its schedules."""
        unwritten = self._unwritten.get(key)
        return unwritten.upon(body) if unwritten and unwritten.uid == body["metadata"]["uid"] else body

    async def reconcile(self, key: Key) -> Requeue | None:
        """Make what is due; when the next is. Raises ApiError: again later, with backoff.

        What is known of the deployment decides, as old as a watch may be: a slot has one name, so that nothing is made
        twice by that.
        """
        body = self._cache.deployment(key)
        if body is None or body["metadata"].get("deletionTimestamp"):
            self._unwritten.pop(key, None)
            return None
        ahead, now = self.ahead(key, body), self._clock()
        plan = await _decide(ahead, now)
        if not schedules.changed(ahead, plan):
            return None if plan.due is None else Requeue(plan.due)
        if schedules.is_cut(body) and any(turn.slots for turn in plan.turns):
            whole = await self._cluster.get(FLOW_DEPLOYMENTS, *key)
            if whole is None or whole["metadata"].get("deletionTimestamp"):
                return None
            body = whole
            ahead = self.ahead(key, whole)
            plan = await _decide(ahead, now)
        done, refusals = await self._make_all(ahead, plan)
        before = self._unwritten.get(key)
        scheduling = before.scheduling if before and before.uid == body["metadata"]["uid"] else None
        if refusals:
            scheduling = False, refusals[-1].reason, refusals[-1].message
        elif any(turn.slots for turn in plan.turns):
            scheduling = True, reasons.SCHEDULING, ""
        self._unwritten[key] = Unwritten(body["metadata"]["uid"], done, self._clock(), scheduling)
        if _follows(ahead, plan):
            self._later(key)
        else:
            await self._write_now(key)
        times = [time for time in (done.due,) if time is not None]
        if any(refusal.passing for refusal in refusals):
            times = [self._clock() + AGAIN, *(time for time in times if time > self._clock())]
        return Requeue(min(times)) if times else None

    async def _write_now(self, key: Key) -> None:
        try:
            await self.write(key)
        except BaseException:
            self._later(key)  # what was done is known here all the same, and counts
            raise

    async def write(self, key: Key) -> None:
        """Write what the status does not say yet. Raises ApiError: again later, with backoff."""
        body = self._cache.deployment(key)
        for left in reversed(range(PASSES)):
            unwritten = self._unwritten.get(key)
            if unwritten is None:
                return
            if body is None or body["metadata"]["uid"] != unwritten.uid or "deletionTimestamp" in body["metadata"]:
                break
            new = unwritten.upon(body)["status"]
            if new == (body.get("status") or {}):  # whoever wrote its Ready condition wrote it along
                break
            try:
                fields = {name: new.get(name) for name in (*new, *unwritten.plan.status())}
                written = await conditions.write_status(self._cluster, FLOW_DEPLOYMENTS, key, body, fields)
                self._cache.remember({**written, "kind": FLOW_DEPLOYMENTS.kind})
                break
            except NotFound:
                break
            except (Conflict, Invalid):
                if not left:
                    raise
                logger.debug("deployment %s/%s changed meanwhile", *key)
                body = await self._cluster.get(FLOW_DEPLOYMENTS, *key)
        if self._unwritten.get(key) is unwritten:
            del self._unwritten[key]

    async def _make_all(self, deployment: Body, plan: Plan) -> tuple[Plan, list[Refusal]]:
        """What of the plan was carried out, and why the rest was not."""
        turns, refusals = [], []
        for turn in plan.turns:
            done, refusal = await self._make(deployment, turn)
            turns.append(done)
            refusals += [refusal] if refusal else []
        return replace(plan, turns=tuple(turns)), refusals

    async def _make(self, deployment: Body, turn: Turn) -> tuple[Turn, Refusal | None]:
        """Make a turn's runs, oldest first; what of it was done, and why something was not."""
        missing, last = 0, None
        for number, slot in enumerate(turn.slots):
            run = schedules.run(deployment, turn.schedule, slot)
            refusal = await self._create(run)
            if refusal is None:
                metrics.LATENESS.observe(max(0.0, (self._clock() - slot).total_seconds()))
                continue
            last = refusal
            if refusal.passing:
                return turn.stopped(number), refusal
            missing += 1
        return turn.left_out(missing), last

    async def _create(self, run: Body) -> Refusal | None:
        meta = run["metadata"]
        try:
            self._made(await self._cluster.create(FLOW_RUNS, meta["namespace"], run))
        except AlreadyExists:
            found = await self._cluster.get(FLOW_RUNS, meta["namespace"], meta["name"])
            annotations = {} if found is None else found["metadata"].get("annotations") or {}
            if found is not None and annotations.get(labels.CAUSE) != meta["annotations"][labels.CAUSE]:
                text = f"FlowRun {meta['name']} is there and was not made by its schedule: the slot is left out"
                return Refusal(reasons.RUN_NAME_TAKEN, f"{text}; delete or rename what makes such names")
        except Forbidden as error:
            return Refusal(reasons.RUN_FORBIDDEN, f"the run {meta['name']} is refused: {error.message}", passing=True)
        except Invalid as error:
            text = f"the run {meta['name']} is not taken, and its slot left out: {error.message}"
            return Refusal(reasons.RUN_INVALID, text)
        return None


async def _decide(deployment: Body, now: datetime) -> Plan:
    """The plan; others have their turn meanwhile, where it takes long."""
    if slots.takes_long(deployment["spec"].get("schedules") or ()):
        return await asyncio.to_thread(schedules.decide, deployment, now)
    return schedules.decide(deployment, now)


def _follows(deployment: Body, plan: Plan) -> bool:
    """Whether a later operator comes to the same cursors without their being written, so that this may wait.

    By the runs that are there, unless there may be only so many; or, of a deployment that is new, since its creation.
    """
    known, new = schedules.read(deployment), deployment["metadata"].get("generation") == 1
    for turn in plan.turns:
        slug = turn.after.slug
        if turn.slots and "maxRuns" in turn.schedule:
            return False
        if not turn.slots and known.get(slug) != turn.after and not (new and slug not in known):
            return False
    return all(known.get(cursor.slug) == cursor for cursor in plan.gone)
