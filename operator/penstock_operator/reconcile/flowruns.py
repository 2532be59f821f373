"""Reconciles one FlowRun: read from the cache, decide, write at most once, then create or delete."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from penstock.api import labels, names, reasons
from penstock.api.launches import is_awaited
from penstock.api.sharing import shared_by_pods
from penstock.api.states import StateType

from ..cluster import (
    BLOCKS,
    FLOW_DEPLOYMENTS,
    FLOW_RUNS,
    FLOWS,
    JOBS,
    PODS,
    WORK_POOLS,
    AlreadyExists,
    ApiError,
    Cluster,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    NotLeading,
    ResourceType,
    Unavailable,
)
from ..core import attempts, changes, owners, pod_events, resolve, retried, runs
from ..core.attempts import Attempt
from ..core.changes import Change, Condition, Entry
from ..core.children import Family
from ..core.decisions import Decision
from ..core.parameters_left_out import are_left_out
from ..core.policy import DEFAULT_LATE_AFTER, policy
from ..core.views import JobView, PodView, RunView
from ..launch import jobs, pods, workers
from ..launch.pods import Defaults, InvalidTemplate, Launch
from .nodes import read_doubted
from .orphans import LeftBehind
from .revisions import Revisions
from .sources import Body, Cache, Clock, Events, Grant, Key, Logs, Read, Requeue, Slots, Workers
from .strays import Strays
from .workers import read_worker

logger = logging.getLogger(__name__)

RETRY_CREATE = timedelta(seconds=10)  # after a quota, a policy or a webhook that is down kept the pod from being made
WEBHOOK_DOWN = "failed calling webhook"  # how the API server begins to say that an admission webhook does not answer
PASSES = 4  # decisions in one go before the key is queued again


class Outdated(Exception):
    """The write was refused: what it was decided on has changed, or the API server will never take it."""

    def __init__(self, refusal: ApiError) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


class References(NamedTuple):
    """What a run's references lead to, where that is asked for, and the specs whose policy holds for it."""

    outcome: resolve.Outcome | None
    deployment: Body | None
    pool: Body | None


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
        self._events, self._defaults, self._clock, self._late_after = events, defaults, clock, late_after
        self._slots, self._logs, self._workers = slots, logs, workers
        self._reads, self._lately = reads or (lambda _: cluster.get), lately
        self._strays = Strays(cluster, cache)
        self._left_behind = LeftBehind(cluster, cache, slots, workers, clock)
        self._forbidden: dict[str, datetime] = {}  # uid of a run whose pod was refused -> when to try again

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
            body = await self._fresh(key) if confirmed else self._cache.run(key)
            if body is not None and are_left_out(body) and not RunView(body).resolved:
                body = await self._cluster.get(FLOW_RUNS, *key)
            if body is None:
                live = any(not PodView(pod).gone for pod in self._cache.pods(key))
                self._slots.deleted(key, live=live or bool(left_behind))
                await self._strays.end_of_settled(key)
                return self._left_behind.again(left_behind)
            run = RunView(body)
            if self._slots.haunted(key):
                others = (PodView(pod) for pod in self._cache.pods(key) if not owners.belongs(pod, run))
                if all(pod.gone for pod in others) and not left_behind:
                    self._slots.release(key)
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

    def _requeue(self, decision: Decision) -> Requeue | None:
        if decision.due is None and decision.waits_for is None:
            return None
        return Requeue(decision.due, decision.waits_for)

    async def _fresh(self, key: Key) -> Body | None:
        """The run, its Job and its pods by consistent reads, which the cache then knows.

        In this order: a pod that has claimed the run as it was read, or that a finished Job has made, was there before
        the list that follows; where the list does not show it, it is gone.
        """
        body = await self._cluster.get(FLOW_RUNS, *key)
        if body is None:
            return None
        self._cache.remember(body)
        run = RunView(body)
        if "worker" in run.status:
            assert self._workers is not None
            await read_worker(self._cluster, self._workers, run.namespace, run.status["worker"]["name"])
        if run.resolved.get("poolType") == "Job":
            name = names.pod(run.name, run.attempt)
            job = await self._cluster.get(JOBS, key.namespace, name)
            if job is None:
                self._cache.forget_job(key, name)
            else:
                self._cache.remember({**job, "kind": "Job"})
        selector = f"{labels.MANAGED_BY}={labels.MANAGED_BY_VALUE},{labels.RUN}={key.name}"
        found: set[str] = set()
        async for page in self._cluster.list_pages(PODS, key.namespace, label_selector=selector):
            for pod in page.items:
                found.add(pod["metadata"]["name"])
                self._cache.remember({"apiVersion": "v1", "kind": "Pod", **pod})
        for pod in self._cache.pods(key):
            if pod["metadata"]["name"] not in found:
                self._cache.forget_pod(key, pod["metadata"]["name"])
        await read_doubted(self._cluster, self._cache, (pod.node for pod in self._attempt(run).pods))
        return body

    async def _decide(self, run: RunView, read: Read, lately: Read | None, *, confirmed: bool) -> Decision:
        family = await self._family(run)
        if runs.needs_resolution(run):
            found = self._queued(run) or await self._resolve(run, family.parent, lately or read)
            if lately is not None and not isinstance(found.outcome, resolve.Resolution | resolve.Waiting):
                return await self._decide(run, read, None, confirmed=confirmed)
        else:
            found = References(None, await self._revised(run, "deployment"), await self._revised(run, "pool"))
        rules = policy(run.spec, found.deployment, found.pool, self._late_after)
        pool = found.pool or {}
        rules = replace(rules, shared_results=shared_by_pods(run.resolved.get("results"), pool.get("results")))
        seen = self._attempt(run)
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
        overrides = [(launches.deployment or {}).get("spec", {}).get("pod") or {}, self._inherited(run)]
        overrides.append(run.spec.get("pod") or {})
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
        self._slots.observe(run, gone=self._attempt(run).over)

    async def _family(self, run: RunView) -> Family:
        parent: Body | None = None
        reference = run.parent
        if reference and (run.in_parent or reference.get("awaited") or "task" in run.spec):
            parent = self._cache.run(Key(run.namespace, reference["name"]))
            if parent is None or parent["metadata"]["uid"] != reference["uid"]:  # settled, or deleted
                parent = await self._cluster.get(FLOW_RUNS, run.namespace, reference["name"])
        mine = (RunView(body) for body in self._cache.children(Key(run.namespace, run.name)))
        unfinished = any(
            child.in_parent and child.parent.get("uid") == run.uid and not (child.type and child.type.terminal)
            for child in mine
        )
        return Family(None if parent is None else RunView(parent), unfinished)

    def _attempt(self, run: RunView) -> Attempt:
        if "worker" in run.status:
            return self._in_worker(run)
        key = Key(run.namespace, run.name)
        seen = tuple(
            PodView(pod)
            for pod in self._cache.pods(key)
            if (pod["metadata"].get("labels") or {}).get(labels.ATTEMPT) == str(run.attempt)
            and owners.belongs(pod, run)
        )
        job = self._cache.job(key, names.pod(run.name, run.attempt)) if run.resolved.get("poolType") == "Job" else None
        mine = JobView(job) if job and owners.controller_uid(job) == run.uid else None
        subjects = pod_events.subjects(seen, mine) if run.type is StateType.PENDING else ()
        told = next((cause for uid in subjects if (cause := self._cache.told(uid))), None)
        last = self._cache.departed(run.claimed_uid) if run.claimed_uid else None
        departed = PodView(last) if last is not None else None
        return Attempt(seen, mine, self._cache.lost_nodes(), self._cache.silent_nodes(), told, departed)

    def _in_worker(self, run: RunView) -> Attempt:
        assert self._workers is not None
        name, last = run.status["worker"]["name"], self._cache.departed(run.status["worker"]["uid"])
        return attempts.in_worker(
            run,
            self._workers.lease(run.namespace, name),
            self._workers.pod(run.namespace, name),
            silent=self._workers.silent(run.namespace, name),
            departed=PodView(last) if last is not None else None,
            lost_nodes=self._cache.lost_nodes(),
            silent_nodes=self._cache.silent_nodes(),
        )

    async def _revised(self, run: RunView, what: str) -> Body | None:
        name = (run.resolved.get(what) or {}).get("revision")
        return await self._revisions.spec(run.namespace, name) if name else None

    async def _resolve(self, run: RunView, parent: RunView | None, read: Read) -> References:
        if run.resolved:
            before = await self._resolved_before(run)
            if before is not None:
                return before
        if "task" in run.spec and run.parent:
            return await self._as_its_parent(run, parent)
        if "retryOf" in run.spec:
            return await self._retried(run, read)
        return await self._resolve_anew(run, read)

    async def _as_its_parent(self, run: RunView, parent: RunView | None) -> References:
        """What a task of a run is launched with: never what the task itself names, for a run makes it as it likes."""
        if parent is None or parent.uid != run.parent["uid"] or not parent.resolved:
            return References(resolve.orphaned(run), None, None)
        kept, kept_pool = await self._revised(parent, "deployment"), await self._revised(parent, "pool")
        if kept_pool is None:
            return References(resolve.orphaned(run), kept, None)
        return References(resolve.as_its_parent(run, parent, kept, kept_pool), kept, kept_pool)

    async def _retried(self, run: RunView, read: Read) -> References:
        """What the run that it retries was launched with; resolved anew where that can no longer be had."""
        body = await read(FLOW_RUNS, run.namespace, run.spec["retryOf"]["name"])
        old = None if body is None else RunView(body)
        refused = retried.refused(run, old)
        if refused or old is None:
            return References(refused, None, None)
        reference, kept = old.resolved.get("deployment"), await self._revised(old, "deployment")
        if not old.resolved or (reference and kept is None):
            found = await self._resolve_anew(run, read)
            if found.outcome is None:
                return found
            return found._replace(outcome=retried.with_results(found.outcome, old))
        name = retried.pool_name(run, old)
        pool = await read(WORK_POOLS, run.namespace, name)
        if pool is None:
            return References(resolve.missing("WorkPool", name), kept, None)
        return References(retried.as_before(run, old, kept, pool), kept, pool["spec"])

    async def _resolve_anew(self, run: RunView, read: Read) -> References:
        deployment: Body | None = None
        reference = run.spec.get("deploymentRef")
        if reference:
            deployment = await read(FLOW_DEPLOYMENTS, run.namespace, reference["name"])
            if deployment is None:
                return References(resolve.missing("FlowDeployment", reference["name"]), None, None)
        if are_left_out(run.body):  # of an earlier attempt, whose revisions are deleted
            run = RunView(await read(FLOW_RUNS, run.namespace, run.name) or run.body)
        deployed = deployment["spec"] if deployment else None
        of, to = resolve.flow_name(run, deployment), resolve.pool_name(run, deployment)
        flow, pool = await asyncio.gather(read(FLOWS, run.namespace, of), read(WORK_POOLS, run.namespace, to))
        if flow is None:
            return References(resolve.missing("Flow", of), deployed, None)
        if pool is None:
            return References(resolve.missing("WorkPool", to), deployed, None)
        blocks = []
        for name in resolve.block_names(flow):
            block = await read(BLOCKS, run.namespace, name)
            if block is None:
                return References(resolve.missing("Block", name), deployed, pool["spec"])
            blocks.append(block)
        return References(resolve.resolve(run, deployment, flow, pool, tuple(blocks)), deployed, pool["spec"])

    async def _resolved_before(self, run: RunView) -> References | None:
        """What an earlier attempt was launched with, whatever was edited since; None when its revisions are deleted."""
        pool = await self._revised(run, "pool")
        deployment = await self._revised(run, "deployment")
        if pool is None or (deployment is None and "deployment" in run.resolved):
            return None
        kept = {"spec": deployment} if deployment is not None else None
        refused = self._overrides_refused(run, deployment, pool)
        if refused:
            return References(resolve.Refused(reasons.INVALID_OVERRIDES, refused), deployment, pool)
        return References(resolve.Resolution(run.resolved, {"spec": pool}, kept, (), {}), deployment, pool)

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
            return await self._create(written)
        if decision.delete and written is run and not confirmed:
            return Requeue()  # nothing was written that a claim would have refused: look whether there is one
        if decision.delete and self._logs is not None:  # a pod takes its last words with it
            await self._logs.follow(pod.body for pod in self._attempt(run).live)
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

    async def _create(self, run: RunView) -> Requeue | None:
        if run.deleting or "resolved" not in run.status:
            return None
        later = self._forbidden.get(run.uid)
        if later is not None and self._clock() < later:
            return Requeue(later)
        pool, deployment = await self._revised(run, "pool"), await self._revised(run, "deployment")
        for what, spec in (("pool", pool), ("deployment", deployment)):
            if spec is None and what in run.resolved:
                message = f"ControllerRevision {run.resolved[what]['revision']}, which it was launched with, is deleted"
                return await self._refused(run, reasons.POD_INVALID, message)
        refused = self._overrides_refused(run, deployment, pool)
        if refused:
            return await self._refused(run, reasons.POD_INVALID, refused)
        overrides = [(deployment or {}).get("pod") or {}, self._inherited(run), run.spec.get("pod") or {}]
        blocks: dict[str, Body] = {}
        for reference in run.resolved.get("blocks") or ():
            block = await self._revisions.spec(run.namespace, reference["revision"])
            if block is None:
                message = f"Block {reference['name']} was deleted after the run was resolved: create it and a new run"
                return await self._refused(run, reasons.BLOCK_NOT_FOUND, message)
            blocks[reference["name"]] = block
        launch = Launch(run.body, pool or {}, overrides, self._defaults, blocks)
        resource, build = (JOBS, jobs.job) if run.resolved["poolType"] == "Job" else (PODS, pods.pod)
        try:
            manifest = build(launch)
        except InvalidTemplate as error:
            return await self._refused(run, reasons.POD_INVALID, str(error))
        try:
            created = await self._cluster.create(resource, run.namespace, manifest)
        except AlreadyExists:
            return await self._taken(run, resource, launch.name)
        except (Forbidden, Unavailable) as error:
            # A webhook is asked before anything is stored: no other 500 says as surely that there is no pod.
            if isinstance(error, Unavailable) and WEBHOOK_DOWN not in error.message:
                raise
            now = self._clock()
            self._forbidden = {uid: time for uid, time in self._forbidden.items() if time > now}
            self._forbidden[run.uid] = now + RETRY_CREATE
            return await self._refused(run, reasons.POD_CREATE_FORBIDDEN, error.message)
        except Invalid as error:
            return await self._refused(run, reasons.POD_INVALID, error.message)
        self._cache.remember({**created, "kind": resource.kind})
        return None

    def _overrides_refused(self, run: RunView, deployment: Body | None, pool: Body | None) -> str | None:
        """Which overrides the pool that the run was resolved with does not allow: a spec may have come by another way
        than that of the rules which keep it as it was."""
        kept = {"metadata": {"name": run.resolved["pool"]["name"]}, "spec": pool or {}}
        layers = ((deployment or {}).get("pod") or {}, self._inherited(run), run.spec.get("pod") or {})
        return resolve.overrides_refused(kept, *layers)

    def _inherited(self, run: RunView) -> Body:
        """The pod overrides of the run that a task in a pod of its own is of."""
        parent = self._cache.run(Key(run.namespace, run.parent["name"])) if run.parent and "task" in run.spec else None
        if parent is None or parent["metadata"]["uid"] != run.parent["uid"]:
            return {}
        inherited: Body = parent["spec"].get("pod") or {}
        return inherited

    async def _taken(self, run: RunView, resource: ResourceType, name: str) -> Requeue | None:
        """The name is taken: by this very run, then it is done; or by another object, then wait until it has gone."""
        body = await self._cluster.get(resource, run.namespace, name)
        if body is None:
            return Requeue()
        if owners.controller_uid(body) == run.uid:
            self._cache.remember({**body, "kind": resource.kind})
            return None
        message = f"{resource.kind} {name} exists and is not of this run: it starts when that is deleted"
        return await self._refused(run, reasons.POD_CREATE_FORBIDDEN, message)

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
