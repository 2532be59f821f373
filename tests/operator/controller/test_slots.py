"""Slots: runs as their reconciler takes them through, with limits of pools, queues, deployments and tags."""

from __future__ import annotations

from typing import Any

import pytest

from memory_cluster import Write
from penstock.api.flowrun import FlowRun
from penstock_operator.cluster import FLOW_RUNS, Forbidden, Unavailable
from penstock_operator.core.admission import Limit
from penstock_operator.core.views import RunView
from penstock_operator.reconcile.sources import Key
from run_stage import NAMESPACE, Stage

Json = dict[str, Any]
SLOT = "AwaitingConcurrencySlot"


def staged(pool: Json | None = None, deployment: Json | None = None, runs: int = 0) -> Stage:
    """A pool, a deployment, and so many runs that were looked at in turn."""
    stage = Stage(pool=pool, deployment=deployment)
    for number in range(1, runs + 1):
        submit(stage, f"r{number}")
    return stage


def submit(stage: Stage, name: str, **spec: Any) -> None:
    stage.submit(name, **spec)
    stage.clock.advance(1)
    stage.reconcile(name)


def settle(stage: Stage, name: str) -> None:
    """Its pod runs, ends, and the operator sees that."""
    stage.start_pod(f"{name}-1")
    stage.claim(f"{name}-1", name)
    stage.reconcile(name)
    stage.enter("Completed", "Completed", name)
    stage.reconcile(name)
    stage.end_pod(f"{name}-1")
    stage.reconcile(name)
    assert stage.run(name)["settled"]


def state(stage: Stage, name: str) -> tuple[str, str]:
    """Name and reason of its state."""
    found = stage.run(name)["state"]
    return found["name"], found["reason"]


def named(stage: Stage) -> list[str]:
    """Who was named since this was asked last."""
    found = [key.name for key in stage.named]
    stage.named.clear()
    return found


def test_a_run_that_is_admitted_at_once_costs_no_write() -> None:
    for pool in ({}, {"concurrencyLimit": 1}):
        stage = staged(pool)
        stage.submit("run")
        stage.taken()
        stage.reconcile()
        patches = [write for write in stage.taken() if "FlowRun" in write]
        assert patches == ["patch FlowRun run status"]
        assert "admitted" not in stage.run()


def test_beyond_the_limit_of_its_pool_a_run_waits_and_starts_when_a_slot_is_free() -> None:
    stage = staged({"concurrencyLimit": 1}, runs=2)
    assert state(stage, "r1") == ("Pending", "Launched")
    assert state(stage, "r2") == (SLOT, "WorkPoolFull")
    assert stage.run("r2")["state"]["message"] == "WorkPool default is full: 1 of 1 (spec.concurrencyLimit)"
    assert stage.reconcile("r2") is None, "nobody needs to look again by himself"
    settle(stage, "r1")
    assert named(stage) == ["r2"]
    stage.reconcile("r2")
    assert state(stage, "r2") == ("Pending", "Launched")
    FlowRun.model_validate(stage.get("FlowRun", "r2"))


def test_a_run_that_waits_is_neither_resolved_nor_written_again() -> None:
    stage = staged({"concurrencyLimit": 0}, runs=1)
    stage.taken()
    reads: list[str] = []
    get = stage.cluster.get
    stage.cluster.get = lambda *a: reads.append(a[0].kind) or get(*a)  # type: ignore[method-assign,func-returns-value]
    stage.reconcile("r1")
    assert reads == []
    assert stage.taken() == []


def test_a_slot_is_held_until_nothing_of_the_attempt_runs() -> None:
    stage = staged({"concurrencyLimit": 1}, runs=2)
    stage.start_pod("r1-1")
    stage.claim("r1-1", "r1")
    stage.reconcile("r1")
    stage.enter("Completed", "Completed", "r1")
    stage.reconcile("r1")
    assert named(stage) == [], "its pod is still there"
    stage.end_pod("r1-1")
    stage.reconcile("r1")
    assert named(stage) == ["r2"]


