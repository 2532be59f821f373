"""Handlers of Flow, WorkPool, WorkQueue, Block and Backfill: an event names a key, which is then read afresh.

kopf never tells of objects deleted while it did not watch; nothing here rests on being told.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import kopf

from penstock.api import labels

from ..cluster import LOW_RATE
from ..reconcile.sources import Key

KINDS = {resource.plural: resource.kind for resource in LOW_RATE}
Touch = Callable[[str, Key, str | None], None]
"""Told of a kind, an object and the version of its spec; None where it is gone."""


def register(registry: kopf.OperatorRegistry, touch: Touch) -> None:
    """Have kopf watch the low-rate kinds, and call `touch` with what changed."""

    def handler(kind: str) -> Callable[..., Any]:
        async def changed(name: str, namespace: str | None, event: kopf.RawEvent, meta: kopf.Meta, **_: Any) -> None:
            version = None if event["type"] == "DELETED" else f"{meta.get('uid')}/{meta.get('generation')}"
            touch(kind, Key(namespace or "", name), version)

        return changed

    for plural, kind in KINDS.items():
        kopf.on.event(labels.GROUP, labels.VERSION, plural, id=f"enqueue-{plural}", registry=registry)(handler(kind))
