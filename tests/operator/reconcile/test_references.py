"""What runs are launched with, on a cluster in memory: by their references as they are, or as they were before."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from penstock.api import names
from penstock_operator.core.policy import DEFAULT_LATE_AFTER
from penstock_operator.reconcile.sources import Key
from run_stage import NAMESPACE, SOURCE, Stage, launched, lost, revision, running, uid_of

Json = dict[str, Any]

CODE = names.code_config_map(names.content_digest(SOURCE))
STATUS = "patch FlowRun run status"


# References.


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        ("FlowDeployment", "etl", "DeploymentNotFound"),
        ("Flow", "etl", "FlowNotFound"),
        ("WorkPool", "default", "WorkPoolNotFound"),
    ],
)
def test_what_is_missing_is_waited_for(kind: str, name: str, reason: str) -> None:
    stage = Stage()
    body = stage.get(kind, name)
    assert body is not None
    stage.remove(kind, name)
    stage.submit()
    again = stage.reconcile()
    assert again is not None
    assert again.waits_for == (kind, name)
    assert (stage.state(), stage.condition("Resolved")) == (("Scheduled", reason), ("False", reason))
    assert stage.taken() == [STATUS]
    stage.reconcile()
    assert stage.taken() == []
    stage.apply(kind, name, body["spec"])
    stage.reconcile()
    assert (stage.state(), stage.condition("Resolved")) == (("Pending", "Launched"), ("True", "Accepted"))


@pytest.mark.parametrize("missing", [None, ("Flow", "etl"), ("WorkPool", "default")], ids=str)
def test_a_deployments_starting_deadline_holds_while_its_run_waits(missing: tuple[str, str] | None) -> None:
    stage = Stage(deployment={"startingDeadlineSeconds": 60, "suspend": missing is None})
    if missing:
        stage.remove(*missing)
    stage.submit()
    again = stage.reconcile()
    assert again is not None
    assert again.at == stage.clock() + timedelta(seconds=DEFAULT_LATE_AFTER)
    assert again.waits_for == missing, "what is suspended is waited for by whoever grants slots"
    stage.clock.advance(DEFAULT_LATE_AFTER)
    again = stage.reconcile()
    assert again is not None
    assert again.at == stage.clock() + timedelta(seconds=60 - DEFAULT_LATE_AFTER)
    assert stage.run()["state"]["name"] == "Late"
    stage.clock.advance(61 - DEFAULT_LATE_AFTER)
    stage.reconcile()
    assert stage.state() == ("Failed", "StartingDeadlineExceeded")


def test_a_run_of_a_flow_needs_no_deployment() -> None:
    stage = Stage()
    stage.apply("FlowRun", "run", {"flowRef": {"name": "etl"}, "parameters": {"n": 5}})
    stage.reconcile()
    assert [write.split()[1] for write in stage.taken()] == ["ConfigMap", "ControllerRevision", "FlowRun", "Pod"]
    assert "deployment" not in stage.run()["resolved"]
    assert "parameters" not in stage.run()


def test_parameters_that_do_not_fit_end_the_run_before_anything_is_made() -> None:
    stage = Stage()
    stage.submit(parameters={"n": "many"})
    stage.reconcile()
    assert stage.state() == ("Failed", "InvalidParameters")
    assert stage.run()["state"]["message"].startswith("n: ")
    assert stage.taken() == [STATUS]
    stage.reconcile()
    assert stage.taken() == [STATUS]
    assert stage.run()["settled"] is True


@pytest.mark.parametrize("missing", [False, True])
def test_a_run_at_the_end_of_all_times_is_accepted(missing: bool) -> None:
    stage = Stage()
    if missing:
        stage.remove("Flow", "etl")
    stage.submit(scheduledTime="9999-12-31T23:59:59Z", startingDeadlineSeconds=60)
    stage.reconcile()
    assert stage.state() == ("Scheduled", "FlowNotFound" if missing else "NotDue")


def test_a_run_that_is_not_due_waits_for_its_time() -> None:
    stage = Stage()
    stage.submit(scheduledTime="2026-01-01T07:00:00Z")
    again = stage.reconcile()
    assert again is not None
    assert again.at == stage.clock() + timedelta(hours=1)
    assert stage.state() == ("Scheduled", "NotDue")
    stage.clock.advance(3600)
    stage.reconcile()
    assert stage.state() == ("Pending", "Launched")


def first_container(stage: Stage, pod: str) -> Json:
    body = stage.get("Pod", pod)
    assert body is not None
    container: Json = body["spec"]["containers"][0]
    return container


@pytest.mark.parametrize("restarted", [False, True], ids=["the same operator", "a restarted operator"])
def test_an_edit_after_the_launch_does_not_change_a_retried_attempt(restarted: bool) -> None:
    overrides = {"env": [{"name": "REGION", "value": "north"}]}
    stage = running(deployment={"infraRetries": {"limit": 1}, "pod": overrides}, pool={"image": "flows:1"})
    before = stage.run()["resolved"]
    stage.edit("WorkPool", "default", type="Job", image="flows:2", template={"spec": {"nodeName": "elsewhere"}})
    stage.edit("FlowDeployment", "etl", pod={"env": [{"name": "REGION", "value": "south"}]}, infraRetries={"limit": 0})
    stage.edit("Flow", "etl", code={"source": {"text": "edited = True\n"}}, entrypoint="flow:other")
    if restarted:
        stage.restart()
    lost(stage)
    stage.taken()
    stage.reconcile()
    assert stage.taken() == [STATUS, "create Pod run-2"]
    assert stage.run()["resolved"] == before

    def specified(pod: str) -> Json:
        container = first_container(stage, pod)
        varying = ("PENSTOCK_ATTEMPT", "PENSTOCK_SEQ", "PENSTOCK_STARTED")
        return {**container, "env": [e for e in container["env"] if e["name"] not in varying]}

    assert specified("run-2") == specified("run-1")
    assert specified("run-2")["image"] == "flows:1"


@pytest.mark.parametrize("kind", ["WorkPool", "FlowDeployment"])
def test_a_retry_whose_revision_is_deleted_is_resolved_anew_and_says_so(kind: str) -> None:
    name = "default" if kind == "WorkPool" else "etl"
    stage = running(deployment={"infraRetries": {"limit": 1}}, pool={"image": "flows:1"})
    stage.edit("WorkPool", "default", image="flows:2")
    stage.edit("FlowDeployment", "etl", priority=3)
    lost(stage)
    field = "pool" if kind == "WorkPool" else "deployment"
    stage.remove("ControllerRevision", stage.run()["resolved"][field]["revision"])
    stage.restart()
    stage.taken()
    stage.reconcile()
    resolved = stage.run()["resolved"]
    assert resolved[field]["generation"] == 2
    assert resolved[field]["revision"] == revision(stage, kind, name)
    assert resolved[field]["revision"] in stage.names("ControllerRevision")
    assert first_container(stage, "run-2")["image"] == "flows:2"
    assert stage.run()["parameters"] == {"n": 1}


def test_overrides_that_came_after_the_first_attempt_are_held_to_the_pool() -> None:
    """No rule of the API has refused the edit; the next attempt is not launched with it."""
    stage = running(deployment={"infraRetries": {"limit": 3}})
    stage.edit("FlowRun", "run", pod={"priorityClassName": "system-cluster-critical"})
    stage.end_pod(code=137)
    stage.reconcile()
    stage.reconcile()
    assert stage.state() == ("Failed", "InvalidOverrides")
    assert "pod.priorityClassName: WorkPool default does not allow it" in stage.run()["state"]["message"]
    assert stage.names("Pod") == ["run-1"]


def test_overrides_that_came_after_the_launch_are_not_in_a_pod_that_is_made_again() -> None:
    stage = launched()
    stage.edit("FlowRun", "run", pod={"priorityClassName": "system-cluster-critical"})
    stage.remove("Pod", "run-1")
    stage.reconcile()
    stage.reconcile()
    assert (stage.names("Pod"), stage.state()) == ([], ("Crashed", "PodInvalid"))
    assert "pod.priorityClassName" in stage.run()["state"]["message"]


def test_large_parameters_are_read_when_they_are_needed_and_not_kept() -> None:
    """Not when the run is looked at later; and again where an attempt has to be resolved anew."""
    stage = Stage(deployment={"infraRetries": {"limit": 1}})
    stage.edit(
        "Flow", "etl", parameters={"type": "object", "properties": {"text": {"type": "string", "maxLength": 20000}}}
    )
    stage.edit("FlowDeployment", "etl", parameters={})
    stage.submit(parameters={"text": "x" * 20_000})
    stage.hear()
    kept = stage.cache.run(Key(NAMESPACE, "run"))
    assert kept is not None
    assert len(str(kept)) < 2000
    stage.reconcile()
    assert (stage.state(), "parameters" in stage.run()) == (("Pending", "Launched"), False)
    stage.start_pod()
    stage.claim()
    stage.reconcile()
    stage.edit("WorkPool", "default", image="flows:2")
    lost(stage)
    stage.remove("ControllerRevision", stage.run()["resolved"]["pool"]["revision"])
    stage.restart()
    stage.reconcile()
    assert (stage.state(), "parameters" in stage.run()) == (("Pending", "Launched"), False)
    assert stage.names("Pod") == ["run-1", "run-2"]


def test_large_parameters_that_do_not_fit_are_told_of() -> None:
    stage = Stage()
    stage.submit(parameters={"n": "x" * 20_000})
    stage.reconcile()
    assert stage.state() == ("Failed", "InvalidParameters")
    assert stage.run()["state"]["message"].startswith("n: 'xxx")


def test_an_attempt_whose_revision_is_deleted_is_not_launched_without_its_template() -> None:
    stage = launched(pool={"image": "flows:1"})
    stage.remove("Pod", "run-1")
    stage.remove("ControllerRevision", stage.run()["resolved"]["pool"]["revision"])
    stage.restart()
    stage.reconcile()
    assert stage.names("Pod") == []
    assert stage.state() == ("Crashed", "PodInvalid")
    assert "ControllerRevision workpool-default-" in stage.run()["state"]["message"]


# Retries of whole runs.


def retryable(state: str = "Failed", **options: Any) -> Stage:
    """A stage whose run has ended, and which has a retry of it."""
    stage = running(**options)
    stage.enter(state, "Exception")
    stage.end_pod()
    stage.reconcile()
    return stage


def retry(stage: Stage, name: str = "again", of: str = "run", **spec: Any) -> None:
    stage.submit(name, retryOf={"name": of, "uid": uid_of(stage, of)}, **spec)


def test_a_retry_is_launched_with_what_the_old_run_had_whatever_was_edited_since() -> None:
    stage = retryable()
    stage.edit("Flow", "etl", code={"source": {"text": SOURCE + "# new\n"}})
    stage.edit("FlowDeployment", "etl", parameters={"n": 7})
    retry(stage)
    stage.taken()
    stage.reconcile("again")
    assert stage.taken() == ["patch FlowRun again status", "create Pod again-1"]
    old, new = stage.get("FlowRun", "run"), stage.run("again")
    assert old is not None
    assert new["resolved"] == {**old["status"]["resolved"], "resultsOf": old["metadata"]["uid"]}
    assert new["parameters"] == {"n": 1}
    assert new["history"][0]["message"].startswith("retry of run; WorkPool default has no result store")


def test_a_retry_of_a_retry_finds_the_results_of_the_first() -> None:
    stage = retryable(pool={"results": {"url": "s3://bucket"}})
    uid = uid_of(stage)
    retry(stage)
    stage.reconcile("again")
    stage.start_pod("again-1")
    stage.claim("again-1", "again")
    stage.enter("Failed", "Exception", "again")
    retry(stage, "third", "again")
    stage.reconcile("third")
    assert stage.run("third")["resolved"]["resultsOf"] == uid
    assert stage.run("third")["history"][0]["message"] == "retry of again"


def test_a_retry_of_a_run_that_goes_on_is_refused() -> None:
    stage = running()
    retry(stage)
    stage.reconcile("again")
    assert stage.state("again") == ("Failed", "NotRetryable")
    assert stage.names("Pod") == ["run-1"]


def test_a_retry_whose_revisions_are_gone_takes_things_as_they_are_now() -> None:
    stage = retryable()
    stage.remove("ControllerRevision", revision(stage, "FlowDeployment", "etl"))
    stage.restart()  # it remembers revisions
    stage.edit("FlowDeployment", "etl", parameters={"n": 7})
    retry(stage)
    stage.reconcile("again")
    found = stage.run("again")
    assert (found["state"]["type"], found["parameters"]) == ("Pending", {"n": 7})
    assert found["resolved"]["resultsOf"] == uid_of(stage)


def test_a_retry_waits_for_a_pool_that_is_suspended() -> None:
    stage = retryable()
    stage.edit("WorkPool", "default", suspend=True)
    retry(stage)
    stage.reconcile("again")
    assert stage.state("again") == ("Scheduled", "WorkPoolSuspended")
    stage.edit("WorkPool", "default", suspend=False)
    stage.reconcile("again")
    assert stage.state("again") == ("Pending", "Launched")


def test_a_retry_runs_in_the_pool_as_it_is_now() -> None:
    """Whoever gave it more memory, or another account, means the next run."""
    stage = retryable()
    stage.edit("WorkPool", "default", serviceAccountName="narrow")
    retry(stage)
    stage.taken()
    stage.reconcile("again")
    pool = revision(stage, "WorkPool", "default")
    assert stage.taken() == [f"create ControllerRevision {pool}", "patch FlowRun again status", "create Pod again-1"]
    pod = stage.get("Pod", "again-1")
    assert pod is not None
    assert pod["spec"]["serviceAccountName"] == "narrow"
    stage.remove("WorkPool", "default")
    retry(stage, "third")
    stage.reconcile("third")
    assert stage.state("third") == ("Scheduled", "WorkPoolNotFound")


def test_a_new_attempt_of_a_retry_needs_the_old_run_no_more() -> None:
    stage = retryable()
    retry(stage, infraRetries={"limit": 1})
    stage.reconcile("again")
    before = stage.run("again")["resolved"]
    stage.remove("FlowRun", "run")
    stage.start_pod("again-1")
    stage.claim("again-1", "again")
    stage.end_pod("again-1", 137)
    for _ in range(4):
        stage.reconcile("again")
        stage.clock.advance(120)
    assert (stage.run("again")["attempt"], stage.run("again")["resolved"]) == (2, before)


class TestATaskWhoseParentIsGone:
    """It has its code, pool and rights from its parent alone: whatever flow it names, that is never looked at."""

    TASK = {"task": {"entrypoint": "etl:main", "arguments": "s3://anywhere/pickle", "result": "s3://anywhere/result"}}

    @pytest.mark.parametrize("waits", [True, False], ids=["waited for", "in the background"])
    def test_it_fails_by_name(self, waits: bool) -> None:
        stage = running()
        uid = uid_of(stage)
        stage.enter("Completed", "Completed")
        stage.end_pod()
        stage.reconcile()
        stage.remove("FlowRun", "run")
        stage.submit("task", flowRef={"name": "etl"}, parent={"name": "run", "uid": uid, "awaited": waits}, **self.TASK)
        stage.reconcile("task")
        assert "resolved" not in stage.run("task")
        assert stage.get("Pod", "task-1") is None
        if not waits:
            assert stage.state("task") == ("Failed", "ParentEnded")

    def test_a_namesake_of_its_parent_is_not_taken_for_it(self) -> None:
        stage = running()
        stage.submit("task", flowRef={"name": "etl"}, parent={"name": "run", "uid": "x", "awaited": False}, **self.TASK)
        stage.reconcile("task")
        assert stage.state("task") == ("Failed", "ParentEnded")
        assert stage.get("Pod", "task-1") is None

    def test_one_that_is_there_gives_what_it_was_launched_with(self) -> None:
        stage = running()
        uid = uid_of(stage)
        stage.submit(
            "task", flowRef={"name": "none"}, parent={"name": "run", "uid": uid, "awaited": False}, **self.TASK
        )
        stage.reconcile("task")
        assert stage.state("task") == ("Pending", "Launched")
