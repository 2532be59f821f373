"""Keeps the parts of a cluster running: one process that starts them and starts again whichever dies.

Started by `control_plane` and `node`; knows programs and their files, nothing of Kubernetes. When it is killed, its
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

from . import processes
from .layout import ClusterError
from .shell import in_namespace

_PR_SET_PDEATHSIG = 1
FIRST_BACKOFF, MAX_BACKOFF = 0.1, 10.0
# A part that ran this long before it died is no crash loop.
STEADY_SECONDS = 30.0
STOP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Part:
    """A program of the cluster."""

    name: str
    command: tuple[str, ...]
    namespace: str | None = None
    # A file in the folder without which the part is not started yet; see `open_gate`.
    gate: str = ""


def backoff(previous: float, lived: float) -> float:
    """Seconds until a part that died is started again; doubles while it dies young."""
    return FIRST_BACKOFF if lived > STEADY_SECONDS else min(previous * 2, MAX_BACKOFF)


def start(folder: Path, parts: Sequence[Part]) -> None:
    """Have a supervisor run `parts`, in this order; their output goes to `folder/log`. Running already: nothing."""
    if pid(folder) is not None:
        return
    processes.kill(lambda: _strays(folder))
    (folder / "log").mkdir(parents=True, exist_ok=True)
    (folder / "parts.json").write_text(json.dumps([asdict(part) for part in parts], indent=1))
    for gate in {part.gate for part in parts if part.gate}:
        (folder / gate).unlink(missing_ok=True)
    with (folder / "log" / "supervisor.log").open("ab") as log:
        launched = subprocess.Popen(
            [sys.executable, "-m", "penstock_cluster", "supervise", str(folder)],
            env={**_environment(), "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + 10
    while pid(folder) is None or not (folder / "supervisor.pid").exists():
        if launched.poll() is not None or time.monotonic() > deadline:
            raise ClusterError(f"the supervisor did not start: see {folder / 'log' / 'supervisor.log'}")
        time.sleep(0.02)
    launched.returncode = 0  # left to itself on purpose: without this, Python warns that it still runs


def open_gate(folder: Path, gate: str) -> None:
    """Let the parts start that wait for `gate`."""
    (folder / gate).touch()


def pid(folder: Path) -> int | None:
    """The supervisor's pid while it lives, even when its folder is gone."""
    tail = ["penstock_cluster", "supervise", str(folder)]
    return next((number for number, words in processes.living() if words[-3:] == tail), None)


def table(folder: Path) -> list[tuple[str, int | None, int]]:
    """Name, pid (None: not running) and restarts of every part."""
    counts = json.loads(_text(folder / "restarts.json") or "{}")
    return [(part.name, _running(folder, part), counts.get(part.name, 0)) for part in _parts(folder)]


def stop(folder: Path, seconds: float = 15.0) -> None:
    """End the supervisor and all parts, whichever of them still live."""
    if (found := pid(folder)) is not None:
        os.kill(found, signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while pid(folder) is not None and time.monotonic() < deadline:
            time.sleep(0.05)
    processes.kill(lambda: {number for number in (pid(folder),) if number is not None})
    processes.kill(lambda: _strays(folder))


def _parts(folder: Path) -> list[Part]:
    found = json.loads(_text(folder / "parts.json") or "[]")
    return [Part(p["name"], tuple(p["command"]), p.get("namespace"), p.get("gate", "")) for p in found]


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except FileNotFoundError:
        return ""


def _running(folder: Path, part: Part) -> int | None:
    number = int(_text(folder / f"{part.name}.pid") or 0)
    return number if number and part.command[0] in processes.command(number) else None


def _strays(folder: Path) -> set[int]:
    """Parts that outlived their supervisor."""
    return processes.of_commands(part.command for part in _parts(folder))


def _environment() -> dict[str, str]:
    """What the parts see of the environment: a proxy or a certificate meant for the shell must not reach them."""
    return {"PATH": f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin", "LANG": "C.UTF-8"}


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class _Supervisor:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts = _parts(folder)
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.restarts = {part.name: 0 for part in self.parts}
        self.started: dict[str, float] = {}
        self.backoff = {part.name: FIRST_BACKOFF for part in self.parts}
        self.due = {part.name: 0.0 for part in self.parts}
        self.ending = False

    def launch(self, part: Part) -> None:
        with (self.folder / "log" / f"{part.name}.log").open("ab") as log:
            self.running[part.name] = process = subprocess.Popen(
                in_namespace(part.namespace, part.command),
                env={**_environment(), "HOME": str(self.folder)},
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
                wait = backoff(self.backoff[part.name], now - self.started[part.name])
                self.backoff[part.name] = wait
                self.due[part.name] = now + wait
                self.restarts[part.name] += 1
                self.save()
                when = time.strftime("%Y-%m-%dT%H:%M:%S")
                print(f"{when} {part.name} ended with {process.returncode}, again in {wait:.1f} s", flush=True)
            due = part.name in self.due and now >= self.due[part.name]
            if due and (not part.gate or (self.folder / part.gate).exists()):
                del self.due[part.name]
                self.launch(part)

    def save(self) -> None:
        part = self.folder / "restarts.json.part"  # renamed, for `table` reads it at any time
        part.write_text(json.dumps(self.restarts))
        part.rename(self.folder / "restarts.json")

    def end(self) -> None:
        for process in self.running.values():
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self.running.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
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
    supervisor.save()
    (folder / "supervisor.pid").write_text(str(os.getpid()))
    while not supervisor.ending:
        supervisor.look()
        time.sleep(0.05)
    supervisor.end()
    (folder / "supervisor.pid").unlink(missing_ok=True)
