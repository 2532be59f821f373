"""Lists the kinds that kopf watches, for kopf never tells of deletions that it did not see.

A term begins with a sweep, which finds all of them new, and goes on with one a minute.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from ..cluster import LOW_RATE, ApiError, Cluster
from ..reconcile.sources import Key

logger = logging.getLogger(__name__)

SWEEP = 60.0  # seconds between lists


class Sweep:
    """Touches what came and what went since the last list."""

    def __init__(self, cluster: Cluster, where: Sequence[str | None], touch: Callable[[str, Key], None]) -> None:
        self._cluster, self._where, self._touch = cluster, where, touch
        self._listed: dict[str, set[Key]] = {}

    def clear(self) -> None:
        """Forget what was listed: all of it is new to the next term."""
        self._listed.clear()

    def missing(self, kind: str, key: Key) -> bool:
        """Whether an object was not there when its kind was listed; False before that."""
        listed = self._listed.get(kind)
        return listed is not None and key not in listed

    async def run(self) -> None:
        """Sweep now and then, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP)
            await self.once()

    async def once(self) -> None:
        """List everything. Raises nothing of the API server's: the next sweep finds it."""
        for resource in LOW_RATE:
            try:
                found = {
                    Key(body["metadata"]["namespace"], body["metadata"]["name"])
                    for namespace in self._where
                    async for page in self._cluster.list_pages(resource, namespace)
                    for body in page.items
                }
            except ApiError as error:
                logger.warning("list of %s: %s", resource.plural, error)
                continue
            for key in found ^ self._listed.get(resource.kind, set()):
                self._touch(resource.kind, key)
            self._listed[resource.kind] = found
