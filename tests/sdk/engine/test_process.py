"""A process that makes calls for a worker thread: what comes back, how it ends, and what cannot be sent."""

from __future__ import annotations

import functools
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from penstock import task
from penstock.engine.process import CallProcess, dumps, portable, restored, write_frame
from penstock.errors import DefinitionError, TaskRunTimedOut, WorkerLost

PATIENCE = 30.0


@pytest.fixture
def process() -> Iterator[CallProcess]:
    process = CallProcess()
    yield process
    process.close()


def request(fn: Callable[..., Any], *args: Any, **more: Any) -> dict[str, Any]:
    """A call outside of any run."""
    fixed = {"kwargs": {}, "tags": frozenset(), "log_prints": False, "task": None, "task_run": None, "flow": None}
    return {"fn": portable(fn), "args": args, "level": "INFO", **fixed, **more}


def ignore(kind: str, value: Any) -> None:
    """Nothing is reported that anybody wants to hear."""


def call(process: CallProcess, fn: Callable[..., Any], *args: Any, **more: Any) -> Any:
    return process.call(request(fn, *args, **more), ignore, None, None)


def gone(pid: int) -> bool:
    """Whether a process has ended, once it has had a moment."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":  # ended, and nobody has asked how
            return True
        time.sleep(0.02)
    return False


class TestCalls:
    """One after the other, each with its answer."""

    def test_a_value_comes_back(self, process: CallProcess) -> None:
        assert call(process, lambda x, y: (os.getpid() != x, y), os.getpid(), [1]) == (True, [1])
        assert process.alive

    def test_an_error_comes_back_and_the_process_stays(self, process: CallProcess) -> None:
        def fail() -> None:
            raise KeyError("k")

        pid = call(process, os.getpid)
        with pytest.raises(KeyError, match="k"):
            call(process, fail)
        assert call(process, os.getpid) == pid

    def test_whatever_kind_of_function_it_is(self, process: CallProcess) -> None:
        async def later(x: int) -> int:
            return x

        def count(n: int) -> Iterator[int]:
            yield from range(n)

        async def count_later(n: int) -> Any:
            for i in range(n):
                yield i

        assert [call(process, fn, 2) for fn in (later, count, count_later)] == [2, [0, 1], [0, 1]]

    def test_large_messages_come_whole(self, process: CallProcess) -> None:
        """Many times the size of a pipe, both ways."""
        data = os.urandom(3_000_000)
        assert call(process, lambda x: x[::-1], data) == data[::-1]

    def test_what_is_printed_and_logged_is_heard(self, process: CallProcess) -> None:
        heard: list[tuple[str, Any]] = []

        def talk() -> int:
            import logging

            logging.getLogger("mine").warning("%d rows", 3)
            return 1

        assert process.call(request(talk), lambda kind, value: heard.append((kind, value)), None, None) == 1
        ((kind, record),) = heard
        assert (kind, record.name, record.getMessage(), record.args) == ("log", "mine", "3 rows", None)

    def test_what_was_logged_of_an_error_is_text(self, process: CallProcess) -> None:
        """A traceback cannot be sent, and the exception perhaps not."""
        heard: list[Any] = []

        def talk() -> None:
            import logging

            try:
                raise ValueError("no rows")
            except ValueError:
                logging.getLogger("mine").exception("failed")

        process.call(request(talk), lambda _, record: heard.append(record), None, None)
        assert heard[0].exc_info is None
        assert "ValueError: no rows" in heard[0].exc_text


class TestWhatCannotBeSent:
    """Is refused by what it is, with the remedy."""

    def test_a_result(self, process: CallProcess) -> None:
        with pytest.raises(DefinitionError, match=r"^the result of the task cannot be sent to another process: .*lock"):
            call(process, lambda: __import__("threading").Lock())
        assert call(process, lambda: "goes on") == "goes on"

    def test_an_exception_that_does_not_load_again(self, process: CallProcess) -> None:
        class Picky(Exception):
            def __init__(self, one: int, two: int) -> None:
                super().__init__("picky")

        def fail() -> None:
            raise Picky(1, 2)

        with pytest.raises(DefinitionError, match="the exception Picky: picky cannot be sent to another process"):
            call(process, fail)


class TestEnds:
    """Nothing of it is left, whoever ends it."""

    def test_a_call_that_takes_too_long_is_killed(self, process: CallProcess) -> None:
        """With all that it started, even where it takes no signal."""
        pids: list[int] = []

        def stuck(tell: Any) -> None:
            import subprocess

            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])
            child = subprocess.Popen(["sleep", "600"])
            Path(tell).write_text(f"{os.getpid()} {child.pid}")
            time.sleep(600)

        read, write = os.pipe()
        error = TaskRunTimedOut("late")
        with pytest.raises(TaskRunTimedOut) as raised:
            process.call(request(stuck, f"/proc/{os.getpid()}/fd/{write}"), ignore, 5.0, error)
        os.close(write)
        with os.fdopen(read) as file:
            pids = [int(part) for part in file.read().split()]
        assert raised.value is error
        assert len(pids) == 2
        assert all(gone(pid) for pid in pids)
        assert not process.alive

    @pytest.mark.parametrize(
        ("end", "how"),
        [(lambda: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL"), (lambda: os._exit(3), "exit code 3")],
        ids=["killed", "left"],
    )
    def test_one_that_goes_away_says_how(self, end: Callable[[], None], how: str, process: CallProcess) -> None:
        with pytest.raises(WorkerLost, match=rf"ended without an answer \({how}\)"):
            call(process, end)
        assert not process.alive

    def test_one_that_is_gone_takes_no_more_calls(self, process: CallProcess) -> None:
        process.kill()
        assert not process.alive
        with pytest.raises(WorkerLost, match="SIGKILL"):
            call(process, os.getpid)

    def test_it_is_closed_once(self) -> None:
        process = CallProcess()
        pid = call(process, os.getpid)
        process.close()
        assert gone(pid)
        process.close()
        assert not process.alive

    def test_it_ends_with_its_parent(self) -> None:
        """Whatever killed that: the child holds the other end of a pipe that nobody else has."""
        read, write = os.pipe()
        code = (
            "import os, sys\n"
            "from penstock.engine.process import CallProcess, portable\n"
            "process = CallProcess()\n"
            "fixed = {'kwargs': {}, 'tags': frozenset(), 'log_prints': False, 'task': None, 'task_run': None}\n"
            "request = {'fn': portable(os.getpid), 'args': (), 'level': 'INFO', 'flow': None, **fixed}\n"
            "pid = process.call(request, print, None, None)\n"
            "os.write(int(sys.argv[1]), str(pid).encode())\n"
            "os.kill(os.getpid(), 9)\n"
        )
        import subprocess
        import sys

        done = subprocess.run([sys.executable, "-c", code, str(write)], pass_fds=[write], check=False)
        os.close(write)
        with os.fdopen(read) as file:
            pid = int(file.read())
        assert done.returncode == -signal.SIGKILL
        assert gone(pid)


@task
def importable(x: int) -> int:
    return 2 * x


class Steps:
    """A task that is a method."""

    def __init__(self, factor: int) -> None:
        self.factor = factor

    @task
    def scale(self, x: int) -> int:
        return self.factor * x


class TestPortable:
    """Functions are sent so that the other side finds the function, not the definition that has its name."""

    @pytest.mark.parametrize(
        "fn",
        [importable.fn, lambda x: 2 * x, functools.partial(pow, 2), Steps(2).scale.fn],
        ids=["task", "lambda", "partial", "method"],
    )
    def test_there_and_back_again(self, fn: Callable[[int], int]) -> None:
        assert restored(cloudpickle.loads(dumps(portable(fn))))(2) == 4

    def test_a_method_keeps_its_instance(self) -> None:
        copied: Any = restored(cloudpickle.loads(dumps(portable(Steps(5).scale.fn))))
        assert copied.__self__.factor == 5


def test_frames_are_written_whole_whatever_the_pipe_takes() -> None:
    """A pipe holds 64 KiB; the rest waits for the reader."""
    import threading

    read, write = os.pipe()
    data = os.urandom(300_000)
    thread = threading.Thread(target=write_frame, args=(write, data))
    thread.start()
    with os.fdopen(read, "rb") as stream:
        assert int.from_bytes(stream.read(8)) == len(data)
        assert stream.read(len(data)) == data
    thread.join()
    with suppress(OSError):
        os.close(write)
