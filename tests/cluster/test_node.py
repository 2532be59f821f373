"""The files from which the parts of the node read what they are to do."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from penstock_cluster import node
from penstock_cluster.layout import GATEWAY, MAX_CHECKOUT, NODE_POD_CIDR, ClusterError, Layout

LAYOUT = Layout(Path("/home/ada/penstock"))
STATE = str(LAYOUT.state)


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in _strings(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in _strings(inner)]
    return [value] if isinstance(value, str) else []


def test_kubelet_keeps_its_files_in_the_checkout() -> None:
    """Every path of its configuration is under the state folder, and pods have a control group of their own."""
    config = node.kubelet_config(LAYOUT)
    paths = [text.removeprefix("unix://") for text in _strings(config) if text.removeprefix("unix://").startswith("/")]
    assert {path for path in paths if not path.startswith(f"{STATE}/")} == {f"/{LAYOUT.cgroup}"}
    assert config["maxPods"] == 250


def test_kubelet_serves_logs_only_to_whom_the_api_server_allows() -> None:
    """No anonymous access, for the port is open to pods."""
    config = node.kubelet_config(LAYOUT)
    assert config["authentication"]["anonymous"] == {"enabled": False}  # type: ignore[index]
    assert config["authorization"] == {"mode": "Webhook"}


def test_containerd_shares_nothing_with_another_containerd() -> None:
    """Root, state, socket, runc's state and CNI's configuration are the checkout's own."""
    config = tomllib.loads(node.containerd_config(LAYOUT.state))
    outside = {text for text in _strings(config) if text.startswith("/") and not text.startswith(f"{STATE}/")}
    assert outside == {"/usr/lib/cni"}
    runc = config["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"]["runc"]
    assert runc["options"]["Root"] == f"{STATE}/runc"


def test_pods_have_no_way_out() -> None:
    """No masquerading, so that an answer from elsewhere could not come back; addresses are kept in the checkout."""
    bridge = node.cni_config(LAYOUT)["plugins"][0]  # type: ignore[index]
    assert bridge["ipMasq"] is False
    assert bridge["ipam"]["ranges"] == [[{"subnet": NODE_POD_CIDR}]]
    assert bridge["ipam"]["dataDir"].startswith(STATE)


def test_dns_asks_the_cluster_before_it_says_no() -> None:
    """Two servers: within one, the plugin that refuses all names would come first."""
    text = node.corefile(LAYOUT.state)
    cluster, everything = text.split("\n. {")
    assert "kubernetes cluster.local" in cluster
    assert "template" not in cluster
    assert "NXDOMAIN" in everything
    assert f'kubeconfig "{STATE}/coredns.kubeconfig"' in cluster  # a path may hold a space
    assert text.count(f"bind {GATEWAY}") == 2


def test_a_checkout_whose_path_is_too_long_is_refused() -> None:
    """Sockets could not be made in it; nothing is started."""
    checkout = Path("/" + "x" * MAX_CHECKOUT)
    with pytest.raises(ClusterError, match=f"at most {MAX_CHECKOUT} bytes"):
        node.up(Layout(checkout))
    assert not checkout.exists()
