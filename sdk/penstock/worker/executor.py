"""The fork server of a worker (`python -m penstock.worker.executor`): a process for each run, made by fork of one that
has imported everything already.

It is told what to do by the agent, and holds no credentials: user code runs in its children. One thread and one loop,
since a process with threads cannot be forked safely. Whose run it is and what the API server says, it does not know.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from ..api import labels
from ..runner.attempt import AHEAD
from . import child, leftovers
from .messages import Garbled, Lines, Message, encoded
from .output import ERR, OUT, Tagged, ended

# What a run imports before its user code, and what of Penstock user code imports most.
PRELOADED = (
    "pydantic",
    "penstock",
    "penstock.runner.attempt",
    *AHEAD,
    "penstock.runner.results",
    "penstock.engine.pool",
    "penstock.engine.task_runs",
    "penstock.engine.remote",
    "penstock.flows",
    "penstock.tasks",
    "penstock.task_runners",
    "penstock.parameters",
    "penstock.parameter_schema",
    "penstock.logging.json_lines",
    "penstock.logging.prints",
    "penstock.results.store",
    "penstock.results.settings",
    "penstock.resources.pod",
    "penstock.artifacts",
    "penstock.variables",
    "penstock.client",
    "penstock.deployments",
    "concurrent.futures.thread",
    "asyncio",
    "traceback",
    "inspect",
    "resource",
)
GRACE = 20.0  # seconds from SIGTERM to SIGKILL, where the agent does not say
LAST_OUTPUT = 1.0  # seconds that the output of an ended process is waited for, which somebody else may hold open
MAX_WAITING = 1024 * 1024  # bytes of output that are not taken: then runs are not read from

CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def clock() -> float:
    """Seconds, also of those in which the machine was asleep."""
    return time.clock_gettime(CLOCK)


class Process:
    """A run's process, and the output that is read from it."""

    def __init__(self, id_: str, pid: int, message: Message) -> None:
        self.id, self.pid = id_, pid
        self.run, self.uid, self.attempt = message["run"], message["uid"], message["attempt"]
        self.streams: dict[int, Tagged] = {}
        self.kill_at: float | None = None
        self.code: int | None = None
        self.drop_output_at = 0.0
        self.why = ""
        self.oom_kills = leftovers.oom_kills()


