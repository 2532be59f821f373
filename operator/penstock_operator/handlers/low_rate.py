"""Handlers of Flow, FlowDeployment, WorkPool, WorkQueue and Block: an event names a key, which is then read afresh.

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
Touch = Callable[[str, Key], None]


def register(registry: kopf.OperatorRegistry, touch: Touch) -> None:
    """Have kopf watch the low-rate kinds, and call `touch` with what changed."""

    def handler(kind: str) -> Callable[..., Any]:
        async def changed(name: str, namespace: str | None, **_: Any) -> None:
            touch(kind, Key(namespace or "", name))

        return changed

    for plural, kind in KINDS.items():
        kopf.on.event(labels.GROUP, labels.VERSION, plural, id=f"enqueue-{plural}", registry=registry)(handler(kind))
