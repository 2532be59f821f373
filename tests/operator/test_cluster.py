"""The `Cluster` in memory holds to the contract; answers of the API server become errors by kind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from cluster_contract import ClusterContract, Scenario, Trial
from memory_cluster import MemoryCluster
from penstock_operator import cluster
from penstock_operator.cluster import Cluster, ResourceType


class TestMemoryCluster(ClusterContract):
    @pytest.fixture
    def trial(self) -> Trial:
        def run(scenario: Scenario) -> None:
            async def alone() -> None:
                await scenario(MemoryCluster(), "test")

            asyncio.run(alone())

        return run

    @pytest.fixture
    def forget(self) -> Callable[[Cluster], None]:
        return lambda memory: memory.compact()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (404, "NotFound", cluster.NotFound),
        (409, "AlreadyExists", cluster.AlreadyExists),
        (409, "Conflict", cluster.Conflict),
        (422, "Invalid", cluster.Invalid),
        (400, "BadRequest", cluster.Invalid),
        (403, "Forbidden", cluster.Forbidden),
        (410, "Expired", cluster.Expired),
        (429, "TooManyRequests", cluster.Unavailable),
        (500, "InternalError", cluster.Unavailable),
        (503, "", cluster.Unavailable),
        (401, "Unauthorized", cluster.ApiError),
    ],
)
def test_an_answer_becomes_an_error_by_its_kind(status: int, reason: str, kind: type[cluster.ApiError]) -> None:
    error = cluster.error_of(status, {"reason": reason, "message": "said so"}, 2.5)
    assert type(error) is kind
    assert (error.status, error.message) == (status, "said so")
    assert error.retry_after == (2.5 if kind is cluster.Unavailable else None)
    assert str(error) == f"{reason or status}: said so"


@pytest.mark.parametrize(
    ("resource", "namespace", "name", "subresource", "path"),
    [
        (cluster.PODS, "team", "run-1", None, "/api/v1/namespaces/team/pods/run-1"),
        (cluster.PODS, None, None, None, "/api/v1/pods"),
        (
            cluster.FLOW_RUNS,
            "team",
            "run",
            "status",
            "/apis/penstock.dev/v1alpha1/namespaces/team/flowruns/run/status",
        ),
        (cluster.NODES, "ignored", "node-a", None, "/api/v1/nodes/node-a"),
    ],
)
def test_paths_are_those_of_the_api_server(
    resource: ResourceType, namespace: str | None, name: str | None, subresource: str | None, path: str
) -> None:
    assert resource.path(namespace, name, subresource) == path
