"""Names and addresses that keep the clusters of two checkouts apart."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from penstock_cluster import layout
from penstock_cluster.layout import ClusterError, Layout, links

TAG = Layout(Path("/home/ada/penstock")).tag


def test_two_checkouts_share_no_name() -> None:
    """Every name that the machine knows differs between checkouts, and is the same each time for one."""
    one, other = Layout(Path("/home/ada/penstock")), Layout(Path("/home/ada/penstock-2"))
    for name in ("tag", "state", "namespace", "host_link", "node_link", "cgroup", "kubeconfig", "containerd_socket"):
        assert getattr(one, name) != getattr(other, name)
        assert getattr(one, name) == getattr(Layout(one.checkout), name)


def test_link_names_fit_the_kernel() -> None:
    """A network interface's name has 15 bytes at most."""
    assert len(Layout(Path("/x")).host_link) <= 15
    assert len(Layout(Path("/x")).node_link) <= 15


def test_links_are_the_two_ends_of_one_net() -> None:
    """Both addresses are hosts of one /30 in the range of links."""
    host, node = (ipaddress.ip_address(address) for address in links(TAG, []))
    net = ipaddress.ip_network(f"{host}/30", strict=False)
    assert [host, node] == list(net.hosts())
    assert net.subnet_of(layout.LINKS)


@pytest.mark.parametrize("offset", range(4))
def test_links_leave_out_a_net_in_use(offset: int) -> None:
    """Whichever address of the first choice is taken, the next net is chosen."""
    first = ipaddress.ip_address(links(TAG, [])[0])
    host, node = links(TAG, [str(first - 1 + offset)])
    assert ipaddress.ip_address(host) == first + 4
    assert ipaddress.ip_address(node) == first + 5


def test_links_go_on_at_the_start_of_the_range() -> None:
    """The net after the last one is the first."""
    last = layout.LINKS.num_addresses // 4 - 1
    host, _ = links(f"{last:x}", [str(layout.LINKS[-2])])
    assert host == str(layout.LINKS[1])


def test_no_net_left_is_said() -> None:
    """A machine with no free net is told what to do."""
    taken = [str(layout.LINKS[index]) for index in range(1, layout.LINKS.num_addresses, 4)]
    with pytest.raises(ClusterError, match="remove clusters that are not used"):
        links(TAG, taken)


def test_pods_services_and_links_do_not_overlap() -> None:
    """The three ranges are apart, and all are in the benchmarking range."""
    ranges = [ipaddress.ip_network(cidr) for cidr in (layout.POD_CIDR, layout.SERVICE_CIDR, str(layout.LINKS))]
    for index, one in enumerate(ranges):
        assert one.subnet_of(ipaddress.ip_network("198.18.0.0/15"))
        assert not any(one.overlaps(other) for other in ranges[index + 1 :])


def test_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """PENSTOCK_CACHE moves the cache."""
    monkeypatch.setenv("PENSTOCK_CACHE", str(tmp_path))
    assert layout.cache() == tmp_path
    monkeypatch.delenv("PENSTOCK_CACHE")
    assert layout.cache() == Path.home() / ".cache" / "penstock"
