"""The reconciler of runs on a cluster in memory: what it writes, how often, and what it does when others write too."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from crash_points import Killed
from memory_cluster import Write
from penstock.api import labels, names
from penstock_operator.cluster import FLOW_RUNS, Forbidden, Invalid, ResourceType, Unavailable
from penstock_operator.core.nodes import OVERDUE
from penstock_operator.core.policy import DEFAULT_LATE_AFTER
from penstock_operator.reconcile.flowruns import PASSES, RETRY_CREATE
from penstock_operator.reconcile.sources import Key, Requeue
from run_stage import NAMESPACE, SOURCE, Stage

Json = dict[str, Any]

CODE = names.code_config_map(names.content_digest(SOURCE))
STATUS = "patch FlowRun run status"


def revision(stage: Stage, kind: str, name: str) -> str:
    """Name of the revision of an object as it is now."""
    body = stage.get(kind, name)
    assert body is not None
    return names.revision(kind, name, body["metadata"]["uid"], body["metadata"]["generation"])


def launched(**options: Any) -> Stage:
    """A stage whose run has just been launched."""
    stage = Stage(**options)
    stage.submit()
    stage.reconcile()
    stage.taken()
    return stage


def running(**options: Any) -> Stage:
    """A stage whose run is claimed by its pod."""
    stage = launched(**options)
    stage.start_pod()
    stage.claim()
    stage.reconcile()
    assert stage.taken() == []
    return stage


def refuse(kind: str, error: Exception) -> Callable[[Write], None]:
    """A fault: objects of a kind cannot be created."""

    def before(write: Write) -> None:
        if (write.verb, write.kind) == ("create", kind):
            raise error

    return before


def once(action: Callable[[], object], verb: str = "patch", kind: str = "FlowRun") -> Callable[[Write], None]:
    """Somebody else acts while the first such write of the operator is on its way."""
    done: list[Write] = []

    def before(write: Write) -> None:
        if not done and (write.verb, write.kind) == (verb, kind):
            done.append(write)
            action()

    return before


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
    uid = (stage.get("FlowRun", "run") or {})["metadata"]["uid"]
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


# Names: created once.


def test_a_pod_that_the_operator_made_before_it_died_is_taken_for_its_own() -> None:
    stage = launched()
    uid = stage.cluster.kinds("Pod")[0]["metadata"]["uid"]
    stage.restart()
    stage.hear()
    stage.cache.drop("Pod", (NAMESPACE, "run-1"))
    again = stage.reconcile(hears=False)
    assert again is not None
    assert again.at == stage.clock() + timedelta(seconds=600)
    assert [pod["metadata"]["uid"] for pod in stage.cluster.kinds("Pod")] == [uid]
    assert stage.taken() == []


def test_a_create_whose_answer_was_lost_is_found_out_by_its_name() -> None:
    stage = Stage()
    stage.submit()

    def lost(write: Write) -> None:
        if write.kind == "Pod":
            raise Unavailable(0, "ServerDisconnectedError", "")

    stage.after = lost
    with pytest.raises(Unavailable):
        stage.reconcile()
    stage.reconcile(hears=False)
    assert stage.taken()[-1] == "create Pod run-1"
    assert stage.names("Pod") == ["run-1"]
    assert stage.state() == ("Pending", "Launched")


def test_a_pod_that_vanishes_before_it_is_looked_for_is_created_again() -> None:
    """Its name was taken when the operator tried, and free when it looked by whom."""
    stage = Stage()
    stage.submit()
    stage.reconcile()
    stage.remove("Pod", "run-1")
    stage.taken()
    stage.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "run-1"}, "spec": {"containers": []}})
    get, gone = stage.cluster.get, []

    async def vanishing(resource: Any, namespace: str | None, name: str) -> Json | None:
        if resource.kind == "Pod" and not gone:
            gone.append(name)
            stage.remove("Pod", name)
        return await get(resource, namespace, name)

    stage.cluster.get = vanishing  # type: ignore[method-assign]
    stage.reconcile()
    assert stage.taken() == ["create Pod run-1", "create Pod run-1"]
    assert stage.pod() is not None
    assert stage.condition("PodReady") is None


@pytest.mark.parametrize("pool_type", ["Pod", "Job"])
def test_a_name_that_a_stranger_has_is_waited_for(pool_type: str) -> None:
    stage = Stage(pool_type=pool_type)
    stranger = {"apiVersion": "v1", "kind": pool_type, "metadata": {"name": "run-1"}, "spec": {"containers": []}}
    stage.create(stranger)
    stage.submit()
    again = stage.reconcile()
    assert again is not None
    assert again.at == stage.clock() + RETRY_CREATE
    assert stage.condition("PodReady") == ("False", "PodCreateForbidden")
    assert f"{pool_type} run-1 exists and is not of this run" in json.dumps(stage.run()["conditions"])
    assert stage.state() == ("Pending", "Launched")
    stage.taken()
    stage.reconcile()
    assert stage.taken() == [f"create {pool_type} run-1"]
    stage.remove(pool_type, "run-1")
    stage.reconcile()
    made = stage.get(pool_type, "run-1")
    assert made is not None
    assert made["metadata"]["ownerReferences"][0]["name"] == "run"


def test_pods_of_a_namesake_are_not_taken_for_own() -> None:
    """A run was deleted and made anew under the same name; its predecessor's pod failed, which is nothing to it."""
    stage = running()
    stage.remove("FlowRun", "run")
    stage.end_pod(code=1)
    stage.submit()
    for _ in range(2):
        stage.reconcile()
        assert stage.state() == ("Pending", "Launched")
        assert stage.condition("PodReady") == ("False", "PodCreateForbidden")
    stage.remove("Pod", "run-1")
    stage.reconcile()
    run, pod = stage.get("FlowRun", "run"), stage.pod()
    assert run is not None
    assert pod is not None
    assert pod["metadata"]["ownerReferences"][0]["uid"] == run["metadata"]["uid"]