def test_cancelling_holds_a_slot_and_cancelled_does_not() -> None:
    stage = staged({"concurrencyLimit": 1}, runs=2)
    stage.start_pod("r1-1")
    stage.claim("r1-1", "r1")
    stage.edit("FlowRun", "r1", cancel=True)
    stage.reconcile("r1")
    assert state(stage, "r1")[0] == "Cancelling"
    assert named(stage) == []
    stage.end_pod("r1-1", code=143)
    stage.reconcile("r1")
    assert named(stage) == ["r2"]


def test_backoff_of_the_infrastructure_holds_none() -> None:
    retries = {"infraRetries": {"limit": 1, "backoffSeconds": 60}}
    stage = staged({"concurrencyLimit": 1}, retries, runs=2)
    stage.start_pod("r1-1")
    stage.end_pod("r1-1", code=1)
    stage.reconcile("r1")
    assert state(stage, "r1")[0] == "AwaitingRetry"
    assert named(stage) == ["r2"]
    stage.reconcile("r2")
    stage.clock.advance(61)
    stage.reconcile("r1")
    assert state(stage, "r1") == (SLOT, "WorkPoolFull")
    settle(stage, "r2")
    assert named(stage) == ["r1"]
    stage.reconcile("r1")
    assert state(stage, "r1") == ("Pending", "Launched")
    assert stage.run("r1")["attempt"] == 2


def test_a_suspended_run_holds_none_once_its_pod_has_ended() -> None:
    stage = staged({"concurrencyLimit": 1}, runs=2)
    stage.start_pod("r1-1")
    stage.claim("r1-1", "r1")
    stage.reconcile("r1")
    stage.enter("Paused", "Suspended", "r1", pause={"id": "ask-1"})
    suspended = {**stage.run("r1")["state"], "name": "Suspended"}
    stage.cluster.set_status(FLOW_RUNS, NAMESPACE, "r1", state=suspended)
    stage.reconcile("r1")
    assert named(stage) == []
    stage.end_pod("r1-1")
    stage.reconcile("r1")
    assert named(stage) == ["r2"]


@pytest.mark.parametrize("how", ["cancel", "suspend", "delete"])
def test_a_run_that_waits_no_more_makes_way(how: str) -> None:
    stage = staged({"concurrencyLimit": 1}, runs=3)
    if how == "delete":
        stage.remove("FlowRun", "r2")
    else:
        stage.edit("FlowRun", "r2", **{how: True})
    stage.reconcile("r2")
    settle(stage, "r1")
    assert named(stage) == ["r3"]


def test_the_slot_of_a_deleted_run_is_free_when_its_pod_is_gone() -> None:
    stage = staged({"concurrencyLimit": 1}, runs=2)
    stage.start_pod("r1-1")
    stage.remove("FlowRun", "r1")
    stage.reconcile("r1")
    assert named(stage) == []
    submit(stage, "r1")
    assert state(stage, "r1") == (SLOT, "WorkPoolFull"), "a namesake is another run"
    stage.end_pod("r1-1")
    stage.reconcile("r1")
    assert named(stage) == ["r2"]


def test_pools_queues_and_deployments_that_are_suspended_start_nothing() -> None:
    stage = staged(runs=0)
    stage.apply("WorkQueue", "q", {"workPoolRef": {"name": "default"}, "suspend": True})
    for kind, name, reason in (
        ("WorkPool", "default", "WorkPoolSuspended"),
        ("FlowDeployment", "etl", "FlowDeploymentSuspended"),
        ("WorkQueue", "q", "WorkQueueSuspended"),
    ):
        stage.edit(kind, name, suspend=True)
        submit(stage, f"of-{name}", **({"queue": "q"} if kind == "WorkQueue" else {}))
        assert state(stage, f"of-{name}") == ("Scheduled", reason)
        stage.edit(kind, name, suspend=False)
        stage.hear()
        assert named(stage) == [f"of-{name}"], "and what was suspended starts it again"
        stage.reconcile(f"of-{name}")
        assert state(stage, f"of-{name}") == ("Pending", "Launched")


def test_limits_that_change_hold_for_whoever_waits_and_take_nothing_away() -> None:
    stage = staged({"concurrencyLimit": 2}, runs=4)
    assert [state(stage, f"r{n}")[0] for n in range(1, 5)] == ["Pending", "Pending", SLOT, SLOT]
    stage.edit("WorkPool", "default", concurrencyLimit=1)
    stage.hear()
    settle(stage, "r1")
    assert named(stage) == [], "two are more than one"
    stage.edit("WorkPool", "default", concurrencyLimit=3)
    stage.hear()
    assert named(stage) == ["r3", "r4"]


