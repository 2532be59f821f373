"""Performs a `Call` in another process for a worker thread of a process task runner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..context import FLOW
from .pool import worker_resources
from .process import CallProcess
from .remote import emit, relay, request

if TYPE_CHECKING:
    from .effects import Call


def call_in_process(effect: Call, processes: set[CallProcess]) -> Any:
    """What the function returns from the process of this worker thread, which keeps it for its next task."""
    flow = FLOW.get()
    asked = request(effect)

    def heard(kind: str, value: Any) -> None:
        if kind == "task" and flow is not None:
            flow.reporter.task_changed(value)
        elif kind == "event":
            emit(flow, value)
        elif kind == "log":
            relay(value)

    process = _process_of_this_thread(processes)
    return process.call(asked, heard, effect.timeout, effect.error)


def _process_of_this_thread(processes: set[CallProcess]) -> CallProcess:
    keep = worker_resources()
    assert keep is not None, "only worker threads call in processes"
    process: CallProcess | None = keep.get("process")
    if process is None or not process.alive:
        if process is not None:
            process.close()
            processes.discard(process)
        process = keep["process"] = CallProcess()
        processes.add(process)
    return process
