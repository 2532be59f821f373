"""`KubernetesTaskRunner` without a cluster: its options, what pods it asks for, and what it refuses.

What it does in a cluster is tested in tests/integration/test_tasks_in_pods.py.
"""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from penstock import flow, task
from penstock.api import labels
from penstock.errors import DefinitionError, MissingContext, PodLost
from penstock.kubernetes_task_runner import shared_store
from penstock.states import exception_to_state
from penstock.task_runners import KubernetesTaskRunner, PodOptions

# Options, and `spec.pod` of the task's run.
PODS: dict[str, tuple[PodOptions, dict[str, Any]]] = {
    "nothing": (PodOptions(), {}),
    "an image": (PodOptions(image="flows:2"), {"image": "flows:2"}),
    "cpu is requested, never limited": (PodOptions(cpu=0.5), {"resources": {"requests": {"cpu": "0.5"}}}),
    "memory is requested and limited": (
        PodOptions(memory="1Gi"),
        {"resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "1Gi"}}},
    ),
    "a gpu is limited": (PodOptions(gpu=1), {"resources": {"limits": {"nvidia.com/gpu": "1"}}}),
    "a gpu of another make": (
        PodOptions(gpu=2, gpu_resource="amd.com/gpu"),
        {"resources": {"limits": {"amd.com/gpu": "2"}}},
    ),
    "environment": (PodOptions(env={"A": "b"}), {"env": [{"name": "A", "value": "b"}]}),
    "a kind of node": (PodOptions(node_selector={"disk": "ssd"}), {"nodeSelector": {"disk": "ssd"}}),
}


@pytest.mark.parametrize(("options", "overrides"), PODS.values(), ids=PODS.keys())
def test_options_of_a_pod(options: PodOptions, overrides: dict[str, Any]) -> None:
    assert options.overrides() == overrides


def test_options_of_a_task_go_over_those_of_the_runner() -> None:
    runner = PodOptions(image="flows:2", cpu=1, memory="1Gi")
    assert PodOptions(memory="8Gi", gpu=1).over(runner) == PodOptions(image="flows:2", cpu=1, memory="8Gi", gpu=1)


def test_an_option_that_is_none_is_refused_where_it_stands() -> None:
    with pytest.raises(DefinitionError, match=r"no option memroy; of the pod it has image, cpu, memory"):
        KubernetesTaskRunner(memroy="1Gi")


def test_outside_of_the_cluster_it_says_what_to_do() -> None:
    @task
    def t() -> None: ...

    @flow(task_runner=KubernetesTaskRunner)
    def f() -> None:
        t.submit()

    with pytest.raises(MissingContext, match="deploy the flow"):
        f()


@pytest.mark.parametrize(
    ("url", "environment"),
    [
        ("s3://bucket/prefix", {}),
        (None, {labels.ENV_RESULTS: "s3://bucket/prefix"}),
        (None, {labels.ENV_RESULTS: "/mnt/results", labels.ENV_RESULTS_SHARED: "true"}),
    ],
    ids=["its own", "the pool's", "a folder that other pods have as well"],
)
def test_stores_that_pods_reach(url: str | None, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert shared_store(url).url.startswith(("s3://bucket/prefix", "file:///mnt/results"))


@pytest.mark.parametrize("url", [None, "memory://here", "/tmp/results"])
def test_stores_that_pods_do_not_reach(url: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(labels.ENV_RESULTS, raising=False)
    monkeypatch.delenv(labels.ENV_RESULTS_SHARED, raising=False)
    with pytest.raises(DefinitionError, match=r"spec\.results\.url of the work pool"):
        shared_store(url)


def test_a_lost_pod_is_a_crash_with_its_own_reason() -> None:
    """Also after it was sent to another process."""
    error = pickle.loads(pickle.dumps(PodLost("OOMKilled", "the container used more memory than its limit")))
    state = exception_to_state(error)
    assert (state.type, state.reason) == ("Crashed", "OOMKilled")
    assert "more memory than its limit" in (state.message or "")
