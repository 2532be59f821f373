"""What is remembered of settled runs: fed and forgotten by the informer, held by their families, and small."""

from __future__ import annotations

import gc
import tracemalloc
import uuid
from typing import Any

import builders
from penstock.api import labels
from penstock_operator.controller.cache import ObjectCache
from penstock_operator.controller.settled import SettledRuns
from penstock_operator.core.retention import History
from run_stage import Clock

Json = dict[str, Any]
BUDGET = 1024  # bytes a settled run; ten thousand of them are 10 MiB


def body(name: str, *, uid: str | None = None, settled: bool = True, **spec: Any) -> Json:
    """A run; one that is not settled is under way."""
    run = builders.flow_run("Completed" if settled else "Running", spec=spec, settled=settled or None)
    run["metadata"] |= {"name": name, "uid": uid or f"uid-{name}"}
    return run


def child_of(name: str, awaited: bool = True) -> Json:
    return {"parent": {"name": name, "uid": f"uid-{name}", "awaited": awaited}}


class Memory:
    """The index, its cache of runs under way, and the namespaces it told of."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.cache = ObjectCache()
        self.runs = SettledRuns(self.cache, Clock(), self.told.append)


def test_a_run_is_known_until_it_is_deleted_and_each_is_told_of() -> None:
    memory = Memory()
    memory.runs.put(body("a"))
    memory.runs.put(body("b"))
    assert sorted(run.name for run in memory.runs.of("team")) == ["a", "b"]
    assert (len(memory.runs), sorted(memory.runs.refs(None))) == (2, [("team", "a"), ("team", "b")])
    assert (list(memory.runs.refs("other")), memory.runs.of("other")) == ([], [])
    memory.runs.drop(("team", "a"), "9")
    memory.runs.drop(("team", "a"), "9")
    assert [run.name for run in memory.runs.of("team")] == ["b"]
    assert memory.told == ["team"] * 4


def test_a_run_whose_slot_was_not_written_down_is_held() -> None:
    """Deleted, it would be made again."""
    memory = Memory()
    run = body("a", scheduledTime="2026-01-01T07:00:00Z")
    run["spec"]["deploymentRef"] = {"name": "etl"}
    run["metadata"]["labels"] = {labels.SCHEDULE: "hourly"}
    memory.runs.put(run)
    assert memory.runs.held("team") == frozenset()  # there is no such deployment
    for number, (time, held) in enumerate((("06:00:00Z", {"uid-a"}), ("07:00:00Z", set()))):
        deployment = {
            "metadata": {"name": "etl", "namespace": "team", "uid": "u", "resourceVersion": str(number + 1)},
            "spec": {"flowRef": {"name": "etl"}},
            "status": {"lastScheduled": [{"slug": "hourly", "time": f"2026-01-01T{time}"}]},
        }
        memory.cache.put("FlowDeployment", deployment)
        assert memory.runs.held("team") == held


def test_a_run_whose_parent_is_under_way_is_held() -> None:
    """Restarted, the parent would look for it, and run it again."""
    memory = Memory()
    for name, parent in (("awaited", child_of("p")), ("not", child_of("p", False)), ("other", child_of("q"))):
        memory.runs.put(body(name, **parent))
    assert memory.runs.held("team") == frozenset()
    memory.cache.put("FlowRun", body("p", settled=False))
    assert memory.runs.held("team") == {"uid-awaited", "uid-not"}
    memory.cache.put("FlowRun", body("q", uid="of a namesake", settled=False))
    assert memory.runs.held("team") == {"uid-awaited", "uid-not"}


def test_a_run_whose_pods_log_is_not_kept_yet_is_held() -> None:
    """It takes its pods with it."""
    awaited = {"team": ["a", "under-way"]}
    runs = SettledRuns(ObjectCache(), Clock(), logs_awaited=awaited.__getitem__)
    for name in ("a", "b"):
        runs.put(body(name))
    assert runs.held("team") == {"uid-a"}


def test_a_run_that_owns_one_under_way_is_held() -> None:
    memory = Memory()
    memory.runs.put(body("p"))
    memory.runs.put(body("q"))
    memory.cache.put("FlowRun", body("c", settled=False, **child_of("p")))
    memory.cache.put("FlowRun", body("d", settled=False, **child_of("q", awaited=False)))
    memory.cache.put("FlowRun", body("e", settled=False, **child_of("somebody")))
    assert memory.runs.held("team") == {"uid-p"}


def test_what_is_archived_is_of_that_run_and_of_no_namesake() -> None:
    memory = Memory()
    memory.runs.put(body("a"))
    (first,) = memory.runs.of("team")
    memory.runs.mark_archived(first)
    memory.runs.put(body("a"))
    assert memory.runs.archived(first)
    memory.runs.put(body("a", uid="second"))
    (second,) = memory.runs.of("team")
    assert not memory.runs.archived(second)
    memory.runs.mark_archived(first)
    memory.runs.forget(first)
    assert memory.runs.of("team") == [second]
    memory.runs.forget(second)
    assert len(memory.runs) == 0


def test_ten_thousand_runs_fit_in_memory() -> None:
    """Bytes as Python counts them: no timing, and no other process, has a part in it."""
    memory = Memory()
    bodies = [body(f"etl-{n:010}", uid=str(uuid.uuid4()), ttlSecondsAfterFinished=60) for n in range(2000)]
    gc.collect()
    tracemalloc.start()
    for one in bodies:
        memory.runs.put(one)
        one.clear()  # as it is let go by the informer; its strings are the index's alone then
    for run in memory.runs.of("team"):
        memory.runs.mark_archived(run)
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    names = sum(len(run.name) + len(run.uid) + 2 * 49 for run in memory.runs.of("team"))  # made before the count began
    print(f"{(size + names) / 2000:.0f} bytes a settled run")
    assert (size + names) / 2000 < BUDGET


def test_the_copies_that_any_run_names_are_told() -> None:
    memory = Memory()
    memory.runs.put(body("a"))
    other = body("b", settled=False)
    other["metadata"]["namespace"] = "other"
    other["status"]["resolved"] = {"code": {"kind": "source", "configMap": "code"}}
    memory.cache.put("FlowRun", other)
    mine = {("team", "flowdeployment-etl-x-3"), ("team", "workpool-default-x-2"), ("team", "penstock-code-abc")}
    assert memory.runs.references("team") == mine
    assert memory.runs.references("other") == {("other", "code")}
    assert memory.runs.references(None) == {*mine, ("other", "code")}


def test_what_deployments_keep_is_known_by_namespace() -> None:
    memory = Memory()
    for namespace, limits in (("team", {"successful": 3}), ("other", {"failed": 1})):
        meta = {"name": "etl", "namespace": namespace, "uid": namespace, "resourceVersion": "1"}
        spec = {"flowRef": {"name": "etl"}, "historyLimits": limits, "ttlSecondsAfterFinished": 60}
        memory.cache.put("FlowDeployment", {"kind": "FlowDeployment", "metadata": meta, "spec": spec})
    assert memory.runs.histories("team") == {"etl": History(3, None, 60)}
    assert memory.runs.histories("other") == {"etl": History(None, 1, 60)}
    assert memory.runs.histories("else") == {}