def test_queues_are_served_by_priority_and_their_limits() -> None:
    stage = staged({"concurrencyLimit": 1}, runs=1)
    stage.apply("WorkQueue", "slow", {"workPoolRef": {"name": "default"}, "priority": 2})
    urgent = {"workPoolRef": {"name": "default"}, "priority": 1, "selector": {"matchTags": ["urgent"]}}
    stage.apply("WorkQueue", "fast", {**urgent, "concurrencyLimit": 1})
    submit(stage, "any")
    submit(stage, "slow", queue="slow")
    submit(stage, "fast", tags=["urgent", "other"])
    settle(stage, "r1")
    assert named(stage) == ["fast"]
    stage.reconcile("fast")
    assert stage.run("fast")["admitted"] == {"queue": "fast", "tags": ["urgent", "other"]}
    stage.edit("WorkPool", "default", concurrencyLimit=3)
    submit(stage, "fast-2", tags=["urgent"])
    assert named(stage) == ["slow", "any"]
    assert state(stage, "fast-2") == (SLOT, "WorkQueueFull")


def test_a_queue_that_is_absent_is_waited_for() -> None:
    stage = staged()
    submit(stage, "run", queue="fast")
    assert state(stage, "run") == ("Scheduled", "WorkQueueNotFound")
    stage.apply("WorkQueue", "fast", {"workPoolRef": {"name": "other"}})
    stage.hear()
    assert named(stage) == [], "that is another pool's"
    stage.remove("WorkQueue", "fast")
    stage.hear()
    stage.apply("WorkQueue", "fast", {"workPoolRef": {"name": "default"}})
    stage.hear()
    assert named(stage) == ["run"]
    stage.reconcile("run")
    assert state(stage, "run") == ("Pending", "Launched")
    assert stage.run("run")["admitted"] == {"queue": "fast"}


def test_who_waits_goes_where_the_queues_are() -> None:
    stage = staged({"concurrencyLimit": 1}, runs=3)
    selector = {"matchTags": ["urgent"]}
    submit(stage, "urgent", tags=["urgent"])
    of_default = {"workPoolRef": {"name": "default"}, "selector": selector}
    stage.apply("WorkQueue", "fast", {**of_default, "priority": 1})
    stage.hear()
    settle(stage, "r1")
    assert named(stage) == ["urgent"]
    stage.reconcile("urgent")
    submit(stage, "urgent-2", tags=["urgent"])
    stage.remove("WorkQueue", "fast")
    stage.hear()
    settle(stage, "urgent")
    assert named(stage) == ["r2"], "without the queue it is one of the last"


def test_tags_of_runs_and_deployments_are_limited() -> None:
    stage = staged(deployment={"tags": ["db"]})
    stage.apply("ConcurrencyLimit", "database", {"limit": 1, "tag": "db"})
    submit(stage, "r1")
    submit(stage, "r2")
    assert stage.run("r1")["admitted"] == {"tags": ["db"]}
    assert state(stage, "r2") == (SLOT, "TagLimitFull")
    stage.apply("ConcurrencyLimit", "database-too", {"limit": 3, "tag": "db"})
    stage.hear()
    assert named(stage) == [], "the lowest holds"
    stage.remove("ConcurrencyLimit", "database")
    stage.hear()
    assert named(stage) == ["r2"]


def test_forbid_cancels_the_new_run() -> None:
    stage = staged(deployment={"concurrency": {"limit": 1, "policy": "Forbid"}}, runs=2)
    assert state(stage, "r2") == ("Cancelled", "ConcurrencyForbidden")
    assert "FlowDeployment etl (spec.concurrency.policy: Forbid, limit: 1)" in stage.run("r2")["state"]["message"]
    settle(stage, "r1")
    submit(stage, "r3")
    assert state(stage, "r3") == ("Pending", "Launched")


