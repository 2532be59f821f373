"""Task records on their way into TaskRunPages: counted, kept whole as long as there is room, written in batches.

A page is rewritten whole when it has doubled, and at once for a failure where that leaves room for a last write within
four times its size; it is sealed at 32 KiB. Past 2 MiB, successes are only counted; past 4 MiB, everything is. That
bounds what is kept while the API server is away, too: pages that are full wait as they will be written.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..api import labels, names, taskrecords
from ..api.bounds import cut
from .assignment import Assignment
from .connection import MERGE_PATCH, Answer, Api, Refused, Unreachable
from .status import say, timestamp

if TYPE_CHECKING:
    from ..engine.records import TaskRecord

    Summary = dict[str, dict[str, int]]

SEALED = 32_768
MAX_DATA = 65_536 - 1024
MAX_SUCCESSES, MAX_ANYTHING = 2 * 1024 * 1024, 4 * 1024 * 1024
PACK_AT = 20_000  # more than a page takes; unpacked, a record has a few hundred bytes, on a page a few dozen
ENCODE_AT_MOST = 2000  # records in the open page: what 32 KiB hold at 16 bytes each
MAX_FAILURES, MAX_TASKS = 100, 1000
MAX_NAMES = 23  # state names of a task in a summary; more are counted by type, of which there are nine
MAX_UPSTREAM = 256
AMENDED = 5000  # last records among which that of a task is looked for which was rolled back
ENDED = {"Completed": "completed", "Failed": "failed", "Crashed": "crashed", "Cancelled": "cancelled"}


class Counts:
    """Task runs by state; ids are kept only of those that have not ended."""

    def __init__(self) -> None:
        self.total = 0
        self._ended = {"completed": 0, "failed": 0, "crashed": 0, "cancelled": 0, "notReady": 0}
        self._cached = 0
        self._others = 0  # user code returned a state in which no task run ends
        self._open: dict[str, str] = {}

    def note(self, record: TaskRecord, over: bool) -> None:
        """Count a record in, but that of a task that was rolled back: it was counted when it completed."""
        if self.counted(record):
            return
        if record.id not in self._open:
            self.total += 1
        if not over:
            self._open[record.id] = record.state
            return
        self._open.pop(record.id, None)
        if record.state_name == "NotReady":
            self._ended["notReady"] += 1
        elif record.state in ENDED:
            self._ended[ENDED[record.state]] += 1
            self._cached += record.state_name == "Cached"
        else:
            self._others += 1

    def counted(self, record: TaskRecord) -> bool:
        """Whether the record follows an end: the one state that does."""
        return record.state_name == "RolledBack" and record.id not in self._open

    def status(self) -> dict[str, Any]:
        """As the run's `status.tasks`."""
        done = sum(self._ended.values()) + self._others
        running = sum(1 for state in self._open.values() if state == "Running")
        shown = {**self._ended, "cached": self._cached, "running": running}
        nonzero = {name: count for name, count in shown.items() if count}
        return {"total": self.total, **nonzero, "summary": f"{done}/{self.total}"}


