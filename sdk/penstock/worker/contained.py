"""The first process of a run's container (`python3 -m penstock.worker.contained`): the runner's parent, which ends it
when whoever made the container is gone.

It knows nothing of runs. A container outlives the worker that made it; its code must not, for by then somebody else may
have the run.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress

from . import leftovers

ENV_LIFE = "PENSTOCK_WORKER_LIFE"
"""Path of a socket that is open for as long as whoever made the container lives."""

OOM = b"oom"  # said there when the kernel killed the runner for want of memory
LAST_SECONDS = 5.0  # between SIGTERM and SIGKILL, once nobody is there any more
RUNNER = (sys.executable, "-m", "penstock.runner")


def main(command: Sequence[str] = RUNNER) -> int:
    """Run the command to its end; its exit code, 128 and the number of the signal that killed it."""
    asked: list[int] = []
    signal.signal(
        signal.SIGTERM, lambda number, _: asked.append(number)
    )  # the first process ignores what it does not handle
    woken, wake = socket.socketpair()
    for end in (woken, wake):
        end.setblocking(False)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    life = socket.socket(socket.AF_UNIX)
    try:
        life.connect(os.environ.pop(ENV_LIFE))
    except (OSError, KeyError) as error:
        print(f"penstock.worker: nobody waits for this container: {error!r}", file=sys.stderr)
        return 1
    before = leftovers.oom_kills()
    child = subprocess.Popen(command)
    kill_at: float | None = None
    watched = [life, woken]
    while (code := child.poll()) is None:
        while asked:
            child.send_signal(asked.pop())
        patience = None if kill_at is None else max(0.0, kill_at - time.monotonic())
        ready, _, _ = select.select(watched, [], [], patience)
        if life in ready and not _heard(life):
            watched.remove(life)
            child.terminate()
            kill_at = time.monotonic() + LAST_SECONDS
        if woken in ready:
            with suppress(BlockingIOError):
                while woken.recv(4096):
                    pass
        if kill_at is not None and time.monotonic() >= kill_at:
            child.kill()
    if code == -signal.SIGKILL and kill_at is None and leftovers.oom_kills() > before:
        with suppress(OSError):
            life.sendall(OOM)
    return code if code >= 0 else 128 - code


def _heard(life: socket.socket) -> bool:
    try:
        return bool(life.recv(4096))
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