def test_forbid_lets_a_run_wait_for_the_pod_of_one_that_has_ended() -> None:
    stage = staged(deployment={"concurrency": {"limit": 1, "policy": "Forbid"}}, runs=1)
    stage.start_pod("r1-1")
    stage.claim("r1-1", "r1")
    stage.enter("Completed", "Completed", "r1")
    stage.reconcile("r1")
    submit(stage, "r2")
    assert state(stage, "r2") == (SLOT, "FlowDeploymentFull")
    stage.end_pod("r1-1")
    stage.reconcile("r1")
    assert named(stage) == ["r2"]


def test_replace_cancels_the_oldest() -> None:
    stage = staged(deployment={"concurrency": {"limit": 1, "policy": "Replace"}}, runs=1)
    stage.start_pod("r1-1")
    stage.claim("r1-1", "r1")
    stage.reconcile("r1")
    submit(stage, "r2")
    assert state(stage, "r2") == (SLOT, "FlowDeploymentFull")
    assert named(stage) == ["r1"]
    stage.reconcile("r1")
    assert state(stage, "r1") == ("Cancelling", "Replaced")
    assert "deletionTimestamp" in (stage.get("Pod", "r1-1") or {})["metadata"]
    stage.end_pod("r1-1", code=143)
    stage.reconcile("r1")
    assert state(stage, "r1") == ("Cancelled", "Replaced")
    assert "r2" in named(stage)
    stage.reconcile("r2")
    assert state(stage, "r2") == ("Pending", "Launched")


def test_replace_also_replaces_who_waits_and_is_found_again_after_a_restart() -> None:
    stage = staged({"concurrencyLimit": 0}, {"concurrency": {"limit": 1, "policy": "Replace"}}, runs=2)
    assert "r1" in named(stage)
    restart(stage)
    assert "r1" in named(stage)
    stage.reconcile("r1")
    assert state(stage, "r1") == ("Cancelled", "Replaced")
    assert state(stage, "r2") == (SLOT, "WorkPoolFull")


def restart(stage: Stage) -> None:
    """Another process, which finds out who holds and who waits."""
    stage.restart()
    stage.slots.close()
    stage.hear()
    for body in stage.cache.objects("FlowRun"):
        stage.runs.account(body)
        stage.slots.recall(RunView(body))
    stage.slots.open()


def test_a_new_operator_knows_who_holds_and_admits_in_order() -> None:
    stage = staged({"concurrencyLimit": 1}, runs=2)
    submit(stage, "first", priority=1)
    named(stage)
    restart(stage)
    assert named(stage) == []
    settle(stage, "r1")
    assert named(stage) == ["first"]


def test_a_run_whose_launch_fails_keeps_no_slot_from_others() -> None:
    """What the API server refuses it may refuse again; the others go on, and it comes back."""
    stage = staged({"concurrencyLimit": 1})
    stage.submit("r1")

    def refuse(write: Write) -> None:
        if write.kind == "FlowRun" and write.name == "r1":
            raise Forbidden(403, "Forbidden", "no")

    stage.before = refuse
    with pytest.raises(Forbidden):
        stage.reconcile("r1")
    submit(stage, "r2")
    assert state(stage, "r2") == ("Pending", "Launched")


def test_a_launch_of_which_nothing_is_known_keeps_its_slot() -> None:
    """It may have been done: then there would be one too many."""
    stage = staged({"concurrencyLimit": 1})
    stage.submit("r1")

    def lose(write: Write) -> None:
        if write.kind == "FlowRun" and write.name == "r1":
            raise Unavailable(0, "ServerDisconnectedError", "no answer")

    stage.after = lose
    with pytest.raises(Unavailable):
        stage.reconcile("r1")
    stage.after = lambda _: None
    stage.submit("r2")
    stage.reconcile("r2")
    assert state(stage, "r2") == (SLOT, "WorkPoolFull")


def test_a_run_that_asks_again_has_let_go_of_what_it_held() -> None:
    """Somebody else has written that its attempt is lost: another operator, or a person."""
    stage = staged({"concurrencyLimit": 1}, runs=2)
    scheduled = {**stage.run("r1")["state"], "type": "Scheduled", "name": "AwaitingRetry", "seq": 9}
    stage.cluster.set_status(FLOW_RUNS, NAMESPACE, "r1", state=scheduled)
    stage.remove("Pod", "r1-1")
    submit(stage, "first", priority=1)
    stage.reconcile("r1")
    assert named(stage) == ["first"]
    assert state(stage, "r1") == (SLOT, "WorkPoolFull")