class Executor:
    """The loop. Where the agent says within which time it is in contact, every process is ended when it is not."""

    def __init__(
        self,
        *,
        listener: socket.socket | None,
        agent: socket.socket | None,
        main: Callable[[], int],
        preloaded: Sequence[str] = (),
    ) -> None:
        """`preloaded`: what it says of itself; `main` is what a process does once it is one."""
        self._select = selectors.PollSelector()
        self._listener, self._main, self._preloaded = listener, main, list(preloaded)
        self._agent: socket.socket | None = None
        self._contact, self._heard_at = 0.0, clock()
        self._processes: dict[str, Process] = {}
        self._to_agent = self._to_log = b""
        self._lines = Lines()
        self._quitting = self._terminated = False
        self._woken, wake = socket.socketpair()
        for end in (self._woken, wake):
            end.setblocking(False)
        self._wake = wake
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _noted)
        signal.signal(signal.SIGTERM, self._on_sigterm)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._select.register(self._woken, selectors.EVENT_READ, self._on_wake)
        if listener is not None:
            self._select.register(listener, selectors.EVENT_READ, self._on_agent)
        if agent is not None:
            self._take(agent)

    def run(self) -> None:
        """Serve until it is told to quit, and everything has ended."""
        while not (self._quitting and not self._processes):
            self._watch_writers()
            for key, events in self._select.select(self._patience()):
                key.data(events)
            self._reap()
            self._look_at_clock()
        self._flush_at_end()

    # What comes.

    def _on_agent(self, _: int) -> None:
        assert self._listener is not None
        connection, _address = self._listener.accept()
        self._drop_agent()  # the one that was there is gone, or about to go
        self._take(connection)

    def _take(self, agent: socket.socket) -> None:
        agent.setblocking(False)
        self._agent, self._lines, self._to_agent = agent, Lines(), b""
        self._heard_at = clock()
        self._select.register(agent, selectors.EVENT_READ, self._on_message)
        running = [{"id": p.id, "run": p.run, "uid": p.uid, "attempt": p.attempt} for p in self._processes.values()]
        self._say({"said": "hello", "running": running, "preloaded": self._preloaded})

    def _drop_agent(self) -> None:
        if self._agent is not None:
            self._select.unregister(self._agent)
            self._agent.close()
            self._agent = None

    def _on_message(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._send()
        if not events & selectors.EVENT_READ or self._agent is None:
            return
        try:
            data = self._agent.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop_agent()
            if self._listener is None or self._terminated:  # nobody will come in its place
                self._quit(GRACE / 2)
            return
        try:
            for message in self._lines.feed(data):
                self._obey(message)
        except (Garbled, KeyError, TypeError) as error:
            _tell(f"the agent said what cannot be understood, and is not listened to any more: {error!r}")
            self._drop_agent()

    def _obey(self, message: Message) -> None:
        do = message["do"]
        if do == "start":
            self._start(message)
        elif do == "end":
            process = self._processes.get(message["id"])
            if process is not None:
                self._end(process, float(message.get("grace", GRACE)))
        elif do == "contact":
            self._heard_at, self._contact = clock(), float(message["within"])
        elif do == "quit":
            self._quit(float(message.get("grace", GRACE)))
        else:
            raise Garbled(f"do: {do!r}")

    def _on_wake(self, _: int) -> None:
        with suppress(BlockingIOError):
            while self._woken.recv(4096):
                pass

    def _on_sigterm(self, *_: object) -> None:
        self._terminated = True
        # A pod that is deleted: the agent is told as well, and says how its runs are to end. Without one, nobody does.
        if self._agent is None:
            self._quit(GRACE)

    # Processes.

    def _start(self, message: Message) -> None:
        id_ = message["id"]
        if id_ in self._processes:
            return
        if self._quitting:
            self._say({"said": "refused", "id": id_, "message": "the executor is ending"})
            return
        try:
            out, err = os.pipe(), os.pipe()
            sys.stdout.flush()
            sys.stderr.flush()
            parent = os.getpid()
            pid = os.fork()
        except OSError as error:
            self._say({"said": "refused", "id": id_, "message": f"no process can be made: {error}"})
            return
        if pid == 0:
            env = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_WORKER_")}
            child.run({**env, **message["env"]}, message["folder"], (out[1], err[1]), parent, self._main)
        process = self._processes[id_] = Process(id_, pid, message)
        for name, (read, write) in ((OUT, out), (ERR, err)):
            os.close(write)
            os.set_blocking(read, False)
            process.streams[read] = Tagged(name, process.run, process.uid, process.attempt)
            self._select.register(read, selectors.EVENT_READ, self._reader(process, read))
        self._say({"said": "started", "id": id_, "pid": pid})

    def _end(self, process: Process, grace: float, why: str = "") -> None:
        """SIGTERM now, SIGKILL to all of its group later; a second call can only make it sooner."""
        if process.code is not None:
            return
        process.why = process.why or why
        if process.kill_at is None:
            _kill(process.pid, signal.SIGTERM)
        at = clock() + grace
        process.kill_at = at if process.kill_at is None else min(at, process.kill_at)

    def _quit(self, grace: float) -> None:
        self._quitting = True
        for process in self._processes.values():
            self._end(process, grace)

    def _reap(self) -> None:
        for process in list(self._processes.values()):
            if process.code is None:
                pid, status = os.waitpid(process.pid, os.WNOHANG)
                if not pid:
                    continue
                code = os.waitstatus_to_exitcode(status)
                process.code = code if code >= 0 else 128 - code
                if code == -signal.SIGKILL and process.kill_at is None and leftovers.oom_kills() > process.oom_kills:
                    process.why = "oom"
                process.drop_output_at = clock() + LAST_OUTPUT
                _kill_group(process.pid)
                known = [other.pid for other in self._processes.values() if other.code is None]
                leftovers.end_of(process.uid, process.attempt, known)
                for read in list(process.streams):
                    self._reader(process, read)(selectors.EVENT_READ)
            if process.streams and clock() < process.drop_output_at:
                continue
            for read in list(process.streams):
                self._close_stream(process, read)
            del self._processes[process.id]
            self._to_log += ended(process.run, process.uid, process.attempt, process.code, time.time())
            self._say({"said": "ended", "id": process.id, "exitCode": process.code, "why": process.why})

    def _look_at_clock(self) -> None:
        at = clock()
        if self._contact and at - self._heard_at > self._contact and any(self._unasked()):
            _tell(f"no contact with the API server for {self._contact:.0f} s: the runs of this worker are ended")
            for process in self._unasked():
                self._end(process, self._contact / 4, "no contact")
        for process in self._processes.values():
            if process.code is None and process.kill_at is not None and at >= process.kill_at:
                _kill_group(process.pid)
                _kill(process.pid, signal.SIGKILL)

    def _unasked(self) -> list[Process]:
        return [p for p in self._processes.values() if p.code is None and p.kill_at is None]

    def _patience(self) -> float | None:
        at = clock()
        times = [p.kill_at for p in self._processes.values() if p.kill_at is not None and p.code is None]
        times += [p.drop_output_at for p in self._processes.values() if p.code is not None]
        if self._contact and self._unasked():
            times.append(self._heard_at + self._contact)
        return max(0.01, min(times) - at) if times else None

    # Output.

    def _reader(self, process: Process, read: int) -> Callable[[int], None]:
        def on_output(_: int) -> None:
            while read in process.streams and len(self._to_log) < MAX_WAITING:
                try:
                    data = os.read(read, 65_536)
                except BlockingIOError:
                    return
                self._to_log += b"".join(process.streams[read].feed(data, time.time()))
                if not data:
                    self._close_stream(process, read)

        return on_output

    def _close_stream(self, process: Process, read: int) -> None:
        with suppress(KeyError):
            self._select.unregister(read)
        os.close(read)
        self._to_log += b"".join(process.streams.pop(read).close(time.time()))

    def _watch_writers(self) -> None:
        """Be told when what waits can be written; read from runs only where there is room for it."""
        _set(self._select, 1, selectors.EVENT_WRITE if self._to_log else 0, self._on_log)
        if self._agent is not None:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._to_agent else 0)
            _set(self._select, self._agent, wanted, self._on_message)
        room = len(self._to_log) < MAX_WAITING
        for process in self._processes.values():
            for read in process.streams:
                _set(self._select, read, selectors.EVENT_READ if room else 0, self._reader(process, read))

    def _on_log(self, _: int) -> None:
        # A pipe that can be written takes this much without waiting, and it is nobody's business to set its flags.
        try:
            written = os.write(1, self._to_log[: select_pipe_buf()])
        except OSError:  # nobody reads it any more
            written = len(self._to_log)
        self._to_log = self._to_log[written:]

    def _flush_at_end(self) -> None:
        with suppress(OSError):
            while self._to_log:
                self._to_log = self._to_log[os.write(1, self._to_log) :]
        if self._agent is not None:
            with suppress(OSError):
                self._agent.setblocking(True)
                self._agent.sendall(self._to_agent)

    def _say(self, message: Message) -> None:
        if self._agent is not None:
            self._to_agent += encoded(message)
            self._send()

    def _send(self) -> None:
        assert self._agent is not None
        with suppress(BlockingIOError):
            try:
                sent = self._agent.send(self._to_agent)
            except BlockingIOError:
                raise
            except OSError:  # its end is read from it
                sent = len(self._to_agent)
            self._to_agent = self._to_agent[sent:]


