"""The reconciler of runs on a cluster in memory: what it writes, how often, and what it does when others write too."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from crash_points import Killed
from memory_cluster import Write
from penstock.api import labels, names
from penstock_operator.cluster import FLOW_RUNS, Invalid, ResourceType
from penstock_operator.core.nodes import OVERDUE
from penstock_operator.reconcile.flowruns import PASSES
from penstock_operator.reconcile.sources import Key, Requeue
from run_stage import NAMESPACE, SOURCE, Stage, launched, lost, once, revision, running, uid_of

Json = dict[str, Any]

CODE = names.code_config_map(names.content_digest(SOURCE))
STATUS = "patch FlowRun run status"


# Writes.


def test_a_run_is_accepted_and_launched_in_one_status_write_after_what_it_names_is_kept() -> None:
    stage = Stage()
    stage.submit()
    pool, deployment = revision(stage, "WorkPool", "default"), revision(stage, "FlowDeployment", "etl")
    assert stage.reconcile() is None
    assert stage.taken() == [
        f"create ConfigMap {CODE}",
        f"create ControllerRevision {pool}",
        f"create ControllerRevision {deployment}",
        STATUS,
        "create Pod run-1",
    ]
    status = stage.run()
    assert [(entry["type"], entry["seq"]) for entry in status["history"]] == [("Scheduled", 1), ("Pending", 2)]
    assert (status["attempt"], status["state"]["type"], status["state"]["seq"]) == (1, "Pending", 2)
    assert status["resolved"]["code"]["configMap"] == CODE
    assert (status["resolved"]["pool"]["revision"], status["resolved"]["deployment"]["revision"]) == (pool, deployment)
    assert status["parameters"] == {"n": 1}


def test_what_the_operator_wrote_it_knows_and_reports_without_waiting_for_the_echo() -> None:
    stage = Stage()
    stage.submit()
    stage.reconcile()
    assert (stage.cache.count("FlowRun"), stage.cache.count("Pod")) == (1, 1)
    assert [entry["type"] for entry in stage.events.posted.values()] == ["Scheduled", "Pending"]


def test_flow_and_pool_are_read_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage()
    stage.submit()
    under_way: list[str] = []
    together: set[frozenset[str]] = set()
    get = stage.cluster.get

    async def seen(resource: ResourceType, namespace: str | None, name: str) -> Json | None:
        under_way.append(resource.kind)
        await asyncio.sleep(0)
        together.add(frozenset(under_way))
        under_way.remove(resource.kind)
        return await get(resource, namespace, name)

    monkeypatch.setattr(stage.cluster, "get", seen)
    stage.reconcile()
    assert frozenset({"Flow", "WorkPool"}) in together


def test_the_pod_is_owned_by_its_run_and_carries_the_seq_of_the_launch() -> None:
    stage = launched()
    pod, run = stage.get("Pod", "run-1"), stage.get("FlowRun", "run")
    assert pod is not None
    assert run is not None
    owners = [(o["kind"], o["name"], o["uid"], o["controller"]) for o in pod["metadata"]["ownerReferences"]]
    assert owners == [("FlowRun", "run", run["metadata"]["uid"], True)]
    environment = {e["name"]: e.get("value") for e in pod["spec"]["containers"][0]["env"]}
    assert environment[labels.ENV_RUN_UID] == run["metadata"]["uid"]
    assert (environment[labels.ENV_ATTEMPT], environment[labels.ENV_SEQ]) == ("1", "2")


@pytest.mark.parametrize(
    ("pool_type", "created"),
    [pytest.param("Pod", "create Pod", id="Pod pool"), pytest.param("Job", "create Job", id="Job pool")],
)
def test_a_happy_life_costs_the_operator_three_writes(pool_type: str, created: str) -> None:
    """Launch, pod, settle; what revisions and code cost comes once for all runs of a deployment."""
    stage = Stage(pool_type=pool_type)
    for name in ("first", "second"):
        stage.submit(name)
        stage.reconcile(name)
        pod = stage.make_pod_of_job(f"{name}-1") if pool_type == "Job" else f"{name}-1"
        stage.reconcile(name)
        stage.start_pod(pod)
        stage.reconcile(name)
        stage.claim(pod, name)
        stage.reconcile(name)
        stage.enter("Completed", "Completed", name, result={"inline": 1})
        stage.reconcile(name)
        stage.end_pod(pod)
        stage.reconcile(name)
        if pool_type == "Job":
            assert not stage.run(name).get("settled")
            stage.end_job(f"{name}-1")
            stage.reconcile(name)
        assert stage.run(name)["settled"] is True
        status = f"patch FlowRun {name} status"
        shared, own = stage.taken(), [status, f"{created} {name}-1", status]
        assert [write.split()[1] for write in shared[: -len(own)]] == (
            ["ConfigMap", "ControllerRevision", "ControllerRevision"] if name == "first" else []
        )
        assert shared[-len(own) :] == own


def test_settling_is_the_last_write_and_says_what_was_observed() -> None:
    stage = running()
    stage.clock.advance(200)
    stage.enter("Completed", "Completed")
    stage.end_pod()
    assert stage.reconcile() is None
    assert stage.taken() == [STATUS]
    status = stage.run()
    assert (status["settled"], status["observedSeq"], status["duration"]) == (True, 4, "3m20s")
    assert status["endTime"] == status["state"]["time"]
    assert stage.cache.count("FlowRun") == 0
    assert stage.reconcile() is None
    assert stage.taken() == []


def test_every_state_is_reported_and_sent_before_the_run_is_settled() -> None:
    stage = running()
    stage.enter("Completed", "Completed")
    stage.end_pod()
    told: list[int] = []

    def before(write: Write) -> None:
        told.extend(seq for _, seq in stage.events.posted)

    stage.before = before
    stage.reconcile()
    uid = uid_of(stage)
    assert told == [1, 2, 3, 4]
    assert stage.events.flushed == [uid]
    assert [entry["type"] for entry in stage.events.posted.values()] == ["Scheduled", "Pending", "Running", "Completed"]


def test_nothing_is_written_while_nothing_changes() -> None:
    stage = launched()
    deadline = stage.clock() + timedelta(seconds=600)
    for _ in range(3):
        again = stage.reconcile()
        assert again is not None
        assert again.at == deadline
    stage.start_pod()
    stage.reconcile()
    stage.claim()
    stage.reconcile()
    assert stage.taken() == []


def test_a_pass_writes_a_status_at_most_once() -> None:
    """From one death to the next launch there are two states, written by two passes."""
    stage = running(deployment={"infraRetries": {"limit": 1}})
    stage.end_pod(code=137, reason="OOMKilled")
    again = stage.reconcile()
    assert stage.taken() == [STATUS]
    assert stage.state() == ("Scheduled", "OOMKilled")
    assert again is not None
    assert again.at == stage.clock()
    stage.reconcile()
    assert stage.taken() == [STATUS, "create Pod run-2"]
    status = stage.run()
    assert (status["attempt"], status["infraRetries"], "pod" in status) == (2, 1, False)


# Others write, too.


def test_a_write_that_was_overtaken_is_decided_afresh() -> None:
    """A cancellation arrives while the first write is on its way: nothing is launched."""
    stage = Stage()
    stage.submit()
    stage.before = once(lambda: stage.edit("FlowRun", "run", cancel=True))
    stage.reconcile()
    assert stage.state() == ("Cancelled", "CancelRequested")
    assert stage.names("Pod") == []


def test_a_claim_that_lands_while_the_operator_gives_the_pod_up_is_kept() -> None:
    stage = launched()
    stage.start_pod()
    stage.clock.advance(600)
    stage.before = once(stage.claim)
    stage.reconcile()
    assert stage.taken() == [STATUS]
    assert stage.state() == ("Running", "Started")
    assert stage.names("Pod") == ["run-1"]
    assert stage.condition("PodReady") is None


def test_a_claim_that_the_cache_has_not_heard_of_is_looked_for_before_a_pod_is_deleted() -> None:
    """The reason is written already, so no write is left that the claim would refuse."""
    stage = launched()
    stage.hold_pod()
    stage.reconcile()
    assert stage.condition("PodReady") == ("False", "ImagePullFailed")
    stage.clock.advance(60)
    stage.hear()
    stage.start_pod()
    stage.claim()
    stage.taken()
    stage.reconcile(hears=False)
    assert stage.names("Pod") == ["run-1"]
    assert stage.state() == ("Running", "Started")
    assert stage.condition("PodReady") == ("True", "Launched")


def test_an_end_that_lands_while_the_operator_blames_the_pod_is_kept() -> None:
    stage = running()
    stage.end_pod(code=1)
    stage.before = once(lambda: stage.enter("Completed", "Completed"))
    stage.reconcile()
    assert stage.state() == ("Completed", "Completed")
    assert stage.run()["settled"] is True


def test_progress_of_the_runner_does_not_hinder_the_operator() -> None:
    stage = running()
    stage.edit("FlowRun", "run", cancel=True)
    tasks = {"total": 2, "summary": "1/2"}
    stage.before = once(lambda: stage.cluster.set_status(FLOW_RUNS, NAMESPACE, "run", tasks=tasks))
    stage.reconcile()
    assert stage.taken() == [STATUS, "delete Pod run-1"]
    assert stage.state() == ("Cancelling", "CancelRequested")
    assert stage.run()["tasks"] == tasks


def test_a_cache_that_lags_behind_its_own_write_does_no_harm() -> None:
    """The informer's old body does not replace what the write answered."""
    stage = Stage()
    old = stage.submit()
    stage.reconcile()
    stage.taken()
    assert stage.cache.put("FlowRun", old) is False
    stage.reconcile(hears=False)
    assert stage.taken() == []
    assert stage.names("Pod") == ["run-1"]


