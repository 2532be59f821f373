"""`DaskTaskRunner` on a local Dask cluster of two processes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import dask
import pytest
from distributed import LocalCluster

from penstock import flow, task
from penstock.errors import DefinitionError
from penstock.states import State
from penstock.task_runners import DaskTaskRunner, TaskRunner
from remote_runner_contract import RemoteRunnerContract

OWN = {"n_workers": 2, "threads_per_worker": 1, "processes": True}


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """As the runner makes its own: a task that kills its worker is not tried on others."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(**OWN, dashboard_address=":0") as cluster,
    ):
        yield cluster


@task
def pid() -> int:
    return os.getpid()


@task
def leaves() -> None:
    os._exit(3)


def test_a_cluster_that_is_there_is_used_and_left_alone(cluster: LocalCluster) -> None:
    """Given itself or by its address; for one flow after the other."""
    pids = set()
    for runner in (DaskTaskRunner(cluster), DaskTaskRunner(address=cluster.scheduler_address)):

        @flow(task_runner=runner)
        def parent() -> list[int]:
            return [pid.submit().result() for _ in range(8)]

        pids.update(parent())
    assert len(pids) <= 2
    assert os.getpid() not in pids


def test_submits_of_an_async_flow(cluster: LocalCluster) -> None:
    import asyncio

    @flow(task_runner=DaskTaskRunner(cluster))
    async def parent() -> int:
        return await pid.submit().result_async()

    assert asyncio.run(parent()) != os.getpid()


@pytest.mark.parametrize(
    "options",
    [
        {"address": "tcp://there:8786", "cluster_class": "distributed.LocalCluster"},
        {"address": "tcp://there:8786", "cluster_kwargs": OWN},
    ],
    ids=["two clusters", "options of a cluster that is there"],
)
def test_options_that_cannot_go_together(options: dict[str, object]) -> None:
    with pytest.raises(DefinitionError, match="DaskTaskRunner: "):
        DaskTaskRunner(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [None, "distributed.LocalCluster"])
def test_a_cluster_of_its_own(kind: str | None) -> None:
    """By default or by name; what kills a worker is a crash at once, not after three more workers."""

    @flow(task_runner=DaskTaskRunner(cluster_class=kind, cluster_kwargs=OWN))
    def parent() -> tuple[int, State[None]]:
        return pid.submit().result(), leaves.submit(return_state=True)

    number, state = parent()
    assert number != os.getpid()
    assert state.is_crashed()


class TestDask(RemoteRunnerContract):
    @pytest.fixture
    def runner(self, cluster: LocalCluster) -> TaskRunner:
        return DaskTaskRunner(cluster)
