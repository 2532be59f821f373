"""Debian packages the node needs; installed when missing, as root."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from .layout import ClusterError
from .shell import locked, progress, run

# program or file -> package
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
    "sysctl": "procps",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}
PODMAN = {"podman": "podman", "runc": "runc"}  # for tests of workers whose runs are containers


def missing(needed: Mapping[str, str] = NEEDED) -> list[str]:
    """Packages that are not installed, by the programs and files they bring."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return sorted(
        package
        for thing, package in needed.items()
        if not (Path(thing).exists() if thing.startswith("/") else shutil.which(thing, path=path))
    )


def ensure(needed: Mapping[str, str] = NEEDED) -> None:
    """Install what is missing."""
    if not missing(needed):
        return
    with locked("packages"):
        wanted = missing(needed)
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            raise ClusterError(f"install these packages first (as root, Debian's names): {' '.join(wanted)}")
        with progress(f"installing {' '.join(wanted)}"):
            run("apt-get", "update", "-qq")
            environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
            run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *wanted, env=environment)
