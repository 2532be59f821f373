"""Immutable copies of what a run was launched from: specs of pools and deployments as ControllerRevisions, source text
as content-addressed ConfigMaps. So an edit never changes a run under way, and a run stays small.

They have no ownerReferences: who deletes a pool or a deployment does not take its runs' rules away."""

from __future__ import annotations

from collections.abc import Callable

from penstock.api import labels, names

from ..cluster import CONFIG_MAPS, CONTROLLER_REVISIONS, AlreadyExists, Cluster, Conflict, ResourceType
from .sources import Body

KNOWN = 4096


class Revisions:
    """Creates and reads revisions; what was seen once is remembered, for none of it ever changes."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._specs: dict[tuple[str, str], Body] = {}
        self._code: set[tuple[str, str, str]] = set()

    async def keep(self, kind: str, body: Body) -> None:
        """Make sure that the object's current generation is kept. Raises AlreadyExists when its name is taken."""
        meta = body["metadata"]
        name = names.revision(kind, meta["name"], meta["uid"], meta.get("generation") or 0)
        key = (meta["namespace"], name)
        if key in self._specs:
            return
        revision = {
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": {
                "name": name,
                "namespace": meta["namespace"],
                "labels": {
                    labels.MANAGED_BY: labels.MANAGED_BY_VALUE,
                    labels.OWNER_KIND: kind,
                    labels.OWNER_NAME: meta["name"][:63],
                },
                "annotations": {labels.OWNER_UID: meta["uid"]},
            },
            "revision": meta.get("generation") or 0,
            "data": body["spec"],
        }
        kept = await self._create(CONTROLLER_REVISIONS, revision, lambda found: _owned_by(found, meta["uid"]))
        self._remember(key, kept["data"])

    async def spec(self, namespace: str, name: str) -> Body | None:
        """The spec that a revision keeps; None when somebody deleted it."""
        key = (namespace, name)
        if key not in self._specs:
            body = await self._cluster.get(CONTROLLER_REVISIONS, namespace, name)
            if body is None:
                return None
            self._remember(key, body["data"])
        return self._specs[key]

    async def keep_code(self, namespace: str, flow_uid: str, digest: str, text: str) -> None:
        """Make sure that source text is there under its content digest. Raises AlreadyExists when its name is taken.

        What was kept for a flow is not kept for a namesake of later: a namespace may be deleted and made anew.
        """
        key = (namespace, flow_uid, digest)
        if key in self._code:
            return
        config_map = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": names.code_config_map(digest),
                "namespace": namespace,
                "labels": {labels.MANAGED_BY: labels.MANAGED_BY_VALUE},
                "annotations": {labels.CODE_DIGEST: digest},
            },
            "immutable": True,
            "data": {labels.CODE_FILE: text},
        }
        await self._create(CONFIG_MAPS, config_map, lambda found: found.get("data") == config_map["data"])
        if len(self._code) >= KNOWN:
            self._code.clear()
        self._code.add(key)

    async def _create(self, resource: ResourceType, body: Body, same: Callable[[Body], bool]) -> Body:
        """The object, created or there already. Raises AlreadyExists when another has its name."""
        meta = body["metadata"]
        try:
            return await self._cluster.create(resource, meta["namespace"], body)
        except AlreadyExists as error:
            found = await self._cluster.get(resource, meta["namespace"], meta["name"])
            if found is None:
                raise Conflict(409, "Conflict", f"{resource.kind} {meta['name']} was deleted meanwhile") from error
            if not same(found):
                message = f"{resource.kind} {meta['name']} exists and is not the operator's: delete it"
                raise AlreadyExists(error.status, error.reason, message) from error
            return found

    def _remember(self, key: tuple[str, str], spec: Body) -> None:
        if len(self._specs) >= KNOWN:
            self._specs.clear()
        self._specs[key] = spec


def _owned_by(body: Body, uid: str) -> bool:
    return bool((body["metadata"].get("annotations") or {}).get(labels.OWNER_UID) == uid)
