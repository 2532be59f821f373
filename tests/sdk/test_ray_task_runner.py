"""`RayTaskRunner` on a local Ray of two processes; skipped where Ray is not installed (`pip install -e '.[ray]'`).

It is no development requirement: on a busy machine Ray may take minutes to start, or give up.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from penstock.task_runners import RayTaskRunner, TaskRunner
from remote_runner_contract import RemoteRunnerContract

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """It keeps to loopback, and tells nobody of its use."""
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
        yield
        ray.shutdown()


class TestRay(RemoteRunnerContract):
    @pytest.fixture
    def runner(self, local_ray: None) -> TaskRunner:
        return RayTaskRunner()
