"""Reconciles one FlowRun: read from the cache, decide, write at most once, then create or delete.

Called by the controller with the key of each run of which there is news. What is seen of a run is for `attempts`, what
it refers to for `references`, how its pod is made for `launching`; what comes of it all for `core.runs`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from penstock.api import reasons
from penstock.api.launches import is_awaited
from penstock.api.sharing import shared_by_pods
from penstock.api.states import StateType

from ..cluster import (
    FLOW_RUNS,
    JOBS,
    PODS,
    AlreadyExists,
    ApiError,
    Cluster,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    NotLeading,
    Unavailable,
)
from ..core import changes, resolve, runs
from ..core.changes import Change, Condition, Entry
from ..core.decisions import Decision
from ..core.orphans import Orphan
from ..core.parameters_left_out import are_left_out
from ..core.policy import DEFAULT_LATE_AFTER, policy
from ..core.views import RunView
from ..launch import workers
from ..launch.pods import Defaults
from .attempts import Attempts
from .launching import RETRY_CREATE, Launching, NotLaunched
from .orphans import LeftBehind
from .references import ReferenceResolver, References
from .revisions import Revisions
from .sources import Body, Cache, Clock, Events, Grant, Key, Logs, Read, Requeue, Slots, Workers
from .strays import Strays

logger = logging.getLogger(__name__)

PASSES = 4  # decisions in one go before the key is queued again


class Outdated(Exception):
    """The write was refused: what it was decided on has changed, or the API server will never take it."""

    def __init__(self, refusal: ApiError) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


class FlowRuns:
    """The reconciler of runs. One key is never reconciled twice at a time; the queue sees to that."""

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        revisions: Revisions,
        events: Events,
        defaults: Defaults,
        slots: Slots,
        clock: Clock,
        late_after: int = DEFAULT_LATE_AFTER,
        logs: Logs | None = None,
        reads: Callable[[Key], Read] | None = None,
        workers: Workers | None = None,
        lately: Read | None = None,
    ) -> None:
        """`reads`: by what to read the references of a run that is being looked at, as they were after it came.

        `lately`: the same as they were some seconds ago at most, which may be before it came.
        """
        self._cluster, self._cache, self._revisions = cluster, cache, revisions
        self._events, self._clock, self._late_after = events, clock, late_after
        self._slots, self._logs, self._workers = slots, logs, workers
        self._reads, self._lately = reads or (lambda _: cluster.get), lately
        self._references = ReferenceResolver(cache, revisions)
        self._attempts = Attempts(cluster, cache, workers)
        self._launching = Launching(cluster, cache, self._references, revisions, defaults, clock)
        self._strays = Strays(cluster, cache)
        self._left_behind = LeftBehind(cluster, cache, slots, workers, clock)

    async def reconcile(self, key: Key) -> Requeue | None:
        """Bring the run a step further; when to look again, if at all. Raises ApiError: again later, with backoff."""
        try:
            return await self._reconcile(key)
        except (Unavailable, NotLeading):  # what was asked for may have been done: its slots are not free
            raise
        except Exception:
            body = self._cache.run(key)
            if body is not None:  # what fails again and again keeps no others waiting
                self._account(RunView(body))
            raise

    async def _reconcile(self, key: Key) -> Requeue | None:
        confirmed, left_behind = False, await self._left_behind.of(key)
        for left in reversed(range(PASSES)):
            body = await self._attempts.fresh(key) if confirmed else self._cache.run(key)
            if body is not None and are_left_out(body) and not RunView(body).resolved:
                body = await self._cluster.get(FLOW_RUNS, *key)
            if body is None:
                self._slots.deleted(key)
                await self._release(key, None, left_behind)
                await self._strays.end_of_settled(key)
                return self._left_behind.again(left_behind)
            run = RunView(body)
            await self._release(key, run, left_behind)
            self._events.tell(body)
            await self._strays.end(run)
            read = self._cluster.get if confirmed else self._reads(key)
            # What only says that a run waits need not be exact: it is read again before the run starts, or fails.
            lately = None if confirmed or not self._slots.crowded(run) else self._lately
            decision = await self._decide(run, read, lately, confirmed=confirmed)
            if decision.confirm and not confirmed:
                confirmed = True
                continue
            try:
                again = await self._apply(run, decision, confirmed=confirmed)
            except Outdated as outdated:
                if not left:
                    raise outdated.refusal from outdated
                logger.debug("run %s/%s changed meanwhile: %s", *key, outdated)
                again = Requeue()
            finally:
                if decision.launches and self._workers is not None:
                    self._workers.settle(run)
            if again is None:
                return self._requeue(decision)
            if again.at is not None:
                return Requeue(min(again.at, decision.due or again.at))
            confirmed = True
        return Requeue(self._clock() + timedelta(seconds=1))

    async def _release(self, key: Key, run: RunView | None, left_behind: list[Orphan]) -> None:
        """Give back what runs of that name held that are no more, once nothing of them is there."""
        if left_behind or not self._slots.haunted(key) or self._attempts.left(key, run):
            return
        await self._attempts.read_pods(key)  # the watch of pods may be behind that of runs
        if not self._attempts.left(key, run):
            self._slots.release(key)

    def _requeue(self, decision: Decision) -> Requeue | None:
        if decision.due is None and decision.waits_for is None:
            return None
        return Requeue(decision.due, decision.waits_for)

    async def _decide(self, run: RunView, read: Read, lately: Read | None, *, confirmed: bool) -> Decision:
        family = await self._attempts.family(run)
        if runs.needs_resolution(run):
            found = self._queued(run) or await self._references.resolve(run, family.parent, lately or read)
            if lately is not None and not isinstance(found.outcome, resolve.Resolution | resolve.Waiting):
                return await self._decide(run, read, None, confirmed=confirmed)
        else:
            found = await self._references.kept(run)
        rules = policy(run.spec, found.deployment, found.pool, self._late_after)
        pool = found.pool or {}
        rules = replace(rules, shared_results=shared_by_pods(run.resolved.get("results"), pool.get("results")))
        seen = self._attempts.of(run)
        displaced, now = self._slots.displaced(run), self._clock()

        def decide(outcome: resolve.Outcome | None) -> Decision:
            return runs.decide(run, seen, outcome, rules, now, confirmed=confirmed, family=family, displaced=displaced)

        decision = decide(found.outcome)
        if decision.launches is None:
            if not decision.awaits_slot:
                self._account(run)
            return decision
        answer = self._slots.ask(run, decision.launches.status["pool"]["name"], _said(decision.launches))
        if not isinstance(answer, Grant):
            return decide(answer)
        if lately is not None:
            return await self._decide(run, read, None, confirmed=confirmed)
        decision = runs.admitted(decision, run, answer.admitted)
        if decision.launches is None or decision.launches.status["poolType"] != "Process":
            return decision
        worker = self._assign(run, decision.launches)
        return decide(worker) if isinstance(worker, resolve.Waiting) else runs.assigned(decision, worker)

    def _assign(self, run: RunView, launches: resolve.Resolution) -> Body | resolve.Waiting:
        """The worker that a run is given to, as `status.worker` says it; or that it waits for one."""
        assert self._workers is not None
        pool = launches.status["pool"]["name"]
        if "resourceVersion" in (launches.pool.get("metadata") or {}):
            self._workers.heard_pool(launches.pool)
        # Who waits for it has a place meanwhile.
        worker = self._workers.choose(run, pool, beyond=is_awaited(run.spec))
        if worker is None:
            message = f"no worker of WorkPool {pool} is ready; the run starts when one is"
            return resolve.Waiting(reasons.WORKERS_NOT_READY, message, "Workers", pool)
        overrides = self._references.overrides(run, (launches.deployment or {}).get("spec"))
        env = workers.variables(launches.status, launches.pool["spec"], overrides)
        return {"name": worker.name, "uid": worker.uid, **({"env": env} if env else {})}

    def _queued(self, run: RunView) -> References | None:
        """What a run waits for that could start but for slots: it was resolved before, and will be when it has them."""
        found = self._slots.waits(run)
        return None if found is None else References(found[0], found[1], None)

    def account(self, body: Body) -> None:
        """Tell who grants slots of a run that holds some, or none."""
        self._account(RunView(body))

    def _account(self, run: RunView) -> None:
        self._slots.observe(run, gone=self._attempts.of(run).over)

    async def _apply(self, run: RunView, decision: Decision, *, confirmed: bool) -> Requeue | None:
        """Carry out a decision. None: done; a Requeue with a time: come back then; without: decide again at once."""
        if decision.launches:
            try:
                await self._keep(run, decision.launches)
            except (AlreadyExists, Forbidden, Invalid) as error:
                self._account(run)
                return await self._refused(run, reasons.POD_CREATE_FORBIDDEN, error.message)
        if decision.settles:
            await self._events.flush(run.uid)
        written = await self._write(run, decision.change)
        if written is not run and not decision.awaits_slot:
            self._account(written)
        if decision.create:
            try:
                return await self._launching.create(written)
            except NotLaunched as error:
                return await self._refused(written, error.reason, error.message)
        if decision.delete and written is run and not confirmed:
            return Requeue()  # nothing was written that a claim would have refused: look whether there is one
        if decision.delete and self._logs is not None:  # a pod takes its last words with it
            await self._logs.follow(pod.body for pod in self._attempts.of(run).live)
        for doomed in decision.delete:
            resource, how = (JOBS, "Foreground") if doomed.kind == "Job" else (PODS, "Background")
            grace = 0 if doomed.force else None
            await self._cluster.delete(
                resource, run.namespace, doomed.name, uid=doomed.uid, grace_seconds=grace, propagation=how
            )
        return None

    async def _keep(self, run: RunView, launches: resolve.Resolution) -> None:
        """Keep what the attempt is launched with, before the run names it."""
        for copy in launches.copies:
            await self._revisions.keep_code(run.namespace, launches.status["flow"]["uid"], copy)
        if launches.status != run.resolved and not launches.revised:
            await self._revisions.keep("WorkPool", launches.pool)
            if launches.deployment:
                await self._revisions.keep("FlowDeployment", launches.deployment)
            for block in launches.blocks:
                await self._revisions.keep("Block", block)

    async def _write(self, run: RunView, change: Change) -> RunView:
        """The run after the change, `run` itself when there is none. Raises Outdated: it must be decided again."""
        ops = changes.patch(run, change, self._clock())
        if not ops:
            return run
        try:
            body = await self._cluster.patch(FLOW_RUNS, run.namespace, run.name, ops, subresource="status")
        except (Invalid, Conflict, NotFound) as error:
            raise Outdated(error) from error
        self._cache.remember(body)
        self._events.tell(body)
        return RunView(body)

    async def _refused(self, run: RunView, reason: str, message: str) -> Requeue:
        """Say on the run why its pod cannot be created; tried again until the pending deadline."""
        entries = () if run.type else (Entry(StateType.SCHEDULED, reason, message),)
        condition = Condition(reasons.POD_READY, False, reason, message)
        await self._write(run, Change(entries, conditions=(condition,)))
        return Requeue() if reason == reasons.POD_INVALID else Requeue(self._clock() + RETRY_CREATE)


def _said(launches: resolve.Resolution) -> list[tuple[str, Body]]:
    """Pool and deployment as they are now; what is kept of earlier ones has no metadata."""
    pairs = (("WorkPool", launches.pool), ("FlowDeployment", launches.deployment))
    return [(kind, body) for kind, body in pairs if body and "resourceVersion" in (body.get("metadata") or {})]
