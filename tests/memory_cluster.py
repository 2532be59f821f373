"""A `Cluster` in memory: what the operator's tests use where no API server is needed.

It holds to the contract of `cluster_contract.py`, which the real client passes against a real API server. It knows
nothing of schemas, admission or garbage collection; a test plays the kubelet and the controllers with `set_status` and
`remove`.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

import json_patches
from penstock_operator.cluster import (
    AlreadyExists,
    Body,
    Expired,
    Invalid,
    NotFound,
    Page,
    ResourceType,
    WatchEvent,
)

Name = tuple[str, str, str]  # plural, namespace, name
Matches = Callable[[Body], bool]


@dataclass(frozen=True)
class Write:
    """A write as the server is asked for it: create, patch or delete."""

    verb: str
    kind: str
    name: str
    subresource: str | None = None


@dataclass(frozen=True)
class Logged:
    """An entry of the log that watches read: the object before and after, and the version it made."""

    version: int
    resource: ResourceType
    namespace: str
    before: Body | None
    after: Body | None


class PodLog:
    """What a container writes, as a test says it: pieces, or errors with which the reading breaks off."""

    def __init__(self, *chunks: bytes | Exception) -> None:
        self.chunks, self.ended, self.changed = list(chunks), asyncio.Event(), asyncio.Event()

    def write(self, chunk: bytes | Exception) -> None:
        """Go on."""
        self.chunks.append(chunk)
        self.changed.set()

    def end(self) -> None:
        """The container ends."""
        self.ended.set()
        self.changed.set()


def _ignore(_: Write) -> None:
    return None


def copied(body: Any) -> Any:
    """A copy of an object, by way of JSON, which is several times faster than `copy.deepcopy`."""
    return orjson.loads(orjson.dumps(body))


class MemoryCluster:
    """Objects, versions and watches of one API server. `before` and `after` are told of each write, and may raise."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.clock = clock
        self.objects: dict[Name, Body] = {}
        self.writes: list[Write] = []
        self.new_uid: Callable[[int], str] = "uid-{}".format
        self.before: Callable[[Write], None] = _ignore
        self.after: Callable[[Write], None] = _ignore
        self.pod_logs: dict[tuple[str, str], PodLog] = {}
        self._log: list[Logged] = []
        self._version = 1
        self._compacted = 0
        self._uids = itertools.count(1)
        self._changed = asyncio.Event()
        self._cuts = 0

    # What a test does to the cluster.

    def kinds(self, kind: str) -> list[Body]:
        """All objects of a kind, as they are now."""
        return [copied(body) for body in self.objects.values() if body["kind"] == kind]

    def set_status(self, resource: ResourceType, namespace: str, name: str, **fields: Any) -> Body:
        """Set fields of a status, as a kubelet or a controller does."""
        body = copied(self._found(resource, namespace, name))
        body.setdefault("status", {}).update(fields)
        return self._store(resource, body)

    def set_node(self, namespace: str, name: str, node: str) -> Body:
        """Bind a pod, as the scheduler does; from now on its deletion waits for `remove`."""
        body = copied(self.objects[("pods", namespace, name)])
        body["spec"]["nodeName"] = node
        return self._store(_PODS, body)

    def remove(self, resource: ResourceType, namespace: str, name: str) -> None:
        """Take an object away at once, whatever it waits for."""
        self._drop(resource, namespace, name)

    def cut(self) -> None:
        """End every watch."""
        self._cuts += 1
        self._wake()

    def compact(self) -> None:
        """Forget the log, so that a watch from an older version is refused."""
        self._compacted, self._log = self._version, []

    # `penstock_operator.cluster.Cluster`

    async def get(self, resource: ResourceType, namespace: str | None, name: str) -> Body | None:
        await asyncio.sleep(0)
        return copied(self.objects.get((resource.plural, namespace or "", name)))

    async def list_pages(
        self,
        resource: ResourceType,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 500,
    ) -> AsyncIterator[Page]:
        matches = selected(label_selector, field_selector)
        found = [
            copied(body)
            for (plural, where, _), body in sorted(self.objects.items())
            if plural == resource.plural and namespace in (None, where) and matches(body)
        ]
        version = str(self._version)
        for start in range(0, max(len(found), 1), limit):
            await asyncio.sleep(0)
            yield Page(found[start : start + limit], version)

    async def watch(
        self,
        resource: ResourceType,
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        timeout_seconds: int = 300,
    ) -> AsyncIterator[WatchEvent]:
        matches = selected(label_selector, field_selector)
        seen, cuts = int(resource_version), self._cuts
        end = asyncio.get_running_loop().time() + timeout_seconds
        while True:
            if seen < self._compacted:
                raise Expired(410, "Expired", f"too old resource version: {seen} ({self._compacted})")
            for entry in [entry for entry in self._log if entry.version > seen]:
                seen = entry.version
                if entry.resource.plural == resource.plural and namespace in (None, entry.namespace):
                    event = _event(entry, matches)
                    if event:
                        yield event
            left = end - asyncio.get_running_loop().time()
            if self._cuts != cuts or left <= 0:
                return
            changed = self._changed
            if seen < self._version:
                continue
            try:
                async with asyncio.timeout(left):
                    await changed.wait()
            except TimeoutError:
                return

    async def logs(self, namespace: str, pod: str, container: str, *, follow: bool = False) -> AsyncIterator[bytes]:
        await asyncio.sleep(0)
        known = self.pod_logs.get((namespace, pod))
        body = self.objects.get(("pods", namespace, pod))
        if known is None and body is None:
            raise NotFound(404, "NotFound", f'pods "{pod}" not found')
        if body is not None and container not in (each["name"] for each in body["spec"]["containers"]):
            raise Invalid(400, "BadRequest", f"container {container} is not valid for pod {pod}")
        if known is None and body is not None and body["spec"].get("nodeName"):
            raise Invalid(400, "BadRequest", f'container "{container}" in pod "{pod}" is waiting to start')
        yield b""
        if known is None:
            return
        seen = 0
        while True:
            for chunk in known.chunks[seen:]:
                seen += 1
                if isinstance(chunk, Exception):
                    raise chunk
                yield chunk
            if not follow or known.ended.is_set():
                return
            known.changed.clear()
            await known.changed.wait()

    async def create(self, resource: ResourceType, namespace: str | None, body: Body, *, dry_run: bool = False) -> Body:
        await asyncio.sleep(0)
        name, where = body["metadata"]["name"], namespace or ""
        write = Write("create", resource.kind, name)
        self._announce(write)
        if (resource.plural, where, name) in self.objects:
            raise AlreadyExists(409, "AlreadyExists", f'{resource.plural} "{name}" already exists')
        made = copied(body)
        made.pop("status", None)
        made["kind"] = resource.kind
        made["metadata"] |= {"uid": self.new_uid(next(self._uids)), "generation": 1}
        made["metadata"]["creationTimestamp"] = self.clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        if resource.namespaced:
            made["metadata"]["namespace"] = where
        if resource.kind == "Pod":
            made["status"] = {"phase": "Pending"}
        if dry_run:
            return made
        stored = self._store(resource, made)
        self.after(write)
        return stored

    async def patch(
        self,
        resource: ResourceType,
        namespace: str | None,
        name: str,
        ops: list[Body],
        *,
        subresource: str | None = None,
    ) -> Body:
        await asyncio.sleep(0)
        write = Write("patch", resource.kind, name, subresource)
        self._announce(write)
        known = self._found(resource, namespace or "", name)
        try:
            wanted = json_patches.applied(known, ops)
        except json_patches.Refused as error:
            raise Invalid(422, "Invalid", str(error)) from error
        if (type_ := json_patches.doubled(wanted)) is not None:
            raise Invalid(422, "Invalid", f"status.conditions: Duplicate value: {type_}")
        body = copied(known)
        if subresource == "status":
            body["status"] = wanted.get("status") or {}
        else:
            body = {**wanted, "status": known["status"]} if "status" in known else wanted
            if body.get("spec") != known.get("spec"):
                body["metadata"]["generation"] = known["metadata"]["generation"] + 1
        stored = copied(known) if body == known else self._store(resource, body)
        self.after(write)
        return stored

    async def delete(
        self,
        resource: ResourceType,
        namespace: str | None,
        name: str,
        *,
        uid: str | None = None,
        grace_seconds: int | None = None,
        propagation: str = "Background",
    ) -> None:
        await asyncio.sleep(0)
        write = Write("delete", resource.kind, name)
        self._announce(write)
        known = self.objects.get((resource.plural, namespace or "", name))
        if known is not None and uid in (None, known["metadata"]["uid"]):
            running = resource.kind == "Pod" and (known["spec"].get("nodeName") and not _ended(known))
            if running and grace_seconds != 0:
                body = copied(known)
                body["metadata"].setdefault("deletionTimestamp", self.clock().strftime("%Y-%m-%dT%H:%M:%SZ"))
                self._store(resource, body)
            else:
                self._drop(resource, namespace or "", name)
        self.after(write)

    def _announce(self, write: Write) -> None:
        self.before(write)
        self.writes.append(write)

    def _found(self, resource: ResourceType, namespace: str, name: str) -> Body:
        try:
            return self.objects[(resource.plural, namespace, name)]
        except KeyError:
            raise NotFound(404, "NotFound", f'{resource.plural} "{name}" not found') from None

    def _store(self, resource: ResourceType, body: Body) -> Body:
        namespace = body["metadata"].get("namespace") or ""
        name = (resource.plural, namespace, body["metadata"]["name"])
        before = self.objects.get(name)
        if before is not None and _versionless(before) == _versionless(body):
            return copied(before)
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        self.objects[name] = body
        self._log.append(Logged(self._version, resource, namespace, before, body))
        self._wake()
        return copied(body)

    def _drop(self, resource: ResourceType, namespace: str, name: str) -> None:
        before = self.objects.pop((resource.plural, namespace, name))
        self._version += 1
        self._log.append(Logged(self._version, resource, namespace, before, None))
        self._wake()
        for plural, where, child in [key for key, body in self.objects.items() if _owner(body) == _uid(before)]:
            if plural == "pods" and resource.kind == "Job":  # foreground deletion, as the garbage collector does it
                self._drop(_PODS, where, child)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


