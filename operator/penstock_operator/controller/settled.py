"""What is remembered of settled runs, of all namespaces: fed by an informer of its own, which a restart fills again.

Implements `reconcile.retention.SettledRuns`. Bodies are let go at once; a run costs some 600 bytes here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from ..core import retention, schedules
from ..core.retention import History, Settled
from ..core.views import RunView
from ..reconcile.sources import Key
from .cache import ObjectCache

Body = dict[str, Any]
Ref = tuple[str, str]


class SettledRuns:
    """Settled runs by namespace and name. `changed(namespace)` is called when there is one more, or one is gone."""

    def __init__(
        self,
        cache: ObjectCache,
        clock: Callable[[], datetime],
        changed: Callable[[str], None] = lambda _: None,
        logs_awaited: Callable[[str], Iterable[str]] = lambda _: (),
        uncounted: Callable[[Key, str], bool] = lambda _backfill, _run: False,
    ) -> None:
        """`logs_awaited(namespace)`: names of runs whose pods must not go yet. `uncounted(backfill, run)`: whether a
        backfill has yet to look at how a run of it ended."""
        self._cache, self._clock, self._changed, self._logs_awaited = cache, clock, changed, logs_awaited
        self._uncounted = uncounted
        self._runs: dict[str, dict[str, Settled]] = defaultdict(dict)
        self._archived: set[str] = set()

    # The informer's side.

    def put(self, body: Body) -> None:
        """A run is settled, or was touched afterwards."""
        run = retention.settled(body, self._clock())
        known = self._runs[run.namespace].get(run.name)
        if known is not None and known.uid != run.uid:
            self._archived.discard(known.uid)
        self._runs[run.namespace][run.name] = run
        self._changed(run.namespace)

    def drop(self, ref: Ref, _version: str = "") -> None:
        """A run was deleted."""
        namespace, name = ref
        run = self._runs[namespace].pop(name, None)
        if run is not None:
            self._archived.discard(run.uid)
        if not self._runs[namespace]:
            del self._runs[namespace]
        self._changed(namespace)

    def refs(self, namespace: str | None) -> Iterable[Ref]:
        """All that are known, of one namespace or of all."""
        where = self._runs if namespace is None else (namespace,)
        return [(name, run) for name in where for run in self._runs.get(name, ())]

    def __len__(self) -> int:
        return sum(map(len, self._runs.values()))

    # reconcile.retention.SettledRuns

    def of(self, namespace: str) -> list[Settled]:
        return list(self._runs.get(namespace, {}).values())

    def histories(self, namespace: str) -> Mapping[str, History]:
        """By name of the deployment; a deployment that is not known keeps what the ceiling keeps."""
        return {
            body["metadata"]["name"]: retention.history(body["spec"])
            for body in self._cache.objects("FlowDeployment")
            if body["metadata"]["namespace"] == namespace
        }

    def held(self, namespace: str) -> frozenset[str]:
        found: set[str] = set()
        known = self._runs.get(namespace, {})
        for run in known.values():
            if run.parent:
                parent = self._cache.run(Key(namespace, run.parent[0]))
                if parent is not None and parent["metadata"]["uid"] == run.parent[1]:
                    found.add(run.uid)
        for name in self._cache.parents(namespace):
            if name in known:
                children = map(RunView, self._cache.children(Key(namespace, name)))
                if any(child.parent["uid"] == known[name].uid and retention.owned(child) for child in children):
                    found.add(known[name].uid)
        found |= {known[name].uid for name in self._logs_awaited(namespace) if name in known}
        found |= {run.uid for run in known.values() if run.slot is not None and self._made_lately(run)}
        found |= {
            run.uid
            for run in known.values()
            if run.backfill and self._uncounted(Key(namespace, run.backfill), run.name)
        }
        return frozenset(found)

    def _made_lately(self, run: Settled) -> bool:
        """Whether its schedule is not known to have made it: the schedule would make it again."""
        if run.slot is None or not run.deployment:
            return False
        deployment = self._cache.deployment(Key(run.namespace, run.deployment))
        return schedules.waits_for_its_cursor(deployment, run.slot[0], datetime.fromtimestamp(run.slot[1], UTC))

    def references(self, namespace: str | None) -> set[Ref]:
        """Implements `reconcile.copies.References`: also of the runs that are under way."""
        found = {
            (run.namespace, name)
            for where, runs in self._runs.items()
            if namespace in (None, where)
            for run in runs.values()
            for name in run.references
        }
        for body in self._cache.objects("FlowRun"):
            where = body["metadata"]["namespace"]
            if namespace in (None, where):
                found |= {(where, name) for name in retention.references(RunView(body))}
        return found

    def archived(self, run: Settled) -> bool:
        return run.uid in self._archived

    def mark_archived(self, run: Settled) -> None:
        known = self._runs.get(run.namespace, {}).get(run.name)
        if known is not None and known.uid == run.uid:
            self._archived.add(known.uid)

    def forget(self, run: Settled) -> None:
        known = self._runs.get(run.namespace, {}).get(run.name)
        if known is not None and known.uid == run.uid:
            self.drop((run.namespace, run.name))