def test_a_write_that_is_refused_for_ever_is_the_queues_to_slow_down() -> None:
    stage = Stage()
    stage.submit()

    def refused(write: Write) -> None:
        if write.subresource:
            tried.append(write)
            raise Invalid(422, "Invalid", "status.parameters: Too many")

    tried: list[Write] = []
    stage.before = refused
    with pytest.raises(Invalid, match="Too many"):
        stage.reconcile()
    assert len(tried) == PASSES
    assert stage.names("Pod") == []


# Deletion.


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_run_that_is_deleted_while_it_is_launched_gets_no_pod(attempt: int) -> None:
    stage = Stage()
    stage.submit()
    if attempt == 2:
        stage = running(deployment={"infraRetries": {"limit": 1}})
        lost(stage)
        stage.remove("Pod", "run-1")
    stage.before = once(lambda: stage.remove("FlowRun", "run"))
    assert stage.reconcile() is None
    assert stage.names("Pod") == []


@pytest.mark.parametrize("again", [False, True], ids=["gone", "made anew"])
def test_the_slot_of_a_deleted_run_is_free_once_nothing_of_it_is_there_however_late_the_news(again: bool) -> None:
    stage = Stage(pool_type="Job", pool={"concurrencyLimit": 1})
    stage.submit()
    stage.reconcile()
    stage.submit("next")
    stage.reconcile("next")
    stage.remove("FlowRun", "run")
    if again:
        stage.clock.advance(1)
        stage.submit()
    stage.reconcile()
    stage.reconcile("next")
    assert stage.state("next") == ("Scheduled", "WorkPoolFull"), "its Job may make a pod"
    stage.make_pod_of_job()
    stage.cache.drop("Job", (NAMESPACE, "run-1"))
    stage.reconcile(hears=False)
    stage.reconcile("next", hears=False)
    assert stage.state("next") == ("Scheduled", "WorkPoolFull"), "its Job has made one"
    stage.remove("Job", "run-1")  # and its pod with it
    stage.reconcile()
    stage.reconcile("next")
    assert stage.state("next") == ("Pending", "Launched")