_PODS = ResourceType("", "v1", "pods", "Pod")


def _uid(body: Body) -> str:
    return str(body["metadata"]["uid"])


def _owner(body: Body) -> str | None:
    owners = body["metadata"].get("ownerReferences") or []
    return next((str(owner["uid"]) for owner in owners if owner.get("controller")), None)


def _ended(pod: Body) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _versionless(body: Body) -> Body:
    return {**body, "metadata": {**body["metadata"], "resourceVersion": ""}}


def _event(entry: Logged, matches: Matches) -> WatchEvent | None:
    was = entry.before is not None and matches(entry.before)
    if entry.after is not None and matches(entry.after):
        return WatchEvent("MODIFIED" if was else "ADDED", copied(entry.after))
    if not was:
        return None
    left = copied(entry.after or entry.before)
    assert left is not None
    left["metadata"]["resourceVersion"] = str(entry.version)
    return WatchEvent("DELETED", left)


def selected(labels: str, fields: str) -> Matches:
    """Whether an object meets equality selectors such as `a=b,c!=d`."""
    wanted = [(_label, *_term(term)) for term in labels.split(",") if term]
    wanted += [(_field, *_term(term)) for term in fields.split(",") if term]
    return lambda body: all((read(body, path) == value) is equal for read, path, value, equal in wanted)


def _term(term: str) -> tuple[str, str, bool]:
    path, _, value = term.partition("!=" if "!=" in term else "=")
    return path, value.removeprefix("="), "!=" not in term


def _label(body: Body, key: str) -> str | None:
    value: str | None = (body["metadata"].get("labels") or {}).get(key)
    return value


def _field(body: Body, path: str) -> str:
    value: Any = body
    for part in path.split("."):
        value = (value or {}).get(part)
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
