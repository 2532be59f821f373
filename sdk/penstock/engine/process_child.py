"""The child of a process task runner: `python -m penstock.engine.process_child REQUESTS ANSWERS LIFELINE`.

Reads a call, makes it in the context of its task run, and writes back the value or the exception. Task runs and log
records of user code are sent to the parent as they come; it alone talks to the world.
"""

from __future__ import annotations

import logging
import os
import pickle
import sys
import threading
from typing import TYPE_CHECKING, Any

from ..context import FLOW, TAGS, TASK, FlowRunContext, TaskRunContext
from ..flows import Flow
from .drive import run_in_new_loop
from .process import dumps, restored, unpicklable, write_frame
from .runs import FlowRun

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..events import Event
    from ..states import State
    from .records import TaskRecord


class _Parent:
    """The way back; also the reporter of task runs that user code makes here."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def send(self, kind: str, value: Any) -> None:
        payload = dumps((kind, value))
        with self._lock:
            write_frame(self._fd, payload)

    def task_changed(self, record: TaskRecord) -> None:
        self.send("task", record)

    def event_emitted(self, event: Event) -> None:
        self.send("event", event)

    def flow_changed(self, state: State[Any]) -> None:
        """Flow runs are not made here; subflows arrive as task records."""


class _Forward(logging.Handler):
    """Hands log records to the parent, with their text made up."""

    def __init__(self, parent: _Parent) -> None:
        super().__init__()
        self._parent = parent

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args = record.getMessage(), None
        if record.exc_info:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
            record.exc_info = None
        self._parent.send("log", record)


def main(requests: int, answers: int, lifeline: int) -> None:
    """Serve calls until the parent closes its end."""
    threading.Thread(target=_end_with_parent, args=(lifeline,), daemon=True).start()
    parent = _Parent(answers)
    logging.getLogger().addHandler(_Forward(parent))
    with os.fdopen(requests, "rb", closefd=False) as stream:
        while header := stream.read(8):
            _serve(stream.read(int.from_bytes(header)), parent)


def _end_with_parent(lifeline: int) -> None:
    os.read(lifeline, 1)  # returns when the parent, who alone holds the other end, is gone
    os._exit(1)


def _serve(payload: bytes, parent: _Parent) -> None:
    try:
        request = pickle.loads(payload)  # noqa: S301 - from our own parent
        value = _call(request, parent)
    except BaseException as error:
        _answer(parent, "error", error, f"the exception {type(error).__name__}: {error}")
        return
    _answer(parent, "value", value, "the result of the task")


def _answer(parent: _Parent, kind: str, value: Any, what: str) -> None:
    try:
        payload = dumps((kind, value))
        pickle.loads(payload)  # noqa: S301 - an exception may pickle and yet not load
    except Exception as error:
        parent.send("error", unpicklable(what, error))
        return
    parent.send(*pickle.loads(payload))  # noqa: S301


def _call(request: dict[str, Any], parent: _Parent) -> Any:
    logging.getLogger().setLevel(request["level"])
    fn: Callable[..., Any] = restored(request["fn"])
    flow, task_run = request["flow"], request["task_run"]
    if flow is not None:
        name, version, info, parameters, run_count = flow
        stand_in: Flow[Any, Any] = Flow(_nothing, name=name, version=version)  # its tasks run in threads here
        run = FlowRun(name, info, parameters)
        run.run_count = run_count
        here = FlowRunContext(stand_in, run, parent, request["log_prints"])
        here.results = request["results"]
        FLOW.set(here)
    TAGS.set(request["tags"])
    if task_run is not None:
        TASK.set(TaskRunContext(request["task"], task_run, request["log_prints"]))
    if request["log_prints"]:
        from ..logging.prints import install

        install()
    try:
        return _collected(fn(*request["args"], **request["kwargs"]))
    finally:
        context = FLOW.get()
        if context is not None and context.runner is not None:
            context.runner.drain()
            context.runner.__exit__(None, None, None)


def _nothing() -> None:
    """The function of the flow that stands in for the parent's."""


def _collected(value: Any) -> Any:
    """What a coroutine returns, what a generator yields."""
    if hasattr(value, "__await__"):
        import asyncio

        async def awaited() -> Any:
            return await value

        return run_in_new_loop(awaited(), asyncio)
    if hasattr(value, "ag_frame"):
        import asyncio

        async def collect() -> list[Any]:
            return [item async for item in value]

        return run_in_new_loop(collect(), asyncio)
    return list(value) if hasattr(value, "gi_frame") else value


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
