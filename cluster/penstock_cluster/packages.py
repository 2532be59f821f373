"""Debian packages the node needs; installed when missing, as root."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .layout import ClusterError
from .shell import progress, run

# program -> package
NEEDED = {
    "containerd": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "debootstrap": "debootstrap",
    "buildah": "buildah",
    "catatonit": "catatonit",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "openssl": "openssl",
}
CNI = Path("/usr/lib/cni/bridge")


def missing() -> list[str]:
    """Packages that are not installed, by the programs they bring."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    found = [package for program, package in NEEDED.items() if not shutil.which(program, path=path)]
    return found + ([] if CNI.exists() else ["containernetworking-plugins"])


def ensure() -> None:
    """Install what is missing."""
    wanted = missing()
    if not wanted:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise ClusterError(f"install these packages first (as root, Debian's names): {' '.join(wanted)}")
    with progress(f"installing {' '.join(wanted)}"):
        run("apt-get", "update", "-qq")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *wanted, env=environment)
