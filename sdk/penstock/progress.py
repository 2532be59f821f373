"""Updates of progress artifacts on their way: of each artifact at most one write in `interval` seconds, the newest.

Called by `artifacts`, and by the runner, which wants everything delivered before a run ends. User code does not wait
for what is put off; a thread delivers it.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from .errors import PenstockError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Write = Callable[[str, Mapping[str, Any]], Any]

FLUSH_SECONDS = 10.0


class Updates:
    """The updates of one process to one place."""

    def __init__(self, write: Write, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self.interval, self._clock = write, interval, clock
        self._changed = threading.Condition()
        self._pending: dict[str, dict[str, Any]] = {}
        self._written: dict[str, float] = {}
        self._busy = False
        self._flushing = False
        self._thread: threading.Thread | None = None

    def made(self, name: str) -> None:
        """The artifact was just written: its first update waits for its turn."""
        with self._changed:
            self._written[name] = self._clock()

    def put(self, name: str, fields: Mapping[str, Any], *, last: bool) -> None:
        """Write now where it is the first update or the `last`, raising what is wrong; else when its turn has come."""
        with self._changed:
            if name in self._written and self.interval > 0 and not last:
                self._pending[name] = {**self._pending.get(name, {}), **fields}
                self._start()
                self._changed.notify_all()
                return
            self._changed.wait_for(lambda: not self._busy)  # or an older value might arrive later than this one
            fields = {**self._pending.pop(name, {}), **fields}
            self._busy = True
        try:
            self._write(name, fields)
            self.made(name)
        finally:
            self._done()

    def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Write what is left, without waiting for its turn; whether all is written in time."""
        with self._changed:
            self._flushing = True
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: not self._pending and not self._busy, seconds)
            finally:
                self._flushing = False

    def _done(self) -> None:
        with self._changed:
            self._busy = False
            self._changed.notify_all()

    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._loop, name="penstock-progress", daemon=True)
            self._thread.start()

    def _loop(self) -> None:
        while True:
            with self._changed:
                due = self._next()
                while due is None:
                    self._changed.wait(self._sleep())
                    due = self._next()
                name, fields = due
                self._busy = True
                self._written[name] = self._clock()
            try:
                self._write(name, fields)
            except PenstockError as error:
                print(f"penstock: progress of artifact {name} is lost: {error}", file=sys.stderr, flush=True)
            finally:
                self._done()

    def _next(self) -> tuple[str, dict[str, Any]] | None:
        if self._busy:
            return None
        now = self._clock()
        for name in self._pending:
            if self._flushing or now - self._written.get(name, float("-inf")) >= self.interval:
                return name, self._pending.pop(name)
        return None

    def _sleep(self) -> float | None:
        if self._busy or not self._pending:
            return None  # until somebody says that something changed
        soonest = min(self._written.get(name, 0.0) for name in self._pending)
        return max(0.01, soonest + self.interval - self._clock())