def test_a_task_that_its_run_waits_for_takes_no_slot() -> None:
    """Its parent holds one while it waits: with a limit of one, neither would ever go on."""
    stage = staged({"concurrencyLimit": 1}, runs=1)
    stage.start_pod("r1-1")
    stage.claim("r1-1", "r1")
    body = stage.get("FlowRun", "r1") or {}
    parent = {"name": "r1", "uid": body["metadata"]["uid"], "awaited": True}
    submit(stage, "task", parent=parent, task={"entrypoint": "flow:work"})
    assert state(stage, "task") == ("Pending", "Launched")


def test_whoever_waits_for_something_else_is_told_so_later_and_not_all_at_once() -> None:
    stage = staged({"concurrencyLimit": 0}, runs=30)
    stage.edit("WorkPool", "default", suspend=True)
    stage.hear()
    assert named(stage) == []
    stage.slots.tell(5)
    assert named(stage) == [f"r{n}" for n in range(1, 6)]
    stage.reconcile("r1")
    assert state(stage, "r1") == ("Late", "WorkPoolSuspended")
    for _ in range(10):
        stage.slots.tell(5)
    assert len(named(stage)) == 15, "the first twenty of a line, each once"
    stage.edit("WorkPool", "default", suspend=False, concurrencyLimit=1)
    stage.hear()
    assert named(stage) == ["r1"]
    for _ in range(10):
        stage.slots.tell(5)
    assert "r21" in named(stage), "who got there"


def test_the_counts_of_a_pool_and_its_queues() -> None:
    stage = staged({"concurrencyLimit": 2})
    stage.apply("WorkQueue", "q", {"workPoolRef": {"name": "default"}, "selector": {}})
    for number in range(3):
        submit(stage, f"r{number}")
    pool, queue = Limit("WorkPool", NAMESPACE, "default"), Limit("WorkQueue", NAMESPACE, "q")
    counts = stage.slots.counts()
    assert (counts[pool], counts[queue]) == ((1, 2), (1, 2))
    assert stage.slots.counts() == {}
    assert stage.slots.selected(Key(NAMESPACE, "q"))


def test_an_old_word_of_an_object_changes_nothing() -> None:
    stage = staged({"concurrencyLimit": 1})
    stage.hear()
    old = stage.get("WorkPool", "default") or {}
    stage.edit("WorkPool", "default", concurrencyLimit=5)
    stage.hear()
    stage.slots.rules.put("WorkPool", old)
    assert stage.slots.books.bounds[Limit("WorkPool", NAMESPACE, "default")] == 5
    stage.slots.rules.drop("WorkPool", (NAMESPACE, "default"), "1")
    assert stage.slots.books.bounds[Limit("WorkPool", NAMESPACE, "default")] == 5


def test_nothing_is_kept_of_runs_that_are_gone() -> None:
    stage = staged({"concurrencyLimit": 2}, {"concurrency": {"limit": 1}, "tags": ["a"]}, runs=3)
    for name in ("r1", "r2", "r3"):
        stage.reconcile(name)
        settle(stage, name)
    slots, books = stage.slots, stage.slots.books
    kept = [slots._known, slots._at, slots._ghosts, slots._of_deployment, slots._displaced]
    kept += [
        slots._telling._told,
        slots._telling._anew,
        books.holding,
        books.waiting,
        books.holders,
        books.lines,
        books.standing,
        books.stands,
        books.patience,
    ]
    assert not any(kept), kept


def test_runs_of_one_second_are_admitted_in_the_order_they_came_over_a_restart() -> None:
    """Their uids, which the API server draws at random, decide nothing."""
    stage = staged({"concurrencyLimit": 1}, runs=1)
    stage.cluster.new_uid = lambda number: f"uid-{9999 - number}"
    for name in ("a", "b", "c"):
        stage.submit(name)
        stage.clock.advance(0.001)
        stage.reconcile(name)
    stage.restart()
    stage.hear()
    for name in ("r1", "c", "a", "b"):
        stage.reconcile(name)
    for name, next_one in (("r1", "a"), ("a", "b"), ("b", "c")):
        named(stage)
        settle(stage, name)
        assert named(stage)[:1] == [next_one]
        stage.reconcile(next_one)
