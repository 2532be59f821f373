"""The Ready condition of a Block: written once, and again when it is another."""

from __future__ import annotations

import asyncio

from memory_cluster import MemoryCluster
from penstock.api import labels
from penstock_operator.cluster import BLOCKS
from penstock_operator.reconcile.blocks import Blocks
from penstock_operator.reconcile.sources import Key
from run_stage import Clock

KEY = Key("team", "prod")


def test_a_block_is_ready_until_it_is_invalid() -> None:
    clock = Clock()
    cluster = MemoryCluster(clock)
    reconciler = Blocks(cluster, clock)

    def condition() -> tuple[str, str, str, int]:
        asyncio.run(reconciler.reconcile(KEY))
        body = asyncio.run(cluster.get(BLOCKS, *KEY))
        assert body is not None
        (found,) = body["status"]["conditions"]
        return found["status"], found["reason"], found["message"], found["observedGeneration"]

    spec = {"type": "secret", "secrets": {"value": {"name": "s", "key": "k"}}}
    body = {"apiVersion": labels.API_VERSION, "kind": "Block", "metadata": {"name": KEY.name}, "spec": spec}
    asyncio.run(cluster.create(BLOCKS, KEY.namespace, body))
    assert condition() == ("True", "Ready", "", 1)
    written = len(cluster.writes)
    asyncio.run(reconciler.reconcile(KEY))
    assert len(cluster.writes) == written
    change = [{"op": "add", "path": "/spec/data", "value": {"value": "x"}}]
    asyncio.run(cluster.patch(BLOCKS, *KEY, change))
    status, reason, message, generation = condition()
    assert (status, reason, generation) == ("False", "InvalidSpec", 2)
    assert "spec.data.value: a block of type secret has its value in a Secret" in message


def test_a_block_that_is_gone_is_nothing_to_do() -> None:
    clock = Clock()
    cluster = MemoryCluster(clock)
    asyncio.run(Blocks(cluster, clock).reconcile(KEY))
    assert cluster.writes == []