class _Batch:
    """A page as it is to be written: records, and what is counted of others. `failures`: up to when.

    A sealed one may wait long for the API server; it has no records any more, only what is written of them.
    """

    __slots__ = ("content", "failures", "folded", "packed", "records", "sealed", "size")

    def __init__(self, records: list[TaskRecord], folded: Summary, failures: int, more: bool) -> None:
        data = taskrecords.encode(records)
        while len(data) > MAX_DATA:
            records, more = records[: len(records) // 2], True
            data = taskrecords.encode(records)
        self.records, self.folded, self.failures = len(records), folded, failures
        self.sealed = more or len(data) >= SEALED
        self.packed = len(data)
        self.size = len(records) + sum(sum(states.values()) for states in folded.values())
        summary = _copy(folded)
        _count(summary, records)
        self.content = {
            "records": len(records),
            "sealed": self.sealed,
            "summary": [{"task": task, "states": states} for task, states in summary.items()][:MAX_TASKS],
            "failures": [_failure(r) for r in records if r.state != "Completed"][:MAX_FAILURES],
            "encoding": taskrecords.ENCODING,
            "data": data,
        }


class Pages:
    """The task records of an attempt. `note` and `status` come from any thread; `write` from one at a time."""

    def __init__(self, api: Api, assignment: Assignment) -> None:
        self._api, self._at = api, assignment
        self._lock = threading.Lock()
        self._packing = threading.Lock()  # held by whoever makes a batch; taken before the other
        self._counts = Counts()
        self.failures = 0
        # What is on no sealed page: whole records, and those that are only counted.
        self._records: list[TaskRecord] = []
        self._folded: Summary = {}
        self._folds = 0
        self._amended = False  # a record that stands in the open page is another now
        # Of the open page: what stands in it, and what all its writes together have held.
        self._number, self._written, self._spent, self._created = 0, 0, 0, False
        self._failures_written, self._bytes = 0, 0
        # To be sent, the first first. It may have arrived: a sealed page is never sent with other content.
        self._sealed: deque[_Batch] = deque()

    def note(self, record: TaskRecord) -> None:
        """Take a record."""
        over = record.ended is not None or record.state in ENDED or record.state_name == "NotReady"
        with self._lock:
            if self._counts.counted(record):
                self._amend(record)
                return
            self._counts.note(record, over)
            if not over:
                return
            success = record.state == "Completed"
            self.failures += not success
            if self._bytes >= (MAX_SUCCESSES if success else MAX_ANYTHING):
                self._folds += 1
                _count(self._folded, (_bounded(record),))
                return
            self._records.append(_bounded(record))
            if len(self._records) < PACK_AT:
                return
        self._pack()

    def _pack(self) -> None:
        """Make sealed pages of what is too much to keep as it is: the API server is away, or slower than user code."""
        while len(self._records) >= PACK_AT:
            if self._packing.locked() and len(self._records) < 2 * PACK_AT:
                return  # somebody is at it
            with self._packing:
                if len(self._records) >= PACK_AT:
                    self._make()

    def _amend(self, record: TaskRecord) -> None:
        """Put the record in the place of the one of its completion, where that is on no sealed page."""
        for index in range(len(self._records) - 1, max(len(self._records) - AMENDED, 0) - 1, -1):
            if self._records[index].id == record.id:
                self._records[index] = _bounded(record)
                self._amended = True
                return

    def status(self) -> dict[str, Any]:
        """Counts, as the run's `status.tasks`; empty where there were no tasks."""
        with self._lock:
            return self._counts.status() if self._counts.total else {}

    def due(self) -> bool:
        """Whether a page should be written now."""
        with self._lock:
            if self._sealed:
                return True
            size = len(self._records) + self._folds
            wanted = size >= 2 * self._written or self.failures > self._failures_written
            return size > self._written and wanted and self._spent <= 2 * size

    def write(self) -> None:
        """Write what is new. Raises Unreachable, and Refused where that may pass: then nothing is lost."""
        while batch := self._next():
            self._send(batch)
            self._sent(batch)
            if not batch.sealed:  # what came meanwhile is the next call's
                return

    def _next(self) -> _Batch | None:
        with self._packing:
            if self._sealed:
                return self._sealed[0]
            if len(self._records) + self._folds == self._written and not self._amended:
                return None
            return self._make()

    def _make(self) -> _Batch:
        """The next page; one that is sealed takes its records along. Whoever calls it packs."""
        with self._lock:
            self._amended = False
            records, folded, failures = self._records[:ENCODE_AT_MOST], _copy(self._folded), self.failures
            more = len(self._records) > len(records)
        batch = _Batch(records, folded, failures, more)
        if batch.sealed:
            self._take(batch)
        return batch

    def _take(self, batch: _Batch) -> None:
        """What the batch holds is no other page's."""
        with self._lock:
            del self._records[: batch.records]
            for task, states in batch.folded.items():
                for name, count in states.items():
                    self._folds -= count
                    self._folded[task][name] -= count
            self._folded = {t: left for t, states in self._folded.items() if (left := _nonzero(states))}
            self._bytes += batch.packed
            self._sealed.append(batch)

    def _sent(self, batch: _Batch) -> None:
        with self._lock:
            self._failures_written = batch.failures
            if not batch.sealed:
                self._written, self._spent = batch.size, self._spent + batch.size
                return
            self._sealed.popleft()
            self._number, self._written, self._spent, self._created = self._number + 1, 0, 0, False

    def _send(self, batch: _Batch) -> None:
        name = names.task_page(self._at.name, self._at.uid, self._at.attempt, self._number)
        content = batch.content
        answer = self._put(name, content)
        if answer.status in (400, 413, 422):  # without what is for people, it may pass
            answer = self._put(name, {**content, "summary": [], "failures": []})
        if answer.status < 300:
            self._created = True
        elif answer.status in (400, 413, 422):
            self._give_up(batch)
            say(f"{batch.records} task records are lost: page {name}: {answer}")
        elif answer.busy:
            raise Unreachable(f"page {name}: {answer}")
        else:
            raise Refused(f"page {name}: {answer}")

    def _give_up(self, batch: _Batch) -> None:
        """Have an open page be over: the next one may pass."""
        with self._packing:
            if not batch.sealed and not self._sealed:  # else they are on a sealed one by now, which is tried itself
                self._take(batch)
                batch.sealed = True

    def _put(self, name: str, content: dict[str, Any]) -> Answer:
        """Create the page, or update it where it is there: an earlier try may have arrived without its answer."""
        for _ in range(2):
            if self._created:
                answer = self._api.request("PATCH", f"{self._at.pages}/{name}", content, MERGE_PATCH)
                self._created = answer.status != 404  # somebody deleted it
            else:
                answer = self._api.request("POST", self._at.pages, {**self._page(name), **content})
                self._created = answer.status == 409
            if answer.status not in (404, 409):
                break
        return answer

    def _page(self, name: str) -> dict[str, Any]:
        owner = {"apiVersion": labels.API_VERSION, "kind": "FlowRun", "name": self._at.name, "uid": self._at.uid}
        return {
            "apiVersion": labels.API_VERSION,
            "kind": "TaskRunPage",
            "metadata": {
                "name": name,
                "labels": {labels.MANAGED_BY: labels.MANAGED_BY_VALUE, labels.RUN: self._at.name},
                "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": False}],
            },
            "run": {"name": self._at.name, "uid": self._at.uid},
            "attempt": self._at.attempt,
            "number": self._number,
        }


