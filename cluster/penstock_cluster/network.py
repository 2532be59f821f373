"""The network of a cluster: a namespace of its own, a link to the host, a bridge for pods, and no way out."""

from __future__ import annotations

import json
import re
from pathlib import Path

from .layout import GATEWAY, SERVICE_CIDR, ClusterError, Layout, links
from .shell import in_namespace, locked, quiet, run

BRIDGE_FILTER = Path("/proc/sys/net/bridge")


def up(layout: Layout) -> str:
    """Make the namespace unless it is there; the node's address on the link to the host."""
    with locked("network"):
        if complete(layout):
            return _address(layout)
        down(layout)
        # With it, a pod reaches another pod of its node through a service; without it the answer takes a short cut.
        if not BRIDGE_FILTER.exists():
            quiet("modprobe", "br_netfilter")
        taken = re.findall(r'"local": ?"([0-9.]+)"', run("ip", "-json", "-4", "address"))
        host, node = links(layout.tag, taken)
        try:
            _make(layout, host, node)
        except ClusterError:
            down(layout)
            raise
        return node


def _make(layout: Layout, host: str, node: str) -> None:
    run("ip", "netns", "add", layout.namespace)
    run("ip", "link", "add", layout.host_link, "type", "veth", "peer", layout.node_link, "netns", layout.namespace)
    run("ip", "address", "add", f"{host}/30", "dev", layout.host_link)
    run("ip", "link", "set", layout.host_link, "up")
    inside = (
        f"ip link set lo up; ip address add {node}/30 dev {layout.node_link}; ip link set {layout.node_link} up;"
        f"ip link add cni0 type bridge; ip address add {GATEWAY}/24 dev cni0; ip link set cni0 up;"
        "sysctl -qw net.ipv4.ip_forward=1;"
        # A service address that kube-proxy does not translate ends here (not every kernel has dummy links).
        # The last step: `complete` looks for it.
        f"ip link add services type bridge; ip link set services up; ip route add {SERVICE_CIDR} dev services"
    )
    run(*in_namespace(layout.namespace, ["sh", "-ec", inside]))


def complete(layout: Layout) -> bool:
    """Whether the namespace and its link to the host are there."""
    show = in_namespace(layout.namespace, ["ip", "route", "get", SERVICE_CIDR.partition("/")[0]])
    return quiet("ip", "link", "show", layout.host_link) and quiet(*show)


def _address(layout: Layout) -> str:
    show = in_namespace(layout.namespace, ["ip", "-json", "-4", "address", "show", layout.node_link])
    address: str = json.loads(run(*show))[0]["addr_info"][0]["local"]
    return address


def down(layout: Layout) -> None:
    """Remove the namespace and the link; what is in the namespace goes with it."""
    run("ip", "link", "delete", layout.host_link, check=False)
    run("ip", "netns", "delete", layout.namespace, check=False)