def test_a_run_whose_deletion_waits_for_a_finalizer_gets_no_pod() -> None:
    stage = Stage()
    stage.submit()
    meta = stage.cluster.objects[(FLOW_RUNS.plural, NAMESPACE, "run")]["metadata"]
    stage.before = once(lambda: meta.update(deletionTimestamp=stage.now(), finalizers=["example.com/kept"]))
    stage.reconcile()
    assert stage.taken()[-1] == STATUS
    assert stage.names("Pod") == []


def test_the_pod_of_a_run_whose_deletion_waits_for_a_finalizer_is_deleted() -> None:
    stage = running()
    meta = stage.cluster.objects[(FLOW_RUNS.plural, NAMESPACE, "run")]["metadata"]
    asked = {"deletionTimestamp": stage.now(), "resourceVersion": "999"}
    meta.update(asked, finalizers=["example.com/kept"])
    stage.reconcile()
    assert stage.taken() == ["delete Pod run-1"]


def test_a_run_that_was_made_anew_while_its_namesake_was_launched_starts_at_its_first_attempt() -> None:
    stage = running(deployment={"infraRetries": {"limit": 1}})
    lost(stage)
    stage.remove("Pod", "run-1")
    stage.hear()
    stage.remove("FlowRun", "run")
    stage.submit()
    stage.reconcile(hears=False)
    assert (stage.run()["attempt"], stage.state()) == (1, ("Pending", "Launched"))
    assert stage.names("Pod") == ["run-1"]