def _bounded(record: TaskRecord) -> TaskRecord:
    """The record within what a page can hold; of the upstream ids of a wide fan-in, the first are kept."""
    texts = (record.task, record.key, record.name, record.cache_key or "", record.message or "")
    if sum(map(len, texts)) <= 253 and len(record.state_name) <= 64 and len(record.upstream) <= MAX_UPSTREAM:
        return record
    return record._replace(
        task=record.task[:253],
        key=record.key[:512],
        name=record.name[:253],
        state_name=record.state_name[:64],
        upstream=record.upstream[:MAX_UPSTREAM],
        cache_key=record.cache_key and record.cache_key[:512],
        message=record.message and cut(record.message, 1024),
    )


def _count(summary: Summary, records: Iterable[TaskRecord]) -> None:
    for record in records:
        states = summary.setdefault(record.task, {})
        name = record.state_name
        if name not in states and len(states) >= MAX_NAMES:
            name = record.state
        states[name] = states.get(name, 0) + 1


def _copy(summary: Summary) -> Summary:
    return {task: dict(states) for task, states in summary.items()}


def _nonzero(states: dict[str, int]) -> dict[str, int]:
    return {name: count for name, count in states.items() if count}


def _failure(record: TaskRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "state": record.state_name,
        "attempts": record.attempts,
        "message": record.message or "",
        **({"ended": timestamp(record.ended)} if record.ended else {}),
    }
