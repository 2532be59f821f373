"""Finding the processes of a cluster in /proc, so that nothing depends on a pid file that may lie.

A pid may have been given to a stranger since it was written down, and a state folder may have been deleted under a
running cluster; a command line and a network namespace do not lie.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path


def living() -> Iterator[tuple[int, list[str]]]:
    """Pid and command line of every process that has one (kernel threads and zombies have none)."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().rstrip(b"\0").decode(errors="replace").split("\0")
                if words != [""]:
                    yield int(entry.name), words


def command(pid: int) -> list[str]:
    """The command line of a process, empty when it is dead or a zombie."""
    try:
        return [word for word in Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0") if word]
    except OSError:
        return []


def of_commands(commands: Iterable[Sequence[str]]) -> set[int]:
    """Processes whose command line is one of these, word for word."""
    wanted = {tuple(words) for words in commands}
    return {pid for pid, words in living() if tuple(words) in wanted}


def in_network(namespace: Path) -> set[int]:
    """Processes whose network namespace is the one mounted at `namespace`; never those of this process's own."""
    wanted, own = _identity(namespace), _identity(Path("/proc/self/ns/net"))
    if wanted is None or wanted == own:
        return set()
    return {pid for pid, _ in living() if _identity(Path(f"/proc/{pid}/ns/net")) == wanted}


def _identity(namespace: Path) -> tuple[int, int] | None:
    try:
        found = namespace.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def kill(find: Callable[[], set[int]], seconds: float = 10.0) -> None:
    """kill -9 what `find` returns, until it returns nothing or the time is over."""
    deadline = time.monotonic() + seconds
    while found := find():
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return
        time.sleep(0.02)
