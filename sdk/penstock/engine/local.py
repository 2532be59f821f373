"""Shows runs that a person started on this machine: plain lines, or a progress view on a terminal.

The setting `progress` (auto, rich, lines, off) chooses; by itself a terminal gets rich, everything else lines. rich is
imported only when a flow has run for a moment, so short flows never pay for it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..settings import get_current_settings
from .reporting import Silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..states import State
    from .records import TaskRecord
    from .reporting import Reporter

SHOW_AFTER = 0.5  # seconds
LINE_EVERY = 5.0
HEARD_AT_MOST = 1000  # records that wait to be counted


_instead: list[Callable[[str], Reporter]] = []


def local_reporter(run: str) -> Reporter:
    """The reporter for a flow run that was started by calling it."""
    if _instead:
        return _instead[-1](run)
    wanted = get_current_settings().progress
    if wanted == "auto":
        wanted = "rich" if sys.stderr.isatty() else "lines"
    if wanted == "off":
        return Silent()
    return Progress(run) if wanted == "rich" else Lines(run)


@contextmanager
def reporting_to(make: Callable[[str], Reporter]) -> Iterator[None]:
    """Let `make(run's name)` give the reporters inside of the block, for the whole process: for tests."""
    _instead.append(make)
    try:
        yield
    finally:
        _instead.remove(make)


class Counts:
    """How many task runs are in which state, by task name; kept small whatever a flow does.

    Threads that report only append; who reads, or finds that many have been appended, counts them. A lock around each
    record would have the threads of short tasks wait for each other.
    """

    def __init__(self) -> None:
        self._heard: deque[TaskRecord] = deque()
        self._lock = threading.Lock()
        self._open: dict[str, str] = {}  # state names of task runs that have not ended
        self._by_task: dict[str, dict[str, int]] = {}

    def note(self, record: TaskRecord) -> None:
        """Count a record in, and the one it replaces out."""
        self._heard.append(record)
        if len(self._heard) > HEARD_AT_MOST and self._lock.acquire(blocking=False):
            try:
                self._count()
            finally:
                self._lock.release()

    @property
    def tasks(self) -> dict[str, dict[str, int]]:
        """Task runs by task name and state name."""
        with self._lock:
            self._count()
            return self._by_task

    def _count(self) -> None:
        for _ in range(len(self._heard)):
            record = self._heard.popleft()
            by_state = self._by_task.setdefault(record.task, {})
            before = self._open.pop(record.id, None)
            if record.state_name == "RolledBack" and before is None:  # the one state that follows an end
                before = "Completed"
            if before is not None:
                by_state[before] -= 1
            by_state[record.state_name] = by_state.get(record.state_name, 0) + 1
            if record.ended is None:
                self._open[record.id] = record.state_name

    def summary(self) -> str:
        """`12 of 20 tasks done (2 Failed)`."""
        with self._lock:
            self._count()
            totals: dict[str, int] = {}
            for by_state in self._by_task.values():
                for name, count in by_state.items():
                    totals[name] = totals.get(name, 0) + count
            total, left = sum(totals.values()), len(self._open)
        bad = ", ".join(
            f"{count} {name}" for name, count in totals.items() if count and name in ("Failed", "TimedOut", "Crashed")
        )
        return f"{total - left} of {total} tasks done" + (f" ({bad})" if bad else "")


class Lines:
    """One line when the flow run starts and ends, and every few seconds while tasks go on."""

    def __init__(self, run: str) -> None:
        self._run = run
        self.counts = Counts()
        self._next = time.monotonic() + LINE_EVERY

    def task_changed(self, record: TaskRecord) -> None:
        """Count it; now and then, say how far the flow is."""
        self.counts.note(record)
        now = time.monotonic()
        if now >= self._next:
            self._next = now + LINE_EVERY
            self._write(self.counts.summary())

    def flow_changed(self, state: State[Any]) -> None:
        """Say what the flow run has become."""
        tasks = f", {self.counts.summary()}" if state.is_final() and self.counts.tasks else ""
        message = f": {state.message}" if state.message else ""
        self._write(f"{state.name}{tasks}{message}")

    def _write(self, text: str) -> None:
        if sys.stderr is not None:  # None under pythonw
            sys.stderr.write(f"{time.strftime('%H:%M:%S')} | flow run {self._run} | {text}\n")


class Progress(Lines):
    """A live view with a bar for each task; lines before and after it."""

    def __init__(self, run: str) -> None:
        super().__init__(run)
        self._started = time.monotonic()
        self._view: Any = None
        self._bars: dict[str, Any] = {}
        self._viewing = threading.Lock()

    def task_changed(self, record: TaskRecord) -> None:
        """Count it and move its task's bar."""
        self.counts.note(record)
        if time.monotonic() - self._started < SHOW_AFTER:
            return
        with self._viewing:
            if self._view is None:
                self._view = self._show()
            self._move(record.task)

    def flow_changed(self, state: State[Any]) -> None:
        """End the view with the run, and say what the flow run has become."""
        with self._viewing:
            if self._view is not None and state.is_final():
                for task in self.counts.tasks:
                    self._move(task)
                self._view.stop()
                self._view = None
        super().flow_changed(state)

    def _show(self) -> Any:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        view = Progress(*columns, TextColumn("[red]{task.fields[bad]}"), console=Console(stderr=True))
        view.start()
        return view

    def _move(self, task: str) -> None:
        by_state = dict(self.counts.tasks[task])
        total = sum(by_state.values())
        ended = sum(
            by_state.get(name, 0)
            for name in ("Completed", "Cached", "RolledBack", "Failed", "TimedOut", "Crashed", "Cancelled")
        )
        failed = sum(by_state.get(name, 0) for name in ("Failed", "TimedOut", "Crashed"))
        if task not in self._bars:
            self._bars[task] = self._view.add_task(task, total=total, bad="")
        self._view.update(self._bars[task], total=total, completed=ended, bad=f"{failed} failed" if failed else "")