def test_pods_of_a_namesakes_job_are_not_taken_for_own() -> None:
    stage = launched(pool_type="Job")
    pod = stage.make_pod_of_job()
    stage.end_pod(pod, code=1)
    stage.remove("FlowRun", "run")
    stage.submit()
    for _ in range(2):
        stage.reconcile()
        assert stage.state() == ("Pending", "Launched")
        assert stage.condition("PodReady") == ("False", "PodCreateForbidden")


def test_the_pod_of_an_earlier_attempt_says_nothing_of_this_one() -> None:
    stage = running(deployment={"infraRetries": {"limit": 1}})
    stage.end_pod(code=1)
    stage.reconcile()
    stage.reconcile()
    assert stage.names("Pod") == ["run-1", "run-2"]
    stage.reconcile()
    assert stage.state() == ("Pending", "Launched")


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        pytest.param("ConfigMap", {"data": {"flow.py": "print('another')"}}, id="other code under the digest"),
        pytest.param("ControllerRevision", {"data": {"type": "Pod"}}, id="a revision of nobody"),
    ],
)
def test_what_a_stranger_put_where_code_or_revision_belongs_is_not_used(kind: str, says: Json) -> None:
    stage = Stage()
    name = CODE if kind == "ConfigMap" else revision(stage, "WorkPool", "default")
    stage.create({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **says})
    stage.submit()
    again = stage.reconcile()
    assert again is not None
    assert again.at == stage.clock() + RETRY_CREATE
    assert stage.state() == ("Scheduled", "PodCreateForbidden")
    assert f"{kind} {name} exists and is not the operator's" in stage.run()["state"]["message"]
    assert stage.names("Pod") == []
    stage.remove(kind, name)
    stage.reconcile()
    assert stage.state() == ("Pending", "Launched")
    assert stage.condition("PodReady") == ("True", "Launched")


# Refusals.

QUOTA = Forbidden(403, "Forbidden", 'pods "run-1" is forbidden: exceeded quota: pods, requested: pods=1')


def test_a_pod_over_quota_is_told_of_and_tried_again() -> None:
    stage = Stage()
    stage.submit()
    stage.before = refuse("Pod", QUOTA)
    again = stage.reconcile()
    assert again is not None
    assert again.at == stage.clock() + RETRY_CREATE
    assert stage.taken()[-2:] == [STATUS, STATUS]
    assert stage.condition("PodReady") == ("False", "PodCreateForbidden")
    assert "exceeded quota" in json.dumps(stage.run()["conditions"])
    stage.before = lambda _: None
    stage.clock.advance(RETRY_CREATE.total_seconds())
    stage.reconcile()
    assert stage.taken() == ["create Pod run-1"]
    stage.start_pod()
    stage.reconcile()
    assert stage.condition("PodReady") == ("True", "Launched")


def test_a_refusal_that_is_worded_anew_each_time_is_not_answered_with_a_write_each_time() -> None:
    """The echo of the condition names the run again at once; the pod is tried when it is time, not before."""
    stage = Stage()
    stage.submit()
    asked: list[str] = []

    def denied(write: Write) -> None:
        if write.kind == "Pod":
            asked.append(write.name)
            raise Forbidden(403, "Forbidden", f"admission webhook denied request {len(asked)}")

    stage.before = denied
    stage.reconcile()
    stage.taken()
    for _ in range(3):
        again = stage.reconcile()
        assert again is not None
        assert again.at == stage.clock() + RETRY_CREATE
    assert asked == ["run-1"]
    assert stage.taken() == []
    stage.clock.advance(RETRY_CREATE.total_seconds())
    stage.reconcile()
    assert asked == ["run-1", "run-1"]


