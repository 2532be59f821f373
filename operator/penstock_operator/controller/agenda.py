"""What is to be looked at and when: keys that were named, keys that are due, keys that wait for an object.

`naming` and the reconcilers' answers fill it, `looks` empties it. What a key stands for, nobody here knows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from ..reconcile.sources import Key, Requeue
from .due import DueTimes
from .queue import KeyQueue
from .waiting import Waiting

Work = tuple[str, Key]  # kind, key
Wanted = tuple[str, str, str]  # kind, namespace, name

WORKERS = "Workers"  # kind of the keys by which pools have their workers reconciled
CLAIMS = "Claims"  # of a namespace, whose key has no name
CURSORS = "Cursors"  # of a deployment whose schedules have made runs that its status does not tell of yet
PATIENT = ("FlowDeployment", CURSORS)  # thousands may come at once, and nobody's run waits for them
SAFETY = timedelta(minutes=5)  # a run that waits for another object is looked at this often, whatever was heard
REMEMBERED_TOUCHES = 1000


class Agenda:
    """The keys of one process. One event loop."""

    def __init__(self, clock: Callable[[], datetime], *, leads: bool) -> None:
        self.leads = leads
        """Whether changes name keys; a standby only listens."""
        self.queue: KeyQueue[Work] = KeyQueue(lambda work: work[0] in PATIENT)
        self.due: DueTimes[Work] = DueTimes(clock, self._due)
        self.waiting: Waiting[Work, Wanted] = Waiting()
        self._clock = clock
        self._touched: dict[Wanted, float] = {}

    def clear(self) -> None:
        """Forget what an earlier term had to do."""
        self.queue.clear()
        self.due.clear()
        self.waiting.clear()
        self._touched.clear()

    def run(self, key: Key) -> None:
        """Have a run looked at."""
        if self.leads:
            self.queue.add(("FlowRun", key))

    def claims(self, namespace: str) -> None:
        """Have the claims of a namespace looked at."""
        if self.leads:
            self.queue.add((CLAIMS, Key(namespace, "")), first=True)

    def _due(self, work: Work) -> None:
        """A run that is due by its schedule is made before anything else is done."""
        self.queue.add(work, first=work[0] == "Schedules")

    def drop(self, work: Work) -> None:
        """A key comes no more by itself: neither when it was due, nor when what it waits for is there."""
        self.due.drop(work)
        self.waiting.drop(work)

    def wake(self, kind: str, key: Key) -> None:
        """Name what waits for an object."""
        self._touched.pop((kind, *key), None)  # so that the oldest comes first
        self._touched[(kind, *key)] = time.monotonic()
        if len(self._touched) > REMEMBERED_TOUCHES:
            self._touched.pop(next(iter(self._touched)))
        for work in self.waiting.take((kind, *key)):
            self.queue.add(work)

    def after(self, seconds: float, work: Work) -> None:
        """Look at a key again after so many seconds."""
        self.due.at(work, self._clock() + timedelta(seconds=seconds))

    def again(self, work: Work, when: Requeue | None) -> None:
        """Look at a key that is worked on again as its reconciler has asked."""
        self.waiting.drop(work)
        if when is None:
            return
        if when.waits_for:
            kind, name = when.waits_for
            wanted = (kind, work[1].namespace, name)
            if self._touched.get(wanted, 0.0) >= self.queue.named(work):  # what was read may be older than that
                self.queue.add(work)
            else:
                self.waiting.wait(work, wanted)
                if kind == WORKERS:
                    self.queue.add((WORKERS, Key(work[1].namespace, name)))
                self.due.at(work, self._clock() + SAFETY)
        if when.at:
            self.due.at(work, when.at)