def select_pipe_buf() -> int:
    """Bytes that a pipe which is ready takes at once."""
    import select

    return select.PIPE_BUF


def _noted(*_: object) -> None:
    """A signal has come, which wakes the loop."""


def _set(select: selectors.BaseSelector, file: Any, events: int, call: Callable[[int], None]) -> None:
    """Have the selector watch a file for these events, or not at all."""
    key = select.get_map().get(file)
    if key is None:
        if events:
            select.register(file, events, call)
    elif not events:
        select.unregister(file)
    elif key.events != events:
        select.modify(file, events, call)


def _kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def preload(modules: Sequence[str]) -> list[str]:
    """Import what every run would, and those of `modules` that are returned.

    What cannot be imported is told, and left to the runs that need it.
    """
    failed = set()
    for name in (*PRELOADED, *modules):
        try:
            importlib.import_module(name)
        except Exception as error:
            failed.add(name)
            _tell(f"module {name} cannot be preloaded: {type(error).__name__}: {error}")
    if threading.active_count() > 1 or _threads() > 1:
        _tell(
            f"preloading {', '.join(modules)} has started threads, which a forked process does not have: a run that "
            "waits for one of them hangs. Take the module that starts them out of the preloaded ones"
        )
    gc.collect()
    gc.freeze()  # or the first collection in a child would copy every page
    return [name for name in modules if name not in failed]


def _threads() -> int:
    try:
        return len(os.listdir("/proc/self/task"))  # noqa: PTH208
    except OSError:
        return 1


def _tell(text: str) -> None:
    print(f"penstock.worker: {text}", file=sys.stderr, flush=True)


def _listen(path: str) -> socket.socket:
    with suppress(FileNotFoundError):
        os.unlink(path)  # noqa: PTH108 - of an executor that was here before
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    os.chmod(path, 0o600)  # noqa: PTH101
    listener.listen(1)
    return listener


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the agent; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m penstock.worker.executor", description=__doc__)
    parser.add_argument(
        "--agent", type=int, help="file descriptor of the agent's socket; PENSTOCK_WORKER_DIR when unset"
    )
    given = parser.parse_args(arguments)
    folder = os.environ.get(labels.ENV_WORKER_DIR)
    if given.agent is None and not folder:
        _tell(f"{labels.ENV_WORKER_DIR} is not set: the operator sets it in the pods of workers")
        return 2
    leftovers.adopt()
    preloaded = preload([name for name in os.environ.get(labels.ENV_WORKER_PRELOAD, "").split(",") if name])
    from ..runner.attempt import main as runner

    agent = None if given.agent is None else socket.socket(fileno=given.agent)
    listener = None if agent is not None else _listen(f"{folder}/executor")
    Executor(listener=listener, agent=agent, main=runner, preloaded=preloaded).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
