"""Looks after namespaces and pods, a few at a time, apart from the workers of runs: a slow archive holds up no run.

Started by the controller beside its workers, so by the one that acts alone. Each key is a task and a name: that of a
namespace, or namespace/name of a pod.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta

from ..cluster import ApiError
from ..reconcile.sources import Requeue
from .due import DueTimes
from .queue import KeyQueue

logger = logging.getLogger(__name__)

Task = tuple[str, str]  # name of the task, and of what it is done for
RETENTION, COPIES, LOGS = "retention", "copies", "logs"  # names of tasks
WORKERS = 2
GATHER = timedelta(seconds=3)  # changes that come so close together are looked at once


class Housekeeping:
    """Calls the tasks by name with a name, when asked to and when they ask for it themselves."""

    def __init__(
        self,
        tasks: Mapping[str, Callable[[str], Awaitable[Requeue | None]]],
        clock: Callable[[], datetime],
        workers: int = WORKERS,
    ) -> None:
        self._tasks, self._clock, self._workers = tasks, clock, workers
        self.queue: KeyQueue[Task] = KeyQueue()
        self.due: DueTimes[Task] = DueTimes(clock, self.queue.add)

    def soon(self, task: str, namespace: str) -> None:
        """Something changed there."""
        self.due.at((task, namespace), self._clock() + GATHER)

    def at_once(self, task: str, name: str) -> None:
        """Something changed that may not be there for long."""
        self.queue.add((task, name))

    def clear(self) -> None:
        """Forget what an earlier term has left; each namespace is named anew."""
        self.queue.clear()
        self.due.clear()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.due.run(), name="housekeeping: due times")
            for number in range(self._workers):
                group.create_task(self._work(), name=f"housekeeping {number}")

    async def _work(self) -> None:
        while True:
            task = await self.queue.take()
            name, namespace = task
            failed = True
            try:
                again = await self._tasks[name](namespace)
                failed = False
                if again is not None and again.at is not None:
                    self.due.at(task, again.at)
            except ApiError as error:
                logger.info("%s in %s: %s; again later", name, namespace or "all namespaces", error)
            except Exception:  # the other namespaces go on
                logger.exception("%s in %s failed", name, namespace or "all namespaces")
            finally:
                delay = self.queue.done(task, failed=failed)
                if delay is not None:
                    self.due.at(task, self._clock() + timedelta(seconds=delay))
