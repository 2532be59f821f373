"""What a node leaves outside its folder, and how it is removed: processes, mounts, control groups, links, CNI results.

Called by `node`; knows where the kubelet, containerd and the CNI plugins write, and touches only what names this
checkout. Folders of the system that several clusters share go with the last of them, when they were not there before.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from . import processes
from .layout import ClusterError, Layout
from .shell import locked, run

CGROUPS = Path("/sys/fs/cgroup")
NETWORKS = Path("/run/netns")
CNI_RESULTS = Path("/var/lib/cni/results")
CONTAINER_LOGS = Path("/var/log/containers")
DEVICE_PLUGINS = Path("/var/lib/kubelet/device-plugins")
SHIM_SOCKETS = Path("/run/containerd/s")
# Their paths are built into the programs; parents first.
SYSTEM_FOLDERS = (
    *(CNI_RESULTS.parent, CNI_RESULTS, CONTAINER_LOGS, DEVICE_PLUGINS.parent, DEVICE_PLUGINS),
    *(SHIM_SOCKETS.parent, SHIM_SOCKETS, Path("/run/containerd/fifo")),
)
# Which of them a cluster of Penstock made; shared by all checkouts.
MADE = Path("/var/lib/penstock-cluster-folders")


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
            for controller in (root / "cgroup.controllers").read_text().split():
                for file in (root / "cgroup.subtree_control", group / "cgroup.subtree_control"):
                    with contextlib.suppress(OSError):
                        file.write_text(f"+{controller}")


def note_system_folders() -> None:
    """Write down which shared folders are not there yet, before the programs make them."""
    with locked("system-folders"):
        missing = [str(folder) for folder in SYSTEM_FOLDERS if not folder.exists()]
        if missing:
            known = MADE.read_text().splitlines() if MADE.exists() else []
            MADE.write_text("".join(f"{name}\n" for name in dict.fromkeys([*known, *missing])))


def remove(layout: Layout) -> None:
    """Everything but the network; the folder last."""
    containers = _containers(layout)
    remove_processes(layout)
    _remove_mounts(layout)
    for root in hierarchies():
        groups = sorted((root / layout.cgroup).rglob("*/"), key=lambda path: -len(path.parts))
        for group in (*groups, root / layout.cgroup):
            with contextlib.suppress(OSError):
                group.rmdir()
    for link in CONTAINER_LOGS.glob("*.log"):
        if link.is_symlink() and str(link.readlink()).startswith(f"{layout.state}/"):
            link.unlink()
    for result in CNI_RESULTS.glob("*"):
        if result.name.startswith(f"{layout.namespace}-") or any(name in result.name for name in containers):
            result.unlink(missing_ok=True)
    shutil.rmtree(layout.state, ignore_errors=True)


def remove_system_folders(layout: Layout) -> None:
    """Shared folders that clusters of Penstock made, when no other one is left to use them."""
    with locked("system-folders"):
        others = [path for path in NETWORKS.glob("penstock-*") if path.name != layout.namespace]
        if others or not MADE.exists():
            return
        made = [Path(line) for line in MADE.read_text().splitlines()]
        if DEVICE_PLUGINS in made:
            shutil.rmtree(DEVICE_PLUGINS, ignore_errors=True)
        for folder in sorted(made, key=lambda path: -len(path.parts)):
            with contextlib.suppress(OSError):
                folder.rmdir()  # one that somebody else uses by now is not empty
        MADE.unlink()


def _containers(layout: Layout) -> set[str]:
    """Ids of the containers and sandboxes containerd knows of."""
    tasks = layout.state / "containerd-state" / "io.containerd.runtime.v2.task" / "k8s.io"
    sandboxes = layout.state / "containerd" / "io.containerd.grpc.v1.cri" / "sandboxes"
    return {path.name for folder in (tasks, sandboxes) for path in folder.glob("*")}


def _processes(layout: Layout) -> set[int]:
    found = processes.in_network(NETWORKS / layout.namespace) | _shims(layout)
    for root in hierarchies():
        for file in (root / layout.cgroup).rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                found.update(int(line) for line in file.read_text().split())
    return found


def _shims(layout: Layout) -> set[int]:
    """containerd's shims: their command line names the socket of the containerd they belong to."""
    socket = str(layout.containerd_socket)
    return {pid for pid, words in processes.living() if "containerd-shim" in words[0] and socket in words}


def remove_processes(layout: Layout) -> None:
    """Kill what runs in the network namespace and in the containers, and the shims with their sockets."""
    sockets: set[Path] = set()

    def find() -> set[int]:
        sockets.update(_listening(_shims(layout)))
        return _processes(layout)

    processes.kill(find)
    for path in sockets:
        path.unlink(missing_ok=True)


def _listening(pids: set[int]) -> set[Path]:
    """Paths of the unix sockets of shims, which stay behind when the shims are killed."""
    found: set[Path] = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            targets = [str(descriptor.readlink()) for descriptor in Path(f"/proc/{pid}/fd").iterdir()]
            inodes = {target[8:-1] for target in targets if target.startswith("socket:[")}
            for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]:
                fields = line.split()
                if len(fields) == 8 and fields[6] in inodes and fields[7].startswith(f"{SHIM_SOCKETS}/"):
                    found.add(Path(fields[7]))
    return found


def _mounts(layout: Layout) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].replace("\\040", " ") for line in lines]
    return [point for point in points if point.startswith(f"{layout.state}/")]


def _remove_mounts(layout: Layout) -> None:
    for _ in range(3):  # mounts may be stacked
        for mount in reversed(_mounts(layout)):
            run("umount", "--lazy", mount, check=False)
    if left := _mounts(layout):
        # Deleting the folder now would delete what is mounted there.
        raise ClusterError(f"cannot unmount {', '.join(left)}: see who uses it (fuser -m), then run this again")
