"""The network of a cluster: a namespace of its own, a link to the host, a bridge for pods, and no way out."""

from __future__ import annotations

import json
import re

from .layout import GATEWAY, SERVICE_CIDR, ClusterError, Layout, links
from .shell import in_namespace, quiet, run


def up(layout: Layout) -> str:
    """Make the namespace unless it is there; the node's address on the link to the host."""
    if quiet("ip", "netns", "exec", layout.namespace, "ip", "link", "show", layout.node_link):
        return _address(layout)
    down(layout)
    taken = re.findall(r'"local": ?"([0-9.]+)"', run("ip", "-json", "-4", "address"))
    host, node = links(layout.tag, taken)
    run("ip", "netns", "add", layout.namespace)
    run("ip", "link", "add", layout.host_link, "type", "veth", "peer", layout.node_link, "netns", layout.namespace)
    run("ip", "address", "add", f"{host}/30", "dev", layout.host_link)
    run("ip", "link", "set", layout.host_link, "up")
    inside = (
        f"ip link set lo up; ip address add {node}/30 dev {layout.node_link}; ip link set {layout.node_link} up;"
        f"ip link add cni0 type bridge; ip address add {GATEWAY}/24 dev cni0; ip link set cni0 up;"
        # A service address that kube-proxy does not translate ends here (not every kernel has dummy links).
        f"ip link add services type bridge; ip link set services up; ip route add {SERVICE_CIDR} dev services;"
        "sysctl -qw net.ipv4.ip_forward=1"
    )
    try:
        run(*in_namespace(layout.namespace, ["sh", "-ec", inside]))
    except ClusterError:
        down(layout)
        raise
    return node


def _address(layout: Layout) -> str:
    show = in_namespace(layout.namespace, ["ip", "-json", "-4", "address", "show", layout.node_link])
    address: str = json.loads(run(*show))[0]["addr_info"][0]["local"]
    return address


def down(layout: Layout) -> None:
    """Remove the namespace and the link; what is in the namespace goes with it."""
    run("ip", "link", "delete", layout.host_link, check=False)
    run("ip", "netns", "delete", layout.namespace, check=False)
