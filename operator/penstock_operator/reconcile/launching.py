"""Creates the pod or Job of an attempt, of the revisions with which its run was resolved.

Called by `flowruns` once the run says that it is about to be launched, as often as it takes: what is created has a name
of the attempt's own.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from penstock.api import reasons

from ..cluster import JOBS, PODS, AlreadyExists, Cluster, Forbidden, Invalid, ResourceType, Unavailable
from ..core import owners
from ..core.views import RunView
from ..launch import jobs, pods
from ..launch.pods import Defaults, InvalidTemplate, Launch
from .references import ReferenceResolver, overrides_refused
from .revisions import Revisions
from .sources import Body, Cache, Clock, Requeue

RETRY_CREATE = timedelta(seconds=10)  # after a quota, a policy or a webhook that is down kept the pod from being made
WEBHOOK_DOWN = "failed calling webhook"  # how the API server begins to say that an admission webhook does not answer


class NotLaunched(Exception):
    """The pod cannot be created, as the run is to say."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason, self.message = reason, message


class Launching:
    """Who creates the pods and Jobs of runs."""

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        references: ReferenceResolver,
        revisions: Revisions,
        defaults: Defaults,
        clock: Clock,
    ) -> None:
        self._cluster, self._cache, self._references = cluster, cache, references
        self._revisions, self._defaults, self._clock = revisions, defaults, clock
        self._forbidden: dict[str, datetime] = {}  # uid of a run whose pod was refused -> when to try again

    async def create(self, run: RunView) -> Requeue | None:
        """Make sure that it is there. None: it is; a Requeue with a time: come back then; without: look again at once.

        Raises NotLaunched, and ApiError where it is not known whether it is there.
        """
        if run.deleting or "resolved" not in run.status:
            return None
        later = self._forbidden.get(run.uid)
        if later is not None and self._clock() < later:
            return Requeue(later)
        _, deployment, pool = await self._references.kept(run)
        for what, spec in (("pool", pool), ("deployment", deployment)):
            if spec is None and what in run.resolved:
                message = f"ControllerRevision {run.resolved[what]['revision']}, which it was launched with, is deleted"
                raise NotLaunched(reasons.POD_INVALID, message)
        overrides = self._references.overrides(run, deployment)
        refused = overrides_refused(run, pool, overrides)
        if refused:
            raise NotLaunched(reasons.POD_INVALID, refused)
        blocks: dict[str, Body] = {}
        for reference in run.resolved.get("blocks") or ():
            block = await self._revisions.spec(run.namespace, reference["revision"])
            if block is None:
                message = f"Block {reference['name']} was deleted after the run was resolved: create it and a new run"
                raise NotLaunched(reasons.BLOCK_NOT_FOUND, message)
            blocks[reference["name"]] = block
        launch = Launch(run.body, pool or {}, overrides, self._defaults, blocks)
        resource, build = (JOBS, jobs.job) if run.resolved["poolType"] == "Job" else (PODS, pods.pod)
        try:
            manifest = build(launch)
        except InvalidTemplate as error:
            raise NotLaunched(reasons.POD_INVALID, str(error)) from error
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
            raise NotLaunched(reasons.POD_CREATE_FORBIDDEN, error.message) from error
        except Invalid as error:
            raise NotLaunched(reasons.POD_INVALID, error.message) from error
        self._cache.remember({**created, "kind": resource.kind})
        return None

    async def _taken(self, run: RunView, resource: ResourceType, name: str) -> Requeue | None:
        """The name is taken: by this very run, then it is done; or by another object, then wait until it has gone."""
        body = await self._cluster.get(resource, run.namespace, name)
        if body is None:
            return Requeue()
        if owners.controller_uid(body) == run.uid:
            self._cache.remember({**body, "kind": resource.kind})
            return None
        message = f"{resource.kind} {name} exists and is not of this run: it starts when that is deleted"
        raise NotLaunched(reasons.POD_CREATE_FORBIDDEN, message)
