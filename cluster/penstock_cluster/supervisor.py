"""Keeps the parts of a cluster running: one process that starts them and starts again whichever dies.

Started by `control_plane` and `node`; knows programs and pid files, nothing of Kubernetes. When it is killed, its
parts die with it (the kernel sees to that), so that the next start finds a clean table.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .layout import ClusterError
from .shell import in_namespace

_PR_SET_PDEATHSIG = 1
MAX_BACKOFF = 10.0


@dataclass(frozen=True, slots=True)
class Part:
    """A program of the cluster."""

    name: str
    command: tuple[str, ...]
    namespace: str | None = None
    stop_seconds: float = 5.0


def start(folder: Path, parts: Sequence[Part]) -> None:
    """Have a supervisor run `parts`, in this order; their output goes to `folder/log`. Running already: nothing."""
    if pid(folder) is not None:
        return
    (folder / "log").mkdir(parents=True, exist_ok=True)
    (folder / "parts.json").write_text(json.dumps([asdict(part) for part in parts], indent=1))
    with (folder / "log" / "supervisor.log").open("ab") as log:
        launched = subprocess.Popen(
            [sys.executable, "-m", "penstock_cluster", "supervise", str(folder)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    launched.returncode = 0  # left to itself on purpose: without this, Python warns that it still runs
    deadline = time.monotonic() + 10
    while pid(folder) is None:
        if time.monotonic() > deadline:
            raise ClusterError(f"the supervisor did not start: see {folder / 'log' / 'supervisor.log'}")
        time.sleep(0.02)


def pid(folder: Path) -> int | None:
    """The supervisor's pid while it lives."""
    return _living(folder / "supervisor.pid", "penstock_cluster")


def table(folder: Path) -> list[tuple[str, int | None, int]]:
    """Name, pid (None: not running) and restarts of every part."""
    try:
        parts = json.loads((folder / "parts.json").read_text())
        counts = json.loads((folder / "restarts.json").read_text())
    except FileNotFoundError:
        return []
    return [(p["name"], _living(folder / f"{p['name']}.pid", ""), counts.get(p["name"], 0)) for p in parts]


def stop(folder: Path, seconds: float = 30.0) -> None:
    """End the supervisor and with it all parts, last started first."""
    found = pid(folder)
    if found is None:
        return
    os.kill(found, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while pid(folder) is not None:
        if time.monotonic() > deadline:
            os.kill(found, signal.SIGKILL)
            time.sleep(0.2)
            break
        time.sleep(0.05)


def _living(file: Path, word: str) -> int | None:
    try:
        number = int(file.read_text())
        command = Path(f"/proc/{number}/cmdline").read_bytes()
        dead = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError, ValueError):
        return None
    return None if dead or not command or word.encode() not in command else number


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class _Supervisor:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts = [
            Part(**{**p, "command": tuple(p["command"])}) for p in json.loads((folder / "parts.json").read_text())
        ]
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.restarts = {part.name: 0 for part in self.parts}
        self.started: dict[str, float] = {}
        self.backoff = {part.name: 0.1 for part in self.parts}
        self.due: dict[str, float] = {}
        self.ending = False

    def launch(self, part: Part) -> None:
        with (self.folder / "log" / f"{part.name}.log").open("ab") as log:
            self.running[part.name] = process = subprocess.Popen(
                in_namespace(part.namespace, part.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )
        self.started[part.name] = time.monotonic()
        (self.folder / f"{part.name}.pid").write_text(str(process.pid))

    def look(self) -> None:
        now = time.monotonic()
        for part in self.parts:
            process = self.running.get(part.name)
            if process is not None and process.poll() is not None:
                del self.running[part.name]
                lived = now - self.started[part.name]
                self.backoff[part.name] = 0.1 if lived > 30 else min(self.backoff[part.name] * 2, MAX_BACKOFF)
                self.due[part.name] = now + self.backoff[part.name]
                self.restarts[part.name] += 1
                self.save()
                print(
                    f"{part.name} ended with {process.returncode}, again in {self.backoff[part.name]:.1f} s", flush=True
                )
            if part.name in self.due and now >= self.due[part.name]:
                del self.due[part.name]
                self.launch(part)

    def save(self) -> None:
        (self.folder / "restarts.json").write_text(json.dumps(self.restarts))

    def end(self) -> None:
        for part in reversed(self.parts):
            process = self.running.get(part.name)
            if process is None:
                continue
            process.terminate()
            try:
                process.wait(part.stop_seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def supervise(folder: Path) -> None:
    """Run the parts of `folder/parts.json` until SIGTERM."""
    supervisor = _Supervisor(folder)

    def stop_soon(*_: object) -> None:
        supervisor.ending = True

    signal.signal(signal.SIGTERM, stop_soon)
    signal.signal(signal.SIGINT, stop_soon)
    (folder / "supervisor.pid").write_text(str(os.getpid()))
    supervisor.save()
    for part in supervisor.parts:
        supervisor.launch(part)
    while not supervisor.ending:
        supervisor.look()
        time.sleep(0.05)
    supervisor.end()
    (folder / "supervisor.pid").unlink(missing_ok=True)
