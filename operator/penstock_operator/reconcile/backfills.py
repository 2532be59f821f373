"""Reconciles a Backfill: counts the runs that have ended, makes the next, and says how far it has come, in one write.

Runs are made before they are written down: one whose writing failed is found again by its name, and retention leaves
the runs of a backfill until it has counted them (`uncounted`).
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from penstock.api import reasons
from penstock.errors import InvalidSchedule
from penstock.schedules.slots import present

from ..cluster import BACKFILLS, FLOW_DEPLOYMENTS, FLOW_RUNS, AlreadyExists, Cluster, Forbidden, Invalid, NotFound
from ..core import backfills, resolve
from ..core.backfills import Progress, Range, Verdict
from ..core.views import RunView, parse_time
from . import conditions
from .conditions import Ready
from .sources import Body, Cache, Clock, Key, Requeue

AGAIN = timedelta(seconds=10)  # after a quota or a policy refused a run
AT_ONCE = 100  # runs that one look makes


@dataclass(slots=True)
class Step:
    """What a look has done."""

    progress: Progress
    ready: Ready = field(default_factory=lambda: Ready(True))
    exhausted: bool = False
    again: timedelta | None = None


class Backfills:
    """The reconciler of backfills."""

    def __init__(self, cluster: Cluster, cache: Cache, clock: Clock) -> None:
        self._cluster, self._cache, self._clock = cluster, cache, clock
        self._uncounted: dict[Key, frozenset[str]] = {}  # names of runs, of the backfills that were looked at

    def uncounted(self, key: Key, run: str) -> bool:
        """Whether a backfill has yet to look at how that run ended; also while it was not looked at itself."""
        return key not in self._uncounted or run in self._uncounted[key]

    def forget(self) -> None:
        """Others have acted since: nothing is known."""
        self._uncounted.clear()

    async def reconcile(self, key: Key) -> Requeue | None:
        """Go on with a backfill. Raises ApiError: again later, with backoff."""
        body = await self._cluster.get(BACKFILLS, *key)
        if body is None:
            self._uncounted[key] = frozenset()
            return None
        status = body.get("status") or {}
        if conditions.holds(body, reasons.COMPLETE):
            self._uncounted[key] = frozenset()
            return None
        name = body["spec"]["deploymentRef"]["name"]
        deployment = await self._cluster.get(FLOW_DEPLOYMENTS, key.namespace, name)
        begun = backfills.begun_with(body, deployment)
        if body["spec"].get("cancel") or (begun is not None and begun is not deployment):
            return await self._wind_up(key, body, begun)
        if deployment is None:
            waiting = resolve.missing("FlowDeployment", name)
            text = f"FlowDeployment {name} is not in this namespace: apply it, or make another backfill"
            await self._say(key, body, Ready(False, waiting.reason, text))
            return Requeue(waits_for=("FlowDeployment", name))
        schedule = status.get("rangeSchedule") or backfills.of_slug(deployment, body["spec"]["schedule"])
        if schedule is None:
            text = f"spec.schedule: FlowDeployment {name} has no schedule {body['spec']['schedule']}; it has " + (
                ", ".join(s["slug"] for s in present(deployment["spec"])) or "none"
            )
            await self._say(key, body, Ready(False, reasons.SCHEDULE_NOT_FOUND, text))
            return Requeue(waits_for=("FlowDeployment", name))
        deployed = parse_time(deployment["metadata"]["creationTimestamp"])
        assert deployed is not None
        try:
            found = backfills.range_of(body, schedule, deployed)
            total = status.get("total")
            if total is None:
                total = await asyncio.to_thread(found.count)  # others have their turn meanwhile
        except InvalidSchedule as error:
            await self._say(key, body, Ready(False, reasons.INVALID_SCHEDULE, f"FlowDeployment {name}: {error}"))
            return Requeue(waits_for=("FlowDeployment", name))
        if total is None:
            text = backfills.too_many_steps(schedule)
            await self._say(key, body, Ready(False, reasons.RANGE_TOO_LARGE, f"FlowDeployment {name}: {text}"))
            return Requeue(waits_for=("FlowDeployment", name))
        if total > backfills.MOST:
            text = f"spec.to: the range has more than {backfills.MOST} slots; make several backfills of parts of it"
            await self._say(key, body, Ready(False, reasons.RANGE_TOO_LARGE, text))
            return None
        return await self._go_on(key, body, deployment, found, Progress.read({**status, "total": total}))

    async def _wind_up(self, key: Key, body: Body, begun: Body | None) -> Requeue | None:
        """Count and end what was made, where no more is: it is cancelled, or its deployment (`begun`) is gone.

        Neither schedule nor range is looked at: they may be what is wrong with it.
        """
        known = Progress.read(body.get("status") or {})
        if begun is None:  # it has made nothing
            known, runs = replace(known, active=()), {}
        else:
            runs = {slot: await self._run(key, backfills.run_name(body, begun, slot)) for slot in known.active}
        step = Step(known.counted(runs))
        if body["spec"].get("cancel"):
            await self._cancel(key, [runs[slot] for slot in step.progress.active])
        verdict = backfills.verdict(body, step.progress, exhausted=False, orphaned=True)
        return await self._write(key, body, begun, step, verdict, {})

    async def _go_on(self, key: Key, body: Body, deployment: Body, found: Range, known: Progress) -> Requeue | None:
        runs = {slot: await self._run(key, backfills.run_name(body, deployment, slot)) for slot in known.active}
        step = Step(known.counted(runs))
        await self._make(body, deployment, found, step)
        verdict = backfills.verdict(body, step.progress, exhausted=step.exhausted)
        fields: Body = {"rangeSchedule": found.schedule, "deploymentUid": deployment["metadata"]["uid"]}
        return await self._write(key, body, deployment, step, verdict, fields)

    async def _write(
        self, key: Key, body: Body, deployment: Body | None, step: Step, verdict: Verdict, fields: Body
    ) -> Requeue | None:
        fields = {**fields, **step.progress.written()}
        fields["observedGeneration"] = body["metadata"].get("generation") or 0
        now = self._clock()
        ready = conditions.with_condition(
            body, reasons.READY, step.ready.ok, step.ready.reason, step.ready.message, now
        )
        so_far = {**body, "status": {"conditions": ready}}
        fields["conditions"] = conditions.with_condition(
            so_far, reasons.COMPLETE, verdict.complete, verdict.reason, verdict.message, now
        )
        status = body.get("status") or {}
        if any(status.get(name) != value for name, value in fields.items()):
            with contextlib.suppress(NotFound):
                await conditions.write_status(self._cluster, BACKFILLS, key, body, fields)
        active = step.progress.active if deployment is not None and not verdict.complete else ()
        self._uncounted[key] = frozenset(backfills.run_name(body, deployment or {}, slot) for slot in active)
        return None if step.again is None else Requeue(now + step.again)

    async def _run(self, key: Key, name: str) -> RunView | None:
        body = self._cache.run(Key(key.namespace, name))
        if body is None:  # settled, deleted, or made so lately that it was not heard of
            body = await self._cluster.get(FLOW_RUNS, key.namespace, name)
        return None if body is None else RunView(body)

    async def _cancel(self, key: Key, runs: list[RunView | None]) -> None:
        ops: list[Body] = [{"op": "add", "path": "/spec/cancel", "value": True}]
        for run in runs:
            if run is not None and not run.cancelled:
                try:
                    await self._cluster.patch(FLOW_RUNS, key.namespace, run.name, ops)
                except NotFound:
                    continue  # which the next look counts

    async def _make(self, body: Body, deployment: Body, found: Range, step: Step) -> None:
        """Make runs while there is room, and find out whether there are more to make."""
        for _ in range(AT_ONCE):
            room = backfills.room(body, deployment, step.progress)
            following = await asyncio.to_thread(found.following, step.progress.cursor, 1)
            step.exhausted = not following
            if not following or not room:
                return
            made = await self._create(body, deployment, found, following[0], step)
            if made is None:
                return
            step.progress = step.progress.handled(following[0], made=made)
        step.again = timedelta(0)

    async def _create(self, body: Body, deployment: Body, found: Range, slot: datetime, step: Step) -> bool | None:
        """Whether the run of a slot is there and this backfill's; None: not yet, and why is in `step`."""
        run = backfills.run(body, deployment, found.schedule, slot)
        meta = run["metadata"]
        try:
            await self._cluster.create(FLOW_RUNS, meta["namespace"], run)
        except AlreadyExists:
            there = await self._cluster.get(FLOW_RUNS, meta["namespace"], meta["name"])
            return there is not None and backfills.made_by(body, there)
        except Forbidden as error:
            step.ready = Ready(False, reasons.RUN_FORBIDDEN, f"the run {meta['name']} is refused: {error.message}")
            step.again = AGAIN
            return None
        except Invalid as error:
            text = f"the run {meta['name']} is not taken, and its slot left out: {error.message}"
            step.ready = Ready(False, reasons.RUN_INVALID, text)
            return False
        return True

    async def _say(self, key: Key, body: Body, ready: Ready) -> None:
        await conditions.write(self._cluster, BACKFILLS, key, body, ready, self._clock)
        self._uncounted[key] = frozenset()
