"""Reads the nodes that nobody is said to answer on, before what runs there is given up.

Called by the reconcilers of runs, of what deleted runs left, and of workers, and where a term begins. Watches are not
in step: a pod may be heard of before its node is, which is back under its name.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..cluster import NODES, Cluster
from .sources import Cache


async def read_doubted(cluster: Cluster, cache: Cache, named: Iterable[str | None]) -> None:
    """Have those of the nodes read that are said to be lost or silent. Raises ApiError."""
    doubted = cache.lost_nodes() | cache.silent_nodes().keys()
    for name in sorted(doubted.intersection(named)):
        await read_node(cluster, cache, name)


async def read_node(cluster: Cluster, cache: Cache, name: str) -> None:
    """Have a node read that was there; the cache knows then whether it is. Raises ApiError."""
    found = await cluster.get(NODES, None, name)
    if found is None:
        cache.forget_node(name)
    else:
        cache.remember({**found, "kind": NODES.kind})
