"""Reconciles the schedules of a FlowDeployment: makes the runs that are due, then moves the cursors, in one write.

In this order: a run whose cursor was not written is found again by its name, and retention leaves it until then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from penstock.api import labels, reasons

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


class Schedules:
    """The reconciler of schedules. `made` is told of each run that was made."""

    def __init__(self, cluster: Cluster, cache: Cache, clock: Clock, made: Callable[[Body], None]) -> None:
        self._cluster, self._cache, self._clock, self._made = cluster, cache, clock, made

    async def reconcile(self, key: Key) -> Requeue | None:
        """Make what is due; when the next is. Raises ApiError: again later, with backoff."""
        body, fresh = self._cache.deployment(key), False
        for left in reversed(range(PASSES)):
            if body is None or body["metadata"].get("deletionTimestamp"):
                return None
            plan = schedules.decide(body, self._clock())
            if not schedules.changed(body, plan):
                return None if plan.due is None else Requeue(plan.due)
            if fresh:
                try:
                    return await self._carry_out(key, body, plan)
                except NotFound:
                    return None
                except (Conflict, Invalid):
                    if not left:
                        raise
                    logger.debug("deployment %s/%s changed meanwhile", *key)
            body, fresh = await self._cluster.get(FLOW_DEPLOYMENTS, *key), True
        raise AssertionError("unreachable")

    async def _carry_out(self, key: Key, body: Body, plan: Plan) -> Requeue | None:
        turns, refusals = [], []
        for turn in plan.turns:
            done, refusal = await self._make(body, turn)
            turns.append(done)
            refusals += [refusal] if refusal else []
        done_plan = replace(plan, turns=tuple(turns))
        fields: Body = {name: value or None for name, value in done_plan.status().items()}
        if refusals:
            ok, reason, message = False, refusals[-1].reason, refusals[-1].message
        else:
            ok, reason, message = True, reasons.SCHEDULING, ""
        if refusals or any(turn.slots for turn in turns):
            fields["conditions"] = conditions.with_condition(
                body, reasons.SCHEDULING, ok, reason, message, self._clock()
            )
        written = await conditions.write_status(self._cluster, FLOW_DEPLOYMENTS, key, body, fields)
        self._cache.remember({**written, "kind": "FlowDeployment"})
        times = [time for time in (done_plan.due,) if time is not None]
        if any(refusal.passing for refusal in refusals):
            times = [self._clock() + AGAIN, *(time for time in times if time > self._clock())]
        return Requeue(min(times)) if times else None

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