def test_a_webhook_that_is_down_is_told_of_in_the_servers_words_and_asked_again() -> None:
    """Its words also say why the run is given up, where the webhook stays away."""
    said = 'failed calling webhook "mutate.example.com": connection refused'
    stage = Stage(deployment={"pendingDeadlineSeconds": 60})
    stage.submit()
    stage.before = refuse("Pod", Unavailable(500, "InternalError", said))
    asked = stage.reconcile()
    assert asked is not None
    assert asked.at == stage.clock() + timedelta(seconds=10)
    assert stage.condition("PodReady") == ("False", "PodCreateForbidden")
    stage.clock.advance(61)
    stage.reconcile()
    assert stage.state() == ("Crashed", "PodCreateForbidden")
    assert said in stage.run()["state"]["message"]


def test_a_pod_that_is_refused_until_the_pending_deadline_crashes_the_run() -> None:
    stage = Stage(deployment={"pendingDeadlineSeconds": 4})
    stage.submit()
    stage.before = refuse("Pod", QUOTA)
    stage.reconcile()
    again = stage.reconcile()
    assert again is not None
    assert again.at == stage.clock() + timedelta(seconds=4)
    stage.clock.advance(4)
    stage.reconcile()
    assert stage.state() == ("Crashed", "PodCreateForbidden")
    assert "exceeded quota" in stage.run()["state"]["message"]


@pytest.mark.parametrize("retries", [0, 1])
def test_an_invalid_pod_is_given_up_at_once(retries: int) -> None:
    stage = Stage(deployment={"infraRetries": {"limit": retries}})
    stage.submit()
    stage.before = refuse("Pod", Invalid(422, "Invalid", "spec.containers[0].image: Required value"))
    stage.reconcile()
    assert stage.state() == (("Scheduled" if retries else "Crashed"), "PodInvalid")
    for _ in range(3):
        stage.reconcile()
    assert stage.state() == ("Crashed", "PodInvalid")
    assert "spec.containers[0].image" in stage.run()["state"]["message"]
    assert stage.run()["attempt"] == 1 + retries


def test_a_template_that_is_none_crashes_the_run_and_names_itself() -> None:
    stage = Stage(pool={"template": {"spec": {"containers": "flow"}}})
    stage.submit()
    stage.reconcile()
    assert stage.state() == ("Crashed", "PodInvalid")
    assert "spec.template is no pod template" in stage.run()["state"]["message"]
    assert stage.names("Pod") == []


def test_code_over_quota_is_told_of_and_tried_again() -> None:
    stage = Stage()
    stage.submit()
    stage.before = refuse("ConfigMap", Forbidden(403, "Forbidden", "exceeded quota: count/configmaps"))
    again = stage.reconcile()
    assert again is not None
    assert again.at == stage.clock() + RETRY_CREATE
    assert stage.state() == ("Scheduled", "PodCreateForbidden")
    assert stage.run()["attempt"] == 0
    stage.before = lambda _: None
    stage.reconcile()
    assert stage.state() == ("Pending", "Launched")


def test_a_server_that_cannot_be_reached_is_the_queues_to_wait_for() -> None:
    stage = Stage()
    stage.submit()
    stage.before = refuse("Pod", Unavailable(503, "", "etcd is away"))
    with pytest.raises(Unavailable):
        stage.reconcile()
    stage.before = lambda _: None
    stage.reconcile()
    assert stage.names("Pod") == ["run-1"]


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


def lost(stage: Stage) -> None:
    """The first attempt's pod dies, and the run awaits its second."""
    stage.end_pod(code=137, reason="OOMKilled")
    stage.reconcile()
    assert stage.state() == ("Scheduled", "OOMKilled")


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


# Retries of whole runs.


def retryable(state: str = "Failed", **options: Any) -> Stage:
    """A stage whose run has ended, and which has a retry of it."""
    stage = running(**options)
    stage.enter(state, "Exception")
    stage.end_pod()
    stage.reconcile()
    return stage


def retry(stage: Stage, name: str = "again", of: str = "run", **spec: Any) -> None:
    old = stage.get("FlowRun", of)
    assert old is not None
    stage.submit(name, retryOf={"name": of, "uid": old["metadata"]["uid"]}, **spec)


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
    uid = (stage.get("FlowRun", "run") or {})["metadata"]["uid"]
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
    assert found["resolved"]["resultsOf"] == (stage.get("FlowRun", "run") or {})["metadata"]["uid"]


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


class TestATaskWhoseParentIsGone:
    """It has its code, pool and rights from its parent alone: whatever flow it names, that is never looked at."""

    TASK = {"task": {"entrypoint": "etl:main", "arguments": "s3://anywhere/pickle", "result": "s3://anywhere/result"}}

    @pytest.mark.parametrize("waits", [True, False], ids=["waited for", "in the background"])
    def test_it_fails_by_name(self, waits: bool) -> None:
        stage = running()
        uid = stage.get("FlowRun", "run")["metadata"]["uid"]  # type: ignore[index]
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
        uid = stage.get("FlowRun", "run")["metadata"]["uid"]  # type: ignore[index]
        stage.submit(
            "task", flowRef={"name": "none"}, parent={"name": "run", "uid": uid, "awaited": False}, **self.TASK
        )
        stage.reconcile("task")
        assert stage.state("task") == ("Pending", "Launched")
