"""The first process of a container, as a process: it ends as its command does, and with whoever waits for it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.worker.contained import ENV_LIFE

FIRST = "import sys; from penstock.worker import contained; sys.exit(contained.main([sys.executable, '-c', {code!r}]))"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
POLITE = (
    "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(5)); print('up', flush=True); "
    "time.sleep(60)"
)


class First:
    """The process, and the socket that it watches."""

    def __init__(self, folder: Path, code: str) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind("life")
        self.listener.listen()
        environment = {**os.environ, ENV_LIFE: "life"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", FIRST.format(code=code)], env=environment, cwd=folder, stdout=subprocess.PIPE
        )
        self.life, _ = self.listener.accept()

    def is_up(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"up\n"

    def close(self) -> None:
        self.life.close()
        self.listener.close()
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("code", "exit_code"), [("", 0), ("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_it_ends_as_its_command_does(folder: Path, code: str, exit_code: int) -> None:
    first = First(folder, code)
    assert first.process.wait(30) == exit_code
    first.close()


def test_a_signal_is_the_commands(folder: Path) -> None:
    first = First(folder, POLITE)
    first.is_up()
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(30) == 5
    first.close()


@pytest.mark.parametrize(("code", "exit_code"), [(POLITE, 5), (STUBBORN, 137)], ids=["asked", "killed"])
def test_it_ends_with_whoever_waits_for_it(folder: Path, code: str, exit_code: int) -> None:
    first = First(folder, code)
    first.is_up()
    time.sleep(0.3)
    assert first.process.poll() is None
    first.life.close()
    assert first.process.wait(30) == exit_code
    first.close()


def test_without_anybody_nothing_is_run(folder: Path) -> None:
    code = FIRST.format(code="print('ran')")
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, ENV_LIFE: "life"}, cwd=folder, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"nobody waits for this container" in done.stderr
