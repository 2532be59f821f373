"""The processes that deleted runs have left in warm workers, by run and by worker.

Implements `reconcile.sources.Orphans`. The cache puts in what is deleted, `workers` what Leases say; standbys keep them
as well, so that whoever leads next knows them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ..core import orphans
from ..core.orphans import Orphan
from ..core.views import RunView
from ..reconcile.sources import Key

FORGOTTEN = orphans.PATIENCE * 20
"""After which one is forgotten that nobody has asked about, for nobody has led since."""


class Orphans:
    """By uid of the run."""

    def __init__(
        self,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        changed: Callable[[Orphan], None] = lambda _: None,
    ) -> None:
        """`changed` is called with one that came or went."""
        self._clock, self._changed = clock, changed
        self._orphans: dict[str, Orphan] = {}
        self._of_run: dict[tuple[str, str], set[str]] = defaultdict(set)
        self._of_worker: dict[str, set[str]] = defaultdict(set)

    def left(self, run: RunView) -> None:
        """A run is gone that a worker had."""
        for old in [old for old in self._orphans.values() if self._clock() > old.until + FORGOTTEN]:
            self.forget(old)
        if run.uid not in self._orphans:
            self.put(orphans.of_run(run, self._clock()))

    def put(self, orphan: Orphan) -> None:
        new = orphan.uid not in self._orphans
        self._orphans[orphan.uid] = orphan
        if new:
            self._of_run[orphan.key].add(orphan.uid)
            self._of_worker[orphan.worker_uid].add(orphan.uid)
            self._changed(orphan)

    def forget(self, orphan: Orphan) -> None:
        if self._orphans.pop(orphan.uid, None) is None:
            return
        for index, key in ((self._of_run, orphan.key), (self._of_worker, orphan.worker_uid)):
            _discard(index, key, orphan.uid)
        self._changed(orphan)

    def renew(self) -> None:
        """A term begins, and nobody has heard yet which workers are silent: each is given its time anew."""
        for orphan in self.all():
            self.put(replace(orphan, until=max(orphan.until, self._clock() + orphans.PATIENCE)))

    def get(self, uid: str) -> Orphan | None:
        """That of the run with this uid."""
        return self._orphans.get(uid)

    def all(self) -> list[Orphan]:
        """All of them."""
        return list(self._orphans.values())

    def of_run(self, key: Key) -> list[Orphan]:
        return [self._orphans[uid] for uid in self._of_run.get(key, ())]

    def of_worker(self, uid: str) -> list[Orphan]:
        """Those that the worker with this uid has."""
        return [self._orphans[uid] for uid in self._of_worker.get(uid, ())]


def _discard(index: dict[Any, set[str]], key: Hashable, uid: str) -> None:
    index[key].discard(uid)
    if not index[key]:
        del index[key]
