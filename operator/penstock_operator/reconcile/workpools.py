"""Reconciles a WorkPool: does its template make a valid pod? The API server says, by a dry run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from penstock.api import reasons
from penstock.results.urls import StorageUrl

from ..cluster import PODS, WORK_POOLS, Cluster, Forbidden, Invalid
from ..core import podlogs
from ..launch import pods, workers
from ..launch.pods import Defaults, InvalidTemplate, Launch
from . import conditions
from .conditions import Ready
from .sources import Body, Clock, Key, Requeue
from .workers import WorkerPods

AGAIN = timedelta(minutes=1)
PROBE = "penstock-template-check"


def probe(pool: Body, defaults: Defaults, overrides: Sequence[Body] = ()) -> Body:
    """The pod that a run of the pool with these overrides would get, under a name that no run has."""
    meta = pool["metadata"]
    run: Body = {
        "metadata": {"name": PROBE, "namespace": meta["namespace"], "uid": meta["uid"]},
        "status": {
            "attempt": 0,
            "state": {"seq": 0},
            "resolved": {
                "flow": {"name": PROBE},
                "pool": {"name": meta["name"]},
                "entrypoint": "module:flow",
                "code": {"kind": "image"},
                **({"image": pool["spec"]["image"]} if pool["spec"].get("image") else {}),
            },
        },
    }
    if pool["spec"]["type"] == "Process":
        body = workers.pod(pool, 0, "", defaults)
        body["metadata"]["name"] = PROBE
    else:
        body = pods.pod(Launch(run, pool["spec"], overrides, defaults))
    del body["metadata"]["ownerReferences"]
    return body


class WorkPools:
    """The reconciler of pools."""

    def __init__(
        self,
        cluster: Cluster,
        defaults: Defaults,
        clock: Clock,
        warm: WorkerPods,
        log_archives: Sequence[StorageUrl] = (),
    ) -> None:
        """`warm`: of pools of type Process; `log_archives`: below these, pools may have logs kept."""
        self._cluster, self._defaults, self._clock, self._log_archives = cluster, defaults, clock, log_archives
        self._warm = warm

    async def reconcile(self, key: Key) -> Requeue | None:
        """Write the Ready condition; what the API server refuses, it may take later, so it is asked again."""
        body = await self._cluster.get(WORK_POOLS, *key)
        if body is None:
            return None
        ready = await self._ready(body)
        if ready.ok:
            ready = replace(self._logs(body), fields=ready.fields)
        await conditions.write(self._cluster, WORK_POOLS, key, body, ready, self._clock)
        refused = ready.reason in (reasons.POD_CREATE_FORBIDDEN, reasons.POD_INVALID)
        return Requeue(self._clock() + AGAIN) if refused else None

    def _logs(self, pool: Body) -> Ready:
        """Its runs run whatever is said here, but their logs are not kept."""
        archive = (pool["spec"].get("logs") or {}).get("archive")
        try:
            if archive:
                podlogs.place(archive["url"], self._log_archives)
        except podlogs.NotAllowed as error:
            return Ready(False, reasons.LOGS_ARCHIVE_FORBIDDEN, f"runs start, but their logs are not kept: {error}")
        return Ready(True)

    async def _ready(self, pool: Body) -> Ready:
        if pool["spec"].get("suspend"):
            return Ready(False, reasons.POOL_SUSPENDED, "spec.suspend is set: no runs are started")
        if pool["spec"].get("concurrencyLimit") == 0:
            message = "spec.concurrencyLimit is 0: no runs are started; raise or unset it"
            return Ready(False, reasons.LIMIT_ZERO, message)
        found = await self._template(pool)
        if found.ok and pool["spec"]["type"] == "Process":
            return self._warm.ready(pool)
        return found

    async def _template(self, pool: Body) -> Ready:
        if pool["spec"]["type"] == "Process" and "worker" not in pool["spec"]:
            return Ready(True)  # whoever starts its workers has a template of their own
        if conditions.said(pool) == Ready(True):  # of this spec; what changed around it, the next run's pod is told
            return Ready(True)
        try:
            manifest = probe(pool, self._defaults)
        except InvalidTemplate as error:
            return Ready(False, reasons.POD_INVALID, str(error))
        try:
            await self._cluster.create(PODS, pool["metadata"]["namespace"], manifest, dry_run=True)
        except Invalid as error:
            return Ready(False, reasons.POD_INVALID, f"spec.template makes no valid pod: {error.message}")
        except Forbidden as error:
            if "exceeded quota" in error.message:  # of the moment, and not of the template
                return Ready(True)
            return Ready(False, reasons.POD_CREATE_FORBIDDEN, f"the API server refuses its pods: {error.message}")
        return Ready(True)
