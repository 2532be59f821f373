"""The operator's client holds to the contract of `Cluster` on a real API server, and takes its restart as it should."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from cluster_contract import ClusterContract, Scenario, Trial, config_map
from penstock_cluster.control_plane import ControlPlane, tls
from penstock_operator.cluster import CONFIG_MAPS, FIRST_PAGE, PAGE_BYTES, ApiCluster, Cluster, Connection, Unavailable


def connection(plane: ControlPlane) -> Connection:
    return Connection(plane.url, tls(plane.folder / "pki"))


class TestApiCluster(ClusterContract):
    @pytest.fixture
    def trial(self, control_plane: ControlPlane, namespace: str) -> Trial:
        def run(scenario: Scenario) -> None:
            async def connected() -> None:
                async with ApiCluster(connection(control_plane)) as cluster:
                    await scenario(cluster, namespace)

            asyncio.run(connected())

        return run

    @pytest.fixture
    def forget(self) -> Callable[[Cluster], None]:
        """Version 1 is older than what a watch cache of a real server holds."""
        return lambda _: None


def test_every_answer_is_told_to_the_observer(control_plane: ControlPlane, namespace: str) -> None:
    told: list[tuple[str, str, int]] = []

    async def scenario() -> None:
        async with ApiCluster(connection(control_plane), lambda *call: told.append(call)) as cluster:
            await cluster.create(CONFIG_MAPS, namespace, config_map("one"))
            await cluster.get(CONFIG_MAPS, namespace, "two")

    asyncio.run(scenario())
    assert told == [("POST", "configmaps", 201), ("GET", "configmaps", 404)]


def test_pages_of_large_objects_are_small_and_those_of_small_ones_grow(
    control_plane: ControlPlane, namespace: str
) -> None:
    async def scenario() -> None:
        async with ApiCluster(connection(control_plane)) as cluster:
            text = "x" * 700_000
            for n in range(60):
                await cluster.create(CONFIG_MAPS, namespace, {**config_map(f"large{n:02}"), "data": {"text": text}})
            large = [len(page.items) async for page in cluster.list_pages(CONFIG_MAPS, namespace)]
            assert (sum(large), max(large)) == (60, FIRST_PAGE)
            assert max(large[1:]) * len(text) <= PAGE_BYTES
            for n in range(60):
                await cluster.delete(CONFIG_MAPS, namespace, f"large{n:02}")
            for n in range(150):
                await cluster.create(CONFIG_MAPS, namespace, config_map(f"small{n:03}"))
            small = [len(page.items) async for page in cluster.list_pages(CONFIG_MAPS, namespace)]
            assert small == [FIRST_PAGE, 4 * FIRST_PAGE, 150 - 5 * FIRST_PAGE]
            capped = [len(page.items) async for page in cluster.list_pages(CONFIG_MAPS, namespace, limit=60)]
            assert capped == [FIRST_PAGE, 60, 60, 150 - FIRST_PAGE - 120]

    asyncio.run(scenario())


def test_a_read_outlasts_a_restart_of_the_api_server_and_a_write_does_not(
    control_plane: ControlPlane, namespace: str
) -> None:
    """Whether a write arrived is for the caller to find out; a read does no harm twice."""

    async def scenario() -> None:
        async with ApiCluster(connection(control_plane)) as cluster:
            await cluster.create(CONFIG_MAPS, namespace, config_map("one"))
            control_plane.kill("kube-apiserver")
            with pytest.raises(Unavailable):
                await cluster.create(CONFIG_MAPS, namespace, config_map("two"))
            await asyncio.to_thread(control_plane.wait_ready)
            assert await cluster.get(CONFIG_MAPS, namespace, "one") is not None

    asyncio.run(scenario())
