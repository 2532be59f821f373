"""Reconciles the settled runs of a namespace: archives them, and deletes those that are to go.

Called by `controller.housekeeping`, one namespace at a time. With an archive, no run is deleted that is not in it,
however full the namespace is: while the archive cannot be reached, runs stay, and that is told of.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Protocol

from penstock.errors import ConfigurationError, StorageUnavailable

from .. import metrics
from ..cluster import EVENTS, FLOW_RUNS, AlreadyExists, ApiError, Cluster
from ..core import retention
from ..core.retention import Cause, Ceiling, History, Settled
from .archive import Archive, warning
from .sources import Body, Clock, Requeue

logger = logging.getLogger(__name__)

BATCH = 100  # runs that are archived, and that are deleted, before the next namespace has its turn
AT_ONCE = 4
PAUSE = timedelta(seconds=2)  # between the batches of a namespace, so that tens of thousands of old runs hurt nobody
AGAIN = timedelta(minutes=5)  # a namespace is looked at this often, whatever was heard
EVENTS_LAST = timedelta(minutes=50)  # a run that ended in it is archived at once: Kubernetes drops Events after an hour
FIRST_BACKOFF, MAX_BACKOFF = 5.0, 300.0  # seconds


class SettledRuns(Protocol):
    """What is remembered of settled runs."""

    def of(self, namespace: str) -> list[Settled]:
        """Those of a namespace."""

    def histories(self, namespace: str) -> Mapping[str, History]:
        """What each deployment says of how long its runs are kept."""

    def held(self, namespace: str) -> frozenset[str]:
        """uids of those whose parent is under way, or that own a run that is, or whose logs are to be kept first."""

    def archived(self, run: Settled) -> bool:
        """Whether it is known to be in the archive."""

    def mark_archived(self, run: Settled) -> None:
        """It is."""

    def forget(self, run: Settled) -> None:
        """It is deleted."""


class Retention:
    """The reconciler of settled runs."""

    def __init__(
        self, cluster: Cluster, runs: SettledRuns, ceiling: Ceiling, archive: Archive | None, clock: Clock
    ) -> None:
        self._cluster, self._runs, self._ceiling = cluster, runs, ceiling
        self._archive, self._clock = archive, clock
        self._failures = 0
        self._closed_until: datetime | None = None  # while the archive is not asked

    async def reconcile(self, namespace: str) -> Requeue | None:
        """Archive and delete a batch; when to look again. Raises ApiError: again later, with backoff."""
        runs = self._runs.of(namespace)
        if not runs:
            return None
        now = self._clock()
        held = self._runs.held(namespace)
        plan = retention.decide(runs, self._runs.histories(namespace), self._ceiling, now.timestamp(), held)
        going = plan.delete[:BATCH]
        failures = await self._keep(going, runs, now)
        done = await self._delete(going, failures)
        if failures:
            raise failures[0]
        if done and (plan.more or len(plan.delete) > BATCH):
            return Requeue(self._clock() + PAUSE)
        times = [now + AGAIN]
        if plan.next is not None:
            times.append(datetime.fromtimestamp(plan.next, UTC))
        if self._closed_until is not None:
            times.append(self._closed_until)
        elif self._archive is not None and any(not self._runs.archived(run) for run in self._fresh(runs, now)):
            times.append(now + PAUSE)
        return Requeue(min(times))

    # The archive.

    def _fresh(self, runs: Iterable[Settled], now: datetime) -> list[Settled]:
        """Those that ended so lately that their Events are still there, the oldest first."""
        since = (now - EVENTS_LAST).timestamp()
        return sorted((run for run in runs if run.finished >= since), key=lambda run: run.finished)

    async def _keep(
        self, going: Iterable[tuple[Settled, Cause]], runs: Iterable[Settled], now: datetime
    ) -> list[Exception]:
        """Archive those that are to go, then the fresh ones; what went wrong with single runs."""
        failures: list[Exception] = []
        if self._archive is None or (self._closed_until is not None and now < self._closed_until):
            return failures
        wanted = {run.uid: run for run in (*(run for run, _ in going), *self._fresh(runs, now))}
        waiting = [run for run in wanted.values() if not self._runs.archived(run)][:BATCH]
        for start in range(0, len(waiting), AT_ONCE):
            answers = await asyncio.gather(*map(self._write, waiting[start : start + AT_ONCE]), return_exceptions=True)
            failures += _failures(answers)
            if self._closed_until is not None and self._closed_until > now:
                break
        return failures

    async def _write(self, run: Settled) -> None:
        assert self._archive is not None
        try:
            await self._archive.write(run)
        except (StorageUnavailable, ConfigurationError) as error:
            await self._unreachable(run, error)
        else:
            if self._failures:
                logger.info("the archive takes runs again")
            self._failures, self._closed_until = 0, None
            self._runs.mark_archived(run)
            metrics.RUNS_ARCHIVED.inc()
            metrics.ARCHIVE_FAILING.set(0)

    async def _unreachable(self, run: Settled, error: Exception) -> None:
        """Leave the archive alone for a while, and say so: in the log, in a metric, in an Event on the run."""
        if self._closed_until is not None and self._clock() < self._closed_until:
            return  # another that was on its way has said it
        self._failures += 1
        wait = min(FIRST_BACKOFF * 2.0 ** min(self._failures - 1, 16), MAX_BACKOFF)
        self._closed_until = self._clock() + timedelta(seconds=wait)
        metrics.ARCHIVE_FAILING.set(1)
        logger.warning("run %s/%s cannot be archived, and stays: %s", run.namespace, run.name, error)
        try:
            await self._cluster.create(EVENTS, run.namespace, _not_archived(run, str(error), self._clock()))
        except (AlreadyExists, ApiError):  # told already, or best effort
            return

    # Deletion.

    async def _delete(self, going: Iterable[tuple[Settled, Cause]], failures: list[Exception]) -> bool:
        """Delete those that may go, whatever becomes of single ones; whether there are any."""
        ready = [(run, cause) for run, cause in going if self._archive is None or self._runs.archived(run)]
        for start in range(0, len(ready), AT_ONCE):
            batch = ready[start : start + AT_ONCE]
            answers = await asyncio.gather(*(self._remove(*one) for one in batch), return_exceptions=True)
            failures += _failures(answers)
        return bool(ready)

    async def _remove(self, run: Settled, cause: Cause) -> None:
        """Delete a run; what it owns, pages and pods and artifacts, Kubernetes deletes after it."""
        await self._cluster.delete(FLOW_RUNS, run.namespace, run.name, uid=run.uid, propagation="Background")
        self._runs.forget(run)
        metrics.RUNS_DELETED.labels(cause.value).inc()
        logger.info("run %s/%s is deleted: %s", run.namespace, run.name, cause.value)


def _failures(answers: Iterable[object]) -> list[Exception]:
    return [answer for answer in answers if isinstance(answer, Exception)]


def _not_archived(run: Settled, why: str, now: datetime) -> Body:
    note = f"The archive cannot be written, so the run is not deleted: {why}"
    return warning(run.namespace, run.name, run.uid, "FlowRunNotArchived", note, now)
