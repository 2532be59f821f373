"""Running programs and telling people what goes on: the only module that prints progress."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from .layout import ClusterError, cache


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


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Only one process of this user is inside for one `name`; the others wait, and say so."""
    path = cache() / "locks" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with progress(f"waiting for another process that works on {name}"):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run(
    *words: str | Path,
    check: bool = True,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> str:
    """Standard output of a program; its failure is a `ClusterError` that shows what it said."""
    command = [str(word) for word in words]
    try:
        done = subprocess.run(
            command, cwd=cwd, env=_with_sbin(env), input=stdin, text=True, capture_output=True, check=False
        )
    except FileNotFoundError:
        if not check:
            return ""
        raise ClusterError(f"{command[0]} is not installed: install the package that brings it") from None
    if check and done.returncode:
        said = (done.stderr or done.stdout).strip()[-3000:]
        raise ClusterError(f"{' '.join(command)} ended with {done.returncode}:\n{said}")
    return done.stdout


def quiet(*words: str | Path) -> bool:
    """Whether a program is there and succeeded; what it said is dropped."""
    try:
        done = subprocess.run([str(w) for w in words], env=_with_sbin(None), capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0


def _with_sbin(env: Mapping[str, str] | None) -> dict[str, str]:
    """`env` or the process's own, with the folders of administrators' programs on PATH."""
    env = dict(os.environ if env is None else env)
    return {**env, "PATH": f"{env.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"}


def in_namespace(namespace: str | None, words: Sequence[str | Path]) -> list[str]:
    """The command that runs `words` in a network namespace, sharing everything else with the host.

    nsenter and not `ip netns exec`, which would give each program a mount namespace of its own, so that containerd
    could not see the volumes that the kubelet mounts.
    """
    prefix = ["nsenter", f"--net=/run/netns/{namespace}", "--"] if namespace else []
    return prefix + [str(word) for word in words]
