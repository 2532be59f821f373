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

from . import file_modules
from .process import dumps, unpicklable, write_frame
from .remote import perform, plain

if TYPE_CHECKING:
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
        self._parent.send("log", plain(record))


def main(requests: int, answers: int, lifeline: int) -> None:
    """Serve calls until the parent closes its end."""
    threading.Thread(target=_end_with_parent, args=(lifeline,), daemon=True).start()
    file_modules.hear(os.environ)
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
        logging.getLogger().setLevel(request["level"])
        value = perform(request, parent)
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


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
