"""Task records on their way into TaskRunPages: counted, kept whole as long as there is room, written in batches.

A page is rewritten as it grows, and only when it has grown by a third, so that all writes together stay within four
times the final size; it is sealed at 32 KiB. Past 2 MiB a run, successes are only counted.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..api import labels, names, taskrecords
from .assignment import Assignment
from .connection import MERGE_PATCH, Api, Unreachable
from .status import Fenced, cut, timestamp

if TYPE_CHECKING:
    from ..engine.records import TaskRecord

SEALED = 32_768
MAX_RUN = 2 * 1024 * 1024
GROWTH = 4 / 3
ENCODE_AT_MOST = 2000  # records in the open page: what 32 KiB hold at 16 bytes each
MAX_FAILURES, MAX_TASKS = 100, 1000
FINISHED = {"Completed": "completed", "Failed": "failed", "Crashed": "crashed", "Cancelled": "cancelled"}


class Counts:
    """Task runs by state; ids are kept only of those that have not ended."""

    def __init__(self) -> None:
        self.total = 0
        self.ended = {"completed": 0, "failed": 0, "crashed": 0, "cancelled": 0, "cached": 0, "notReady": 0}
        self._open: dict[str, str] = {}

    def note(self, record: TaskRecord, over: bool) -> None:
        """Count a record in. A task that is RolledBack was counted when it completed."""
        if self.counted(record):
            return
        if record.id not in self._open:
            self.total += 1
        if not over:
            self._open[record.id] = record.state
            return
        self._open.pop(record.id, None)
        if record.state_name == "NotReady":
            self.ended["notReady"] += 1
        else:
            self.ended[FINISHED[record.state]] += 1
            self.ended["cached"] += record.state_name == "Cached"

    def counted(self, record: TaskRecord) -> bool:
        """Whether the record follows an end: the one state that does."""
        return record.state_name == "RolledBack" and record.id not in self._open

    def status(self) -> dict[str, Any]:
        """As the run's `status.tasks`."""
        done = sum(count for name, count in self.ended.items() if name != "cached")
        running = sum(1 for state in self._open.values() if state == "Running")
        shown = {name: count for name, count in {**self.ended, "running": running}.items() if count}
        return {"total": self.total, **shown, "summary": f"{done}/{self.total}"}


class Pages:
    """The task records of an attempt. `note` comes from any thread; `write` from one at a time."""

    def __init__(self, api: Api, assignment: Assignment) -> None:
        self._api, self._at = api, assignment
        self._lock = threading.Lock()
        self.counts = Counts()
        self.failures = 0
        self._records: list[TaskRecord] = []  # of the open page
        self._summary: dict[str, dict[str, int]] = {}
        self._number, self._written, self._created, self._bytes = 0, 0, False, 0
        self._folded = 0

    def note(self, record: TaskRecord) -> None:
        """Take a record."""
        over = record.ended is not None or record.state_name == "NotReady"
        with self._lock:
            again = self.counts.counted(record)
            self.counts.note(record, over)
            if not over:
                return
            success = record.state == "Completed"
            self.failures += not success
            states = self._summary.setdefault(record.task, {})
            states[record.state_name] = states.get(record.state_name, 0) + 1
            if again and states.get("Completed"):
                states["Completed"] -= 1
            if success and self._bytes >= MAX_RUN:
                self._folded += 1
                return
            self._records.append(record)

    def due(self) -> bool:
        """Whether the open page has grown enough to be written."""
        with self._lock:
            return len(self._records) > self._written * GROWTH or self._folded > 0

    def write(self) -> None:
        """Write what is new. Raises Fenced, and Unreachable when the API server is away: then nothing is lost."""
        while True:
            with self._lock:
                batch = self._records[:ENCODE_AT_MOST]
                summary = {task: dict(states) for task, states in self._summary.items()}
                more = len(self._records) > len(batch)
            if not batch and not self._folded:
                return
            data = taskrecords.encode(batch)
            while len(data) > 2 * SEALED - 1024:  # long messages: half of them on this page
                batch, more = batch[: len(batch) // 2], True
                data = taskrecords.encode(batch)
            sealed = more or len(data) >= SEALED
            self._send(self._page(batch, data, summary, sealed))
            with self._lock:
                self._folded = 0
                if not sealed:
                    self._written = len(batch)
                    return
                del self._records[: len(batch)]
                self._summary = {}
                for record in self._records:
                    states = self._summary.setdefault(record.task, {})
                    states[record.state_name] = states.get(record.state_name, 0) + 1
                self._number, self._written, self._created = self._number + 1, 0, False
                self._bytes += len(data)
            if not more:
                return

    def _page(
        self, batch: list[TaskRecord], data: str, summary: Mapping[str, Mapping[str, int]], sealed: bool
    ) -> dict[str, Any]:
        bad = [record for record in batch if record.state != "Completed"][:MAX_FAILURES]
        return {
            "records": len(batch),
            "sealed": sealed,
            "summary": [{"task": task[:253], "states": dict(states)} for task, states in summary.items()][:MAX_TASKS],
            "failures": [
                {
                    "id": record.id,
                    "name": record.name[:253],
                    "state": record.state_name[:64],
                    "attempts": record.attempts,
                    "message": cut(record.message or "", 1024),
                    **({"ended": timestamp(record.ended)} if record.ended else {}),
                }
                for record in bad
            ],
            "encoding": taskrecords.ENCODING,
            "data": data,
        }

    def _send(self, content: dict[str, Any]) -> None:
        name = names.task_page(self._at.name, self._at.uid, self._at.attempt, self._number)
        if not self._created:
            body = {
                "apiVersion": labels.API_VERSION,
                "kind": "TaskRunPage",
                "metadata": {
                    "name": name,
                    "labels": {labels.MANAGED_BY: labels.MANAGED_BY_VALUE, labels.RUN: self._at.name},
                    "ownerReferences": [
                        {
                            "apiVersion": labels.API_VERSION,
                            "kind": "FlowRun",
                            "name": self._at.name,
                            "uid": self._at.uid,
                            "controller": True,
                            "blockOwnerDeletion": False,
                        }
                    ],
                },
                "run": {"name": self._at.name, "uid": self._at.uid},
                "attempt": self._at.attempt,
                "number": self._number,
                **content,
            }
            answer = self._api.request("POST", self._at.pages, body)
        else:
            answer = self._api.request("PATCH", f"{self._at.pages}/{name}", content, MERGE_PATCH)
        if answer.status == 409 and not self._created:  # an earlier try arrived, its answer did not
            self._created = True
            self._send(content)
            return
        if answer.status == 403 and not answer.busy:
            raise Fenced(str(answer.body.get("message")))
        if answer.status >= 400:
            raise Unreachable(f"page {name}: {answer.status} {answer.body.get('message')}")
        self._created = True
