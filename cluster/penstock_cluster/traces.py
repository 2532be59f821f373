"""What a node leaves outside its folder, and how it is removed: tasks, mounts, cgroups, links, CNI results."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

from .layout import Layout
from .shell import run

CGROUPS = Path("/sys/fs/cgroup")


def hierarchies() -> list[Path]:
    """The roots in which a control group must be made: one on cgroup v2, one for each controller on v1."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return sorted({p.resolve() for p in CGROUPS.iterdir() if (p / "cgroup.procs").exists()})


def make_cgroups(layout: Layout) -> None:
    """The parent control group of all pods."""
    for root in hierarchies():
        group = root / layout.cgroup
        group.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):  # a new v1 cpuset is empty, and refuses processes
            if (group / name).exists() and not (group / name).read_text().strip():
                (group / name).write_text((root / name).read_text().strip())
        if (group / "cgroup.subtree_control").exists():
            controllers = (root / "cgroup.controllers").read_text().split()
            for file in (root / "cgroup.subtree_control", group / "cgroup.subtree_control"):
                with contextlib.suppress(OSError):
                    file.write_text(" ".join(f"+{c}" for c in controllers))


def _pods(layout: Layout) -> set[int]:
    found: set[int] = set()
    for root in hierarchies():
        for file in (root / layout.cgroup).rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                found.update(int(line) for line in file.read_text().split())
    return found


def _shims(layout: Layout) -> set[int]:
    """containerd's shims: their command line names the socket of the containerd they belong to."""
    socket, found = str(layout.containerd_socket).encode(), set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if b"containerd-shim" in words[0] and socket in words:
                    found.add(int(entry.name))
    return found


def _shim_sockets(pids: set[int]) -> set[Path]:
    """Paths of the unix sockets the shims listen on, which stay behind when they are killed."""
    found: set[Path] = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            targets = [str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir()]
            inodes = {target[8:-1] for target in targets if target.startswith("socket:[")}
            for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]:
                fields = line.split()
                if len(fields) == 8 and fields[6] in inodes and fields[7].startswith("/run/containerd/s/"):
                    found.add(Path(fields[7]))
    return found


def remove_tasks(layout: Layout) -> None:
    """Kill the containers and shims of a containerd that is not running any more."""
    deadline = time.monotonic() + 10
    sockets: set[Path] = set()
    while found := _shims(layout) | _pods(layout):
        sockets |= _shim_sockets(found)
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)
    for path in sockets:
        path.unlink(missing_ok=True)


def remove(layout: Layout) -> None:
    """Everything but the network; the folder last."""
    remove_tasks(layout)
    state = str(layout.state)
    mounts = [line.split()[4].replace("\\040", " ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in reversed([m for m in mounts if m.startswith(state + "/")]):
        run("umount", "--lazy", mount, check=False)
    for root in hierarchies():
        for group in sorted((root / layout.cgroup).rglob("*/"), key=lambda p: -len(p.parts)):
            with contextlib.suppress(OSError):
                group.rmdir()
        with contextlib.suppress(OSError):
            (root / layout.cgroup).rmdir()
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and str(link.readlink()).startswith(state + "/"):
            link.unlink()
    for result in Path("/var/lib/cni/results").glob(f"{layout.namespace}-*"):
        result.unlink()
    shutil.rmtree(layout.state, ignore_errors=True)
