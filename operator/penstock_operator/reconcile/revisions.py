"""Immutable copies of what a run was launched from: specs of pools and deployments as ControllerRevisions, source text
as content-addressed ConfigMaps. So an edit never changes a run under way, and a run stays small.

They have no ownerReferences: who deletes a pool or a deployment does not take its runs' rules away. `copies` deletes
those that no run names; what is kept and what is let go is told apart here, since a run names its copies only after."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable

from penstock.api import labels, names

from ..cluster import CONFIG_MAPS, CONTROLLER_REVISIONS, AlreadyExists, Cluster, Conflict, ResourceType
from ..core.code import Copy
from .sources import Body

KNOWN = 4096
LATELY = 600.0  # seconds from keeping a copy to the write that names it, at the very most


class Revisions:
    """Creates and reads revisions; what was seen once is remembered, for none of it ever changes."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._specs: dict[tuple[str, str], Body] = {}
        self._kept: set[tuple[str, str]] = set()
        self._code: set[tuple[str, str, str]] = set()
        self._used: dict[tuple[str, str], float] = {}  # namespace and name of a copy -> when it was kept last
        self._going: set[tuple[str, str]] = set()

    async def keep(self, kind: str, body: Body, *, read: bool = True) -> None:
        """Make sure that the object's current generation is kept. Raises AlreadyExists when its name is taken.

        `read`: whether its spec will be asked for here; what is kept for going back to need not stay in memory.
        """
        meta = body["metadata"]
        name = names.revision(kind, meta["name"], meta["uid"], meta.get("generation") or 0)
        key = (meta["namespace"], name)
        self._use(key)
        if key in self._specs or key in self._kept:
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
        if read:
            self._remember(key, kept["data"])
        else:
            self._kept = {key} if len(self._kept) >= KNOWN else self._kept | {key}

    async def keep_new(self, kind: str, body: Body, *, read: bool = True) -> None:
        """`keep`, before a generation is reported on for the first time: later, it has been kept."""
        if (body.get("status") or {}).get("observedGeneration") != body["metadata"].get("generation"):
            await self.keep(kind, body, read=read)

    async def spec(self, namespace: str, name: str) -> Body | None:
        """The spec that a revision keeps; None when somebody deleted it."""
        key = (namespace, name)
        if key not in self._specs:
            body = await self._cluster.get(CONTROLLER_REVISIONS, namespace, name)
            if body is None:
                return None
            self._remember(key, body["data"])
        return self._specs[key]

    async def keep_code(self, namespace: str, flow_uid: str, copy: Copy) -> None:
        """Make sure that content is there under its digest. Raises AlreadyExists when its name is taken.

        What was kept for a flow is not kept for a namesake of later: a namespace may be deleted and made anew.
        """
        key = (namespace, flow_uid, copy.digest)
        self._use((namespace, names.code_config_map(copy.digest)))
        if key in self._code:
            return
        if isinstance(copy.content, str):
            field, content = "data", copy.content
        else:
            field, content = "binaryData", b64encode(copy.content).decode()
        config_map = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": names.code_config_map(copy.digest),
                "namespace": namespace,
                "labels": {labels.MANAGED_BY: labels.MANAGED_BY_VALUE},
                "annotations": {labels.CODE_DIGEST: copy.digest},
            },
            "immutable": True,
            field: {copy.key: content},
        }
        await self._create(CONFIG_MAPS, config_map, lambda found: found.get(field) == config_map[field])
        if len(self._code) >= KNOWN:
            self._code.clear()
        self._code.add(key)

    def let_go(self, namespace: str, name: str) -> bool:
        """Forget a copy that is about to be deleted; False when somebody keeps it just now. `gone` must follow.

        In between, who wants to keep it is refused with Conflict, and comes again.
        """
        key = (namespace, name)
        if time.monotonic() - self._used.get(key, -LATELY) < LATELY:
            return False
        self._going.add(key)
        self._specs.pop(key, None)
        self._kept.discard(key)
        self._code = {code for code in self._code if (code[0], names.code_config_map(code[2])) != key}
        return True

    def gone(self, namespace: str, name: str) -> None:
        """Its deletion is over, whatever came of it."""
        self._going.discard((namespace, name))

    def clear(self) -> None:
        """Forget what was seen: others have acted since."""
        self._specs.clear()
        self._kept.clear()
        self._code.clear()

    def _use(self, key: tuple[str, str]) -> None:
        if key in self._going:
            raise Conflict(409, "Conflict", f"{key[1]} is being deleted, and made anew afterwards")
        now = time.monotonic()
        if len(self._used) >= KNOWN:
            self._used = {known: when for known, when in self._used.items() if now - when < LATELY}
        self._used[key] = now

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
