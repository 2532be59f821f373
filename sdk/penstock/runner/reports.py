"""Reports of a run while it goes on, by a thread of its own; and its end, which is written last.

User code never waits for the API server: what cannot be delivered is kept and delivered later.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..api.bounds import MAX_INLINE_RESULT
from ..api.durations import shown
from ..api.states import StateType
from .connection import Refused, Unreachable
from .events import EmittedEvents
from .pages import Pages
from .pauses import Pauses
from .slots_when_asked import SlotsWhenAsked
from .status import Fenced, Ops, RunStatus, say, timestamp

if TYPE_CHECKING:
    from ..engine.records import FlowRunInfo, TaskRecord
    from ..engine.reporting import Reporter
    from ..events import Event
    from ..pauses import Answer, PauseRequest
    from ..states import State
    from .children import Children

FIRST_FLUSH, MIN_INTERVAL, MAX_INTERVAL = 1.0, 1.0, 30.0
CHILDREN_EVERY = 1.0  # seconds after which a subflow that has started or ended is written at the latest
REFUSED_AT_END = 120.0  # seconds the end of a run waits for task records that are refused


class Reports:
    """Implements the engine's Reporter for one attempt. `fenced` is called once, by the thread that found it out."""

    def __init__(
        self,
        status: RunStatus,
        pages: Pages,
        children: Children,
        events: EmittedEvents,
        pauses: Callable[[Callable[[], object]], Pauses],
        slots: SlotsWhenAsked,
        *,
        started: float | None,
        entered: int,
        fenced: Callable[[], object],
    ) -> None:
        self._status, self._pages, self._children, self._events = status, pages, children, events
        self._begun = time.monotonic()
        self._started = started
        self._changes: list[tuple[State[Any], int, Ops]] = []
        self._entered_before, self._entered = entered, 0
        self._told: dict[str, Any] = {}  # the counts that stand in the run
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._failures_seen = 0
        self._next_regular = 0.0
        children.ended = self._wake.set
        self._pauses = pauses(self._wake.set)
        self._slots = slots
        slots.lost = self._wake.set
        self._on_fenced = fenced
        self.fenced: Fenced | None = None
        self._thread = threading.Thread(target=self._loop, name="penstock-reports", daemon=True)
        self._thread.start()

    # The engine's Reporter.

    def task_changed(self, record: TaskRecord) -> None:
        """A task run changed."""
        self._pages.note(record)
        if self._pages.failures != self._failures_seen:
            self._wake.set()

    def flow_changed(self, state: State[Any]) -> None:
        """The flow is tried again, or waits for it: in the resource it stays Running, for the attempt goes on. Or it
        waits for a person, which is Paused, and then goes on."""
        if state.type is StateType.PAUSED:
            self._changes.append((state, self._run_count, self._pauses.entered()))
            self._wake.set()
            return
        if state.type is StateType.RUNNING and state.reason is not None:  # it was paused
            self._changes.append((state, self._run_count, self._pauses.left()))
            self._wake.set()
            return
        if state.type is StateType.RUNNING:
            self._entered += 1
            self._children.restart()
            if self._entered == 1:  # the claim has written it
                return
        self._changes.append((state, self._run_count, []))
        self._wake.set()

    def event_emitted(self, event: Event) -> None:
        """User code emitted an event."""
        if self._events.put(event):
            self._wake.set()

    def being_cancelled(self) -> bool:
        """Whether the interruption of the run is somebody's wish."""
        return self._status.being_cancelled()

    def code_found(self, code: dict[str, Any]) -> None:
        """The run's code turned out to be this commit, or of this digest. Raises Fenced."""
        self._status.code_found(code)

    def child(self, info: FlowRunInfo) -> Reporter:
        """A subflow is about to start."""
        return self._children.child(info)

    # What holds its pauses (`penstock.pauses.PauseReporter`).

    def answered(self, pause: str) -> tuple[bool, Any]:
        """Whether this pause was answered before, and with what."""
        return self._pauses.answered(pause)

    def pause_requested(self, request: PauseRequest) -> Answer:
        """The run waits in its process."""
        return self._pauses.open(request)

    def suspend_requested(self, request: PauseRequest) -> None:
        """The run is about to end here. Raises NotSuspendable."""
        self._pauses.suspend(request)

    def suspended(self, state: State[Any]) -> bool:
        """Whether this is how a run ends that goes on in another pod."""
        return state.type is StateType.PAUSED and self._pauses.suspending is not None

    def suspend(self, state: State[Any]) -> None:
        """Write that the run is suspended, as the last thing. Raises Fenced."""
        self._close()
        self._thread.join()
        self._deliver_records()
        extra: Ops = [{"op": "add", "path": "/status/runCount", "value": self._run_count}]
        extra += self._pauses.entered(self._pauses.suspending)
        if counts := self._pages.status():
            extra.append({"op": "add", "path": "/status/tasks", "value": counts})
        reason, message = state.reason or "", state.message or ""
        self._status.enter(StateType.PAUSED, state.name, reason, message, time.time(), extra)

    # Its end, by the main thread.

    def finish(self, state: State[Any]) -> None:
        """Write the end of the run, as the last thing. Raises Fenced."""
        ended = time.time()
        self._close()
        self._thread.join()
        self._deliver_records()
        extra: Ops = [
            {"op": "add", "path": "/status/endTime", "value": timestamp(ended)},
            {"op": "add", "path": "/status/runCount", "value": self._run_count},
        ]
        start = self._started if self._started is not None else ended - (time.monotonic() - self._begun)
        if self._started is None:
            extra.append({"op": "add", "path": "/status/startTime", "value": timestamp(start)})
        extra.append({"op": "add", "path": "/status/duration", "value": shown(ended - start)})
        tasks: Ops = []
        if counts := self._pages.status():
            tasks.append({"op": "add", "path": "/status/tasks", "value": counts})
        options: list[Ops] = [tasks] if not tasks else [tasks, []]
        if state.type is StateType.COMPLETED:
            refused = {"omitted": "the API server does not take this value; the run's logs have what it says"}
            from .results import kept

            values = (kept(state, self._status.uid), refused)
            results: list[Ops] = [[{"op": "add", "path": "/status/result", "value": value}] for value in values]
            options = [*(tasks + written for written in results), *options]
        type_, name, reason, message = end(state)
        self._status.enter(type_, name, reason, message, ended, extra, options)

    def abandon(self, seconds: float) -> None:
        """Deliver what is left without an end, for so long at most."""
        self._close()
        last = threading.Thread(target=self._deliver_rest, args=(seconds,), name="penstock-last-reports", daemon=True)
        last.start()
        last.join(seconds)

    @property
    def _run_count(self) -> int:
        return self._entered_before + self._entered

    def _close(self) -> None:
        self._slots.close()
        self._closed.set()
        self._wake.set()

    def _deliver_records(self) -> None:
        """Deliver all but the counts, however long the API server is away. Records that it refuses hold up no end."""
        wait, refused, tries = 0.2, 0.0, 0
        while True:
            try:
                self._deliver(everything=True, counts=False)
                return
            except Refused as error:
                why = str(error)
                refused = refused or time.monotonic()
                if time.monotonic() - refused > REFUSED_AT_END:
                    say(f"task records are lost: {error}")
                    return
                self._verify()
            except Unreachable as error:
                why, refused = str(error), 0.0
            tries += 1
            if tries == 2:
                say(f"the end of the run waits until its task records are taken: {why}")
            time.sleep(wait)
            wait = min(wait * 2, 5.0)

    def _deliver_rest(self, seconds: float) -> None:
        deadline, wait = time.monotonic() + seconds, 0.2
        self._thread.join()
        while time.monotonic() < deadline:
            try:
                self._deliver(everything=True, counts=True)
                return
            except Unreachable:
                time.sleep(wait)
                wait *= 2
            except Fenced:
                return

    # The thread of reports.

    def interval(self, elapsed: float) -> float:
        """Seconds between flushes: a twentieth of what the run has taken, between 1 and 30."""
        return min(max(elapsed / 20, MIN_INTERVAL), MAX_INTERVAL)

    def _loop(self) -> None:
        self._wake.wait(FIRST_FLUSH)
        while True:
            self._wake.clear()  # before the look at `closed`, or the wake that comes with it could be lost
            if self._closed.is_set():
                return
            began = time.monotonic()
            try:
                self._flush()
            except Fenced as error:
                self.fenced = error
                self._on_fenced()
                return
            wait = self.interval(time.monotonic() - self._begun)
            if self._wake.wait(wait if not self._children.open else min(wait, CHILDREN_EVERY)):
                # At most one flush a second, whatever happens.
                self._closed.wait(max(0.0, MIN_INTERVAL - (time.monotonic() - began)))

    def _flush(self) -> None:
        try:
            self._deliver(everything=False, counts=True)
        except Refused:
            self._verify()
        except Unreachable:
            pass  # what is kept is delivered by a later one

    def _verify(self) -> None:
        """Raise Fenced where a look at the run says so."""
        with suppress(Unreachable):
            self._status.verify()

    def _deliver(self, *, everything: bool, counts: bool) -> None:
        while self._changes:
            state, runs, more = self._changes[0]
            count: Ops = [{"op": "add", "path": "/status/runCount", "value": runs}, *more]
            reason, message = state.reason or "", state.message or ""
            type_ = StateType.PAUSED if state.type is StateType.PAUSED else StateType.RUNNING
            self._status.enter(type_, state.name, reason, message, state.time, count)
            del self._changes[0]
        if (ops := self._pauses.to_tell()) and self._status.progress(ops):
            self._pauses.told()
        self._slots.check()
        now, failures = time.monotonic(), self._pages.failures
        # Subflows wake this thread more often than the rhythm of counts and pages is.
        regular = everything or now >= self._next_regular or failures != self._failures_seen
        if counts and regular:
            self._tell_counts()
        if everything or (regular and self._pages.due()):
            self._pages.write()
        self._failures_seen = failures
        self._events.write(final=everything)
        self._children.deliver(progress=regular and not everything)
        if regular:
            self._next_regular = now + self.interval(now - self._begun)

    def _tell_counts(self) -> None:
        tasks = self._pages.status()
        if tasks != self._told and self._status.progress([{"op": "add", "path": "/status/tasks", "value": tasks}]):
            self._told = tasks


