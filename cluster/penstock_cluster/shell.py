"""Running programs and telling people what goes on: the only module that prints."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from .layout import ClusterError


def say(text: str) -> None:
    """One line of progress."""
    print(f"==> {text}", file=sys.stderr, flush=True)


@contextmanager
def progress(what: str, every: float = 20.0) -> Iterator[None]:
    """Say `what`, and every so often how long it has taken."""
    start, done = time.monotonic(), threading.Event()

    def tell() -> None:
        while not done.wait(every):
            say(f"{what}: {time.monotonic() - start:.0f} s")

    say(what)
    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def run(
    *words: str | Path,
    check: bool = True,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> str:
    """Standard output of a program; its failure is a `ClusterError` that shows what it said."""
    command = [str(word) for word in words]
    done = subprocess.run(command, cwd=cwd, env=env, input=stdin, text=True, capture_output=True, check=False)
    if check and done.returncode:
        said = (done.stderr or done.stdout).strip()[-3000:]
        raise ClusterError(f"{' '.join(command)} ended with {done.returncode}:\n{said}")
    return done.stdout


def quiet(*words: str | Path) -> bool:
    """Whether a program succeeded; what it said is dropped."""
    return subprocess.run([str(w) for w in words], capture_output=True, check=False).returncode == 0


def in_namespace(namespace: str | None, words: Sequence[str | Path]) -> list[str]:
    """The command that runs `words` in a network namespace, sharing everything else with the host.

    nsenter and not `ip netns exec`, which would give each program a mount namespace of its own, so that containerd
    could not see the volumes that the kubelet mounts.
    """
    prefix = ["nsenter", f"--net=/run/netns/{namespace}", "--"] if namespace else []
    return prefix + [str(word) for word in words]
