"""The runner's process, as a pod's container would be: started with its environment, watched, signalled, ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

LIVENESS = 60.0


class Process:
    """A runner, and what it said so far."""

    def __init__(self, variables: Mapping[str, str], folder: Path) -> None:
        folder.mkdir(exist_ok=True, parents=True)
        self.folder = folder
        self._files = [folder / "stdout", folder / "stderr"]
        environment = {"PATH": os.environ["PATH"], **variables}
        command = [sys.executable, "-m", "penstock.runner"]
        with self._files[0].open("wb") as out, self._files[1].open("wb") as err:
            self.process = subprocess.Popen(command, env=environment, stdout=out, stderr=err, cwd=folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def stdout(self) -> str:
        return self._files[0].read_text()

    @property
    def stderr(self) -> str:
        return self._files[1].read_text()

    def until(self, holds: Callable[[], Any]) -> None:
        """Return once it holds; the process must not end before."""
        deadline = time.monotonic() + LIVENESS
        while not holds():
            assert self.process.poll() is None, f"it ended before: {self.stdout}{self.stderr}"
            assert time.monotonic() < deadline, f"it never held: {self.stdout}{self.stderr}"
            time.sleep(0.01)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def ends(self) -> int:
        """Its exit code."""
        return self.process.wait(LIVENESS)
