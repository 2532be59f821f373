"""The process of one run, from the fork to its end: what the executor's copy becomes. It never returns.

It knows the run from its environment, as in a pod, and speaks to the API server through the agent's socket.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from typing import NoReturn

from . import leftovers

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE, signal.SIGHUP)


def run(
    environment: Mapping[str, str],
    folder: str,
    streams: tuple[int, int],
    parent: int,
    main: Callable[[], int],
) -> NoReturn:
    """Be the process of a run: a session of its own, with this environment, folder, stdout and stderr.

    `parent` is the executor's pid, whose end is ours. None of its files stays open.
    """
    code = 1
    try:
        os.setsid()
        leftovers.die_with_parent()
        if os.getppid() != parent:  # it ended before the kernel knew what to do then
            os._exit(1)
        signal.set_wakeup_fd(-1)
        for number in HANDLED:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        _streams(streams)
        os.environ.clear()
        os.environ.update(environment)
        time.tzset()
        os.chdir(folder)
        sys.argv = ["penstock.runner"]
        code = main()
    except BaseException as error:
        import traceback

        traceback.print_exception(error)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)  # threads that user code left behind must not hold the process


def _streams(streams: tuple[int, int]) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, held in enumerate((nothing, *streams)):
        os.dup2(held, number)
    os.closerange(3, _most_files())
    # Anew, for those of the executor know what its own output was; by lines, or what is printed would come at the end.
    for number, name in enumerate(("stdout", "stderr"), 1):
        stream = open(  # noqa: SIM115 - open until the process ends
            number, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _most_files() -> int:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if 0 < soft < 1_048_576 else 1_048_576
