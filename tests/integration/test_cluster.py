"""The operator's client holds to the contract of `Cluster` on a real API server, and takes its restart as it should."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from cluster_contract import ClusterContract, Scenario, Trial, config_map
from penstock_cluster.control_plane import ControlPlane, tls
from penstock_operator.cluster import CONFIG_MAPS, ApiCluster, Cluster, Connection, Unavailable


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