def test_a_run_that_is_gone_is_no_work() -> None:
    stage = launched()
    stage.remove("FlowRun", "run")
    assert stage.reconcile() is None
    assert stage.taken() == []


# Ends that the operator decides.


def test_a_crash_is_confirmed_by_a_consistent_read_first() -> None:
    """The cache has lost the pod, the API server has it: nothing happened."""
    stage = running()
    stage.hear()
    stage.cache.drop("Pod", (NAMESPACE, "run-1"))
    stage.cluster.set_status(FLOW_RUNS, NAMESPACE, "run", tasks={"total": 2})
    assert stage.reconcile(hears=False) is None
    assert stage.taken() == []
    assert stage.state() == ("Running", "Started")
    known = stage.cache.run(Key(NAMESPACE, "run"))
    assert known is not None
    assert known["status"]["tasks"] == {"total": 2}
    assert stage.cache.count("Pod") == 1


def test_a_pod_that_was_deleted_under_its_run_crashes_it() -> None:
    stage = running()
    stage.remove("Pod", "run-1")
    stage.reconcile()
    assert stage.state() == ("Crashed", "PodDeleted")
    assert stage.taken() == [STATUS]
    stage.reconcile()
    assert stage.taken() == [STATUS]
    assert stage.run()["settled"] is True


def test_a_cancelled_run_is_cancelled_once_its_pod_is_gone() -> None:
    stage = running()
    stage.edit("FlowRun", "run", cancel=True)
    stage.reconcile()
    assert stage.taken() == [STATUS, "delete Pod run-1"]
    assert stage.reconcile() == Requeue(stage.clock() + timedelta(seconds=OVERDUE))
    assert (stage.taken(), stage.state()) == ([], ("Cancelling", "CancelRequested"))
    stage.end_pod(code=143)
    stage.reconcile()
    assert stage.state() == ("Cancelled", "CancelRequested")


@pytest.mark.parametrize(("pool_type", "how"), [("Pod", "Background"), ("Job", "Foreground")])
def test_a_job_is_there_until_its_pods_are_gone_and_a_pod_waits_for_no_collector(pool_type: str, how: str) -> None:
    stage = launched(pool_type=pool_type)
    delete, asked = stage.cluster.delete, []

    async def recorded(*what: Any, propagation: str, **more: Any) -> None:
        asked.append(propagation)
        await delete(*what, propagation=propagation, **more)

    stage.cluster.delete = recorded  # type: ignore[method-assign]
    stage.edit("FlowRun", "run", cancel=True)
    stage.reconcile()
    assert asked == [how]


def test_a_job_that_the_cache_has_not_heard_of_is_not_taken_for_gone() -> None:
    """An operator that was restarted lists Jobs before the last create of its predecessor lands."""
    stage = launched(pool_type="Job")
    stage.enter("Cancelling", "CancelRequested")
    stage.edit("FlowRun", "run", cancel=True)
    stage.restart()
    stage.hear()
    stage.cache.drop("Job", (NAMESPACE, "run-1"))
    stage.reconcile(hears=False)
    assert stage.state() == ("Cancelling", "CancelRequested")
    assert stage.taken() == ["delete Job run-1"]
    stage.reconcile()
    assert stage.state() == ("Cancelled", "CancelRequested")


def test_a_job_that_only_the_cache_has_is_known_to_be_gone_by_a_consistent_read() -> None:
    stage = launched(pool_type="Job")
    pod = stage.make_pod_of_job()
    stage.start_pod(pod)
    stage.claim(pod)
    stage.end_pod(pod, code=1)
    stage.end_job(condition="Failed", reason="BackoffLimitExceeded")
    stage.hear()
    stage.remove("Job", "run-1")
    stage.reconcile(hears=False)
    assert stage.state() == ("Crashed", "ContainerExited")
    assert (stage.cache.count("Job"), stage.cache.count("Pod")) == (0, 0)


