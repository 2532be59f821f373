"""What pools, queues, deployments and limits of tags say of slots, as the informers tell of them.

`slots` owns one, feeds it, and is told of each change of what is said. It knows of no run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..core import places
from ..core.admission import Limit
from ..core.places import Deployment, Pool, Queue, Rule, TagLimit
from ..reconcile.sources import Key

Body = dict[str, Any]
Ref = tuple[str, str]
KINDS = ("WorkPool", "WorkQueue", "ConcurrencyLimit", "FlowDeployment")
Changed = Callable[[str, Ref, Rule | None, Rule | None], None]


class Rules:
    """Rules by kind, namespace and name."""

    def __init__(self, changed: Changed) -> None:
        """`changed(kind, ref, before, now)` is called when an object says something else than before."""
        self._changed = changed
        self._rules: dict[str, dict[Ref, Rule]] = {kind: {} for kind in KINDS}
        self._versions: dict[str, dict[Ref, int]] = {kind: {} for kind in KINDS}
        self._queues: dict[Ref, list[Queue]] = {}  # of a pool, in the order in which they are asked
        self._tagged: dict[Ref, dict[str, int]] = defaultdict(dict)  # of a tag: sizes by name of the limit

    def put(self, kind: str, body: Body) -> None:
        """An object is, or has changed; also as a reconcile has just read it."""
        meta = body["metadata"]
        ref, version = (meta["namespace"], meta["name"]), int(meta["resourceVersion"])
        if version < self._versions[kind].get(ref, 0):
            return
        self._versions[kind][ref] = version
        before, now = self._rules[kind].get(ref), places.rule(kind, body)
        if before != now:
            self._rules[kind][ref] = now
            self._change(kind, ref, before, now)

    def drop(self, kind: str, ref: Ref, version: str) -> None:
        """An object is gone."""
        if int(version) < self._versions[kind].get(ref, 0):
            return
        self._versions[kind].pop(ref, None)
        before = self._rules[kind].pop(ref, None)
        if before is not None:
            self._change(kind, ref, before, None)

    def _change(self, kind: str, ref: Ref, before: Rule | None, now: Rule | None) -> None:
        for queue in (before, now):
            if isinstance(queue, Queue):
                self._order((ref[0], queue.pool))
        self._changed(kind, ref, before, now)

    def _order(self, pool: Ref) -> None:
        """Find the queues of a pool, in the order in which they are asked."""
        rules = ((ref[0], rule) for ref, rule in self._rules["WorkQueue"].items())
        of_pool = [queue for where, queue in rules if isinstance(queue, Queue) and (where, queue.pool) == pool]
        self._queues[pool] = sorted(of_pool, key=lambda queue: (queue.priority, queue.name))
        if not of_pool:
            del self._queues[pool]

    # What is said.

    def refs(self, kind: str, namespace: str | None = None) -> Iterable[Ref]:
        """What is known of a kind in one namespace, or in all."""
        return [ref for ref in self._rules[kind] if namespace in (None, ref[0])]

    def get(self, kind: str, ref: Ref) -> Rule | None:
        """What the object says; None where there is none, or the kind says nothing of slots."""
        return self._rules.get(kind, {}).get(ref)

    def deployment(self, ref: Ref | None) -> Deployment | None:
        """What a deployment says."""
        rule = self._rules["FlowDeployment"].get(ref) if ref else None
        return rule if isinstance(rule, Deployment) else None

    def warm(self, pool: Ref) -> bool:
        """Whether runs of the pool need a worker."""
        rule = self._rules["WorkPool"].get(pool)
        return isinstance(rule, Pool) and rule.warm

    def queues(self, pool: Ref) -> Sequence[Queue]:
        """The queues of a pool, in the order in which they are asked."""
        return self._queues.get(pool, ())

    def sizes(self, kind: str, ref: Ref, rule: Rule | None, before: Rule | None = None) -> dict[Limit, int | None]:
        """The limits that a rule bounds, or bounded before, and how many may hold each; None for any number."""
        if kind != "ConcurrencyLimit":
            assert not isinstance(rule, TagLimit)
            return {Limit(kind, *ref): None if rule is None else 0 if rule.suspended else rule.limit}
        found: dict[Limit, int | None] = {}
        tags = {r.tag: r.limit if r is rule else None for r in (before, rule) if isinstance(r, TagLimit) and r.tag}
        for tag, size in tags.items():
            limits = self._tagged[(ref[0], tag)]
            limits.pop(ref[1], None)
            if size is not None:
                limits[ref[1]] = size
            found[Limit(places.TAG, ref[0], tag)] = min(limits.values(), default=None)
            if not limits:
                del self._tagged[(ref[0], tag)]
        return found

    def suspended(self, limit: Limit) -> bool:
        """Whether the object of a limit is suspended."""
        rule = self.get(limit.kind, (limit.namespace, limit.name))
        return rule is not None and not isinstance(rule, TagLimit) and rule.suspended

    def shown(self, limit: Limit) -> list[str]:
        """Names of the objects that show the counts of a limit."""
        if limit.kind == places.TAG:
            return list(self._tagged.get((limit.namespace, limit.name), ()))
        return [limit.name] if (limit.namespace, limit.name) in self._rules.get(limit.kind, {}) else []

    def selecting(self, queue: Key) -> Queue | None:
        """A WorkQueue that has a selector."""
        rule = self._rules["WorkQueue"].get(queue)
        return rule if isinstance(rule, Queue) and rule.selects else None

    def selects_a_deployment(self, namespace: str, queue: Queue) -> bool:
        """Whether the queue takes the runs of a deployment of its pool."""
        return any(
            places.taking((queue,), deployment.labels, deployment.tags)
            for (where, _), deployment in self._rules["FlowDeployment"].items()
            if isinstance(deployment, Deployment) and (where, deployment.pool) == (namespace, queue.pool)
        )


def placing(queue: Queue) -> tuple[object, ...]:
    """What of a queue decides who waits there, and before whom."""
    return (queue.pool, queue.priority, queue.selects, queue.labels, queue.tags)
