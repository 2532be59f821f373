"""What a run leaves running when its process has ended, and its end: as when a container ends.

Called by the executor. On Linux it adopts whatever loses its parent below it, and knows by the environment that a
process began with whose it is; elsewhere only the process group of a run is ended with it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress

from ..api import labels

LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def adopt() -> None:
    """Become the parent of whatever loses its own below this process."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent is gone."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_of(run_uid: str, attempt: int, known: Iterable[int]) -> None:
    """Kill and reap what the attempt has left among the children of this process that are not `known`.

    Where nothing is known, everything is left over, also what hides whose it is.
    """
    alive = set(known)
    mine = {f"{labels.ENV_RUN_UID}={run_uid}".encode(), f"{labels.ENV_ATTEMPT}={attempt}".encode()}
    for _ in range(100):  # what is killed leaves its own children, each time one level fewer
        found = [pid for pid in _children() if pid not in alive and (not alive or mine <= _environment(pid))]
        if not found:
            return
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in found:
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def oom_kills() -> int:
    """How many processes the kernel has killed for want of memory, where this one's own limits hold; 0 if unknown."""
    for path in ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):  # cgroups v2, v1
        with suppress(OSError, ValueError), open(path) as file:  # noqa: PTH123
            counts = dict(line.split() for line in file)
            return int(counts.get("oom_kill", 0))
    return 0


def _prctl(option: int, value: int) -> None:
    if not LINUX:
        return
    import ctypes

    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def _children() -> list[int]:
    """Pids of the children of this process, which has one thread."""
    if not LINUX:
        return []
    pid = os.getpid()
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123
            return [int(word) for word in file.read().split()]
    except OSError:  # a kernel without it
        return []


def _environment(pid: int) -> set[bytes]:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
            return set(file.read().split(b"\0"))
    except OSError:  # it has ended, or become somebody else's
        return set()
