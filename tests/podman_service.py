"""Podman's API on a socket of its own, with storage of its own, and an image whose Python is the one of these tests."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[1]
IMAGE = "localhost/this-python:test"
LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}
SECONDS = 30
# The engine's defaults ask for more than this process may give: limits of its own, and a network that is not needed.
CONFIG = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
netns = "none"
[engine]
runtime = "runc"
"""


class PodmanService:
    """`podman system service`; leaving it ends it and what it runs, and leaves nothing behind."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.socket = folder, folder / "podman.sock"
        self._words = ["podman", "--root", str(folder / "root"), "--runroot", str(folder / "run")]
        (folder / "containers.conf").write_text(CONFIG)
        self._environment = {**os.environ, "CONTAINERS_CONF": str(folder / "containers.conf")}

    def __enter__(self) -> Self:
        assert shutil.which("podman"), "podman is missing: make container-engine installs it"
        self.podman(
            "import", "--change", f"ENV PATH={Path(sys.prefix) / 'bin'}:/usr/bin", "-", IMAGE, stdin=_empty_root()
        )
        self._process = subprocess.Popen(
            [*self._words, "system", "service", "--time", "0", f"unix://{self.socket}"],
            env=self._environment,
            cwd=self.folder,  # where conmon leaves a file of an OOM kill
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + SECONDS
        while not self.socket.exists():
            assert self._process.poll() is None, "podman ended"
            assert time.monotonic() < deadline, "podman does not listen"
            time.sleep(0.05)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(SECONDS)
        self.podman("system", "reset", "--force")

    def podman(self, *words: str, stdin: bytes | None = None) -> str:
        """Run podman on the same storage."""
        done = subprocess.run(
            [*self._words, *words], env=self._environment, input=stdin, capture_output=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"podman {' '.join(words)}: {done.stderr.decode()}"
        return done.stdout.decode()

    def containers(self, *words: str) -> list[str]:
        """Names of the containers that are there, whether they run or not."""
        return self.podman("ps", "--all", "--format", "{{.Names}}", *words).split()

    @property
    def volumes(self) -> list[str]:
        """What the image lacks, as options of `penstock worker start`: Python, its libraries and Penstock."""
        places = dict.fromkeys(["/usr", "/etc/alternatives", sys.base_prefix, sys.prefix, str(ROOT)])
        wanted = [place for place in places if not any(place.startswith(f"{other}/") for other in places)]
        return [word for place in wanted for word in ("--volume", f"{place}:{place}:ro")]


def _empty_root() -> bytes:
    """A root filesystem with nothing in it but places to mount to."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("usr", "etc", "proc", "sys", "dev", "tmp"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(entry)
        for name, target in LINKS.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    return out.getvalue()
