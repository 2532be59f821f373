"""What is read of a Node, and when a pod tells of one that does not answer; the runs on it are in `test_runs`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from builders import flow_run, held, run_pod
from penstock_operator.core import nodes
from penstock_operator.core.nodes import OVERDUE, Silence
from penstock_operator.core.views import PodView, RunView

Json = dict[str, Any]

SIX = datetime(2026, 1, 1, 6, tzinfo=UTC)


def node(ready: str | None = "True", *taints: str, **more: Any) -> Json:
    """A Node with all that a kubelet says of one, which is far more than is read."""
    conditions = [{"type": "MemoryPressure", "status": "False", "lastTransitionTime": "2026-01-01T05:00:00Z"}]
    if ready is not None:
        told = {"type": "Ready", "status": ready, "reason": "Why", "lastTransitionTime": "2026-01-01T06:00:00Z"}
        conditions.append(told | more)
    return {
        "metadata": {"name": "node-1", "uid": "u", "resourceVersion": "3", "labels": {"a": "b"}},
        "spec": {"taints": [{"key": key, "effect": "NoExecute"} for key in taints], "podCIDR": "10.0.0.0/24"},
        "status": {"conditions": conditions, "images": [{"names": ["x"] * 50}] * 50, "nodeInfo": {}},
    }


def test_a_node_is_kept_without_what_nobody_reads() -> None:
    kept = nodes.projection(node("True", "a"))
    assert len(str(kept)) < 400
    assert nodes.projection(kept) == kept
    assert nodes.projection({"metadata": {"name": "bare"}})["spec"] == {"taints": []}


@pytest.mark.parametrize(
    ("body", "silent"),
    [
        pytest.param(node("True"), False, id="ready"),
        pytest.param(node("Unknown"), True, id="its kubelet says nothing"),
        pytest.param(node("False"), True, id="its kubelet says that it is not ready"),
        pytest.param(node(None), False, id="it is new and has said nothing"),
        pytest.param(node("Unknown", lastTransitionTime=None), False, id="nobody knows since when"),
    ],
)
def test_a_node_is_silent_when_it_is_not_ready(body: Json, silent: bool) -> None:
    found = nodes.silence(nodes.projection(body))
    assert found == (Silence(SIX, "node node-1 is not ready since 2026-01-01T06:00:00Z (Why)") if silent else None)


def test_only_an_administrators_word_takes_a_node_out_of_service() -> None:
    assert nodes.out_of_service(nodes.projection(node("Unknown", nodes.OUT_OF_SERVICE)))
    assert not nodes.out_of_service(nodes.projection(node("Unknown", "node.kubernetes.io/unreachable")))


@pytest.mark.parametrize(
    ("deleting", "seconds", "stuck"),
    [(False, 9999, False), (True, 30 + OVERDUE - 1, False), (True, 30 + OVERDUE, True)],
)
def test_a_pod_that_outlives_its_grace_tells_of_its_kubelet(deleting: bool, seconds: int, stuck: bool) -> None:
    """Its grace, in the builder, is over half a minute after six."""
    now = datetime.fromtimestamp(SIX.timestamp() + seconds, UTC)
    found = nodes.stuck(PodView(run_pod(deleting=deleting)), now)
    assert (found is not None) is stuck
    if found:
        assert "node node-1 has not ended pod etl-1-1" in found.message


def test_what_is_said_does_not_change_from_one_look_to_the_next() -> None:
    """Or each pass would write."""
    run, pod = RunView(flow_run("Running")), PodView(run_pod())
    quiet = {"node-1": Silence(SIX, "node node-1 is not ready")}
    for force_after in (None, 600):
        first, later = (nodes.judge(run, [pod], quiet, force_after, SIX.replace(minute=m)) for m in (1, 9))
        assert first.conditions == later.conditions
        assert "its code may run on" in first.conditions[0].message


def test_a_run_is_told_lost_only_while_that_is_true() -> None:
    for status in (True, False):
        run = RunView(flow_run("Running", conditions=[held("NodeLost", status, "x")]))
        assert (nodes.told_lost(run) is not None) is status
