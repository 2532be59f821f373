"""Which deployments name which flow, pool and queue, so that they are looked at when its spec changes, and only then.

Fed by the controller with each deployment, and asked with each flow, pool and queue that kopf tells of.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from ..core import resolve
from ..reconcile.sources import Key

Body = dict[str, Any]
Named = tuple[str, str, str]  # kind, namespace, name


class Dependents:
    """Deployments by what they name."""

    def __init__(self) -> None:
        self._names: dict[Named, set[str]] = defaultdict(set)
        self._of: dict[Key, tuple[Named, ...]] = {}
        self._versions: dict[Named, str] = {}

    def put(self, deployment: Body) -> None:
        """A deployment as it is now."""
        meta, spec = deployment["metadata"], deployment["spec"]
        key = Key(meta["namespace"], meta["name"])
        named: tuple[Named, ...] = (
            ("Flow", key.namespace, str(spec["flowRef"]["name"])),
            ("WorkPool", key.namespace, str(spec.get("workPool") or resolve.DEFAULT_POOL)),
        )
        if spec.get("queue"):
            named += (("WorkQueue", key.namespace, str(spec["queue"])),)
        if self._of.get(key) == named:
            return
        self.drop(key)
        self._of[key] = named
        for one in named:
            self._names[one].add(key.name)

    def drop(self, key: Key) -> None:
        """A deployment is gone."""
        for one in self._of.pop(key, ()):
            self._names[one].discard(key.name)
            if not self._names[one]:
                del self._names[one]
                self._versions.pop(one, None)

    def forget(self) -> None:
        """Forget which versions were told of: others have acted since."""
        self._versions.clear()

    def concerned(self, kind: str, key: Key, version: str | None) -> list[str]:
        """Names of the deployments that an object concerns; none where they were named for this version already."""
        named = (kind, *key)
        if version is None:  # it came, or went
            self._versions.pop(named, None)
        elif self._versions.get(named) == version:
            return []
        if named not in self._names:
            return []
        if version is not None:
            self._versions[named] = version
        return sorted(self._names[named])
