"""Reconciles a FlowDeployment: are flow, pool and queue there, do its parameters fit, are its overrides allowed, can
its schedules be read, and do theirs?"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from penstock.api import names, reasons
from penstock.schedules import slots
from penstock.schedules.parameters import misfits

from ..cluster import FLOW_DEPLOYMENTS, FLOWS, PODS, WORK_POOLS, WORK_QUEUES, Cluster, Forbidden, Invalid
from ..core import parameters, resolve
from ..core.schedules import is_cut
from ..core.views import parse_time
from ..launch.pods import Defaults, InvalidTemplate
from . import conditions
from .conditions import Ready
from .revisions import Revisions
from .schedules import Schedules
from .sources import Body, Cache, Clock, Key, Read, Requeue
from .workpools import PROBE, probe

AGAIN = timedelta(seconds=1)  # after somebody else wrote it meanwhile


def ready(deployment: Body, flow: Body | None, pool: Body | None, queue: Body | None) -> Ready:
    """Whether runs of the deployment could be launched, as far as can be said before a run names its parameters.

    `queue`: the one that it names, where it is there.
    """
    spec, meta = deployment["spec"], deployment["metadata"]
    revision = names.revision("FlowDeployment", meta["name"], meta["uid"], meta.get("generation") or 0)
    fields = (("revision", revision),)
    for kind, name, found in (
        ("Flow", spec["flowRef"]["name"], flow),
        ("WorkPool", spec.get("workPool") or resolve.DEFAULT_POOL, pool),
    ):
        if found is None:
            waiting = resolve.missing(kind, name)
            message = f"{kind} {name} is not in this namespace: apply it, or correct the deployment"
            return Ready(False, waiting.reason, message, fields)
    assert flow is not None
    assert pool is not None
    lost = _lost_queue(spec, pool, queue)
    if lost:
        return Ready(False, reasons.QUEUE_NOT_FOUND, lost, fields)
    # What a run must still give is no fault of the deployment.
    wrong = parameters.problems(flow["spec"].get("parameters"), spec.get("parameters") or {}, partial=True)
    if wrong:
        return Ready(False, reasons.INVALID_PARAMETERS, "parameters do not fit the flow: " + "; ".join(wrong), fields)
    refused = resolve.overrides_refused(pool, spec.get("pod") or {})
    if refused:
        return Ready(False, reasons.INVALID_OVERRIDES, refused, fields)
    if (spec.get("concurrency") or {}).get("limit") == 0:
        message = "spec.concurrency.limit is 0: no runs are started; raise it, or unset spec.concurrency"
        return Ready(False, reasons.LIMIT_ZERO, message, fields)
    unfit = misfits(flow["spec"].get("parameters"), spec.get("parameters"), spec.get("schedules") or ())
    if unfit:
        message = f"runs of these schedules fail, for their parameters do not fit the flow: {'; '.join(unfit)}"
        return Ready(False, reasons.INVALID_PARAMETERS, message, fields)
    unread = slots.problems(spec.get("schedules") or (), parse_time(meta["creationTimestamp"]))
    if unread:
        return Ready(False, reasons.INVALID_SCHEDULE, "; ".join(unread), fields)
    return Ready(True, fields=fields)


def _lost_queue(spec: Body, pool: Body, queue: Body | None) -> str | None:
    """Why runs wait for the queue that is named; None where they are in it, or none is named."""
    name, own = spec.get("queue"), pool["metadata"]["name"]
    if not name:
        return None
    if queue is None:
        return (
            f"spec.queue: WorkQueue {name} is not in this namespace, and runs wait for it: apply it, with workPoolRef "
            f"{own}, or correct spec.queue"
        )
    other = queue["spec"]["workPoolRef"]["name"]
    if other == own:
        return None
    return (
        f"spec.queue: WorkQueue {name} is of WorkPool {other}, and runs of WorkPool {own} wait for one of that name: "
        f"name a queue of {own}, or set spec.workPool to {other}"
    )


class FlowDeployments:
    """The reconciler of deployments."""

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        clock: Clock,
        revisions: Revisions,
        schedules: Schedules,
        reads: Callable[[Key], Read] | None = None,
    ) -> None:
        """`reads`: by what to read flow, pool and queue of a deployment that is being looked at, as they were after it
        was named."""
        self._cluster, self._cache, self._clock, self._revisions = cluster, cache, clock, revisions
        self._schedules, self._reads = schedules, reads or (lambda _: cluster.get)

    async def reconcile(self, key: Key) -> Requeue | None:
        """Write the Ready condition, and keep what was deployed.

        The controller names the deployment again when its flow, pool or queue changes. What is known of a small one
        is all that it says; were it too old, the write would be refused.
        """
        body = self._cache.deployment(key)
        if body is None or is_cut(body):
            body = await self._cluster.get(FLOW_DEPLOYMENTS, *key)
        if body is None:
            return None
        read = self._reads(key)
        flow = await read(FLOWS, key.namespace, body["spec"]["flowRef"]["name"])
        pool = await read(WORK_POOLS, key.namespace, body["spec"].get("workPool") or resolve.DEFAULT_POOL)
        named = body["spec"].get("queue")
        queue = await read(WORK_QUEUES, key.namespace, named) if named else None
        if body["spec"].get("schedules"):
            found = await asyncio.to_thread(ready, body, flow, pool, queue)  # it may take long: others have their turn
        else:
            found = ready(body, flow, pool, queue)
        if found.ok and pool is not None:
            found = await self._overrides(body, pool) or found
        await self._revisions.keep_new(FLOW_DEPLOYMENTS.kind, body)
        ahead = self._schedules.ahead(key, body)
        if await conditions.write(self._cluster, FLOW_DEPLOYMENTS, key, ahead, found, self._clock, self._written):
            return None
        return Requeue(self._clock() + AGAIN)

    def _written(self, body: Body) -> None:
        self._cache.remember({**body, "kind": FLOW_DEPLOYMENTS.kind})

    async def _overrides(self, deployment: Body, pool: Body) -> Ready | None:
        """What the API server says of a pod with the deployment's changes; None where it takes it.

        Asked once of a deployment as it is, and not of a pool whose own template it refuses.
        """
        over, own = deployment["spec"].get("pod"), conditions.said(pool)
        process = pool["spec"]["type"] == "Process"  # its pods are there before their runs
        if not over or process or conditions.said(deployment) == Ready(True) or (own is not None and not own.ok):
            return None
        try:
            manifest = probe(pool, Defaults(over.get("image") or PROBE), [over])
            await self._cluster.create(PODS, pool["metadata"]["namespace"], manifest, dry_run=True)
        except (Invalid, InvalidTemplate) as error:
            meta = deployment["metadata"]
            revision = names.revision("FlowDeployment", meta["name"], meta["uid"], meta.get("generation") or 0)
            message = f"spec.pod makes no valid pod of WorkPool {pool['metadata']['name']}: {error}"
            return Ready(False, reasons.INVALID_OVERRIDES, message, (("revision", revision),))
        except Forbidden:  # of the moment, and the pool's to tell
            return None
        return None
