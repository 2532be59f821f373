"""Reports of a run while it goes on, by a thread of its own; and its end, which is written last.

User code never waits for the API server: what cannot be delivered is kept and delivered later.
"""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, Any

from ..api.states import StateType
from .connection import Unreachable
from .events import EmittedEvents
from .pages import Pages
from .status import Fenced, Ops, RunStatus, timestamp

if TYPE_CHECKING:
    from ..engine.records import FlowRunInfo, TaskRecord
    from ..engine.reporting import Reporter
    from ..events import Event
    from ..states import State
    from .children import Children

MAX_INLINE = 2048
FIRST_FLUSH, MIN_INTERVAL, MAX_INTERVAL = 1.0, 1.0, 30.0
CHILDREN_EVERY = 1.0  # seconds after which a subflow that has started or ended is written at the latest
PAGES_AT_END = 120.0  # seconds the end of a run waits for its task records to be taken


class Reports:
    """Implements the engine's Reporter for one attempt."""

    def __init__(
        self,
        status: RunStatus,
        pages: Pages,
        children: Children,
        started: float | None,
        events: EmittedEvents | None = None,
    ) -> None:
        self._status, self._pages, self._children, self._events = status, pages, children, events
        self._begun = time.monotonic()
        self._started = started
        self._changes: list[tuple[str, str, str]] = []
        self._runs = 0
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._failures_seen = 0
        self._next_progress = 0.0
        self.fenced = False
        children.ended = self._wake.set
        self._thread = threading.Thread(target=self._loop, name="penstock-reports", daemon=True)
        self._thread.start()

    # The engine's Reporter.

    def task_changed(self, record: TaskRecord) -> None:
        """A task run changed."""
        self._pages.note(record)
        if self._pages.failures != self._failures_seen:
            self._wake.set()

    def flow_changed(self, state: State[Any]) -> None:
        """The flow is tried again, or waits for it. In the resource it stays Running: the attempt goes on."""
        if state.type is StateType.RUNNING:
            self._runs += 1
            self._children.restart()
            if self._runs == 1:  # the claim has written it
                return
        self._changes.append((state.name, state.reason or "", state.message or ""))
        self._wake.set()

    def event_emitted(self, event: Event) -> None:
        """User code emitted an event."""
        if self._events is not None and self._events.put(event):
            self._wake.set()

    def child(self, info: FlowRunInfo) -> Reporter:
        """A subflow is about to start."""
        return self._children.child(info)

    def interval(self, elapsed: float) -> float:
        """Seconds between flushes: a twentieth of what the run has taken, between 1 and 30."""
        return min(max(elapsed / 20, MIN_INTERVAL), MAX_INTERVAL)

    def _loop(self) -> None:
        self._wake.wait(FIRST_FLUSH)
        while not self._closed.is_set():
            began = time.monotonic()
            self._wake.clear()
            try:
                self._flush(final=False)
            except Unreachable:
                pass
            except Fenced:
                self.fenced = True
                return
            wait = self.interval(time.monotonic() - self._begun)
            if self._wake.wait(wait if not self._children.open else min(wait, CHILDREN_EVERY)):
                # At most one flush a second, whatever happens.
                self._closed.wait(max(0.0, MIN_INTERVAL - (time.monotonic() - began)))

    def _flush(self, *, final: bool) -> None:
        while self._changes:
            name, reason, message = self._changes[0]
            runs: Ops = [{"op": "add", "path": "/status/runCount", "value": self._runs}]
            self._status.enter(StateType.RUNNING, name, reason, message, runs)
            del self._changes[0]
        failed = self._pages.failures != self._failures_seen
        self._failures_seen = self._pages.failures
        now = time.monotonic()
        regular = now >= self._next_progress
        if final or failed or (regular and self._pages.due()):
            self._pages.write()
        if self._events is not None:
            self._events.write(final=final)
        self._children.deliver(progress=regular)
        if not final and self._pages.counts.total and (regular or failed):
            self._next_progress = now + self.interval(now - self._begun)
            self._status.progress([{"op": "add", "path": "/status/tasks", "value": self._pages.counts.status()}])

    def stop(self) -> None:
        """End the thread; whatever it was sending has been sent when this returns."""
        self._closed.set()
        self._wake.set()
        self._thread.join()

    def flush(self, seconds: float) -> None:
        """Deliver what is left, for so long at most. Raises Fenced."""
        deadline, wait = time.monotonic() + seconds, 0.2
        while True:
            try:
                self._flush(final=True)
                return
            except Unreachable:
                if time.monotonic() + wait > deadline:
                    return
                time.sleep(wait)
                wait = min(wait * 2, 5.0)

    def finish(self, state: State[Any]) -> None:
        """Write the end of the run, as the last thing. Raises Fenced."""
        self.flush(PAGES_AT_END)
        ended = time.time()
        extra: Ops = [
            {"op": "add", "path": "/status/endTime", "value": timestamp(ended)},
            {"op": "add", "path": "/status/runCount", "value": max(self._runs, 1)},
        ]
        start = self._started if self._started is not None else ended - (time.monotonic() - self._begun)
        if self._started is None:
            extra.append({"op": "add", "path": "/status/startTime", "value": timestamp(start)})
        extra.append({"op": "add", "path": "/status/duration", "value": duration(ended - start)})
        optional: Ops = []
        if self._pages.counts.total:
            optional.append({"op": "add", "path": "/status/tasks", "value": self._pages.counts.status()})
        if state.type is StateType.COMPLETED:
            from .results import kept

            optional.append({"op": "add", "path": "/status/result", "value": kept(state, self._status.uid)})
        message = state.message or ""
        self._status.enter(state.type, state.name, state.reason or str(state.type), message, extra, optional)


def result(value: Any) -> dict[str, Any]:
    """A flow's value as the run's `status.result`: inline where it is small JSON, or why it is not there."""
    if value is None:
        return {}
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return {"omitted": f"a {type(value).__name__} is no JSON; return JSON values to see them here"}
    if len(text.encode()) > MAX_INLINE:
        return {"omitted": f"{len(text)} bytes of JSON, of which at most {MAX_INLINE} are kept here"}
    return {"inline": value}


def duration(seconds: float) -> str:
    """4s, 3m20s or 2h05m."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"
