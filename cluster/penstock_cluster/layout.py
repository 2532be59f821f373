"""Where a checkout's cluster keeps its files, and the names and addresses that keep two checkouts apart. Pure."""

from __future__ import annotations

import hashlib
import ipaddress
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Inside the cluster's own network namespace; the benchmarking range of RFC 2544, so never a neighbour's address.
POD_CIDR = "198.18.0.0/20"
NODE_POD_CIDR = "198.18.0.0/24"
GATEWAY = "198.18.0.1"
SERVICE_CIDR = "198.19.0.0/20"
API_SERVICE = "198.19.0.1"
# Point-to-point links between the host and the namespaces: 8192 nets of four addresses.
LINKS = ipaddress.ip_network("198.18.128.0/17")
NODE = "node0"
# A unix socket's path has 107 bytes at most, and the kubelet makes one at .cluster/kubelet/pod-resources/kubelet.sock.
MAX_CHECKOUT = 107 - len("/.cluster/kubelet/pod-resources/2147483647.sock")


class ClusterError(Exception):
    """Something a person must mend; the message says what and how."""


def cache() -> Path:
    """The folder of everything that is built once and kept: $PENSTOCK_CACHE or ~/.cache/penstock."""
    return Path(os.environ.get("PENSTOCK_CACHE") or Path.home() / ".cache" / "penstock")


@dataclass(frozen=True, slots=True)
class Layout:
    """Names and folders of the cluster of one checkout."""

    checkout: Path

    @property
    def tag(self) -> str:
        """Eight hex digits that differ between checkouts."""
        return hashlib.sha256(str(self.checkout).encode()).hexdigest()[:8]

    @property
    def state(self) -> Path:
        return self.checkout / ".cluster"

    @property
    def namespace(self) -> str:
        return f"penstock-{self.tag}"

    @property
    def host_link(self) -> str:
        return f"psh{self.tag}"

    @property
    def node_link(self) -> str:
        return f"psn{self.tag}"

    @property
    def cgroup(self) -> str:
        return f"penstock-{self.tag}"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def containerd_socket(self) -> Path:
        return self.state / "containerd.sock"


def links(tag: str, taken: Iterable[str]) -> tuple[str, str]:
    """The host's and the node's address of a link that overlaps none of the host's addresses `taken`.

    Starts at a net that the tag chooses and goes on to the next free one.
    """
    used = {ipaddress.ip_address(address) for address in taken}
    count = LINKS.num_addresses // 4
    first = int(tag, 16) % count
    for step in range(count):
        base = LINKS.network_address + 4 * ((first + step) % count)
        if not any(base + offset in used for offset in range(4)):
            return str(base + 1), str(base + 2)
    raise ClusterError("all 8192 link networks of 198.18.128.0/17 are taken: remove clusters that are not used")
