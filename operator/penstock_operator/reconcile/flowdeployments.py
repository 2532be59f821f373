"""Reconciles a FlowDeployment: are its flow and pool there, do its parameters fit, are its overrides allowed?"""

from __future__ import annotations

from penstock.api import names, reasons

from ..cluster import FLOW_DEPLOYMENTS, FLOWS, WORK_POOLS, Cluster
from ..core import parameters, resolve
from . import conditions
from .conditions import Ready
from .revisions import Revisions
from .sources import Body, Clock, Key, Requeue


def ready(deployment: Body, flow: Body | None, pool: Body | None) -> Ready:
    """Whether runs of the deployment could be launched, as far as can be said before a run names its parameters."""
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
            return Ready(False, waiting.reason, message, fields, waits_for=(kind, name))
    assert flow is not None
    assert pool is not None
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
    return Ready(True, fields=fields)


class FlowDeployments:
    """The reconciler of deployments."""

    def __init__(self, cluster: Cluster, clock: Clock, revisions: Revisions) -> None:
        self._cluster, self._clock, self._revisions = cluster, clock, revisions

    async def reconcile(self, key: Key) -> Requeue | None:
        """Write the Ready condition, and keep what was deployed; wait for what is missing."""
        body = await self._cluster.get(FLOW_DEPLOYMENTS, *key)
        if body is None:
            return None
        flow = await self._cluster.get(FLOWS, key.namespace, body["spec"]["flowRef"]["name"])
        pool = await self._cluster.get(WORK_POOLS, key.namespace, body["spec"].get("workPool") or resolve.DEFAULT_POOL)
        found = ready(body, flow, pool)
        await self._revisions.keep_new(FLOW_DEPLOYMENTS.kind, body)
        await conditions.write(self._cluster, FLOW_DEPLOYMENTS, key, body, found, self._clock)
        # Whatever becomes of its flow concerns it; that it is looked at now and then suffices for its pool.
        return Requeue(waits_for=found.waits_for or ("Flow", body["spec"]["flowRef"]["name"]))