def end(state: State[Any]) -> tuple[StateType, str, str, str]:
    """Type, name, reason and message of the run's end."""
    if not state.type.terminal:
        message = (
            f"the flow ended in the state {state.name}, which is none to end in: return a value, or a state such as "
            f"Completed or Failed{f' ({state.message})' if state.message else ''}"
        )
        return StateType.FAILED, str(StateType.FAILED), "NotCompleted", message
    return state.type, state.name, state.reason or str(state.type), state.message or ""


def result(value: Any) -> dict[str, Any]:
    """A flow's value as the run's `status.result`: inline where it is small JSON, or why it is not there."""
    if value is None:
        return {}
    try:
        text = json.dumps(value, allow_nan=False)
    except Exception as error:  # user code's own classes may raise anything
        return {"omitted": f"a {type(value).__name__[:128]} is no JSON ({str(error)[:256]}); return JSON values"}
    if len(text) > MAX_INLINE_RESULT:
        return {"omitted": f"{len(text)} bytes of JSON, of which at most {MAX_INLINE_RESULT} are kept here"}
    try:
        json.loads(text, parse_int=_int64)
    except OverflowError as error:
        return {"omitted": str(error)}
    return {"inline": value}


def _int64(text: str) -> None:
    if not -(2**63) <= int(text) < 2**63:
        raise OverflowError(f"{text[:32]} is beyond 64 bits, which Kubernetes would round; return it as a string")
