"""A process that calls user code for a worker thread, and can be killed. Used by the process task runner.

The child is `process_child`, started afresh (no fork of a threaded process, no re-import of the main script); requests
and answers are length-prefixed cloudpickles over two pipes. A third pipe that only the parent holds open ends the
child when the parent is gone.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from types import MethodType
from typing import TYPE_CHECKING, Any

from ..api import labels
from ..definitions import Definition, find_definition
from ..errors import DefinitionError, WorkerLost
from . import file_modules

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..errors import RunTimedOut

_HEADER = 8  # bytes of a frame's length


class CallProcess:
    """One child; calls follow each other."""

    def __init__(self) -> None:
        request_read, self._requests = os.pipe()
        self._answers, answer_write = os.pipe()
        life_read, self._lifeline = os.pipe()
        theirs = (request_read, answer_write, life_read)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "penstock.engine.process_child", *map(str, theirs)],
            pass_fds=theirs,
            start_new_session=True,  # so that a kill reaches what user code has started
            env={
                **os.environ,
                **file_modules.told(),
                labels.ENV_TASK_PROCESS: "1",
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            },
        )
        for fd in theirs:
            os.close(fd)
        self._closed = False

    @property
    def alive(self) -> bool:
        """Whether it can take another call."""
        return not self._closed and self._process.poll() is None

    def call(
        self,
        request: dict[str, Any],
        heard: Callable[[str, Any], None],
        timeout: float | None,
        error: RunTimedOut | None,
    ) -> Any:
        """What the function returned or raised; `heard` gets what the child reports meanwhile.

        After `timeout` seconds the child is killed and `error` raised; `WorkerLost` where it went away by itself.
        """
        payload = dumps(request)
        end = None if timeout is None else time.monotonic() + timeout
        try:
            write_frame(self._requests, payload)
            while True:
                kind, value = pickle.loads(self._read(end, error))  # noqa: S301 - from our own child
                if kind == "value":
                    return value
                if kind == "error":
                    raise value
                heard(kind, value)
        except (BrokenPipeError, EOFError):
            self.kill()
            code = self._process.returncode
            how = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
            raise WorkerLost(f"the process that ran the task ended without an answer ({how})") from None

    def _read(self, end: float | None, error: RunTimedOut | None) -> bytes:
        length = int.from_bytes(self._exactly(_HEADER, end, error))
        return self._exactly(length, end, error)

    def _exactly(self, size: int, end: float | None, error: RunTimedOut | None) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            if end is not None:
                ready, _, _ = select.select([self._answers], [], [], max(end - time.monotonic(), 0))
                if not ready:
                    self.kill()
                    assert error is not None
                    raise error
            part = os.read(self._answers, min(size - len(parts), 1 << 20))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)

    def kill(self) -> None:
        """End the child and all it started, now."""
        if self._process.returncode is None:  # not reaped, so that the number is still its own
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def close(self) -> None:
        """End the child: between calls it has nothing to lose."""
        if self._closed:
            return
        self._closed = True
        self.kill()
        for fd in (self._requests, self._answers, self._lifeline):
            os.close(fd)


def dumps(value: Any) -> bytes:
    """A pickle that also takes functions from the main script, lambdas and closures."""
    import cloudpickle

    data: bytes = cloudpickle.dumps(value)
    return data


def write_frame(fd: int, payload: bytes) -> None:
    """Write one message whole."""
    data = memoryview(len(payload).to_bytes(_HEADER) + payload)
    while data:
        data = data[os.write(fd, data) :]


def portable(fn: Callable[..., Any]) -> Any:
    """What to send for `fn` so that the child finds it: its definition where that can be imported, else the function.

    A decorated function's own name leads to its definition, so pickling it by name would not find it.
    """
    if isinstance(fn, MethodType):
        return _Bound(portable(fn.__func__), fn.__self__)
    definition = find_definition(fn)
    return fn if definition is None else definition


class _Bound:
    """A method and its instance, sent apart."""

    def __init__(self, fn: Any, target: Any) -> None:
        self.fn, self.target = fn, target


def restored(sent: Any) -> Callable[..., Any]:
    """The function that `portable` was given, in the child."""
    if isinstance(sent, _Bound):
        return MethodType(restored(sent.fn), sent.target)
    fn: Callable[..., Any] = sent.fn if isinstance(sent, Definition) else sent
    return fn


def unpicklable(what: str, error: Exception) -> DefinitionError:
    """The error for values that cannot leave their process."""
    return DefinitionError(
        f"{what} cannot be sent to another process: {error}; "
        f"use ThreadPoolTaskRunner, or give the task what can be pickled (a path instead of an open file)"
    )