def test_a_pod_that_outlives_its_end_is_deleted_and_then_the_run_is_settled() -> None:
    stage = running()
    stage.enter("Completed", "Completed")
    again = stage.reconcile()
    assert again is not None
    assert again.at == stage.clock() + timedelta(seconds=30)
    assert stage.taken() == []
    stage.clock.advance(30)
    stage.reconcile()
    assert stage.taken() == ["delete Pod run-1"]
    stage.remove("Pod", "run-1")
    stage.reconcile()
    assert (stage.taken(), stage.run()["settled"]) == ([STATUS], True)


def test_a_run_whose_node_is_lost_is_crashed_though_its_pod_stays() -> None:
    stage = running()
    stage.cache.forget_node("node-1")
    stage.reconcile()
    assert stage.state() == ("Crashed", "NodeLost")
    stage.reconcile()
    assert stage.run()["settled"] is True


# A suspended life, with an operator that dies.


def suspended_life(fatal: int = -1, when: str = "before") -> tuple[list[tuple[str, str]], int]:
    """A run that is stopped, waits, goes on in a second pod, asks there, is answered, and completes in a third.

    Its states as they are remembered, and the writes that the operator made; it dies at the `fatal`-th of them.
    """
    stage, seen = Stage(pool={"results": {"url": "s3://bucket/results"}}), 0

    def count(write: Write) -> None:
        nonlocal seen
        seen += 1
        if seen - 1 == fatal:
            raise Killed(str(write))

    setattr(stage, when, count)

    def operate() -> None:
        for _ in range(4):
            try:
                stage.reconcile()
            except Killed:
                stage.restart()

    def goes_on(pod: str) -> None:
        operate()
        stage.start_pod(pod)
        stage.claim(pod)
        operate()

    stage.submit()
    goes_on("run-1")
    stage.edit("FlowRun", "run", suspend=True)
    operate()
    stage.edit("FlowRun", "run", suspend=False)  # too late: its pod is being ended
    if stage.get("Pod", "run-1") is not None:
        stage.remove("Pod", "run-1")
    goes_on("run-2")
    status = stage.run()
    seq = status["state"]["seq"] + 1
    entry = {**status["state"], "type": "Paused", "name": "Suspended", "reason": "Suspended", "seq": seq}
    history = [*status["history"], {**entry, "attempt": 2, "writer": "runner"}]
    pause = {"id": "abc-1", "schema": {"type": "object", "properties": {"n": {"type": "integer"}}}}
    stage.cluster.set_status(FLOW_RUNS, NAMESPACE, "run", state=entry, history=history, pause=pause)
    stage.end_pod("run-2")
    stage.edit("FlowRun", "run", resume={"pause": "abc-1", "input": {"n": "three"}})
    operate()
    assert stage.condition("Answered") == ("False", "InvalidInput")
    stage.edit("FlowRun", "run", resume={"pause": "abc-1", "input": {"n": 3}})
    goes_on("run-3")
    assert [(a["pause"], a["input"]) for a in stage.run()["answers"]] == [("abc-1", {"n": 3})]
    assert "pause" not in stage.run()
    stage.enter("Completed", "Completed")
    stage.end_pod("run-3")
    operate()
    assert stage.run()["settled"]
    assert stage.names("Pod") == ["run-2", "run-3"]
    assert "infraRetries" not in stage.run()
    return [(entry["name"], entry["reason"]) for entry in stage.run()["history"]], seen


def test_a_run_that_was_suspended_lives_the_same_life_wherever_its_operator_dies() -> None:
    expected, writes = suspended_life()
    assert expected == [
        ("Scheduled", "Accepted"),
        ("Pending", "Launched"),
        ("Running", "Started"),
        ("Suspended", "SuspendRequested"),
        ("Resuming", "Resumed"),
        ("Pending", "Launched"),
        ("Running", "Started"),
        ("Suspended", "Suspended"),
        ("Resuming", "Resumed"),
        ("Pending", "Launched"),
        ("Running", "Started"),
        ("Completed", "Completed"),
    ]
    for when in ("before", "after"):
        for fatal in range(writes):
            assert suspended_life(fatal, when)[0] == expected, f"killed {when} write {fatal}"
