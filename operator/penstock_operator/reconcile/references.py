"""Follows a run's references: to what its next attempt is launched with, and to what an earlier one was.

Called by `flowruns` before it decides, and by `launching`. What comes of what is found is for `core.resolve` and
`core.retried`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

from penstock.api import reasons

from ..cluster import BLOCKS, FLOW_DEPLOYMENTS, FLOW_RUNS, FLOWS, WORK_POOLS
from ..core import resolve, retried
from ..core.parameters_left_out import are_left_out
from ..core.views import RunView
from .revisions import Revisions
from .sources import Body, Cache, Key, Read


class References(NamedTuple):
    """What a run's references lead to, where that is asked for, and the specs whose policy holds for it."""

    outcome: resolve.Outcome | None
    deployment: Body | None
    pool: Body | None


class ReferenceResolver:
    """Reads what runs refer to: as it is now, or of the revisions that were kept."""

    def __init__(self, cache: Cache, revisions: Revisions) -> None:
        self._cache, self._revisions = cache, revisions

    async def kept(self, run: RunView) -> References:
        """The specs that its attempt was launched with; None where they are deleted."""
        return References(None, await self._revised(run, "deployment"), await self._revised(run, "pool"))

    async def resolve(self, run: RunView, parent: RunView | None, read: Read) -> References:
        """What its next attempt is launched with. Raises ApiError."""
        if run.resolved:
            before = await self._resolved_before(run)
            if before is not None:
                return before
        if "task" in run.spec and run.parent:
            return await self._as_its_parent(run, parent)
        if "retryOf" in run.spec:
            return await self._retried(run, read)
        return await self._resolve_anew(run, read)

    def overrides(self, run: RunView, deployment: Body | None) -> list[Body]:
        """The pod overrides that a run is launched with, given the spec of its deployment; later ones win."""
        return [(deployment or {}).get("pod") or {}, self._inherited(run), run.spec.get("pod") or {}]

    async def _as_its_parent(self, run: RunView, parent: RunView | None) -> References:
        """What a task of a run is launched with: never what the task itself names, for a run makes it as it likes."""
        if parent is None or parent.uid != run.parent["uid"] or not parent.resolved:
            return References(resolve.orphaned(run), None, None)
        _, deployment, pool = kept = await self.kept(parent)
        if pool is None:
            return kept._replace(outcome=resolve.orphaned(run))
        return kept._replace(outcome=resolve.as_its_parent(run, parent, deployment, pool))

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
        _, deployment, pool = await self.kept(run)
        if pool is None or (deployment is None and "deployment" in run.resolved):
            return None
        kept = {"spec": deployment} if deployment is not None else None
        refused = overrides_refused(run, pool, self.overrides(run, deployment))
        if refused:
            return References(resolve.Refused(reasons.INVALID_OVERRIDES, refused), deployment, pool)
        return References(resolve.Resolution(run.resolved, {"spec": pool}, kept, (), {}), deployment, pool)

    async def _revised(self, run: RunView, what: str) -> Body | None:
        name = (run.resolved.get(what) or {}).get("revision")
        return await self._revisions.spec(run.namespace, name) if name else None

    def _inherited(self, run: RunView) -> Body:
        """The pod overrides of the run that a task in a pod of its own is of."""
        parent = self._cache.run(Key(run.namespace, run.parent["name"])) if run.parent and "task" in run.spec else None
        if parent is None or parent["metadata"]["uid"] != run.parent["uid"]:
            return {}
        inherited: Body = parent["spec"].get("pod") or {}
        return inherited


def overrides_refused(run: RunView, pool: Body | None, overrides: Iterable[Body]) -> str | None:
    """Which overrides the pool that the run was resolved with, of that spec, does not allow.

    A spec may have come by another way than that of the rules which keep it as it was.
    """
    kept = {"metadata": {"name": run.resolved["pool"]["name"]}, "spec": pool or {}}
    return resolve.overrides_refused(kept, *overrides)
