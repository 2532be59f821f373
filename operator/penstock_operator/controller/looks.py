"""Looks at keys, one after the other: takes one from the agenda, has it reconciled, and sees that it comes again.

A term runs several of these side by side. Whatever happens with one object, the others go on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from .. import metrics
from ..backoff import spread
from ..cluster import ApiError
from ..reconcile.sources import Key, Requeue
from . import unreconciled
from .agenda import Agenda, Work
from .cache import ObjectCache

logger = logging.getLogger(__name__)

Reconciler = Callable[[Key], Awaitable[Requeue | None]]


def _is_cancelled() -> bool:
    """Whether the task that asks is to end; else a CancelledError is one that a library let through."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Looks:
    """Calls the reconcilers of each kind with keys."""

    def __init__(
        self,
        agenda: Agenda,
        cache: ObjectCache,
        reconcilers: Mapping[str, Reconciler],
        broken: Mapping[Work, Exception],
        complaints: unreconciled.Unreconciled,
        looked: Callable[[Work], None],
    ) -> None:
        """`broken`: objects at which one cannot even look, and why. `looked` is called after each look."""
        self._agenda, self._cache, self._reconcilers, self._broken = agenda, cache, reconcilers, broken
        self._complaints, self._looked = complaints, looked
        self.progress = time.monotonic()
        """When a look ended last, in monotonic time."""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self._look(await self._agenda.queue.take())

    async def _look(self, work: Work) -> None:
        kind, key = work
        start, failed, retry_after = time.monotonic(), True, 0.0
        told = kind == "FlowRun" and unreconciled.failed(self._cache.run(key))
        try:
            if work in self._broken:
                raise self._broken[work]
            again = await self._reconcilers[kind](key)
            failed = False
            if told:
                await self._complaints.clear(key)
            self._agenda.again(work, again)
        except ApiError as error:
            retry_after = spread(error.retry_after or 0.0)
            logger.info("%s %s/%s: %s; again later", kind, *key, error)
            await self._complain(work, error)
        except (Exception, asyncio.CancelledError) as error:  # one bad object never stops the others
            if isinstance(error, asyncio.CancelledError) and _is_cancelled():
                raise
            logger.exception("%s %s/%s cannot be reconciled", kind, *key)
            await self._complain(work, error)
        finally:
            self.progress = time.monotonic()
            metrics.RECONCILE_SECONDS.labels(kind).observe(self.progress - start)
            metrics.RECONCILES.labels(kind, "failed" if failed else "done").inc()
            delay = self._agenda.queue.done(work, failed=failed)
            if delay is not None:
                self._agenda.after(max(delay, retry_after), work)
            self._looked(work)

    async def _complain(self, work: Work, error: BaseException) -> None:
        """Say on the object what is wrong with it, when that is no passing trouble."""
        if self._agenda.queue.failures(work) and not unreconciled.passes(error):
            await self._complaints.tell(*work, error)
